//! A7, P1: at every instant what open or used tokens may take of a host is held in Placement. Holds are raised before tokens
//! open and lowered after they are closed and unused (scheduling-design §5).

use std::collections::{BTreeMap, BTreeSet};

use super::cloud::{Cloud, moves_room};
use super::{Judgement, Sheet};
use crate::record::Record;

/// A node reads each host again within this, once the cloud lets it, milliseconds.
const READ_AGAIN_MS: u64 = 90_000;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut cloud = Cloud::default();
    let mut wrong: BTreeSet<String> = BTreeSet::new();
    // Holds that somebody else removed and no node has written since, their hosts and amounts, and until when they still count as
    // held: who removes one takes the promise away with it, and a node that read the host before takes it for unchanged.
    let mut robbed: BTreeMap<String, ((String, [u64; 3]), u64)> = BTreeMap::new();
    let healed_ms = record.healed_ms().unwrap_or(0);
    for line in &record.cloud {
        robbed.retain(|_, (_, until_ms)| line.at_ms < *until_ms);
        for change in &line.changes {
            let (held, by_node) = (cloud.holds.get(&change.id).cloned(), line.caller.starts_with("node-"));
            cloud.follow(line, change);
            match (held, cloud.holds.get(&change.id)) {
                (Some(hold), None) if !by_node => {
                    robbed.insert(change.id.clone(), (hold, line.at_ms.max(healed_ms) + READ_AGAIN_MS));
                }
                (_, Some(_)) => drop(robbed.remove(&change.id)),
                _ => {}
            }
        }
        if !moves_room(line) {
            continue;
        }
        let over = over(&cloud, robbed.values().map(|(hold, _)| hold));
        for (host, (backing, held)) in &over {
            sheet.look();
            // One breach is told once, when it begins.
            if !wrong.contains(host) {
                sheet.violation(format!("line {}: on {host} tokens may take {backing:?}, held are {held:?}", line.n));
            }
        }
        sheet.look();
        wrong = over.into_keys().collect();
    }
    sheet.close("A7")
}

/// Hosts whose tokens may take more than is held, what counts as held beside it included: what they may take, and what is held.
fn over<'a>(cloud: &'a Cloud, beside: impl Iterator<Item = &'a (String, [u64; 3])>) -> BTreeMap<String, ([u64; 3], [u64; 3])> {
    let backing = cloud.backing();
    let mut held: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for (host, amounts) in cloud.holds.values().chain(beside) {
        let sum = held.entry(host).or_default();
        (0..3).for_each(|place| sum[place] += amounts[place]);
    }
    let held = |host: &str| held.get(host).copied().unwrap_or_default();
    let short = backing.into_iter().filter(|(host, backing)| (0..3).any(|place| backing[place] > held(host)[place]));
    short.map(|(host, backing)| (host.to_owned(), (backing, held(host)))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Made, line};
    use super::*;
    use crate::record::CloudLine;
    use crate::report::Verdict;

    fn hold(n: u64, vcpus: u64) -> CloudLine {
        let facts = json!({"consumer_type": "LEASEHOLD_HOLD", "allocations": {"root": {"VCPU": vcpus, "MEMORY_MB": 9_000, "DISK_GB": 9}}});
        line(n, n, "allocation.set", "hold", facts)
    }

    fn tokens(n: u64, total: u64, reserved: u64) -> CloudLine {
        line(n, n, "inventory.set", "rsv", json!({"class": "CUSTOM_RESERVATION_R_A", "total": total, "reserved": reserved}))
    }

    fn flavor() -> CloudLine {
        line(1, 1, "flavor.created", "r-a", json!({"vcpus": 2, "ram": 512, "disk": 1}))
    }

    fn used() -> CloudLine {
        line(
            4,
            4,
            "allocation.set",
            "server",
            json!({"consumer_type": "INSTANCE", "allocations": {"rsv": {"CUSTOM_RESERVATION_R_A": 1}}}),
        )
    }

    fn verdict(cloud: Vec<CloudLine>) -> Verdict {
        judge(&Made { cloud, ..Made::default() }.record()).verdict
    }

    #[test]
    fn hold_first_passes_and_tokens_first_fire() {
        assert_eq!(verdict(vec![flavor(), hold(2, 4), tokens(3, 2, 0), tokens(4, 2, 2), hold(5, 0)]), Verdict::Pass);
        assert_eq!(verdict(vec![flavor(), tokens(2, 2, 0), hold(3, 4)]), Verdict::Violation);
        assert_eq!(verdict(vec![flavor(), hold(2, 4), tokens(3, 2, 0), hold(4, 2)]), Verdict::Violation);
    }

    #[test]
    fn a_hold_that_another_removes_counts_again_once_a_node_has_written() {
        let removed = CloudLine { caller: "tenant".to_owned(), ..line(4, 4, "allocation.removed", "hold", Value::Null) };
        let robbed = || vec![flavor(), hold(2, 4), tokens(3, 2, 0), removed.clone()];
        assert_eq!(verdict(robbed()), Verdict::Pass);
        assert_eq!(verdict([robbed(), vec![hold(5, 4)]].concat()), Verdict::Pass);
        assert_eq!(verdict([robbed(), vec![hold(5, 2)]].concat()), Verdict::Violation);
        let beside = CloudLine {
            changes: hold(5, 1)
                .changes
                .into_iter()
                .map(|mut one| {
                    one.id = "beside".to_owned();
                    one
                })
                .collect(),
            ..hold(5, 1)
        };
        assert_eq!(verdict([robbed(), vec![beside.clone(), hold(6, 4)]].concat()), Verdict::Pass);
        assert_eq!(verdict([robbed(), vec![beside, hold(6, 2)]].concat()), Verdict::Violation);
    }

    #[test]
    fn tokens_are_opened_upon_what_was_read_before_a_hold_was_removed_but_not_much_later() {
        let removed = CloudLine { caller: "tenant".to_owned(), ..line(3, 3, "allocation.removed", "hold", Value::Null) };
        let opened =
            |at, more: Vec<CloudLine>| verdict([vec![flavor(), hold(2, 4), removed.clone(), tokens(at, 2, 0)], more].concat());
        assert_eq!(opened(4, vec![hold(5, 4)]), Verdict::Pass);
        assert_eq!(opened(4, vec![hold(5, 2)]), Verdict::Violation);
        let later = 3 + READ_AGAIN_MS;
        assert_eq!(opened(later - 1, vec![]), Verdict::Pass);
        assert_eq!(opened(later, vec![]), Verdict::Violation);
    }

    #[test]
    fn closed_but_used_tokens_count() {
        let gone = line(5, 5, "allocation.removed", "server", Value::Null);
        let until = |mut last: Vec<CloudLine>| {
            let mut lines = vec![flavor(), hold(2, 2), tokens(3, 1, 0), used(), tokens(5, 1, 1)];
            lines.append(&mut last);
            verdict(lines)
        };
        assert_eq!(until(vec![gone, hold(6, 0)]), Verdict::Pass);
        assert_eq!(until(vec![hold(6, 0)]), Verdict::Violation);
    }
}
