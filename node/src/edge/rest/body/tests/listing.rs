//! Queries of listings.

use leasehold_ledger::listing::{
    AllocationFilter, DowntimeListing, DowntimeName, DowntimeOrder, Element, HostDowntime, HostListing, HostOrder, LeaseFilter,
    LeaseOrder, QuotaListing, ReservedName, ReservedPage, Scope, Utilisation, UtilisationStep, UtilisationWish,
};
use leasehold_ledger::model::{Downtime, Interval, LimitKind, Withheld};
use leasehold_ledger::plan::HostFilter;

use super::capacity::query;
use super::*;

const ID: &str = "6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b11";

fn list(text: &str) -> Result<LeaseFilter, Problem> {
    lease_filter(query(text), V1_1)
}

#[test]
fn a_listing_is_all_leases_until_its_query_says_otherwise() {
    assert_eq!(list("").unwrap(), LeaseFilter::default());
    // Blazar has no queries, and ignores what is sent.
    assert_eq!(lease_filter(query("status=none&limit=x"), V1_0).unwrap(), LeaseFilter::default());
    let filter = list(&format!(
        "project_id=p2&status=active,PENDING&name=a b&zone=north&series_id={ID}&start_date=2026-12-01 08:00&end_date=2026-12-02T08:00:05Z\
         &scope=exclusive&with_any=1,{ID}&with_all=host:2&without={ID},flavor:42&sort_key=start_date&sort_dir=desc&marker={ID}&limit=20"
    ));
    let id = ID.parse().unwrap();
    let window = Interval { start: at("2026-12-01 08:00:00"), end: at("2026-12-02 08:00:05") };
    assert_eq!(
        filter.unwrap(),
        LeaseFilter {
            project_id: Some(ProjectId("p2".into())),
            statuses: [LeaseStatus::Active, LeaseStatus::Pending].into(),
            name: Some("a b".into()),
            zone: Some("north".into()),
            series: Some(SeriesId(id)),
            window: Some((window, Scope::Exclusive)),
            with_any: [Element::Host(HostId(1)), Element::Id(id)].into(),
            with_all: [Element::Host(HostId(2))].into(),
            without: [Element::Id(id), Element::Flavor("42".into())].into(),
            offers: false,
            order: LeaseOrder::Start,
            descending: true,
            after: Some(LeaseId(id)),
            limit: Some(20),
        }
    );
    let open = |text: &str| list(text).unwrap().window.unwrap();
    let day = at("2026-12-01 00:00:00");
    assert_eq!(open("start_date=2026-12-01 00:00"), (Interval { start: day, end: Seconds::OPEN_END }, Scope::Overlapping));
    assert_eq!(open("end_date=2026-12-01 00:00").0, Interval { start: Seconds(0), end: day });
}

#[test]
fn a_wrong_query_of_a_listing_is_named_with_what_would_be_right() {
    for (text, told) in [
        ("state=ACTIVE", "state is unknown; known are"),
        ("series_id=x", r#"series_id is "x"; it must be the UUID of a series"#),
        ("status=ACTIVE,GONE", r#"status is ["ACTIVE","GONE"]; it must be statuses separated by commas, of CREATING, PENDING"#),
        ("status=ACTIVE&status=PENDING", "status is given twice"),
        ("with_any=x", r#"with_any is ["x"]; it must be at most 100 numbers of hosts (3 or host:3), UUIDs"#),
        ("without=flavor:", "and ids of flavors (flavor:m1.large), separated by commas"),
        ("limit=0", "limit must be >= 1"),
        ("limit=10001", "it must be a whole number from 1 to 10000"),
        ("sort_key=colour", "it must be one of id, name, status, start_date, end_date, created_at"),
        ("sort_dir=up", "it must be one of asc, desc"),
        ("marker=7", r#"marker is "7"; it must be the id of the last lease of the page before"#),
        ("scope=inclusive", "scope says how leases lie to a window, and there is none"),
        ("start_date=now", r#"start_date is "now"; it must be a date from 2020 on"#),
        ("end_date=1999-01-01 00:00", r#"end_date is "1999-01-01 00:00"; it must be a date from 2020 on"#),
        (
            "start_date=2026-12-02 00:00&end_date=2026-12-02 00:00",
            r#"end_date is "2026-12-02 00:00"; it must be later than start_date, "2026-12-02 00:00""#,
        ),
    ] {
        let problem = list(text).unwrap_err();
        assert!(problem.message.contains(told), "{text}: {}", problem.message);
    }
}

#[test]
fn utilisation_needs_a_window_and_takes_the_keys_of_a_listing() {
    let wish = utilisation_wish(query("start_date=2026-12-01 08:00&end_date=2026-12-02 08:00&steps=24&name=a"), V1_1).unwrap();
    let window = Interval { start: at("2026-12-01 08:00:00"), end: at("2026-12-02 08:00:00") };
    let filter = LeaseFilter { name: Some("a".into()), ..LeaseFilter::default() };
    assert_eq!(wish, UtilisationWish { filter, window, steps_max: 24 });
    let scoped = |scope: &str| {
        let text = format!("start_date=2026-12-01 08:00&end_date=2026-12-02 08:00&scope={scope}");
        utilisation_wish(query(&text), V1_1).map(|wish| wish.filter.window)
    };
    assert_eq!(scoped("inclusive").unwrap(), Some((window, Scope::Inclusive)));
    assert_eq!(scoped("exclusive").unwrap(), Some((window, Scope::Exclusive)));
    // Not only the leases themselves: staging windows overlap it as well.
    assert_eq!(scoped("overlapping").unwrap(), None);
    assert!(scoped("near").unwrap_err().message.contains("it must be one of overlapping, inclusive, exclusive"));
    for (text, told) in [
        ("", "Missing parameter start_date, end_date"),
        ("start_date=2026-12-01 08:00", "Missing parameter end_date"),
        ("start_date=2026-12-01 08:00&end_date=2026-12-02 08:00&limit=1", "limit is unknown"),
        ("start_date=2026-12-01 08:00&end_date=2026-12-02 08:00&steps=1001", "from 1 to 1000"),
    ] {
        let problem = utilisation_wish(query(text), V1_1).unwrap_err();
        assert!(problem.message.contains(told), "{text}: {}", problem.message);
    }
    let steps = vec![
        UtilisationStep { start: window.start, reserved: [1, 512, 0, 1] },
        UtilisationStep { start: at("2026-12-01 09:00:00"), reserved: [0; 4] },
    ];
    let shown = utilisation(&Utilisation { window, leases: 3, steps });
    assert_eq!(shown["leases"], json!(3));
    assert_eq!(shown["steps"][0]["end_date"], json!("2026-12-01T09:00:00.000000"));
    assert_eq!(shown["steps"][0]["reserved"], json!({"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 0, "SLOT": 1}));
    assert_eq!(shown["steps"][1]["end_date"], shown["end_date"]);
}

#[test]
fn hosts_and_their_allocations_have_pages_too() {
    let listing = host_listing(
        query("zone=north&reservable=false&sort_key=hypervisor_hostname&sort_dir=desc&marker=4&limit=5&hosts=1,2,4"),
        V1_1,
    );
    let filter =
        HostFilter { zone: Some("north".into()), hosts: Some([HostId(1), HostId(2), HostId(4)].into()), ..HostFilter::default() };
    assert_eq!(
        listing.unwrap(),
        HostListing {
            filter,
            reservable: Some(false),
            order: HostOrder::Name,
            descending: true,
            after: Some(HostId(4)),
            limit: Some(5)
        }
    );
    assert_eq!(host_listing(query("limit=0"), V1_0).unwrap(), HostListing::default());
    assert!(host_listing(query("marker=h4"), V1_1).unwrap_err().message.contains("the number of the last host"));
    assert!(host_listing(query("reservable=maybe"), V1_1).unwrap_err().message.contains("true, false"));

    let of = |text: &str, version| allocation_listing(query(text), version).unwrap();
    let lease = AllocationFilter { lease_id: Some(LeaseId(ID.parse().unwrap())), ..AllocationFilter::default() };
    assert_eq!(of(&format!("lease_id={ID}&limit=3&sort_key=x&colour=red"), V1_0), lease);
    let which = "hosts=4,1&zone=north&reservable=false&sort_key=availability_zone&sort_dir=desc&marker=4&limit=5";
    let hosts = host_listing(query(which), V1_1).unwrap();
    assert_eq!((hosts.order, hosts.limit, hosts.reservable), (HostOrder::Zone, Some(5), Some(false)));
    let window = Some(Interval { start: at("2026-12-01 08:00:00"), end: at("2026-12-02 08:00:00") });
    let time = "start_date=2026-12-01 08:00&end_date=2026-12-02 08:00";
    assert_eq!(of(&format!("lease_id={ID}&{which}&{time}"), V1_1), AllocationFilter { hosts, window, ..lease.clone() });
    assert_eq!(of(time, V1_0), AllocationFilter::default());
    assert_eq!(of("", V1_1), AllocationFilter::default());
    assert_eq!(of("reservation_id=x", V1_0).reservation_id, Some(ReservationId(Uuid::nil())), "what is no UUID names nothing");
    let one = |text: &str, version| host_allocation(HostId(7), query(text), version);
    let here = AllocationFilter { host_id: Some(HostId(7)), ..lease.clone() };
    assert_eq!(one(&format!("lease_id={ID}&limit=3&colour=red"), V1_0).unwrap(), here);
    assert_eq!(one(&format!("lease_id={ID}"), V1_1).unwrap(), here);
    assert_eq!(one(time, V1_1).unwrap(), AllocationFilter { window, lease_id: None, ..here });
    let page = one(&format!("sort_dir=desc&limit=5&marker=2026-12-01T08:00:00.000000/{ID}"), V1_1).unwrap().page;
    let after = Some(ReservedName { start: at("2026-12-01 08:00:00"), reservation_id: ReservationId(ID.parse().unwrap()) });
    assert_eq!(page, ReservedPage { descending: true, after, limit: Some(5) });
    for wrong in ["marker=5", "marker=now/5", "limit=0", "sort_dir=up", "sort_key=start_date"] {
        let told = one(wrong, V1_1).unwrap_err().message;
        assert!(told.contains(wrong.split('=').next().unwrap()), "{wrong}: {told}");
    }
    assert_eq!(one("lease_id=x", V1_0).unwrap().lease_id, Some(LeaseId(Uuid::nil())));
}

#[test]
fn a_wrong_query_of_allocations_is_named_with_what_would_be_right_since_1_1() {
    for (text, told) in [
        ("lease_id=x", r#"lease_id is "x"; it must be the UUID of a lease"#),
        ("reservation_id=7", r#"reservation_id is "7"; it must be the UUID of a reservation"#),
        (
            "colour=red",
            "colour is unknown; known are end_date, forbidden_traits, hosts, lease_id, limit, marker, pool, required_traits, \
             reservable, reservation_id, resource_properties, sort_dir, sort_key, start_date, zone",
        ),
        ("limit=0", "limit must be >= 1"),
        ("sort_key=name", r#"sort_key is "name"; it must be one of id, hypervisor_hostname, availability_zone"#),
        ("hosts=h4", "must be at most 1000 numbers of hosts separated by commas"),
        ("marker=h4", r#"marker is "h4"; it must be the number of the last host of the page before"#),
    ] {
        let problem = allocation_listing(query(text), V1_1).unwrap_err();
        assert!(problem.message.contains(told), "{text}: {}", problem.message);
    }
    for (text, told) in [
        ("lease_id=x", r#"lease_id is "x"; it must be the UUID of a lease"#),
        ("zone=a", "zone is unknown; known are end_date, lease_id, limit, marker, reservation_id, sort_dir, start_date"),
        ("start_date=soon", "soon is an invalid date. Required format"),
    ] {
        let problem = host_allocation(HostId(7), query(text), V1_1).unwrap_err();
        assert!(problem.message.contains(told), "{text}: {}", problem.message);
    }
}

#[test]
fn downtimes_over_all_hosts_are_filtered_sorted_and_paged() {
    let listing = downtime_listing(
        query(&format!("hosts=3,1&start_date=2026-12-01 08:00&sort_key=end_date&sort_dir=desc&marker=3/{ID}&limit=5")),
        V1_1,
    );
    let window = Interval { start: at("2026-12-01 08:00:00"), end: Seconds::OPEN_END };
    let name = DowntimeName { host_id: HostId(3), id: ID.parse().unwrap() };
    assert_eq!(
        listing.unwrap(),
        DowntimeListing {
            hosts: [HostId(1), HostId(3)].into(),
            host_id: None,
            window: Some(window),
            order: DowntimeOrder::End,
            descending: true,
            after: Some(name),
            limit: Some(5),
        }
    );
    assert_eq!(downtime_listing(query(""), V1_1).unwrap(), DowntimeListing::default());
    for (text, told) in [
        ("hosts=x", "must be at most 1000 numbers of hosts separated by commas"),
        ("sort_key=name", "it must be one of id, start_date, end_date"),
        ("marker=3", r#"marker is "3"; it must be host and id of the last downtime of the page before, as HOST/UUID"#),
        ("colour=red", "colour is unknown; known are end_date, hosts, limit, marker, sort_dir, sort_key, start_date"),
        (
            "start_date=2026-12-02 00:00&end_date=2026-12-02 00:00",
            r#"end_date is "2026-12-02 00:00"; it must be later than start_date, "2026-12-02 00:00""#,
        ),
    ] {
        let problem = downtime_listing(query(text), V1_1).unwrap_err();
        assert!(problem.message.contains(told), "{text}: {}", problem.message);
    }
    let downtime = Downtime { id: name.id, interval: window, withheld: Withheld { vcpus: Some(2), ..Withheld::ALL } };
    let shown = host_downtime(&HostDowntime { host_id: HostId(3), hypervisor_hostname: "h3".into(), downtime });
    assert_eq!((&shown["host_id"], &shown["hypervisor_hostname"], &shown["vcpus"]), (&json!("3"), &json!("h3"), &json!(2)));
}

#[test]
fn downtimes_of_one_host_come_by_begin_and_a_page_ends_with_an_id() {
    let listing = |text: &str| host_downtimes(HostId(3), query(text), V1_1);
    let by_begin = DowntimeListing { host_id: Some(HostId(3)), order: DowntimeOrder::Start, ..DowntimeListing::default() };
    assert_eq!(listing("").unwrap(), by_begin);
    let window = Interval { start: Seconds(0), end: at("2026-12-01 08:00:00") };
    let name = DowntimeName { host_id: HostId(3), id: ID.parse().unwrap() };
    for marker in [ID.to_owned(), format!("3/{ID}")] {
        let text = format!("end_date=2026-12-01 08:00&sort_key=id&sort_dir=desc&marker={marker}&limit=5");
        let expected = DowntimeListing {
            window: Some(window),
            order: DowntimeOrder::Id,
            descending: true,
            after: Some(name),
            limit: Some(5),
            ..by_begin.clone()
        };
        assert_eq!(listing(&text).unwrap(), expected);
    }
    for (text, told) in [
        ("hosts=3", "hosts is unknown; known are end_date, limit, marker, sort_dir, sort_key, start_date"),
        ("sort_key=begin", r#"sort_key is "begin"; it must be one of id, start_date, end_date"#),
        ("marker=3", r#"marker is "3"; it must be the id of the last downtime of the page before, as UUID or 3/UUID"#),
        (&format!("marker=4/{ID}"), "as UUID or 3/UUID"),
    ] {
        let problem = listing(text).unwrap_err();
        assert!(problem.message.contains(told), "{text}: {}", problem.message);
    }
}

#[test]
fn projects_with_limits_of_their_own_are_filtered_sorted_and_paged() {
    let listing =
        quota_listing(query("set=vcpus, duration_s&sort_key=project_id&sort_dir=desc&marker=p1&limit=5"), V1_1).unwrap();
    let set = [LimitKind::Vcpus, LimitKind::DurationS].into();
    assert_eq!(listing, QuotaListing { set, descending: true, after: Some(ProjectId("p1".into())), limit: Some(5) });
    assert_eq!(quota_listing(query(""), V1_1).unwrap(), QuotaListing::default());
    for (text, told) in [
        ("limit=10001", "from 1 to 10000"),
        ("project_id=p", "project_id is unknown; known are limit, marker, set, sort_dir, sort_key"),
        ("sort_key=id", r#"sort_key is "id"; it must be one of project_id"#),
        (
            "set=slots,rooms",
            "it must be kinds of limits separated by commas, of slots, vcpus, vcpu_hours, period_s, start_ahead_s, end_ahead_s, \
             duration_s",
        ),
        ("set=", "it must be kinds of limits"),
    ] {
        let problem = quota_listing(query(text), V1_1).unwrap_err();
        assert!(problem.message.contains(told), "{text}: {}", problem.message);
    }
}
