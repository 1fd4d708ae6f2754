//! Leases of which is given back what nobody uses some time after their start. Their tenants use none of it, some or all
//! (`tenant.rs`); and clients change them, most often around the instant at which they are counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leasehold_ledger::command::{EndWish, LeaseChange, LeaseWish, ReservationChange, StartWish};
use leasehold_ledger::model::{EXPIRY_MIN_S, Lease, Seconds};

use super::{Project, Turn, Wanted, Workload};
use crate::plan::Draw;

/// Of so many operations one is about a lease that expires.
pub(super) const ONE_IN: usize = 7;
/// Of so many of them one changes such a lease, where one is about to be counted.
const CHANGES_ONE_IN: usize = 2;
/// So many are there at most at a time: they last longer than others, which want room too.
const ALIVE_MAX: usize = 6;
/// One that is counted within this is waited for.
const AHEAD_MS: u64 = 12_000;
/// What happens around the count happens at most so long before the expiry.
const BEFORE_MS: u64 = 60;
/// Or so long after it.
const AFTER_MS: u64 = 600;

impl Workload {
    /// Books a lease that expires, or changes one as it is counted. False: there was nothing to do.
    pub(super) async fn about_expiry(self: &Arc<Self>, turn: Turn, draw: &mut Draw, project: &Project) -> bool {
        if draw.below(CHANGES_ONE_IN) == 0 && self.change_at_expiry(turn, draw, project).await {
            return true;
        }
        let now_s = self.now_s();
        let lasts = |lease: &Lease| lease.expiry_s.is_some() && lease.end.unix_s() > now_s;
        if self.known.lock().iter().filter(|known| lasts(&known.lease)).count() >= ALIVE_MAX {
            return false;
        }
        let wanted = Wanted::Create(Box::new(self.expiring(draw, project)));
        self.perform(turn, project, wanted, None).await;
        true
    }

    /// Most last for a while beyond their expiry, some end before it.
    fn expiring(&self, draw: &mut Draw, project: &Project) -> LeaseWish {
        let mut wish = self.wish(draw, project);
        let tens = |draw: &mut Draw, from, to| 10 * u32::try_from(draw.between(from, to)).unwrap_or(1);
        let expiry_s = EXPIRY_MIN_S + tens(draw, 0, 7);
        for one in &mut wish.reservations {
            let instance = one.resource.instance_mut();
            instance.amount = u32::try_from(draw.between(1, 5)).unwrap_or(2);
            instance.vcpus = instance.vcpus.min(2);
        }
        // What is staged keeps its start.
        let grid = Seconds::from_unix_s(i64::try_from(self.now_s() / 10 * 10).unwrap_or(0)).unwrap_or_default();
        let start = match wish.start {
            StartWish::At(start) if wish.reservations.iter().any(|one| one.staging.is_some()) => start,
            StartWish::Now => grid,
            StartWish::At(_) | StartWish::Earliest { .. } => grid.plus(tens(draw, 1, 5)),
        };
        if start > grid {
            wish.start = StartWish::At(start);
        }
        wish.end = start.plus(expiry_s + tens(draw, 0, 10));
        wish.expiry_s = Some(expiry_s);
        wish
    }

    /// Waits until a lease is about to be counted, or has just begun to be, and changes it then. False: none is.
    async fn change_at_expiry(self: &Arc<Self>, turn: Turn, draw: &mut Draw, project: &Project) -> bool {
        let now_ms = self.world.trace.now_ms();
        let near: Vec<(u64, Lease)> = {
            let known = self.known.lock();
            let own = known.iter().filter(|known| known.lease.project_id.0 == project.id);
            let near = own.filter(|known| expires_ms(&known.lease).is_some_and(|at| (now_ms..now_ms + AHEAD_MS).contains(&at)));
            near.map(|known| (known.made_by, known.lease.clone())).collect()
        };
        let Some((_, lease)) = self.pick(turn, "expiring", near.into_iter(), |(made_by, _)| *made_by) else { return false };
        // Only who asks knows since when it is active.
        let lease_id = lease.id;
        let Some(lease) = self.perform(turn, project, Wanted::Get { lease_id }, None).await.1 else { return true };
        let Some(at_ms) = expires_ms(&lease) else { return true };
        // Most counts are short.
        let off_ms = if draw.below(2) == 0 { draw.between(0, 2 * BEFORE_MS) } else { draw.between(0, BEFORE_MS + AFTER_MS) };
        let until_ms = (at_ms + off_ms).saturating_sub(BEFORE_MS);
        tokio::time::sleep(Duration::from_millis(until_ms.saturating_sub(self.world.trace.now_ms()))).await;
        if self.over.load(Ordering::SeqCst) {
            return true;
        }
        let mut change = LeaseChange::default();
        let tens = |draw: &mut Draw, from, to| 10 * u32::try_from(draw.between(from, to)).unwrap_or(1);
        match (draw.below(8), lease.reservations.first()) {
            (0, _) => change.name = Some(format!("renamed-{}", draw.below(1_000_000))),
            (1, _) => {
                self.perform(Turn { part: 1, ..turn }, project, Wanted::Delete { lease_id }, None).await;
                return true;
            }
            (2, _) => change.end = Some(EndWish::At(lease.end.plus(tens(draw, 3, 7)))),
            // There is mostly no room for more, so that most ask for less.
            (kind @ 3..=5, Some(reservation)) => {
                let mut resource = reservation.wish.clone();
                let amount = &mut resource.instance_mut().amount;
                *amount = if kind == 3 { *amount + 1 } else { amount.saturating_sub(1).max(1) };
                change.reservations = vec![ReservationChange { reservation_id: reservation.id, resource, on_end: None }];
            }
            _ => change.end = Some(EndWish::At(lease.end.minus(10))),
        }
        self.perform(Turn { part: 1, ..turn }, project, Wanted::Update { lease_id, change }, None).await;
        true
    }
}

/// When a lease is counted, Unix milliseconds; one that nobody has seen active is taken to be so soon after its start.
fn expires_ms(lease: &Lease) -> Option<u64> {
    let expiry_s = lease.expiry_s?;
    let told = lease.expires_at().map(|at| at.unix_s());
    Some(told.unwrap_or(lease.start.unix_s() + u64::from(expiry_s) + 1) * 1_000)
}
