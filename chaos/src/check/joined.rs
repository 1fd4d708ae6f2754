//! J1: a lease that has not begun leaves hosts that serve it well only for hosts that others have in use anyway, and only if hosts become
//! free by that (docs/decisions/0025).
//!
//! Who moved for the sake of a host that is down, promises too much or is not to be had is `R42`'s: all hosts of a move that is judged here
//! were well for a while. What an entry between plan and move changed is not held against it: what must hold, held at one index within the
//! time for which a plan may be under way.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::model::{FROZEN_S, Host, Lease, Model};
use super::replay::Replay;
use super::{Judgement, Sheet};
use crate::record::Record;

/// So long a plan may be under way before its move is applied, and a host must have been well, nanoseconds.
const UNDER_WAY_NS: u64 = 60_000_000_000;
/// Hosts become free for so long, in all: `[leader] defragment_gain_s` of simulated nodes.
const GAIN_S: u64 = 30;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    moves(record, |one| {
        let Move { index, was, clock_s, .. } = one;
        let fixed = was.begins() <= clock_s.saturating_add(FROZEN_S);
        sheet
            .must(!fixed, || format!("at index {index} lease {} moves, and begins at {}: it is {clock_s}", was.id, was.begins()));
        let problem = one.problem();
        sheet.must(problem.is_none(), || format!("at index {index} lease {} {}", was.id, problem.unwrap_or_default()));
    });
    sheet.close("J1")
}

/// How often leases moved so, for the goals of coverage.
#[must_use]
pub fn reached(record: &Record) -> BTreeMap<String, u64> {
    let mut many = 0;
    moves(record, |_| many += 1);
    if many == 0 { BTreeMap::new() } else { [("joins others".to_owned(), many)].into() }
}

/// All leases of one instant.
type Leases = BTreeMap<String, Rc<Lease>>;

/// What a lease was, before it changed.
struct Change {
    at_ns: u64,
    id: String,
    was: Option<Rc<Lease>>,
}

/// A lease that moved though all its hosts were well.
struct Move<'a> {
    index: u64,
    at_ns: u64,
    /// The ledger's clock stood there, or later.
    clock_s: u32,
    was: &'a Lease,
    is: &'a Lease,
    /// All leases with it, and what changed before.
    leases: &'a Leases,
    log: &'a [Change],
}

impl Move<'_> {
    /// What is wrong with it at all indices at which it may have been planned.
    fn problem(&self) -> Option<String> {
        let mut leases = self.leases.clone();
        let mut first = None;
        for change in self.log.iter().rev() {
            // It was not planned before it was what it was; the first of these is the move itself.
            if first.is_some() && change.id == self.was.id {
                break;
            }
            match &change.was {
                Some(was) => leases.insert(change.id.clone(), was.clone()),
                None => leases.remove(&change.id),
            };
            let others: Vec<&Lease> = leases.values().map(Rc::as_ref).filter(|other| other.id != self.was.id).collect();
            let problem = problem(self.was, self.is, &others)?;
            first = first.or(Some(problem));
            if change.at_ns.saturating_add(UNDER_WAY_NS) < self.at_ns {
                break;
            }
        }
        first
    }
}

/// What is wrong with a move beside these leases.
fn problem(was: &Lease, is: &Lease, others: &[&Lease]) -> Option<String> {
    let in_use = |host: u64, second: u32| others.iter().any(|other| other.taken(host, second) != [0; 4]);
    let borders: BTreeSet<u32> = others.iter().flat_map(|other| other.borders()).chain(was.borders()).collect();
    let pieces: Vec<(u32, u32)> = borders.iter().copied().zip(borders.iter().copied().skip(1)).collect();
    let booked = |of: &Lease, second: u32| hosts(of).into_iter().any(|host| of.taken(host, second) != [0; 4]);
    for host in hosts(is) {
        if let Some((from, until)) = pieces.iter().find(|(from, _)| booked(was, *from) && !in_use(host, *from)) {
            return Some(format!("moves to host {host}, which nobody else has in use from {from} to {until}"));
        }
    }
    let alone = |(from, until): &(u32, u32)| {
        let free = hosts(was).into_iter().filter(|host| was.taken(*host, *from) != [0; 4] && !in_use(*host, *from)).count();
        free as u64 * u64::from(until - from)
    };
    let freed_s: u64 = pieces.iter().map(alone).sum();
    (freed_s < GAIN_S).then(|| format!("moves, and its hosts become free for {freed_s} s in all"))
}

fn hosts(lease: &Lease) -> BTreeSet<u64> {
    lease.reservations.iter().flat_map(|one| &one.bindings).map(|binding| binding.host).collect()
}

/// Every move of a lease whose hosts were well.
fn moves(record: &Record, mut see: impl FnMut(&Move<'_>)) {
    let mut replay = Replay::new(record);
    let (mut leases, mut log) = (Leases::new(), Vec::new());
    // When each host was seen last as it does not serve its leases well.
    let mut ill_ns: BTreeMap<u64, u64> = BTreeMap::new();
    for index in replay.indices() {
        let clock_s = replay.clock_s(index.saturating_sub(1));
        let at_ns = replay.applied_ns(index).unwrap_or(u64::MAX);
        // Hosts change without their leases, and the other way round: what is known before and after is asked.
        note_ill(replay.model(), at_ns, &mut ill_ns);
        replay.go(index);
        note_ill(replay.model(), at_ns, &mut ill_ns);
        let mut moved = Vec::new();
        for id in replay.news() {
            let model = replay.model();
            let is = model.leases.get(&id).or_else(|| model.hidden.get(&id)).cloned().map(Rc::new);
            let was = match &is {
                Some(is) => leases.insert(id.clone(), is.clone()),
                None => leases.remove(&id),
            };
            if let (Some(was), Some(is)) = (&was, &is)
                && stays_itself(was, is)
                && hosts(was).union(&hosts(is)).all(|host| serves_well(model.hosts.get(host), was, &ill_ns, at_ns))
            {
                moved.push((was.clone(), is.clone()));
            }
            log.push(Change { at_ns, id, was });
        }
        for (was, is) in &moved {
            see(&Move { index, at_ns, clock_s, was, is, leases: &leases, log: &log });
        }
    }
}

fn note_ill(model: &Model, at_ns: u64, ill_ns: &mut BTreeMap<u64, u64>) {
    let ill = model.hosts.values().filter(|host| !host.observation.up || host.overcommitted);
    ill_ns.extend(ill.map(|host| (host.id, at_ns)));
}

/// Whether it is the same lease on other hosts, and nobody waits for anything of it.
fn stays_itself(was: &Lease, is: &Lease) -> bool {
    let pairs = || was.reservations.iter().zip(&is.reservations);
    was.status == "PENDING"
        && is.status == "PENDING"
        && (was.start, was.end) == (is.start, is.end)
        && was.reservations.len() == is.reservations.len()
        && pairs()
            .all(|(was, is)| was.wish == is.wish && was.staging == is.staging && was.previous.is_none() && is.previous.is_none())
        && pairs().any(|(was, is)| was.bindings != is.bindings)
}

/// Whether nobody had to leave a host for its own sake, of late.
fn serves_well(host: Option<&Host>, lease: &Lease, ill_ns: &BTreeMap<u64, u64>, at_ns: u64) -> bool {
    let Some(host) = host else { return false };
    let was_well = ill_ns.get(&host.id).is_none_or(|ill_ns| ill_ns.saturating_add(UNDER_WAY_NS) < at_ns);
    was_well && host.description.pool == "dedicated" && host.downtimes.iter().all(|one| one.interval.end <= lease.begins())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::model::tests::{host, lease};
    use super::super::testing::{Made, fires};
    use super::*;
    use crate::report::Verdict;

    /// Three hosts; `a` is alone on the first, `b` has the second in use all the while, and `a` moves there.
    fn made(to: u64, b: (u32, u32)) -> Made {
        let mut made = Made::default();
        for id in 1..=3 {
            made.watch(id, json!({"host": host(id, 4)}));
        }
        made.watch(4, json!({"lease": lease("b", b.0, b.1, &[(2, 1)])}));
        made.watch(5, json!({"lease": lease("a", 100, 200, &[(1, 1)])}));
        made.watch(6, json!({"lease": lease("a", 100, 200, &[(to, 1)])}));
        for index in 1..=6 {
            made.audit_at(index, index * 1_000_000_000, &[]);
        }
        made
    }

    fn looked_at(made: Made) -> u64 {
        let judgement = judge(&made.record());
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
        judgement.looked_at
    }

    #[test]
    fn who_joins_others_before_it_begins_sets_its_host_free() {
        assert_eq!(looked_at(made(2, (50, 250))), 2);
        assert_eq!(reached(&made(2, (50, 250)).record())["joins others"], 1);
        assert!(reached(&made(1, (50, 250)).record()).is_empty());
    }

    #[test]
    fn who_moves_to_a_host_that_nobody_has_in_use_or_for_nothing_is_seen() {
        fires(judge, made(3, (50, 250)), "to host 3, which nobody else has in use from 100 to 200");
        fires(judge, made(2, (50, 150)), "to host 2, which nobody else has in use from 150 to 200");
        // Others are on its own host anyway.
        let mut shared = made(2, (50, 250));
        shared.watches.insert(4, shared.watches[3].clone());
        shared.watches[4].change = json!({"lease": lease("c", 90, 180, &[(1, 1)])});
        fires(judge, shared, "become free for 20 s");
    }

    #[test]
    fn who_is_about_to_begin_does_not_move() {
        let mut late = made(2, (50, 250));
        late.audit[4].clock_ms = (super::super::model::CALENDAR_UNIX_S + 91) * 1_000;
        fires(judge, late, "moves, and begins at 100: it is 91");
    }

    #[test]
    fn what_held_when_it_was_planned_is_enough() {
        // `b` is deleted between plan and move.
        let mut made = made(2, (50, 250));
        made.watches[5].index = Some(7);
        made.watch(6, json!({"lease_removed": "b"}));
        made.audit_at(7, 7_000_000_000, &[]);
        assert_eq!(looked_at(made), 2);
    }

    #[test]
    fn who_leaves_a_host_for_its_sake_or_is_changed_is_not_judged_here() {
        let ill = |change: fn(&mut Value)| {
            let mut made = made(3, (50, 250));
            let mut ill = host(1, 4);
            change(&mut ill);
            made.watches[0].change = json!({"host": ill});
            made
        };
        assert_eq!(looked_at(ill(|host| host["observation"]["up"] = json!(false))), 0);
        assert_eq!(looked_at(ill(|host| host["overcommitted"] = json!(true))), 0);
        assert_eq!(looked_at(ill(|host| host["description"]["pool"] = json!("shared"))), 0);
        assert_eq!(looked_at(ill(|host| host["downtimes"] = json!([{"id": "d", "interval": {"start": 150, "end": 160}}]))), 0);
        let mut longer = made(3, (50, 250));
        longer.watches[5].change["lease"]["end"] = json!(210);
        assert_eq!(looked_at(longer), 0);
    }
}
