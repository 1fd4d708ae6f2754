//! J1: a lease that has not begun leaves hosts that serve it well only for hosts that others have in use anyway, and only if hosts
//! become free by that (docs/decisions/0025).
//!
//! Who moved for the sake of a host that is down, promises too much or is not to be had is `R42`'s: all hosts of a move that is
//! judged here were well for a while. Nobody leaves or joins a shared host so. What an entry between plan and move changed is not
//! held against it: what must hold, held at one index within the time for which a plan may be under way.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::model::{FROZEN_S, Host, Lease, Model, Span};
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
        sheet.must(one.dedicated, || format!("at index {index} lease {} moves to or from a shared host", was.id));
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
    index: u64,
    at_ns: u64,
    id: String,
    was: Option<Rc<Lease>>,
}

impl Change {
    fn undo(&self, leases: &mut Leases) {
        match &self.was {
            Some(was) => leases.insert(self.id.clone(), was.clone()),
            None => leases.remove(&self.id),
        };
    }
}

/// A lease that moved though all its hosts were well.
struct Move<'a> {
    index: u64,
    at_ns: u64,
    /// The ledger's clock stood there, or later.
    clock_s: u32,
    was: &'a Lease,
    is: &'a Lease,
    /// Of all its hosts.
    dedicated: bool,
    /// All leases with it, and what changed before.
    leases: &'a Leases,
    log: &'a [Change],
}

impl Move<'_> {
    /// What is wrong with it at all indices at which it may have been planned.
    fn problem(&self) -> Option<String> {
        let mut leases = self.leases.clone();
        let beside = |leases: &Leases| {
            let others: Vec<&Lease> = leases.values().map(Rc::as_ref).filter(|other| other.id != self.was.id).collect();
            problem(self.was, self.is, &others)
        };
        let last = beside(&leases)?;
        // It was not planned before it was what it was. What was seen together with the move may have been before it, too: what is
        // unseen is looked at now and then.
        let planned = |change: &&Change| {
            let is_before = change.id != self.was.id && change.at_ns.saturating_add(UNDER_WAY_NS) >= self.at_ns;
            change.index == self.index || is_before
        };
        for change in self.log.iter().rev().take_while(planned) {
            change.undo(&mut leases);
            beside(&leases)?;
        }
        Some(last)
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
    let mut illness = Illness::default();
    for index in replay.indices() {
        let clock_s = replay.clock_s(index.saturating_sub(1));
        // Nobody looked after the last ones.
        let Some(at_ns) = replay.applied_ns(index) else { break };
        // Hosts change without their leases, and the other way round: what is known before and after is asked.
        illness.note(replay.model(), at_ns);
        replay.go(index);
        illness.note(replay.model(), at_ns);
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
            {
                let of: BTreeSet<u64> = hosts(was).union(&hosts(is)).copied().collect();
                if of.iter().all(|host| illness.spared(*host, was, at_ns)) {
                    let dedicated = |host: &u64| model.hosts.get(host).is_some_and(is_dedicated);
                    moved.push((was.clone(), is.clone(), of.iter().all(dedicated)));
                }
            }
            log.push(Change { index, at_ns, id, was });
        }
        for (was, is, dedicated) in &moved {
            see(&Move { index, at_ns, clock_s, was, is, dedicated: *dedicated, leases: &leases, log: &log });
        }
    }
}

fn is_dedicated(host: &Host) -> bool {
    host.description.pool == "dedicated"
}

/// When each host was seen last as it does not serve its leases well.
#[derive(Default)]
struct Illness {
    /// Down, or promising too much, nanoseconds.
    ill_ns: BTreeMap<u64, u64>,
    /// The same of its downtimes, by host.
    downtimes: BTreeMap<u64, Vec<(Span, u64)>>,
}

impl Illness {
    fn note(&mut self, model: &Model, at_ns: u64) {
        for host in model.hosts.values() {
            if !host.observation.up || host.overcommitted {
                self.ill_ns.insert(host.id, at_ns);
            }
            for one in &host.downtimes {
                let known = self.downtimes.entry(host.id).or_default();
                match known.iter_mut().find(|(span, _)| *span == one.interval) {
                    Some((_, seen_ns)) => *seen_ns = at_ns,
                    None => known.push((one.interval, at_ns)),
                }
            }
        }
    }

    /// Whether nobody had to leave a host for its own sake, of late.
    fn spared(&self, host: u64, lease: &Lease, at_ns: u64) -> bool {
        let is_long_ago = |seen_ns: u64| seen_ns.saturating_add(UNDER_WAY_NS) < at_ns;
        let meets = |span: Span| span.start < lease.end && lease.begins() < span.end;
        self.ill_ns.get(&host).is_none_or(|seen_ns| is_long_ago(*seen_ns))
            && self.downtimes.get(&host).into_iter().flatten().all(|(span, seen_ns)| is_long_ago(*seen_ns) || !meets(*span))
    }
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
        assert_eq!(looked_at(made(2, (50, 250))), 3);
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
    fn nobody_moves_to_a_shared_host_or_from_one() {
        for id in [1, 2] {
            let mut shared = made(2, (50, 250));
            shared.watches[id - 1].change["host"]["description"]["pool"] = json!("shared");
            fires(judge, shared, "moves to or from a shared host");
        }
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
        // Something else changes at the same index. What is over unseen on its own host may be seen there only.
        made.watch(7, json!({"lease": lease("z", 300, 400, &[(3, 1)])}));
        assert_eq!(looked_at(made), 3);
        let mut unseen = self::made(2, (50, 250));
        unseen.audit[4].hidden = [("c".to_owned(), std::sync::Arc::new(lease("c", 90, 210, &[(1, 1)])))].into();
        assert_eq!(looked_at(unseen), 3);
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
        let downtime = json!([{"id": "d", "interval": {"start": 150, "end": 160}}]);
        let mut soon = made(3, (50, 250));
        soon.watches[0].change["host"]["downtimes"] = downtime.clone();
        assert_eq!(looked_at(soon), 0);
        // It was taken back between plan and move.
        let mut soon = made(3, (50, 250));
        soon.watches[0].change["host"]["downtimes"] = downtime.clone();
        soon.watches[5].index = Some(7);
        soon.watch(6, json!({"host": host(1, 4)}));
        soon.audit_at(7, 7_000_000_000, &[]);
        assert_eq!(looked_at(soon), 0);
        let mut over = made(3, (50, 250));
        over.watches[0].change["host"]["downtimes"] = json!([{"id": "d", "interval": {"start": 210, "end": 260}}]);
        fires(judge, over, "to host 3, which nobody else has in use");
        let mut longer = made(3, (50, 250));
        longer.watches[5].change["lease"]["end"] = json!(210);
        assert_eq!(looked_at(longer), 0);
    }
}
