//! Leases as a line asks for them: by themselves, as offers, in series.

use super::*;

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
