//! Downtimes of many hosts.

use super::*;
use crate::model::DowntimeId;

fn world() -> State {
    after(
        "10:00 hosts h1 h2 h3
         10:00 downtime h1 12:00..13:00 id=5
         10:00 downtime h1 11:00..14:00 id=6 vcpus=1
         10:00 downtime h3 11:30..11:45 id=5",
    )
}

fn name(host: u64, id: u128) -> DowntimeName {
    DowntimeName { host_id: HostId(host), id: DowntimeId(uuid::Uuid::from_u128(id)) }
}

fn names(listing: DowntimeListing) -> Vec<DowntimeName> {
    downtimes(&world(), &listing).unwrap().iter().map(HostDowntime::name).collect()
}

#[test]
fn downtimes_are_filtered_sorted_and_paged_over_all_hosts() {
    let all = names(DowntimeListing::default());
    assert_eq!(all, [name(1, 5), name(1, 6), name(3, 5)]);
    let by = |order| DowntimeListing { order, ..DowntimeListing::default() };
    assert_eq!(names(by(DowntimeOrder::Start)), [name(1, 6), name(3, 5), name(1, 5)]);
    assert_eq!(names(by(DowntimeOrder::End)), [name(3, 5), name(1, 5), name(1, 6)]);
    for order in [DowntimeOrder::Id, DowntimeOrder::Start, DowntimeOrder::End] {
        let mut backwards = names(by(order));
        backwards.reverse();
        assert_eq!(names(DowntimeListing { descending: true, ..by(order) }), backwards);
        for descending in [false, true] {
            let whole = names(DowntimeListing { descending, ..by(order) });
            let mut walked: Vec<DowntimeName> = Vec::new();
            while let page @ [_, ..] =
                &names(DowntimeListing { descending, after: walked.last().copied(), limit: Some(1), ..by(order) })[..]
            {
                walked.extend(page);
            }
            assert_eq!(walked, whole);
        }
    }
    let hosts = [HostId(2), HostId(3), HostId(99)].into();
    assert_eq!(names(DowntimeListing { hosts, ..DowntimeListing::default() }), [name(3, 5)]);
    let told = downtimes(&world(), &DowntimeListing::default()).unwrap();
    assert_eq!((told[2].hypervisor_hostname.as_str(), told[1].downtime.withheld.vcpus), ("h3", Some(1)));
    let later = told[0].downtime.interval;
    assert_eq!(names(DowntimeListing { window: Some(later), ..DowntimeListing::default() }), [name(1, 5), name(1, 6)]);
    let until = Interval { start: Seconds(0), end: told[2].downtime.interval.start };
    assert_eq!(names(DowntimeListing { window: Some(until), ..DowntimeListing::default() }), [name(1, 6)]);
}

#[test]
fn one_host_must_be_there_and_its_downtimes_come_as_it_keeps_them() {
    let state = after(
        "10:00 hosts h1 h2 h3
         10:00 downtime h1 12:00..13:00 id=5
         10:00 downtime h1 12:00..12:30 id=7
         10:00 downtime h1 11:00..14:00 id=6
         10:00 downtime h3 11:30..11:45 id=5",
    );
    let of = |host_id, listing: DowntimeListing| {
        let found = downtimes(&state, &DowntimeListing { host_id: Some(HostId(host_id)), ..listing })?;
        Ok::<_, Rejection>(found.iter().map(HostDowntime::name).collect::<Vec<_>>())
    };
    let by_start = DowntimeListing { order: DowntimeOrder::Start, ..DowntimeListing::default() };
    let kept: Vec<DowntimeName> =
        state.host(HostId(1)).unwrap().downtimes.iter().map(|one| name(1, one.id.0.as_u128())).collect();
    assert_eq!(kept, [name(1, 6), name(1, 7), name(1, 5)]);
    assert_eq!(of(1, by_start.clone()).unwrap(), kept);
    assert_eq!(of(1, DowntimeListing { after: Some(name(1, 7)), ..by_start.clone() }).unwrap(), [name(1, 5)]);
    assert_eq!(of(2, by_start.clone()).unwrap(), []);
    assert_eq!(of(99, by_start.clone()).unwrap_err(), Rejection::HostNotFound(HostId(99)));
    let hosts = BTreeSet::from([HostId(2), HostId(3)]);
    assert_eq!(of(1, DowntimeListing { hosts: hosts.clone(), ..by_start.clone() }).unwrap(), []);
    assert_eq!(of(3, DowntimeListing { hosts, ..by_start }).unwrap(), [name(3, 5)]);
}

#[test]
fn a_page_goes_on_behind_a_downtime_that_is_gone_only_by_id() {
    let behind = DowntimeListing { after: Some(name(2, 9)), ..DowntimeListing::default() };
    assert_eq!(names(behind.clone()), [name(3, 5)]);
    assert_eq!(names(DowntimeListing { descending: true, ..behind.clone() }), [name(1, 6), name(1, 5)]);
    let refused = downtimes(&world(), &DowntimeListing { order: DowntimeOrder::Start, ..behind }).unwrap_err().to_string();
    assert!(refused.starts_with(&format!("marker: {} is not there (any more)", name(2, 9))), "{refused}");
}

#[test]
fn a_downtime_is_named_by_host_and_id() {
    let text = name(3, 5).to_string();
    assert_eq!(text, "3/00000000-0000-0000-0000-000000000005");
    assert_eq!(text.parse(), Ok(name(3, 5)));
    for wrong in ["", "3", "3/x", "x/00000000-0000-0000-0000-000000000005", "/"] {
        assert!(wrong.parse::<DowntimeName>().unwrap_err().to_string().starts_with("write HOST/UUID, as in 3/"), "{wrong}");
    }
}
