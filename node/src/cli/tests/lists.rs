//! Lists, and utilisation.

use super::*;

#[test]
fn a_list_is_what_the_line_says() {
    let now = second("2026-11-22 12:00");
    let list = |text: &str| match line(&format!("lease list {text}")).map_err(|error| error.to_string())?.command {
        ClientCommand::Lease(LeaseCommand::List(asked)) => asked.filter(now).map_err(|error| error.to_string()),
        other => panic!("{other:?}"),
    };
    assert_eq!(list("").unwrap(), LeaseFilter::default());
    let id = "6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b11";
    let filter = list(&format!(
        "--project p --status active,PENDING --name a --zone z --with-any 3,{id},flavor:42 --without host:4 --from -2d --to +1d --scope inclusive \
         --sort start --reverse --limit 5 --after {id}"
    ))
    .unwrap();
    let window = Interval { start: second("2026-11-20 12:00"), end: second("2026-11-21 12:00") };
    assert_eq!(filter.window, Some((window, Scope::Inclusive)));
    assert_eq!(filter.statuses, [LeaseStatus::Active, LeaseStatus::Pending].into());
    assert_eq!(
        filter.with_any,
        [Element::Host(HostId(3)), Element::Id(id.parse().unwrap()), Element::Flavor("42".into())].into()
    );
    assert_eq!(filter.without, [Element::Host(HostId(4))].into());
    assert_eq!((filter.order, filter.descending, filter.limit), (LeaseOrder::Start, true, Some(5)));
    assert_eq!(filter.after, Some(LeaseId(id.parse().unwrap())));
    let before = list("--to now").unwrap().window;
    assert_eq!(before, Some((Interval { start: Seconds(0), end: now }, Scope::Overlapping)));
    for (text, told) in [
        ("--status gone", "write one of creating, pending"),
        ("--with-all x", "write the number of a host, a UUID, host:NUMBER or flavor:ID"),
        ("--scope exclusive", "--scope says how leases lie to a time"),
        ("--from now --to -1h", "is not later than --from"),
        ("--from never", "--from never: write now, -2d"),
        ("--limit 0", "0 is not in 1.."),
    ] {
        let wrong = list(text).unwrap_err();
        assert!(wrong.contains(told), "{text}: {wrong}");
    }
    assert_eq!(listing::more(Some(2), 2, Some("x".into())), "\nThere may be more: --after x");
    assert_eq!(listing::more(Some(3), 2, Some("x".into())) + &listing::more(None, 2, Some("x".into())), "");
}

#[test]
fn offers_are_listed_as_leases_are() {
    let now = second("2026-11-22 12:00");
    let list = |text: &str| match line(text).map_err(|error| error.to_string())?.command {
        ClientCommand::Offer(offer::OfferCommand::List(asked)) => offer::listed(*asked, now).map_err(|error| error.to_string()),
        ClientCommand::Lease(LeaseCommand::List(asked)) => asked.filter(now).map_err(|error| error.to_string()),
        other => panic!("{other:?}"),
    };
    assert_eq!(list("offer list").unwrap(), LeaseFilter { offers: true, ..LeaseFilter::default() });
    let id = "6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b11";
    let said = format!(
        "--project p --name a --zone z --with-any 3 --from -2d --to +1d --scope inclusive --sort end --reverse --limit 5 --after {id}"
    );
    let leases = list(&format!("lease list {said}")).unwrap();
    assert_eq!(list(&format!("offer list {said}")).unwrap(), LeaseFilter { offers: true, ..leases });
    assert!(list("offer list --scope exclusive").unwrap_err().contains("--scope says how leases lie to a time"));
    let examples: Vec<&str> = offer::EXAMPLES.lines().filter_map(|text| text.trim().strip_prefix("leasehold ")).collect();
    assert_eq!(examples.len(), 5);
    for example in examples {
        line(example).unwrap();
    }
}

#[test]
fn downtimes_are_listed_over_all_hosts_as_the_line_says() {
    let now = second("2026-11-22 12:00");
    let list = |text: &str| {
        let Line { command, .. } = line(&format!("host downtime list {text}")).map_err(|error| error.to_string())?;
        let ClientCommand::Host(host::HostCommand::Downtime(downtime::DowntimeCommand::List(asked))) = command else { panic!() };
        let host = asked.host.clone();
        asked.listing(now).map(|listing| (host, listing)).map_err(|error| error.to_string())
    };
    let by_start = DowntimeListing { order: DowntimeOrder::Start, ..DowntimeListing::default() };
    assert_eq!(list("").unwrap(), (None, by_start.clone()));
    assert_eq!(list("--limit 3").unwrap(), (None, DowntimeListing { limit: Some(3), ..DowntimeListing::default() }));
    assert_eq!(list("--limit 3 --sort start").unwrap(), (None, DowntimeListing { limit: Some(3), ..by_start }));
    let id = "6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b11";
    let (host, listing) = list(&format!("compute-1 --from -1d --to +2d --sort end --reverse --limit 3 --after 4/{id}")).unwrap();
    let window = Interval { start: second("2026-11-21 12:00"), end: second("2026-11-23 12:00") };
    let after = Some(DowntimeName { host_id: HostId(4), id: id.parse().unwrap() });
    let page =
        DowntimeListing { order: DowntimeOrder::End, descending: true, after, limit: Some(3), ..DowntimeListing::default() };
    let expected = DowntimeListing { window: Some(window), ..page };
    assert_eq!((host.as_deref(), listing), (Some("compute-1"), expected));
    for (text, told) in [
        (format!("--after {id}"), "write HOST/UUID, as in 3/"),
        ("--from now --to -1h".to_owned(), "is not later than --from"),
        ("--sort name".to_owned(), "[possible values: id, start, end]"),
        ("--limit 0".to_owned(), "0 is not in 1.."),
    ] {
        let wrong = list(&text).unwrap_err();
        assert!(wrong.contains(told), "{text}: {wrong}");
    }
}

#[test]
fn quotas_are_listed_by_what_is_set() {
    use leasehold_ledger::model::{Limit, LimitKind, ProjectId};
    let quota = Quota {
        project_id: Some(ProjectId("p1".into())),
        set: [(LimitKind::Slots, Limit::Max(7)), (LimitKind::Vcpus, Limit::Unlimited)].into(),
        in_force: [(LimitKind::Slots, 7)].into(),
        used: None,
    };
    let told = quota::quotas_table(std::slice::from_ref(&quota));
    let place = |word: &str| told.find(word).unwrap();
    assert!(place("project") < place("slots") && place("slots") < place("vcpus"), "{told}");
    let its = told.lines().find(|text| text.contains("p1")).unwrap();
    assert!(its.find('7').unwrap() < its.find("unlimited").unwrap(), "{told}");
    assert!(quota::quotas_table(&[]).starts_with("No project has limits of its own"));
    assert_eq!(quota::quota_json(&quota)["used"], serde_json::Value::Null);
    let list = |text: &str| match line(&format!("quota list {text}")).map_err(|error| error.to_string())?.command {
        ClientCommand::Quota(quota::QuotaCommand::List(asked)) => Ok::<_, String>(asked.listing()),
        other => panic!("{other:?}"),
    };
    assert_eq!(list("").unwrap(), QuotaListing::default());
    let set = [LimitKind::Vcpus, LimitKind::Slots].into();
    let page = QuotaListing { set, descending: true, after: Some(ProjectId("p1".into())), limit: Some(5) };
    assert_eq!(list("--set vcpus,slots --reverse --limit 5 --after p1").unwrap(), page);
    for (text, told) in [("--limit 0", "0 is not in 1.."), ("--set rooms", "it must be one of slots, vcpus, vcpu_hours")] {
        let wrong = list(text).unwrap_err();
        assert!(wrong.contains(told), "{text}: {wrong}");
    }
    for example in quota::EXAMPLES.lines().filter_map(|text| text.trim().strip_prefix("leasehold ")) {
        line(example).unwrap();
    }
}

#[test]
fn utilisation_counts_the_leases_that_lie_as_is_asked() {
    let now = second("2026-11-22 12:00");
    let wish = |text: &str| match line(&format!("lease utilisation {text}")).unwrap().command {
        ClientCommand::Lease(LeaseCommand::Utilisation(asked)) => asked.wish(now).unwrap(),
        other => panic!("{other:?}"),
    };
    let week = Interval { start: now, end: second("2026-11-29 12:00") };
    assert_eq!((wish("").window, wish("").filter.window), (week, None));
    assert_eq!(wish("--scope inclusive").filter.window, Some((week, Scope::Inclusive)));
    assert_eq!(wish("--scope exclusive --name a").filter.window, Some((week, Scope::Exclusive)));
    assert_eq!(wish("--scope overlapping").filter, LeaseFilter::default());
}

#[test]
fn utilisation_is_drawn_beside_its_most() {
    let window = Interval { start: second("2026-11-22 00:00"), end: second("2026-11-23 00:00") };
    let step = |hour: u32, vcpus: u64| UtilisationStep { start: window.start.plus(hour * 3600), reserved: [vcpus, 0, 0, vcpus] };
    let told = listing::utilisation_text(&Utilisation { window, leases: 2, steps: vec![step(0, 0), step(12, 8), step(18, 4)] });
    assert!(told.starts_with("From 2026-11-22 00:00:00 to 2026-11-23 00:00:00 (UTC), 2 leases\n"), "{told}");
    let drawn = format!("     VCPU │{}{}{}│ 0 to 8 vCPU", " ".repeat(30), "█".repeat(15), "▄".repeat(15));
    assert!(told.contains(&drawn), "{told}");
    let figure = listing::utilisation_text(&Utilisation { window, leases: 1, steps: vec![step(0, 3)] });
    assert!(figure.contains("1 lease\n") && !figure.contains("over time"), "{figure}");
}

#[test]
fn a_lease_that_is_promoted_between_two_lists_is_found_once() {
    let (waiting, found) = (vec![(1, "waits"), (2, "waits")], vec![(2, "promoted"), (3, "booked")]);
    assert_eq!(lease::either(waiting, found, |lease| lease.0), [(1, "waits"), (2, "promoted"), (3, "booked")]);
}

#[test]
fn allocations_are_of_one_host_or_a_page_of_all() {
    let asked = |text: &str| {
        let Line { command, .. } = line(&format!("host allocations {text}")).map_err(|error| error.to_string())?;
        let ClientCommand::Host(host::HostCommand::Allocations(asked)) = command else { panic!("{text}") };
        Ok::<_, String>(asked)
    };
    let id = "6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b11";
    let which = "--zone north --pool shared --reservable true --sort zone --reverse --limit 5 --after 3";
    let now = second("2026-11-22 12:00");
    let filter = asked(&format!("--lease {id} --reservation {id} --from now --to +1d {which}")).unwrap().filter(now).unwrap();
    assert_eq!(filter.window, Some(Interval { start: now, end: second("2026-11-23 12:00") }));
    assert_eq!((filter.lease_id.map(|id| id.0), filter.reservation_id.map(|id| id.0)), (id.parse().ok(), id.parse().ok()));
    let ClientCommand::Host(host::HostCommand::List(hosts)) = line(&format!("host list {which}")).unwrap().command else {
        panic!("{which}")
    };
    assert_eq!((filter.host_id, filter.hosts.after, filter.hosts.limit), (None, Some(HostId(3)), Some(5)));
    assert_eq!(filter.hosts, hosts.listing());
    let one = asked("compute-1").unwrap();
    assert_eq!((one.host.clone().as_deref(), one.filter(now).unwrap()), (Some("compute-1"), AllocationFilter::default()));
    let page = asked(&format!("compute-1 --reverse --limit 5 --behind 2026-11-22T13:00:00Z/{id}")).unwrap().filter(now).unwrap();
    let after = ReservedName { start: second("2026-11-22 13:00"), reservation_id: id.parse().unwrap() };
    assert_eq!(page.page, ReservedPage { descending: true, after: Some(after), limit: Some(5) });
    assert_eq!(page.hosts, HostListing::default());
    assert!(asked("compute-1 --from now --to -1h").unwrap().filter(now).unwrap_err().to_string().contains("is not later than"));
    for (text, told) in [
        ("--behind 2026-11-22T13:00:00Z/x", "DATE/UUID"),
        ("--behind 2026-11-22T13:00:00Z/6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b11", "<HOST>"),
        ("compute-1 --sort name", "cannot be used with"),
        ("compute-1 --zone north", "cannot be used with"),
        ("3 --after 2", "cannot be used with"),
        ("--limit 0", "0 is not in 1.."),
        ("--lease x", "--lease <UUID>"),
    ] {
        let wrong = asked(text).unwrap_err();
        assert!(wrong.contains(told), "{text}: {wrong}");
    }
    for example in host::EXAMPLES.lines().filter_map(|text| text.trim().strip_prefix("leasehold ")) {
        line(example.split("    ").next().unwrap()).unwrap();
    }
}
