//! L1: at no index and at no instant from then on is more of a host booked than there is, and at none may servers take more of it
//! (`crammed.rs`).
//!
//! But for hosts that lost room below what was booked on them: of those is more booked than there is, and must not become still
//! more, until it fits again. Which they are is found here, by what was observed of them, and not taken from the ledger's word
//! `overcommitted`; that must be true where it is said, and said where it is true. What is declared not to be had of a host is not
//! promised anew either (`downtimes.rs`).

use std::collections::BTreeMap;

use super::crammed;
use super::downtimes::Downtimes;
use super::model::{Amounts, Host};
use super::replay::Replay;
use super::{Judgement, Sheet};
use crate::record::Record;

/// What is booked of a host from each second on.
type Booked = BTreeMap<u32, Amounts>;

/// Hosts over the indices.
#[derive(Default)]
struct Hosts {
    /// As each was at the index before.
    before: BTreeMap<u64, Host>,
    /// At which index each lost room last.
    lost: BTreeMap<u64, u64>,
    /// Those on which more was booked than they had left: what was.
    crowded: BTreeMap<u64, Booked>,
    /// The index before, if somebody looked there.
    seen: Option<u64>,
}

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut replay = Replay::new(record);
    let mut indices = replay.indices();
    indices.extend(record.audit.iter().map(|one| one.ledger_index));
    indices.sort_unstable();
    indices.dedup();
    let (mut hosts, mut downtimes) = (Hosts::default(), Downtimes::default());
    for index in indices {
        let (clock, looked_at) = (replay.clock_by_s(index), replay.looked_at(index));
        replay.go(index);
        let model = replay.model();
        let (over, nowhere) = (model.double_booked(clock), model.nowhere(clock));
        let mut problems = hosts.step(index, looked_at, &model.hosts, over);
        problems.extend(nowhere);
        problems.extend(downtimes.step(&replay, index, clock));
        sheet.must(problems.is_empty(), || format!("at index {index}: {}", problems.join("; ")));
    }
    for text in replay.unreadable {
        sheet.unknown(format!("the model does not read a change: {text}"));
    }
    crammed::look(record, &mut sheet);
    sheet.close("L1")
}

impl Hosts {
    /// Goes on to an index; what is wrong there. What nobody sees is only known where somebody looked.
    fn step(
        &mut self,
        index: u64,
        looked_at: Option<u64>,
        hosts: &BTreeMap<u64, Host>,
        over: BTreeMap<u64, (String, Booked)>,
    ) -> Vec<String> {
        for host in hosts.values() {
            let less = self.before.get(&host.id).is_some_and(|was| {
                // Room changes nowhere else.
                let begins = [was, host].into_iter().filter_map(|host| Some(host.upgrade.as_ref()?.start));
                let mut seconds = begins.chain([0]);
                seconds.any(|second| was.room_at(second).iter().zip(host.room_at(second)).any(|(was, is)| is < *was))
            });
            if less {
                self.lost.insert(host.id, index);
            }
        }
        let exact = looked_at == Some(index) && self.seen.is_some_and(|seen| seen + 1 == index);
        let mut problems = Vec::new();
        for (id, (text, booked)) in &over {
            match self.crowded.get(id) {
                // A host that lost room since somebody looked last may have lost it below what nobody sees.
                None => {
                    let lost = self.lost.get(id).is_some_and(|lost| *lost == index || self.seen.is_none_or(|seen| *lost > seen));
                    if !lost {
                        problems.push(text.clone());
                    }
                }
                Some(before) if exact => {
                    problems
                        .extend(more(before, booked).map(|second| format!("{text}, more from second {second} on than before")));
                }
                Some(_) => {}
            }
        }
        for host in hosts.values().filter(|_| looked_at == Some(index)) {
            let name = &host.description.hypervisor_hostname;
            match (host.overcommitted, over.get(&host.id)) {
                (false, Some((text, _))) => problems.push(format!("{text}, and is not said to be overcommitted")),
                (true, None) if self.before.get(&host.id).is_none_or(|was| !was.overcommitted) => {
                    problems.push(format!("{name} is said to be overcommitted, and what is booked there fits"));
                }
                _ => {}
            }
        }
        self.crowded = over.into_iter().map(|(id, (_, booked))| (id, booked)).collect();
        self.before.clone_from(hosts);
        self.seen = looked_at.filter(|looked| *looked == index);
        problems
    }
}

/// The first second from which on more is booked than was.
fn more(before: &Booked, now: &Booked) -> Option<u32> {
    let was = |second: &u32| before.range(..=second).next_back().map_or([0; 4], |(_, booked)| *booked);
    now.iter().find(|(second, booked)| (0..4).any(|class| booked[class] > was(second)[class])).map(|(second, _)| *second)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, fires};
    use super::*;
    use crate::check::model::CALENDAR_UNIX_S;
    use crate::check::model::tests::{host, lease};
    use crate::report::Verdict;

    fn made() -> Made {
        let mut made = Made::default();
        made.watch(1, json!({"host": host(1, 4)}));
        made.watch(2, json!({"lease": lease("a", 100, 200, &[(1, 3)])}));
        made
    }

    #[test]
    fn a_host_that_goes_while_it_is_booked_fires() {
        let mut made = made();
        made.watch(3, json!({"host_removed": 1}));
        assert_eq!(judge(&made.record()).verdict, Verdict::Violation);
        let mut over = self::made();
        over.watch(3, json!({"lease_removed": "a"}));
        over.watch(4, json!({"host_removed": 1}));
        assert_eq!(judge(&over.record()).verdict, Verdict::Pass);
    }

    #[test]
    fn back_to_back_passes() {
        let mut made = made();
        made.watch(3, json!({"lease": lease("b", 200, 300, &[(1, 4)])}));
        assert_eq!(judge(&made.record()).verdict, Verdict::Pass);
    }

    /// `a` is over at 200; `b` is booked from 190 on at index 3, which nobody saw, and somebody sees index 4 at a second.
    fn grown_beside(seen_s: u64) -> Made {
        let mut made = made();
        made.watch(3, json!({"lease": lease("b", 190, 300, &[(1, 2)])}));
        for (index, at_s) in [(2, 195), (4, seen_s)] {
            made.audit_at(index, at_s * 1_000_000_000, &[]);
            made.audit.last_mut().expect("it was pushed").clock_ms = (CALENDAR_UNIX_S + at_s) * 1_000;
        }
        made
    }

    #[test]
    fn what_was_over_when_somebody_looked_next_is_in_nobodys_way() {
        assert_eq!(judge(&grown_beside(200).record()).verdict, Verdict::Pass);
        assert_eq!(judge(&grown_beside(199).record()).verdict, Verdict::Violation);
    }

    #[test]
    fn two_leases_on_one_slot_fire() {
        let mut made = made();
        made.watch(3, json!({"lease": lease("b", 150, 300, &[(1, 2)])}));
        let judgement = judge(&made.record());
        assert_eq!(judgement.verdict, Verdict::Violation);
        assert!(judgement.evidence[0].contains("at index 3") && judgement.evidence[0].contains("second 150"), "{judgement:?}");
    }

    #[test]
    fn a_booking_that_nobody_sees_counts() {
        let mut made = made();
        let mut hidden = lease("b", 150, 300, &[(1, 2)]);
        hidden["status"] = json!("CREATING");
        made.audit_at(3, 0, &[hidden]);
        assert_eq!(judge(&made.record()).verdict, Verdict::Violation);
    }

    #[test]
    fn what_lies_before_the_ledgers_clock_is_over() {
        let mut made = made();
        made.watch(3, json!({"lease": lease("b", 150, 300, &[(1, 2)])}));
        made.audit_at(3, 0, &[]);
        made.audit[0].clock_ms = (crate::check::model::CALENDAR_UNIX_S + 200) * 1_000;
        assert_eq!(judge(&made.record()).verdict, Verdict::Pass);
    }

    /// At index 3 host 1 has other vCPUs, of which 3 are booked; at index 4 it is changed or booked again. Each index is looked at.
    fn lost(vcpus: u64, said: bool, then: Option<serde_json::Value>) -> Made {
        let mut made = made();
        let mut less = host(1, vcpus);
        less["overcommitted"] = json!(said);
        made.watch(3, json!({"host": less}));
        if let Some(then) = then {
            made.watch(4, then);
        }
        (1..=4).for_each(|index| made.audit_at(index, index, &[]));
        made
    }

    #[test]
    fn a_host_that_lost_room_may_keep_what_was_booked_and_takes_no_more() {
        assert_eq!(judge(&lost(2, true, None).record()).verdict, Verdict::Pass);
        let booked = |slots| Some(json!({"lease": lease("b", 150, 300, &[(1, slots)])}));
        fires(judge, lost(2, true, booked(1)), "more from second 150 on than before");
        assert_eq!(judge(&lost(4, false, booked(1)).record()).verdict, Verdict::Pass);
        // Beside it is room, though the host should take nothing.
        let beside = Some(json!({"lease": lease("b", 300, 400, &[(1, 1)])}));
        fires(judge, lost(2, true, beside), "more from second 300 on than before");
        let fits = Some(json!({"lease": lease("a", 100, 200, &[(1, 2)])}));
        let mut fits = lost(2, true, fits);
        let mut freed = host(1, 2);
        freed["overcommitted"] = json!(false);
        fits.watch(4, json!({"host": freed}));
        assert_eq!(judge(&fits.record()).verdict, Verdict::Pass);
    }

    /// Host 1 of four vCPUs, of which three are booked from second 100 on, is to have eight from second 150 on; then more is.
    fn is_to_grow(then: serde_json::Value) -> Made {
        let mut made = made();
        let mut grows = host(1, 4);
        grows["upgrade"] = json!({"start": 150, "vcpus": 8});
        made.watch(3, json!({"host": grows}));
        made.watch(4, then);
        (1..=5).for_each(|index| made.audit_at(index, index, &[]));
        made
    }

    #[test]
    fn what_a_host_is_to_have_counts_from_its_second_on() {
        let booked = |start: u32, slots| json!({"lease": lease("b", start, 300, &[(1, slots)])});
        assert_eq!(judge(&is_to_grow(booked(150, 5)).record()).verdict, Verdict::Pass);
        fires(judge, is_to_grow(booked(149, 5)), "at second 149");
        fires(judge, is_to_grow(booked(150, 6)), "at second 150");
        // It is not there, or is taken back: what was promised stays, which is said, and nothing is added.
        let gone = |said: bool, then: Option<serde_json::Value>| {
            let mut made = is_to_grow(booked(150, 5));
            let mut without = host(1, 4);
            without["overcommitted"] = json!(said);
            made.watch(5, json!({"host": without}));
            if let Some(then) = then {
                made.watch(6, then);
                made.audit_at(6, 6, &[]);
            }
            made
        };
        assert_eq!(judge(&gone(true, None).record()).verdict, Verdict::Pass);
        fires(judge, gone(false, None), "is not said to be overcommitted");
        fires(judge, gone(true, Some(json!({"lease": lease("c", 160, 170, &[(1, 1)])}))), "more from second 160 on than before");
    }

    #[test]
    fn the_ledgers_word_alone_excuses_nothing() {
        let mut made = made();
        let mut said = host(1, 4);
        said["overcommitted"] = json!(true);
        made.watch(3, json!({"lease": lease("b", 150, 300, &[(1, 2)])}));
        made.watch(3, json!({"host": said}));
        (1..=3).for_each(|index| made.audit_at(index, index, &[]));
        fires(judge, made, "at second 150 it is booked");
    }

    #[test]
    fn what_is_said_of_a_host_is_true() {
        fires(judge, lost(2, false, None), "is not said to be overcommitted");
        fires(judge, lost(3, true, None), "what is booked there fits");
    }
}
