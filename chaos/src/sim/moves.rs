//! Which leases changed their status or events, by the indices of the ledger at which that was seen (A10). Taken from the
//! leases themselves: what the product says of its changes is what is to be judged.

use std::collections::BTreeMap;

use leasehold_ledger::model::{EventKind, EventStatus, Lease, LeaseId, LeaseStatus};
use leasehold_ledger::state::State;
use serde_json::{Value, json};

/// Status and events of a lease that users see.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    status: LeaseStatus,
    events: Vec<(EventKind, EventStatus)>,
}

impl Standing {
    fn of(lease: &Lease) -> Standing {
        Standing { status: lease.status, events: lease.events.iter().map(|event| (event.kind, event.status)).collect() }
    }

    fn is_of(&self, lease: &Lease) -> bool {
        self.status == lease.status && lease.events.iter().map(|event| (event.kind, event.status)).eq(self.events.iter().copied())
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Moves {
    /// By the indices at which a lease was seen to be another; `None`: users did not see it any more.
    known: BTreeMap<LeaseId, BTreeMap<u64, Option<Standing>>>,
    /// The last of each, of those that users see: most indices are seen in order, and change one lease of hundreds.
    last: BTreeMap<LeaseId, Standing>,
    /// The highest index seen.
    upto: u64,
}

impl Moves {
    /// Leases whose status or events are not as at the last index before that was seen, null for those that users do not see
    /// any more. Each index is to be shown once.
    pub fn see(&mut self, state: &State) -> BTreeMap<String, Value> {
        let index = state.ledger_index();
        // A node that was behind shows an index that the others went past.
        let late = index < self.upto;
        let moved = if late { others(&self.before(index), state) } else { others(&self.last, state) };
        for (id, now) in &moved {
            let standing = now.map(Standing::of);
            if let Some(standing) = standing.clone().filter(|_| !late) {
                self.last.insert(*id, standing);
            } else {
                self.last.remove(id);
            }
            self.known.entry(*id).or_default().insert(index, standing);
        }
        if late {
            self.last = self.before(u64::MAX);
        }
        self.upto = self.upto.max(index);
        moved.into_iter().map(|(id, now)| (id.to_string(), now.map_or(Value::Null, told))).collect()
    }

    /// How leases stood at the last index that was seen before this one.
    fn before(&self, index: u64) -> BTreeMap<LeaseId, Standing> {
        let last = |seen: &BTreeMap<u64, Option<Standing>>| seen.range(..index).next_back().and_then(|(_, one)| one.clone());
        self.known.iter().filter_map(|(id, seen)| Some((*id, last(seen)?))).collect()
    }
}

/// Leases that stand otherwise than before. Both sides are in the order of the ids: one walk over the two.
fn others<'a>(before: &BTreeMap<LeaseId, Standing>, state: &'a State) -> Vec<(LeaseId, Option<&'a Lease>)> {
    let mut others = Vec::new();
    let mut before = before.iter().peekable();
    // What left memory stands as it stood: users see it as before.
    let gone = |id: LeaseId| state.archived(id).is_none().then_some((id, None));
    for lease in state.leases().filter(|lease| lease.visible()) {
        while let Some((id, _)) = before.next_if(|(id, _)| **id < lease.id) {
            others.extend(gone(*id));
        }
        let known = before.next_if(|(id, _)| **id == lease.id);
        if !known.is_some_and(|(_, standing)| standing.is_of(lease)) {
            others.push((lease.id, Some(lease)));
        }
    }
    others.extend(before.filter_map(|(id, _)| gone(*id)));
    others
}

/// As the record has it.
fn told(lease: &Lease) -> Value {
    let events: Vec<_> = lease.events.iter().map(|event| json!([event.kind, event.status])).collect();
    json!({"status": lease.status, "events": events})
}

#[cfg(test)]
mod tests {
    use leasehold_ledger::apply::apply;
    use leasehold_ledger::command::{BeforeEndWish, Command, CreateLease, Entry, LeaseWish, StartWish};
    use leasehold_ledger::model::{EventId, ProjectId, Timestamp, UserId};
    use uuid::Uuid;

    use super::super::trace::EPOCH_MS;
    use super::*;

    /// Applies a command so many seconds after the beginning.
    fn after(state: &State, at_s: u64, command: Command) -> State {
        let mut next = state.clone();
        let applied = apply(&mut next, &Entry { key: None, proposed_at: Timestamp(EPOCH_MS + at_s * 1_000), command });
        assert!(applied.outcome.is_ok(), "{:?}", applied.outcome);
        next
    }

    /// A lease without reservations, which the clock alone moves on.
    fn create(id: u128, start_s: u64, end_s: u64) -> Command {
        let at = |second: u64| Timestamp(EPOCH_MS + second * 1_000).floor_to_second();
        let wish = LeaseWish {
            name: format!("lease {id}"),
            project_id: ProjectId("p".into()),
            user_id: UserId("u".into()),
            start: StartWish::At(at(start_s)),
            end: at(end_s),
            before_end: BeforeEndWish::Never,
            offer: None,
            wait: None,
            precedence: Default::default(),
            expiry_s: None,
            ignore_quota: false,
            reservations: Vec::new(),
        };
        let (plan, resource_ids, adoptions) = Default::default();
        let event_ids = (0..6).map(|n| EventId(Uuid::from_u128(id * 100 + n))).collect();
        let lease_id = LeaseId(Uuid::from_u128(id));
        Command::CreateLease(Box::new(CreateLease {
            wish,
            lease_id,
            event_ids,
            plan,
            resource_ids,
            planned_at: 0,
            moved_to: None,
            adoptions,
            caller_makes_groups: false,
            waits: false,
            asked: None,
            victims: Vec::new(),
        }))
    }

    fn statuses(moved: &BTreeMap<String, Value>) -> Vec<(u128, Option<&str>)> {
        let number = |id: &String| Uuid::parse_str(id).expect("an id").as_u128();
        moved.iter().map(|(id, told)| (number(id), told["status"].as_str())).collect()
    }

    #[test]
    fn what_moved_is_told_once_and_what_is_gone_is_null() {
        let empty = State::default();
        let one = after(&empty, 1, create(1, 100, 200));
        let both = after(&one, 2, create(2, 300, 400));
        let started = after(&both, 100, Command::AdvanceClock);
        let gone = after(&started, 150, Command::DeleteLease { lease_id: LeaseId(Uuid::from_u128(1)) });
        let mut moves = Moves::default();
        assert_eq!(statuses(&moves.see(&one)), [(1, Some("PENDING"))]);
        assert_eq!(statuses(&moves.see(&both)), [(2, Some("PENDING"))]);
        assert_eq!(statuses(&moves.see(&started)), [(1, Some("ACTIVE"))]);
        assert_eq!(statuses(&moves.see(&gone)), [(1, None)]);
        assert!(moves.see(&after(&gone, 160, Command::Probe { payload: Vec::new() })).is_empty());
    }

    #[test]
    fn a_node_that_is_behind_is_compared_with_what_was_before_its_index() {
        let empty = State::default();
        let one = after(&empty, 1, create(1, 100, 200));
        let started = after(&one, 100, Command::AdvanceClock);
        let two = after(&started, 120, create(2, 300, 400));
        let ended = after(&two, 200, Command::AdvanceClock);
        let last = after(&ended, 210, create(3, 300, 400));
        let mut moves = Moves::default();
        assert_eq!(statuses(&moves.see(&one)), [(1, Some("PENDING"))]);
        assert_eq!(statuses(&moves.see(&ended)), [(1, Some("TERMINATED")), (2, Some("PENDING"))]);
        // Seen late: at their own indices they stand otherwise than before, and so does what came later than they.
        assert_eq!(statuses(&moves.see(&started)), [(1, Some("ACTIVE"))]);
        assert_eq!(statuses(&moves.see(&two)), [(2, Some("PENDING"))]);
        assert_eq!(statuses(&moves.see(&last)), [(3, Some("PENDING"))]);
    }
}
