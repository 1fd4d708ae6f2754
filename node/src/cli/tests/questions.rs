//! What is asked before a lease is.

use super::*;

/// There is room for five, or later.
fn short_by_one() -> NoRoom {
    NoRoom {
        reservation: 0,
        short_by: 1,
        largest_amount: 5,
        next_start: Some(second("2026-11-22 15:00")),
        next_end: Some(second("2026-11-22 17:00")),
        ..NoRoom::default()
    }
}

#[test]
fn windows_of_questions_count_from_their_start() {
    let window = |text: &str| {
        let ClientCommand::Capacity(command) = line(&format!("capacity {text}")).unwrap().command else { panic!("{text}") };
        capacity::window_of(&command, second("2026-11-22 12:00")).map_err(|error| error.to_string())
    };
    let at = |text: &str| StartWish::At(second(text));
    let week = window("show").unwrap();
    assert_eq!((week.start, week.end), (StartWish::Now, second("2026-11-29 12:00")));
    let later = window("show --from +2h --to +1h").unwrap();
    assert_eq!((later.start, later.end), (at("2026-11-22 14:00"), second("2026-11-22 15:00")));
    let open = window("density --vcpus 1 --memory-mb 512 --from '2026-12-01' --to never").unwrap();
    assert_eq!((open.start, open.end), (at("2026-12-01"), Seconds::OPEN_END));
    let day = window("density --vcpus 1 --memory-mb 512").unwrap();
    assert_eq!((day.start, day.end), (StartWish::Now, second("2026-11-23 12:00")));
    assert!(window("show --from never").unwrap_err().contains("--from never: write now, +1h or a date"));
    assert!(window("show --to now").unwrap_err().contains("--to now: write +1h"));
    for (wrong, text) in [("show --steps 0", "1..=1000"), ("show --steps 1001", "1..=1000"), ("density --vcpus 1", "--memory-mb")]
    {
        let told = line(&format!("capacity {wrong}")).unwrap_err().to_string();
        assert!(told.contains(text), "{wrong}: {told}");
    }
}

#[test]
fn what_is_asked_before_a_lease_is_told_in_words() {
    let window = Interval { start: second("2026-11-22 12:00"), end: second("2026-11-22 13:00") };
    let density = |largest_amount, tightest, earliest_start: Option<&str>| Density {
        window,
        fits: WhatFits { largest_amount, tightest },
        earliest_start: earliest_start.map(second),
    };
    let (vcpu, when) = (Some(Class::Vcpu), "from 2026-11-22 12:00:00 to 2026-11-22 13:00:00 (UTC)");
    for (found, amount, text) in [
        (density(7, vcpu, None), None, format!("7 more fit {when}; VCPU is the tightest.")),
        (density(0, vcpu, None), None, format!("None fits {when}; VCPU is the tightest.")),
        (density(0, None, None), None, format!("No host is of this kind, so none fits {when}.")),
        (
            density(7, vcpu, Some("2026-11-22 12:00")),
            Some(5),
            format!("7 more fit {when}; VCPU is the tightest.\n5 fit at once."),
        ),
        (
            density(7, vcpu, Some("2026-11-23 08:00")),
            Some(8),
            format!("7 more fit {when}; VCPU is the tightest.\n8 fit from 2026-11-23 08:00:00 on, for as long."),
        ),
        (
            density(7, vcpu, None),
            Some(90),
            format!("7 more fit {when}; VCPU is the tightest.\n90 fit at no start within a year, with the hosts that are there."),
        ),
    ] {
        assert_eq!(capacity::density_text(&found, amount), text);
    }
    for (found, amount, text) in [
        (density(0, None, None), None, format!("No host of the dedicated pool that meets this is free as a whole {when}.")),
        (density(1, None, None), None, format!("1 host is free as a whole {when}.")),
        (
            density(7, None, Some("2026-11-23 08:00")),
            Some(8),
            format!("7 hosts are free as a whole {when}.\n8 are free from 2026-11-23 08:00:00 on, for as long."),
        ),
    ] {
        assert_eq!(capacity::whole_hosts_text(&found, amount), text);
    }

    let fits = WhatIf::Fits {
        moved_to: None,
        preempts: Preempts::default(),
        reservations: vec![HostCount { main: 2, staging: 0 }, HostCount { main: 1, staging: 3 }],
    };
    let told = "It fits. Nothing was booked.\nIt would lie on 2 hosts.\nIt would lie on 1 host, and on 3 for staging.";
    assert_eq!(lease::what_if_text(&fits), told);
    let preempts = Preempts { count: 1, leases: vec![LeaseId(uuid::Uuid::from_u128(9))] };
    let instead = WhatIf::Fits { moved_to: None, preempts, reservations: vec![HostCount { main: 2, staging: 0 }] };
    let told = "It fits. Nothing was booked.\nIt would lie on 2 hosts.\n1 lease of a lower priority would give way.\n  \
                00000000-0000-0000-0000-000000000009";
    assert_eq!(lease::what_if_text(&instead), told);
    let preempts = Preempts { count: 2, leases: Vec::new() };
    let no_room = NoRoom { short_by: 2, tightest: Some(Class::MemoryMb), preempts, ..short_by_one() };
    let told = "It does not fit: short by 2 in the window; MEMORY_MB is the tightest. Nothing was booked.\n\
                Try: --amount 5   or: --start '2026-11-22 15:00:00' --end '2026-11-22 17:00:00'   or: --preempt";
    assert_eq!(lease::what_if_text(&WhatIf::NoRoom(no_room)), told);
}

#[test]
fn whole_hosts_are_asked_about_and_not_booked() {
    let asked = |text: &str| {
        let Line { command, .. } = line(&format!("lease create x --end +1h {text}")).map_err(|error| error.to_string())?;
        let ClientCommand::Lease(LeaseCommand::Create(create)) = command else { return Err("another command".to_owned()) };
        let hosts = create.hosts.ok_or("no hosts")?;
        whole_hosts::asked(*create, hosts, second("2026-11-22 12:00")).map_err(|error| error.to_string())
    };
    let (wish, reservation) = asked("--hosts 2-4 --zone north --property gpu=a100 --what-if --earliest +6h").unwrap();
    assert_eq!((wish.reservations.len(), reservation.min, reservation.max), (0, 2, 4));
    assert!(matches!(wish.start, StartWish::Earliest { .. }));
    assert_eq!((reservation.filter.zone.as_deref(), reservation.filter.requirements.len()), (Some("north"), 1));
    let one = asked("--hosts 3 --what-if").unwrap().1;
    assert_eq!((one.min, one.max), (3, 3));
    for (text, told) in [
        ("--hosts 2-4", "--hosts: whole hosts cannot be booked yet; add --what-if"),
        ("--hosts 4-2 --what-if", "2 is less than 4; write the smaller number first, as in 2-4"),
        ("--hosts 0 --what-if", "write how many hosts, from 1 to 10000"),
        ("--hosts 1-10001 --what-if", "write how many hosts, from 1 to 10000"),
        ("--hosts few --what-if", "write how many hosts, from 1 to 10000"),
        ("--hosts 2 --vcpus 4 --what-if", "'--hosts <MIN-MAX>' cannot be used with"),
        ("--hosts 2 --amount 4 --what-if", "'--hosts <MIN-MAX>' cannot be used with"),
        ("--hosts 2 --on-end shelve --what-if", "'--hosts <MIN-MAX>' cannot be used with"),
        ("--what-if", "--vcpus <VCPUS>"),
    ] {
        let refused = asked(text).unwrap_err();
        assert!(refused.contains(told), "{text}: {refused}");
    }
    let offer = line("offer create x --valid +1h --start +2h --end +1h --hosts 2").unwrap().command;
    let ClientCommand::Offer(offer::OfferCommand::Create(create)) = offer else { panic!("another command") };
    let refused = offer::wish_of(*create, second("2026-11-22 12:00")).unwrap_err().to_string();
    assert!(refused.contains("--hosts: whole hosts cannot be offered yet"), "{refused}");

    let amount = |count: u32, hosts: &[u64]| HostAmount { count, hosts: hosts.iter().copied().map(HostId).collect() };
    let fits = WhatIfHosts::Fits { moved_to: None, reservations: vec![amount(2, &[3, 9]), amount(1, &[])] };
    let told =
        "It fits. Whole hosts cannot be booked yet.\nIt would have 2 hosts, as things are now: 3, 9.\nIt would have 1 host.";
    assert_eq!(whole_hosts::answer_text(&fits), told);
    let told =
        "It does not fit: short by 1 host.\nTry: --hosts 5   or: --start '2026-11-22 15:00:00' --end '2026-11-22 17:00:00'";
    assert_eq!(whole_hosts::answer_text(&WhatIfHosts::NoRoom(short_by_one())), told);
}

#[test]
fn help_about_capacity_teaches_with_examples_that_parse() {
    let help = [capacity::EXAMPLES, capacity::HOW_TO_READ, capacity::HOW_TO_COUNT, capacity::HOW_TO_COUNT_HOSTS].join("\n");
    let examples: Vec<&str> = help.lines().filter_map(|line| line.trim().strip_prefix("leasehold ")).collect();
    assert_eq!(examples.len(), 11);
    for example in examples {
        assert!(line(example).is_ok(), "{example}");
    }
}
