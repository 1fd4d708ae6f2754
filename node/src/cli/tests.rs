//! Command lines as people type them, and what becomes of them.
#![allow(clippy::unwrap_used)]

use clap::{CommandFactory, Parser};
use leasehold_client::command::{BeforeEndWish, OfferWish, StagingWish, StartWish, WaitWish};
use leasehold_client::{
    Density, Element, HostAmount, HostCount, LeaseFilter, LeaseOrder, NoRoom, Offer, Preempts, Refusal, Scope, Utilisation,
    UtilisationStep, WhatFits, WhatIf, WhatIfHosts,
};
use leasehold_ledger::model::{
    Class, Comparison, Event, EventId, EventKind, EventStatus, Expiry, HostId, Interval, Lease, LeaseId, LeaseStatus, LeftOut,
    LeftOutReason, Occurrence, OnEnd, PoolKind, Precedence, Reason, ReasonCode, Requirement, Reservation, Seconds, SeriesMode,
    Timestamp,
};

use super::lease::LeaseCommand;
use super::time::{When, duration, parse, span, utc};
use super::*;

#[derive(Parser, Debug)]
struct Line {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: ClientCommand,
}

/// Parses a line; quoting is not needed in these tests but for `'a b'`.
fn line(text: &str) -> Result<Line, clap::Error> {
    let words = text.split('\'').enumerate().flat_map(|(i, part)| {
        if i % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
    });
    Line::try_parse_from(std::iter::once("leasehold".to_owned()).chain(words))
}

fn create(text: &str) -> Result<leasehold_client::NewLease, String> {
    let Line { command, .. } = line(&format!("lease create x {text}")).map_err(|error| error.to_string())?;
    let ClientCommand::Lease(lease::LeaseCommand::Create(create)) = command else { return Err("another command".to_owned()) };
    lease::wish_of(*create, second("2026-11-22 12:00")).map_err(|error| error.to_string())
}

fn second(text: &str) -> Seconds {
    match parse(text).unwrap() {
        When::At(second) => second,
        other => panic!("{other:?} is no date"),
    }
}

const SIZE: &str = "--vcpus 1 --memory-mb 512";

#[test]
fn the_command_line_is_well_formed() {
    Line::command().debug_assert();
}

#[test]
fn times_are_read_as_people_write_them() {
    assert_eq!(parse("now"), Ok(When::Now));
    assert_eq!(parse("never"), Ok(When::Never));
    assert_eq!(parse("+1h30m"), Ok(When::After(5400)));
    assert_eq!(utc(second("2026-11-22 14:00")), "2026-11-22 14:00:00");
    assert_eq!(second("2026-11-22T14:00:05Z"), second("2026-11-22 14:00:05"));
    assert_eq!(second("2026-11-22T15:00:00+01:00"), second("2026-11-22 14:00"));
    assert_eq!(second("2026-11-22"), second("2026-11-22 00:00"));
    assert_eq!(duration("2d"), Ok(172_800));
    for (seconds, text) in [(0, "0s"), (59, "59s"), (900, "15m"), (5400, "1h30m"), (90_061, "1d1h1m1s"), (604_800, "7d")] {
        assert_eq!((span(seconds).as_str(), duration(text)), (text, Ok(seconds)));
    }
    for wrong in ["", "soon", "+", "+5", "+5x", "2026-13-01", "1999-01-01", "+9999999w"] {
        let told = parse(wrong).unwrap_err();
        assert!(told.contains("write") || told.contains("between"), "{wrong}: {told}");
    }
}

#[test]
fn a_lease_is_what_the_line_says() {
    let wish = create(&format!("{SIZE} --start +30m --end +2h --amount 3 --affinity different-hosts --on-end shelve")).unwrap();
    assert_eq!(wish.start, StartWish::At(second("2026-11-22 12:30")));
    assert_eq!(wish.end, second("2026-11-22 14:30"), "the end counts from the start");
    assert_eq!(wish.before_end, BeforeEndWish::SecondsBefore(3600));
    let reservation = &wish.reservations[0];
    assert_eq!((reservation.on_end, reservation.staging), (OnEnd::Shelve, None));
    let instance = reservation.resource.instance();
    assert_eq!((instance.vcpus, instance.memory_mb, instance.amount, instance.affinity), (1, 512, 3, Some(false)));

    let open = create(&format!("{SIZE} --start +30m --end +2h --earliest '2026-11-22 20:00'")).unwrap();
    let (from, latest) = (Some(second("2026-11-22 12:30")), second("2026-11-22 20:00"));
    assert_eq!((open.start, open.end), (StartWish::Earliest { from, latest }, second("2026-11-22 14:30")));
    let open = create(&format!("{SIZE} --end +2h --earliest +6h")).unwrap();
    assert_eq!(open.start, StartWish::Earliest { from: None, latest: second("2026-11-22 18:00") });
    assert!(create(&format!("{SIZE} --end +2h --earliest never")).unwrap_err().contains("--earliest: say until when"));

    let ids = ["6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b11", "6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b12"];
    let adopting = create(&format!("{SIZE} --end +2h --server {} --server {}", ids[0], ids[1])).unwrap();
    assert_eq!(adopting.reservations[0].servers, ids.map(|id| id.parse().unwrap()).into());
    let twice = create(&format!("{SIZE} --end +2h --server {} --server {0}", ids[0])).unwrap_err();
    assert!(twice.contains("each server once"), "{twice}");

    let wish =
        create(&format!("{SIZE} --end never --before-end never --pool shared --trait A --trait B --forbid-trait C")).unwrap();
    assert_eq!((wish.start, wish.end, wish.before_end), (StartWish::Now, Seconds::OPEN_END, BeforeEndWish::Never));
    let instance = wish.reservations[0].resource.instance();
    assert_eq!(instance.pool, Some(PoolKind::Shared));
    assert_eq!((instance.required_traits.len(), instance.forbidden_traits.len()), (2, 1));
}

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
        "--project p --status active,PENDING --name a --zone z --with-any 3,{id} --without 4 --from -2d --to +1d --scope inclusive \
         --sort start --reverse --limit 5 --after {id}"
    ))
    .unwrap();
    let window = Interval { start: second("2026-11-20 12:00"), end: second("2026-11-21 12:00") };
    assert_eq!(filter.window, Some((window, Scope::Inclusive)));
    assert_eq!(filter.statuses, [LeaseStatus::Active, LeaseStatus::Pending].into());
    assert_eq!(filter.with_any, [Element::Host(HostId(3)), Element::Id(id.parse().unwrap())].into());
    assert_eq!((filter.order, filter.descending, filter.limit), (LeaseOrder::Start, true, Some(5)));
    assert_eq!(filter.after, Some(LeaseId(id.parse().unwrap())));
    let before = list("--to now").unwrap().window;
    assert_eq!(before, Some((Interval { start: Seconds(0), end: now }, Scope::Overlapping)));
    for (text, told) in [
        ("--status gone", "write one of creating, pending"),
        ("--with-all x", "the number of a host or a UUID"),
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
fn a_lease_may_be_asked_to_wait_for_room() {
    let wait = |text: &str| create(&format!("{SIZE} --start +2h --end +1h {text}")).map(|wish| wish.wait);
    assert_eq!(wait("").unwrap(), None);
    assert_eq!(wait("--wait").unwrap(), Some(WaitWish::UntilStart));
    assert_eq!(wait("--wait-until +30m").unwrap(), Some(WaitWish::Until(second("2026-11-22 12:30"))));
    assert_eq!(wait("--wait-until '2026-11-22 13:00'").unwrap(), Some(WaitWish::Until(second("2026-11-22 13:00"))));
    assert!(wait("--wait-until never").unwrap_err().contains("--wait"));
    assert!(wait("--wait --wait-until +1h").unwrap_err().contains("cannot be used with"));
    assert!(create(&format!("{SIZE} --end +1h --wait")).unwrap_err().contains("--earliest"));
    assert_eq!(create(&format!("{SIZE} --end +1h --earliest +3h --wait")).unwrap().wait, Some(WaitWish::UntilStart));
}

#[test]
fn a_lease_may_have_a_priority_and_give_way_to_others() {
    let rank = |text: &str| create(&format!("{SIZE} --end +1h {text}")).map(|wish| wish.precedence);
    assert_eq!(rank("").unwrap(), Precedence::default());
    assert_eq!(rank("--preemptible").unwrap(), Precedence { preemptible: true, ..Precedence::default() });
    assert_eq!(rank("--priority 9 --preempt").unwrap(), Precedence { priority: 9, preemptible: false, preempt: true });
    assert!(rank("--priority 10").unwrap_err().contains("0..=9"));
}

#[test]
fn a_lease_may_give_back_what_nobody_uses() {
    let expiry = |text: &str| create(&format!("{SIZE} --end +1h {text}")).map(|wish| wish.expiry_s);
    assert_eq!(expiry("").unwrap(), None);
    assert_eq!(expiry("--expiry 15m").unwrap(), Some(900));
    assert_eq!(expiry("--expiry 1m").unwrap(), Some(60));
    assert_eq!(expiry("--expiry never").unwrap(), Some(0), "also where the operator says otherwise");
    for (wrong, told) in
        [("59s", "'59s' is shorter than 1m"), ("0s", "shorter than 1m"), ("soon", "or never"), ("900", "as in 90m")]
    {
        let refused = expiry(&format!("--expiry {wrong}")).unwrap_err();
        assert!(refused.contains(told) && refused.contains("--expiry"), "{wrong}: {refused}");
    }
    // The example of the help is one that works.
    let example = lease::EXAMPLES.lines().find(|text| text.contains("--expiry")).unwrap();
    let Line { command, .. } = line(example.trim().strip_prefix("leasehold ").unwrap()).unwrap();
    let ClientCommand::Lease(LeaseCommand::Create(create)) = command else { panic!("{example}") };
    assert_eq!(lease::wish_of(*create, second("2026-11-22 12:00")).unwrap().expiry_s, Some(900));
}

#[test]
fn a_lease_says_when_it_is_counted_and_what_was_given_back() {
    let shown = |expiry_s: Option<u32>, status: Option<EventStatus>, released: &[u32]| {
        let at = second("2026-11-22 12:15");
        let event = |status| Event {
            id: EventId(uuid::Uuid::from_u128(3)),
            kind: EventKind::Expiry,
            time: at,
            status,
            created_at: Timestamp(1),
            updated_at: None,
        };
        let reservations = released.iter().map(|released| {
            let wire = serde_json::json!({
                "id": uuid::Uuid::from_u128(4), "resource_id": uuid::Uuid::from_u128(5), "on_end": "delete", "status": "active",
                "wish": {"instance": {"vcpus": 1, "memory_mb": 1, "disk_gb": 1, "amount": 3, "resource_properties": ""}},
                "stage": "open", "bindings": [], "created_at": 1, "updated_at": null,
            });
            let expiry = Some(Expiry::Counted { at: Timestamp(1), released: *released });
            Reservation { expiry, ..serde_json::from_value(wire).unwrap() }
        });
        let wire = serde_json::json!({
            "id": uuid::Uuid::from_u128(1), "name": "a", "project_id": "p", "user_id": "u", "start": at, "end": at, "status": "ACTIVE",
            "reservations": [], "events": [], "revision": 0, "created_at": 1, "updated_at": null, "ledger_index": 7,
        });
        let lease: Lease = serde_json::from_value(wire).unwrap();
        let (reservations, events) = (reservations.collect(), status.map(event).into_iter().collect());
        Lease { expiry_s, reservations, events, ..lease }
    };
    let told = |lease: &Lease| output::lease_details(lease);
    assert!(!told(&shown(None, None, &[])).contains("expiry"));
    for (status, released, text) in [
        (None, &[][..], "15m after it is active "),
        (Some(EventStatus::Undone), &[], "15m after it is active; to be counted 2026-11-22 12:15:00 (UTC)"),
        (Some(EventStatus::InProgress), &[], "15m after it is active; being counted since 2026-11-22 12:15:00 (UTC)"),
        (Some(EventStatus::Done), &[0], "15m after it is active; counted 2026-11-22 12:15:00 (UTC), nothing given back"),
        (Some(EventStatus::Done), &[2, 1], "15m after it is active; counted 2026-11-22 12:15:00 (UTC), 3 given back"),
    ] {
        let table = told(&shown(Some(900), status, released));
        assert!(table.contains(text), "{text}: {table}");
    }
    // The ledger's clock has not looked at it yet.
    let mut fresh = shown(Some(900), Some(EventStatus::Undone), &[]);
    fresh.events[0].created_at = fresh.events[0].time.timestamp();
    assert!(told(&fresh).contains("15m after it is active "), "{}", told(&fresh));
    assert!(output::lease_json(&fresh)["expires_at"].is_null());
    let json = output::lease_json(&shown(Some(900), Some(EventStatus::Done), &[2]));
    assert_eq!((&json["expiry_s"], &json["expires_at"]), (&900.into(), &"2026-11-22T12:15:00Z".into()));
    assert_eq!(json["reservations"][0]["released"], 2);
    let json = output::lease_json(&shown(None, None, &[]));
    assert!(json["expiry_s"].is_null() && json["expires_at"].is_null(), "{json}");
}

#[test]
fn an_offer_is_a_lease_that_stands_until_a_time() {
    let offer = |text: &str| {
        let parsed = line(&format!("offer create x {SIZE} --start +2h --end +1h {text}")).map_err(|error| error.to_string())?;
        let ClientCommand::Offer(offer::OfferCommand::Create(create)) = parsed.command else { panic!("{text}") };
        offer::wish_of(*create, second("2026-11-22 12:00")).map_err(|error| error.to_string())
    };
    let wish = offer("--valid +30m").unwrap();
    assert_eq!(wish.offer, Some(OfferWish::Until(second("2026-11-22 12:30"))));
    assert_eq!((wish.start, wish.end), (StartWish::At(second("2026-11-22 14:00")), second("2026-11-22 15:00")));
    assert_eq!(offer("--valid '2026-11-22 13:00'").unwrap().offer, Some(OfferWish::Until(second("2026-11-22 13:00"))));
    assert!(offer("").unwrap_err().contains("--valid"));
    let at_once = line(&format!("offer create x {SIZE} --valid +30m --end +1h")).unwrap();
    let ClientCommand::Offer(offer::OfferCommand::Create(create_now)) = at_once.command else { panic!("it is an offer") };
    assert!(offer::wish_of(*create_now, second("2026-11-22 12:00")).unwrap_err().to_string().contains("cannot start now"));
    assert!(offer("--valid never").unwrap_err().contains("how long the offer is to stand"));
    assert!(offer("--valid +30m --what-if").unwrap_err().contains("lease create --what-if"));
    assert_eq!(create(&format!("{SIZE} --end +2h")).unwrap().offer, None);
}

#[test]
fn a_line_with_a_rule_asks_for_a_series() {
    let repeat = |text: &str| {
        let parsed = line(&format!("lease create x {SIZE} --start +2h --end +1h {text}")).map_err(|error| error.to_string())?;
        let ClientCommand::Lease(LeaseCommand::Create(create)) = parsed.command else { panic!("{text}") };
        Ok::<_, String>(create.repeat.recurrence())
    };
    assert_eq!(repeat(""), Ok(None));
    let asked = repeat("--repeat FREQ=DAILY;COUNT=3").unwrap().unwrap();
    assert_eq!(
        (asked.rule.as_str(), asked.time_zone.as_str(), asked.mode),
        ("FREQ=DAILY;COUNT=3", "UTC", SeriesMode::AllOrNothing)
    );
    let asked = repeat("--repeat FREQ=DAILY;COUNT=3 --time-zone Europe/Berlin --best-effort").unwrap().unwrap();
    assert_eq!((asked.time_zone.as_str(), asked.mode), ("Europe/Berlin", SeriesMode::BestEffort));
    for alone in ["--time-zone Europe/Berlin", "--best-effort"] {
        assert!(repeat(alone).unwrap_err().contains("--repeat"), "{alone}");
    }
    let offer = line(&format!("offer create x {SIZE} --valid +1h --start +2h --end +1h --repeat FREQ=DAILY;COUNT=3")).unwrap();
    let ClientCommand::Offer(offer::OfferCommand::Create(create)) = offer.command else { panic!("it is an offer") };
    let refused = offer::wish_of(*create, second("2026-11-22 12:00")).unwrap_err().to_string();
    assert!(refused.contains("--repeat: a series cannot be an offer"), "{refused}");
    assert!(line("lease delete").unwrap_err().to_string().contains("LEASE"));
    let both = line("lease delete a --series 6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b11").unwrap_err().to_string();
    assert!(both.contains("cannot be used with"), "{both}");
}

#[test]
fn a_series_is_a_table_of_what_was_booked_and_what_was_not() {
    let at = |number: u32| {
        let start = second("2026-11-22 12:00").plus(number * 3600);
        Occurrence { number, start, end: start.plus(600) }
    };
    let no_room = LeftOutReason::NoRoom { reservation: 0, short_by: 2, largest_amount: 1, tightest: Some(Class::Vcpu) };
    let withdrawn = LeftOutReason::Withdrawn(Reason { code: ReasonCode::CloudRefused, text: "Placement has no room".into() });
    let left_out = [LeftOut { occurrence: at(2), reason: no_room }, LeftOut { occurrence: at(4), reason: withdrawn }];
    let told = series::parts_text(&[at(1), at(3)], &left_out);
    let line_of = |number: u32| told.lines().find(|line| line.contains(&format!("│ {number} "))).unwrap();
    assert!(line_of(1).contains("2026-11-22 13:00:00") && line_of(1).contains("fits"), "{told}");
    assert!(line_of(2).contains("left out: short by 2 (VCPU)"), "{told}");
    assert!(line_of(3).contains("fits") && line_of(4).contains("left out: Placement has no room"), "{told}");
    let json = series::parts_json(&[at(1)], &left_out);
    assert_eq!(
        (&json["left_out"][0]["reason"]["code"], &json["left_out"][1]["reason"]["code"]),
        (&"no_room".into(), &"CLOUD_REFUSED".into())
    );
    let what_if = WhatIf::SeriesFits { occurrences: vec![at(1)], left_out: left_out.to_vec() };
    assert!(lease::what_if_text(&what_if).starts_with("It fits. Nothing was booked.\n"));
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
    let no_room = NoRoom {
        reservation: 0,
        short_by: 2,
        tightest: Some(Class::MemoryMb),
        largest_amount: 5,
        next_start: Some(second("2026-11-22 15:00")),
        occurrence: None,
        preempts: Preempts { count: 2, leases: Vec::new() },
        staging: false,
    };
    let told = "It does not fit: short by 2 in the window; MEMORY_MB is the tightest. Nothing was booked.\n\
                Try: --amount 5   or: --start '2026-11-22 15:00:00'   or: --preempt";
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
    let no_room = NoRoom {
        reservation: 0,
        short_by: 1,
        tightest: None,
        largest_amount: 5,
        next_start: Some(second("2026-11-22 15:00")),
        occurrence: None,
        preempts: Preempts::default(),
        staging: false,
    };
    let told = "It does not fit: short by 1 host.\nTry: --hosts 5   or: --start '2026-11-22 15:00:00'";
    assert_eq!(whole_hosts::answer_text(&WhatIfHosts::NoRoom(no_room)), told);
}

#[test]
fn a_downtime_is_what_the_line_says() {
    let now = second("2026-11-22 12:00");
    let made = leasehold_ledger::model::DowntimeId(uuid::Uuid::from_u128(7));
    let wish = |text: &str| {
        let Line { command, .. } = line(&format!("host downtime add compute-1 {text}")).map_err(|error| error.to_string())?;
        let ClientCommand::Host(host::HostCommand::Downtime(downtime::DowntimeCommand::Add(add))) = command else { panic!() };
        add.wish(now, made).map_err(|error| error.to_string())
    };
    let one = wish("--from '2026-11-29 06:00' --to +4h").unwrap();
    assert_eq!((one.start, one.end), (Some(StartWish::At(second("2026-11-29 06:00"))), second("2026-11-29 10:00")));
    assert!(one.withheld.all() && one.id == made);
    let two = wish("--to never --vcpus 2 --id 6f1c1a52-0d0b-4f3b-9a54-0c1d2e3f4a5b").unwrap();
    assert_eq!((two.start, two.end, two.withheld.vcpus), (None, Seconds::OPEN_END, Some(2)));
    assert_eq!(wish("--from now --to +2h").unwrap().start, Some(StartWish::Now));
    assert_ne!(two.id, made);
    for (text, told) in
        [("", "--to"), ("--to now", "--to now"), ("--from never --to +1h", "--from never"), ("--to +1h --id 5", "--id")]
    {
        let refused = wish(text).unwrap_err();
        assert!(refused.contains(told), "{refused}");
    }
    let examples: Vec<&str> = downtime::EXAMPLES.lines().filter_map(|text| text.trim().strip_prefix("leasehold ")).collect();
    assert_eq!(examples.len(), 6);
    for example in examples {
        line(example).unwrap();
    }
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

#[test]
fn a_command_repeated_with_its_key_asks_for_the_same_times() {
    let session = |text: &str| Session::new(&line(text).unwrap().globals).unwrap();
    let (key, now) = session("lease list").key_and_now();
    let (again, then) = session(&format!("lease list --key {}", show_key(key))).key_and_now();
    assert_eq!((again, then), (key, now), "however late it is repeated");
    let wall_s = Timestamp(crate::seams::Clock::wall_ms(&crate::seams::clock::SystemClock::new())).floor_to_second().0;
    assert!(now.0.abs_diff(wall_s) <= 5, "now is the present in a first command");
}

#[test]
fn staging_is_a_window_or_half_an_hour_from_now() {
    let staging = |text: &str| create(&format!("{SIZE} --start +4h --end +1h {text}")).map(|wish| wish.reservations[0].staging);
    let park_margin_s = 600;
    assert_eq!(staging("--staging").unwrap(), Some(StagingWish { start: None, end: None, park_margin_s }));
    let (start, end) = (Some(second("2026-11-22 13:00")), Some(second("2026-11-22 13:30")));
    assert_eq!(staging("--staging=+1h..+30m").unwrap(), Some(StagingWish { start, end, park_margin_s }));
    assert_eq!(staging("'--staging=2026-11-22 13:00..'").unwrap(), Some(StagingWish { start, end: None, park_margin_s }));
    assert!(staging("--staging=tomorrow").unwrap_err().contains("START..END"));
}

#[test]
fn terms_are_comparisons() {
    let terms = |text: &str| {
        create(&format!("{SIZE} --end +1h --property {text}"))
            .map(|wish| wish.reservations[0].resource.instance().requirements.clone())
    };
    let term = |key: &str, comparison, value: &str| vec![Requirement { key: key.into(), comparison, value: value.into() }];
    assert_eq!(terms("gpu=a100").unwrap(), term("gpu", Comparison::Equal, "a100"));
    assert_eq!(terms("vcpus>=16").unwrap(), term("vcpus", Comparison::AtLeast, "16"));
    assert_eq!(terms("vcpus<16").unwrap(), term("vcpus", Comparison::Below, "16"));
    assert_eq!(terms("rack!=r1").unwrap(), term("rack", Comparison::NotEqual, "r1"));
    for wrong in ["gpu", "=x", "gpu="] {
        assert!(terms(wrong).unwrap_err().contains("as in gpu=a100"), "{wrong}");
    }
}

#[test]
fn senseless_lines_are_refused_with_what_would_be_right() {
    assert!(create(&format!("{SIZE} --start never --end +1h")).unwrap_err().contains("a lease starts now"));
    assert!(create(&format!("{SIZE} --end now")).unwrap_err().contains("a lease ends after its start"));
    assert!(create("--vcpus 1 --end +1h").unwrap_err().contains("--memory-mb"));
    assert!(create(&format!("{SIZE} --end +1h --vcpus -1")).is_err());
    assert!(line("cluster add two 10.0.0.1:1236").is_err());
}

#[test]
fn endpoints_and_keys_come_with_any_command() {
    let parsed = line("lease list --endpoint a:1 --endpoint b:2,c:3 --output json").unwrap();
    assert_eq!(parsed.globals.endpoints, ["a:1", "b:2", "c:3"]);
    assert_eq!(parsed.globals.output, Format::Json);
    let key = Key { id: uuid::Uuid::from_u128(5), valid_until: Timestamp(7) };
    let parsed = line(&format!("lease outcome --key {}", show_key(key))).unwrap();
    assert_eq!(parsed.globals.key, Some(key));
    assert!(line("lease outcome --key x").unwrap_err().to_string().contains("as it was printed"));
}

#[test]
fn failures_have_the_documented_exit_codes_and_a_next_step() {
    let offer = Offer {
        reservation: 0,
        short_by: 2,
        tightest: None,
        largest_amount: 5,
        next_start: Some(1_795_359_600),
        occurrence: None,
        preempts: 0,
        staging: false,
        ledger_index: 1,
    };
    let refusal = Refusal { kind: RefusalKind::Conflict, code: "no_room".into(), message: "no".into(), offer: Some(offer) };
    let refused = Failure::Call(Error::Refused(refusal));
    assert_eq!(exit_code(&refused), 1);
    assert_eq!(next_step(&refused).unwrap(), "Try: --amount 5   or: --start '2026-11-22 15:00:00'");

    assert_eq!(exit_code(&Failure::Usage(String::new())), 2);
    let unavailable = Failure::Call(Error::Unavailable { attempts: 3, last: "x".into() });
    assert_eq!(exit_code(&unavailable), 3);
    assert!(next_step(&unavailable).unwrap().contains("Nothing was done"));
    let key = Key { id: uuid::Uuid::from_u128(5), valid_until: Timestamp(7) };
    let unknown = Failure::Call(Error::OutcomeUnknown { key: Some(key), attempts: 1, last: "x".into() });
    assert_eq!(exit_code(&unknown), 3);
    assert!(next_step(&unknown).unwrap().contains(&show_key(key)));
}

#[test]
fn openstack_variables_give_credentials_or_say_what_is_missing() {
    use crate::openstack::keystone::Credentials;
    let with = |set: &[(&str, &str)]| {
        let set: Vec<(String, String)> = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        keystone::options(&move |name: &str| set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
    };
    assert!(with(&[]).unwrap().is_none());
    let url = ("OS_AUTH_URL", "http://k:5000/v3");
    let told = with(&[url, ("OS_USERNAME", "u")]).unwrap_err().to_string();
    assert_eq!(told, "OS_AUTH_URL is set, but not OS_PASSWORD");
    let password = with(&[url, ("OS_USERNAME", "u"), ("OS_PASSWORD", "p"), ("OS_PROJECT_NAME", "q")]).unwrap().unwrap();
    assert!(matches!(password.credentials, Credentials::Password { .. }));
    let credential = [url, ("OS_APPLICATION_CREDENTIAL_ID", "i"), ("OS_APPLICATION_CREDENTIAL_SECRET", "s")];
    assert!(matches!(with(&credential).unwrap().unwrap().credentials, Credentials::ApplicationCredential { .. }));
}

#[test]
fn a_member_that_knows_no_peek_leaves_the_name_unknown_and_other_refusals_are_told() {
    let no_lease = || Failure::Name("no lease is called 'x'".to_owned());
    let refused = |kind| Err(Error::Refused(Refusal { kind, code: String::new(), message: "no".into(), offer: None }));
    let older = lease::meant(no_lease(), refused(RefusalKind::Unimplemented)).unwrap_err();
    assert!(matches!(&older, Failure::Name(name) if name.contains("'x'")), "{older}");
    assert_eq!(exit_code(&older), 1);
    let forbidden = lease::meant(no_lease(), refused(RefusalKind::Forbidden)).unwrap_err();
    assert!(matches!(forbidden, Failure::Call(_)), "{forbidden}");
}

#[test]
fn a_lease_that_is_promoted_between_two_lists_is_found_once() {
    let (waiting, found) = (vec![(1, "waits"), (2, "waits")], vec![(2, "promoted"), (3, "booked")]);
    assert_eq!(lease::either(waiting, found, |lease| lease.0), [(1, "waits"), (2, "promoted"), (3, "booked")]);
}
