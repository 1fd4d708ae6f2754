//! Hosts that take no new bookings get none: part of the witness. A plan is made and verified at some index between the call
//! and the answer, which is not told: so it is wrong only if a host of it took none at any of them.

use std::collections::BTreeMap;

use super::model::{Host, Reservation};
use super::replay::Replay;

/// When hosts took bookings, by number and index.
#[derive(Debug, Default)]
pub struct Takers {
    known: BTreeMap<u64, BTreeMap<u64, bool>>,
}

impl Takers {
    /// As subscriptions told it.
    pub fn new(replay: &Replay<'_>) -> Takers {
        let mut known: BTreeMap<u64, BTreeMap<u64, bool>> = BTreeMap::new();
        for index in replay.indices() {
            for change in replay.changes_at(index) {
                if let Some(id) = change["host_removed"].as_u64() {
                    known.entry(id).or_default().insert(index, false);
                } else if let Ok(host) = serde_json::from_value::<Host>(change["host"].clone()) {
                    known.entry(host.id).or_default().insert(index, host.takes_more());
                }
            }
        }
        Takers { known }
    }

    /// What is wrong with the hosts of what was made at one of these indices, if anything.
    pub fn problem(&self, made: &[Reservation], from: u64, until: u64) -> Option<String> {
        let mut bindings = made.iter().flat_map(|one| &one.bindings);
        let wrong = bindings.find(|binding| !self.took(binding.host, from, until))?;
        Some(format!("it is booked on host {}, which took no bookings from index {from} to {until}", wrong.host))
    }

    fn took(&self, host: u64, from: u64, until: u64) -> bool {
        let Some(known) = self.known.get(&host) else { return false };
        let before = known.range(..=from).next_back().is_some_and(|(_, takes)| *takes);
        before || known.range(from..=until).any(|(_, takes)| *takes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::Made;
    use super::*;
    use crate::check::model::tests::{host, lease};

    /// Host 1 comes at 1, is closed at 3 and open again at 6, and goes at 9.
    fn problem(from: u64, until: u64) -> Option<String> {
        let mut made = Made::default();
        let as_it_is = |reservable: bool| {
            let mut one = host(1, 4);
            one["reservable"] = json!(reservable);
            json!({"host": one})
        };
        let changes: [(u64, Value); 4] =
            [(1, as_it_is(true)), (3, as_it_is(false)), (6, as_it_is(true)), (9, json!({"host_removed": 1}))];
        changes.into_iter().for_each(|(index, change)| made.watch(index, change));
        let record = made.record();
        let booked: super::super::model::Lease = serde_json::from_value(lease("a", 10, 20, &[(1, 1)])).expect("a lease");
        Takers::new(&Replay::new(&record)).problem(&booked.reservations, from, until)
    }

    #[test]
    fn what_is_booked_while_a_host_takes_nothing_fires() {
        assert_eq!(problem(1, 2), None);
        assert_eq!(problem(2, 5), None, "it took bookings when the call began");
        assert_eq!(problem(4, 6), None, "and when it was answered");
        assert!(problem(3, 5).is_some_and(|text| text.contains("host 1, which took no bookings from index 3 to 5")));
        assert!(problem(9, 12).is_some(), "it is gone");
        assert!(problem(0, 0).is_some(), "it is not there yet");
    }
}
