//! What clients ask for: drawn so that windows collide, ends meet starts, and much happens where a lease opens.

use std::collections::BTreeSet;
use std::time::Duration;

use leasehold_client::{DensityWish, WindowWish};
use leasehold_ledger::command::{
    BeforeEndWish, EndWish, LeaseChange, LeaseWish, ReservationChange, ReservationWish, StagingWish, StartWish,
};
use leasehold_ledger::model::{InstanceWish, Lease, OnEnd, PoolKind, ProjectId, ResourceWish, Seconds, UserId};

use super::{Known, Project, Turn, Wanted, Workload};
use crate::plan::Draw;
use crate::sim::cloud::{TRAIT, ZONE};

/// A lease that starts, or opens its staging, within this is waited for.
const BORDER_AHEAD_MS: u64 = 12_000;
/// What happens at a border happens at most so long before or after it.
const BORDER_MS: u64 = 2_000;
/// Of so many leases one has two reservations.
const TWO_ONE_IN: usize = 6;

impl Workload {
    pub(super) fn now_s(&self) -> u64 {
        self.world.trace.now_ms() / 1_000
    }

    pub(super) fn choose(&self, turn: Turn, draw: &mut Draw, project: &Project) -> Wanted {
        let lease = {
            let known = self.known.lock();
            let own = known.iter().rev().filter(|known| known.lease.project_id.0 == project.id).take(12);
            self.pick(turn, "lease", own, |known| known.made_by).map(|known| known.lease.clone())
        };
        let what = draw.below(20);
        match (what, lease) {
            (0..=2, Some(lease)) => Wanted::Update { lease_id: lease.id, change: self.change(draw, &lease) },
            (3..=4, Some(lease)) => Wanted::Delete { lease_id: lease.id },
            (5..=7, Some(lease)) => Wanted::Get { lease_id: lease.id },
            // What an operation is hangs on its number alone: it does not book instead because there is no lease yet.
            // Where leases wait, half of the looks are at those, and nearly all while no lease is known.
            (0..=8, _) if self.world.plan.sim.waits => Wanted::Waiting,
            (0..=9, _) => Wanted::List { offers: false },
            _ => Wanted::Create(Box::new(self.wish(draw, project))),
        }
    }

    /// Waits until a lease is about to start or to open its staging, or has just done so, and deletes or changes it then.
    pub(super) async fn at_its_border(&self, turn: Turn, draw: &mut Draw, project: &Project) -> Option<Wanted> {
        let now_ms = self.world.trace.now_ms();
        let mut near: Vec<(u64, u64, Lease)> = Vec::new();
        for Known { made_by, lease } in self.known.lock().iter().filter(|known| known.lease.project_id.0 == project.id) {
            let staging = lease.reservations.iter().filter_map(|one| one.staging).map(|staging| staging.window.start);
            let borders = staging.chain([lease.start]).map(|border| border.unix_s() * 1_000);
            let ahead = borders.filter(|at_ms| (now_ms..now_ms + BORDER_AHEAD_MS).contains(at_ms));
            near.extend(ahead.map(|at_ms| (*made_by, at_ms, lease.clone())));
        }
        let (_, at_ms, lease) = self.pick(turn, "border", near.into_iter(), |(made_by, at_ms, _)| made_by ^ at_ms)?;
        // Most of it happens within the blink in which the cloud is opened.
        let off_ms = if draw.below(2) == 0 { draw.between(0, 2 * BORDER_MS) } else { BORDER_MS + draw.between(0, 200) };
        let until_ms = (at_ms + off_ms).saturating_sub(BORDER_MS);
        tokio::time::sleep(Duration::from_millis(until_ms.saturating_sub(now_ms))).await;
        let mut change = LeaseChange::default();
        match draw.below(6) {
            0..=2 => return Some(Wanted::Delete { lease_id: lease.id }),
            3 => change.start = Some(StartWish::At(lease.start.plus(10 * u32::try_from(draw.between(1, 4)).unwrap_or(1)))),
            4 => change.end = Some(EndWish::Now),
            _ => {
                let reservation = lease.reservations.first()?;
                let mut resource = reservation.wish.clone();
                let amount = &mut resource.instance_mut().amount;
                *amount = amount.saturating_sub(1).max(1);
                change.reservations = vec![ReservationChange { reservation_id: reservation.id, resource, on_end: None }];
            }
        }
        Some(Wanted::Update { lease_id: lease.id, change })
    }

    /// Times lie on a grid of ten seconds, so that ends meet starts; amounts are large enough to collide.
    pub(super) fn wish(&self, draw: &mut Draw, project: &Project) -> LeaseWish {
        let grid = self.now_s() / 10 * 10;
        let start = grid + 10 * draw.between(1, 8);
        let end = start + 10 * draw.between(1, 10);
        let second = |unix_s: u64| Seconds::from_unix_s(i64::try_from(unix_s).unwrap_or(0)).unwrap_or_default();
        let staged = draw.below(2) == 0 && start >= grid + 40;
        // Half a minute long, and not yet open.
        let later = self.world.plan.sim.late_staging && start >= grid + 60;
        let opens = later.then(|| second(start - 45));
        let staging = staged.then(|| StagingWish { start: opens, end: Some(second(start - 15)), park_margin_s: 15 });
        let many = if draw.below(TWO_ONE_IN) == 0 { 2 } else { 1 };
        let reservations = (0..many).map(|_| reservation(draw, staging)).collect();
        LeaseWish {
            name: format!("lease-{}", draw.below(1_000_000)),
            project_id: ProjectId(project.id.clone().into()),
            user_id: UserId(project.user_id.clone().into()),
            start: if draw.below(8) == 0 && !staged { StartWish::Now } else { StartWish::At(second(start)) },
            end: second(end),
            before_end: if draw.below(3) == 0 { BeforeEndWish::SecondsBefore(5) } else { BeforeEndWish::Never },
            offer: None,
            wait: None,
            precedence: Default::default(),
            expiry_s: None,
            ignore_quota: false,
            reservations,
        }
    }

    /// What a lease would come to, or how many instances fit into a window that is to come.
    pub(super) fn question(&self, draw: &mut Draw, project: &Project) -> Wanted {
        let lease = self.wish(draw, project);
        if draw.below(2) == 0 {
            return Wanted::WhatIf(Box::new(lease));
        }
        let instance = reservation(draw, None).resource.instance().clone();
        let start = match lease.start {
            StartWish::At(start) => start,
            StartWish::Now | StartWish::Earliest { .. } => lease.end.minus(10),
        };
        let window = WindowWish { start: StartWish::At(start), end: lease.end };
        Wanted::Density(Box::new(DensityWish { instance, whole_hosts: false, seek: false, among: None, window }))
    }

    /// One small server, in two minutes.
    pub(super) fn modest(&self, project: &Project) -> LeaseWish {
        let second = |unix_s: u64| Seconds::from_unix_s(i64::try_from(unix_s).unwrap_or(0)).unwrap_or_default();
        let start = self.now_s() + 120;
        LeaseWish {
            name: "after-all".to_owned(),
            project_id: ProjectId(project.id.clone().into()),
            user_id: UserId(project.user_id.clone().into()),
            start: StartWish::At(second(start)),
            end: second(start + 60),
            before_end: BeforeEndWish::Never,
            offer: None,
            wait: None,
            precedence: Default::default(),
            expiry_s: None,
            ignore_quota: false,
            reservations: vec![ReservationWish {
                resource: ResourceWish::Instance(InstanceWish::anywhere(1, 512, 1, 1).into()),
                staging: None,
                on_end: OnEnd::Delete,
                servers: BTreeSet::new(),
            }],
        }
    }

    fn change(&self, draw: &mut Draw, lease: &Lease) -> LeaseChange {
        let mut change = LeaseChange::default();
        match draw.below(6) {
            0 => change.name = Some(format!("renamed-{}", draw.below(1_000_000))),
            1 => change.end = Some(EndWish::Now),
            2 => change.end = Some(EndWish::At(lease.end.plus(10 * u32::try_from(draw.between(1, 4)).unwrap_or(1)))),
            3 => change.start = Some(StartWish::At(lease.start.plus(10))),
            _ => {
                if let Some(reservation) = lease.reservations.first() {
                    let mut resource = reservation.wish.clone();
                    resource.instance_mut().amount = u32::try_from(draw.between(1, 6)).unwrap_or(1);
                    change.reservations = vec![ReservationChange { reservation_id: reservation.id, resource, on_end: None }];
                }
            }
        }
        change
    }
}

/// Amounts are large enough to collide; every kind of host is asked for.
fn reservation(draw: &mut Draw, staging: Option<StagingWish>) -> ReservationWish {
    let instance = InstanceWish {
        vcpus: u32::try_from(draw.between(1, 5)).unwrap_or(1),
        memory_mb: [512, 1_024, 4_096][draw.below(3)],
        disk_gb: 1,
        amount: u32::try_from(draw.between(1, 5)).unwrap_or(1),
        affinity: [None, None, None, Some(true), Some(false)][draw.below(5)],
        zone: [None, None, None, Some("nova"), Some(ZONE)][draw.below(5)].map(str::to_owned),
        pool: [None, Some(PoolKind::Dedicated), Some(PoolKind::Shared)][draw.below(3)],
        required_traits: (draw.below(6) == 0).then(|| TRAIT.to_owned()).into_iter().collect(),
        forbidden_traits: (draw.below(12) == 0).then(|| TRAIT.to_owned()).into_iter().collect(),
        requirements: Vec::new(),
        resource_properties: String::new(),
        flavor: None,
    };
    let on_end = [OnEnd::Delete, OnEnd::Delete, OnEnd::Shelve, OnEnd::Snapshot][draw.below(4)];
    ReservationWish { resource: ResourceWish::Instance(instance.into()), staging, on_end, servers: BTreeSet::new() }
}
