//! Offers: one that is asked for is claimed, dropped or left to expire by its client, often around the instant of its expiry.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leasehold_ledger::command::{OfferWish, StartWish};
use leasehold_ledger::model::{LeaseId, Seconds};

use super::{Project, Turn, Wanted, Workload};
use crate::plan::Draw;

/// Of so many operations one is an offer.
pub(super) const ONE_IN: usize = 9;
/// An offer stands for so many seconds at most, and its client waits for what he does with it.
const STANDS_S: u64 = 14;
/// What happens at its expiry happens at most so long before or after it.
const BORDER_MS: u64 = 400;
/// When an offer that was left is asked for once more, it should be gone.
const GONE_MS: u64 = 6_000;

impl Workload {
    /// Asks for an offer, and claims it at once or does with it what was drawn.
    pub(super) async fn offer(self: &Arc<Self>, turn: Turn, draw: &mut Draw, project: &Project, claims_at_once: bool) {
        let mut wish = self.wish(draw, project);
        let now = Seconds::from_unix_s(i64::try_from(self.now_s()).unwrap_or(0)).unwrap_or_default();
        let start = match wish.start {
            StartWish::At(start) => start,
            // One that starts at once cannot be an offer.
            StartWish::Now | StartWish::Earliest { .. } => now.plus(10),
        };
        wish.start = StartWish::At(start);
        wish.end = wish.end.max(start.plus(10));
        let expires_at = now.plus(u32::try_from(draw.between(2, STANDS_S)).unwrap_or(2)).min(start);
        wish.offer = Some(OfferWish::Until(expires_at));
        let (fate, at_border) = (draw.below(10), draw.below(2) == 0);
        let expires_ms = expires_at.unix_s() * 1_000;
        let at_ms = if at_border {
            (expires_ms + draw.between(0, 2 * BORDER_MS)).saturating_sub(BORDER_MS)
        } else {
            let now_ms = self.world.trace.now_ms();
            now_ms + draw.between(0, expires_ms.saturating_sub(now_ms).max(1))
        };
        let Some(lease) = self.perform(turn, project, Wanted::Create(Box::new(wish)), None).await.1 else { return };
        let lease_id = lease.id;
        let (at_ms, wanted) = match fate {
            _ if claims_at_once => (0, Wanted::Claim { lease_id }),
            0..=4 => (at_ms, Wanted::Claim { lease_id }),
            5..=6 => (at_ms, Wanted::Delete { lease_id }),
            7 => (at_ms, Wanted::List { offers: true }),
            _ => (expires_ms + GONE_MS, Wanted::Get { lease_id }),
        };
        let wait_ms = at_ms.saturating_sub(self.world.trace.now_ms());
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        if self.over.load(Ordering::SeqCst) {
            return;
        }
        if self.perform(Turn { part: 1, ..turn }, project, wanted, None).await.1.is_none() {
            self.forget(lease_id);
        }
    }

    /// Nobody asks for it any more.
    fn forget(&self, lease_id: LeaseId) {
        self.known.lock().retain(|held| held.lease.id != lease_id);
    }
}
