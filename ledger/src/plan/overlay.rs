//! Plans in flight: proposed and not yet seen applied.

use std::collections::BTreeMap;

use crate::model::{Amounts, HostId, Interval, PoolKind};
use crate::state::{Booking, State};

/// Plans that were proposed and not yet seen applied: booked on top of the state, so that back-to-back plans do not collide.
///
/// It also remembers where the last plan found room, so that the next search begins there and not at hosts that are full.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    last_number: u64,
    plans: BTreeMap<u64, Vec<HostId>>,
    by_host: BTreeMap<HostId, Vec<(u64, Booking)>>,
    begin_at: BTreeMap<PoolKind, HostId>,
}

impl Overlay {
    /// Adds what a plan books; the number names it for [`Overlay::remove`].
    pub fn add(&mut self, state: &State, bookings: &[(HostId, Interval, Amounts)]) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        for (host, interval, amounts) in bookings {
            let booking = Booking { host: *host, interval: *interval, amounts: *amounts };
            self.by_host.entry(*host).or_default().push((number, booking));
            if let Some(row) = state.host(*host) {
                self.begin_at.insert(row.description.pool, *host);
            }
        }
        self.plans.insert(number, bookings.iter().map(|(host, _, _)| *host).collect());
        number
    }

    /// Its entry was applied, or will never be.
    pub fn remove(&mut self, number: u64) {
        for host in self.plans.remove(&number).unwrap_or_default() {
            if let Some(bookings) = self.by_host.get_mut(&host) {
                bookings.retain(|(of, _)| *of != number);
                if bookings.is_empty() {
                    self.by_host.remove(&host);
                }
            }
        }
    }

    /// No plans in flight.
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    pub(super) fn on(&self, host: HostId) -> &[(u64, Booking)] {
        self.by_host.get(&host).map_or(&[], Vec::as_slice)
    }

    /// Where a search in this pool begins.
    pub(super) fn begin_at(&self, pool: PoolKind) -> HostId {
        self.begin_at.get(&pool).copied().unwrap_or(HostId(0))
    }
}
