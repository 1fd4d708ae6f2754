//! L1 as the cloud shows it: at no instant may what open and used tokens may take of a host, all reservations together, be more than
//! there ever was of it for reservations. Nothing of it is the ledger's word but how large hosts are, and nothing of it holds: those
//! are A7's, and Placement's own.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Sheet;
use super::cloud::{Cloud, moves_room};
use super::model::{Amounts, Host};
use crate::record::Record;

/// Follows the cloud's record from line to line.
pub fn look(record: &Record, sheet: &mut Sheet) {
    let room = room(record);
    let (mut cloud, mut wrong) = (Cloud::default(), BTreeSet::new());
    for line in &record.cloud {
        line.changes.iter().for_each(|change| cloud.follow(line, change));
        if !moves_room(line) {
            continue;
        }
        let mut over = BTreeSet::new();
        for (host, taken) in cloud.backing() {
            // A host that nobody was told of has no size here.
            let Some(room) = room.get(host) else { continue };
            sheet.look();
            if (0..3).any(|class| taken[class] > room[class]) {
                over.insert(host.to_owned());
                // One breach is told once, when it begins.
                if !wrong.contains(host) {
                    let room = &room[..3];
                    sheet.violation(format!(
                        "line {}: on {host} servers may take {taken:?} by their tokens, it has {room:?}",
                        line.n
                    ));
                }
            }
        }
        wrong = over;
    }
}

/// The most that was ever told to be there of each host, class by class: a host may lose some while it is in use.
fn room(record: &Record) -> BTreeMap<String, Amounts> {
    let mut room: BTreeMap<String, Amounts> = BTreeMap::new();
    let told = record.watches.iter().filter_map(|line| line.change.get("host"));
    // What does not read is the replay's to tell.
    for host in told.filter_map(|host| Host::deserialize(host).ok()) {
        let most = room.entry(host.description.hypervisor_hostname.clone()).or_default();
        let is = host.room();
        (0..most.len()).for_each(|class| most[class] = most[class].max(is[class]));
    }
    room
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::double_booking::judge;
    use super::super::model::tests::host;
    use super::super::testing::{Made, fires, line};
    use crate::record::CloudLine;
    use crate::report::Verdict;

    /// So many tokens of a reservation with servers of two vCPUs are there on `cmp1`, which has four.
    fn tokens(n: u64, reservation: &str, total: u64, reserved: u64) -> CloudLine {
        let class = format!("CUSTOM_RESERVATION_{reservation}");
        let mut line = line(n, n, "inventory.set", "rsv", json!({"class": class, "total": total, "reserved": reserved}));
        line.changes[0].host = Some("cmp1".to_owned());
        line
    }

    fn flavor(n: u64, id: &str) -> CloudLine {
        line(n, n, "flavor.created", id, json!({"vcpus": 2, "ram": 1, "disk": 1}))
    }

    fn made(cloud: Vec<CloudLine>) -> Made {
        let mut made = Made { cloud, ..Made::default() };
        made.watch(1, json!({"host": host(1, 4)}));
        made
    }

    #[test]
    fn tokens_of_two_reservations_for_one_room_fire() {
        let flavors = || vec![flavor(1, "a"), flavor(2, "b")];
        let both = [flavors(), vec![tokens(3, "A", 2, 0), tokens(4, "B", 1, 0)]].concat();
        fires(judge, made(both), "line 4: on cmp1 servers may take [6, 3, 3]");
        let in_turn = [flavors(), vec![tokens(3, "A", 2, 0), tokens(4, "A", 2, 2), tokens(5, "B", 2, 0)]].concat();
        assert_eq!(judge(&made(in_turn).record()).verdict, Verdict::Pass);
    }

    #[test]
    fn closed_tokens_that_servers_still_use_count() {
        let used = json!({"consumer_type": "INSTANCE", "allocations": {"rsv": {"CUSTOM_RESERVATION_A": 1}}});
        let mut used = line(4, 4, "allocation.set", "server", used);
        used.changes[0].host = Some("cmp1".to_owned());
        let until = |last: CloudLine| {
            vec![flavor(1, "a"), flavor(2, "b"), tokens(3, "A", 1, 0), used.clone(), tokens(5, "A", 1, 1), last]
        };
        assert_eq!(judge(&made(until(tokens(6, "B", 1, 0))).record()).verdict, Verdict::Pass);
        fires(judge, made(until(tokens(6, "B", 2, 0))), "line 6: on cmp1");
    }
}
