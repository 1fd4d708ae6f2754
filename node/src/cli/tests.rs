//! Command lines as people type them, and what becomes of them, by what they are about; here is what belongs to all of them.
#![allow(clippy::unwrap_used)]

use clap::{CommandFactory, Parser};
use leasehold_client::command::{BeforeEndWish, OfferWish, StagingWish, StartWish, WaitWish};
use leasehold_client::{
    AllocationFilter, Density, DowntimeListing, DowntimeName, DowntimeOrder, Element, HostAmount, HostCount, HostListing,
    LeaseFilter, LeaseOrder, NoRoom, Offer, Preempts, Quota, QuotaListing, Refusal, ReservedName, ReservedPage, Scope,
    Utilisation, UtilisationStep, WhatFits, WhatIf, WhatIfHosts,
};
use leasehold_ledger::model::{
    Class, Comparison, Event, EventId, EventKind, EventStatus, Expiry, HostId, Interval, Lease, LeaseId, LeaseStatus, LeftOut,
    LeftOutReason, Occurrence, OnEnd, PoolKind, Precedence, Reason, ReasonCode, Requirement, Reservation, Seconds, SeriesMode,
    Timestamp,
};

use super::lease::LeaseCommand;
use super::time::{When, duration, parse, span, utc};
use super::*;

mod leases;
mod lists;
mod questions;

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
    assert_eq!(examples.len(), 7);
    for example in examples {
        line(example).unwrap();
    }
}

#[test]
fn an_upgrade_is_what_the_line_says() {
    let now = second("2026-11-22 12:00");
    let upgrade = |text: &str| {
        let Line { command, .. } = line(&format!("host upgrade set compute-1 {text}")).map_err(|error| error.to_string())?;
        let ClientCommand::Host(host::HostCommand::Upgrade(upgrade::UpgradeCommand::Set(set))) = command else { panic!() };
        set.upgrade(now).map_err(|error| error.to_string())
    };
    let one = upgrade("--from '2026-12-06 06:00' --vcpus 256 --disk-gb 9000").unwrap();
    assert_eq!((one.start, one.vcpus, one.memory_mb, one.disk_gb), (second("2026-12-06 06:00"), Some(256), None, Some(9000)));
    assert_eq!(upgrade("--from +2h --memory-mb 1").unwrap().start, second("2026-11-22 14:00"));
    for (text, told) in [
        ("--vcpus 1", "--from"),
        ("--from +1h", "--vcpus"),
        ("--from never --vcpus 1", "--from"),
        ("--from +1h --vcpus 0.5", "--vcpus"),
    ] {
        let refused = upgrade(text).unwrap_err();
        assert!(refused.contains(told), "{refused}");
    }
    let examples: Vec<&str> = upgrade::EXAMPLES.lines().filter_map(|text| text.trim().strip_prefix("leasehold ")).collect();
    assert_eq!(examples.len(), 5);
    for example in examples {
        line(example).unwrap();
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
        quota: None,
        short_by: 2,
        tightest: None,
        largest_amount: 5,
        next_start: Some(1_795_359_600),
        next_end: Some(1_795_366_800),
        latest_end: None,
        start_is_fixed: false,
        occurrence: None,
        preempts: 0,
        staging: false,
        ledger_index: 1,
    };
    let begun = Offer { next_start: None, next_end: None, latest_end: offer.next_start, start_is_fixed: true, ..offer.clone() };
    let refusal =
        |offer| Refusal { kind: RefusalKind::Conflict, code: "no_room".into(), message: "no".into(), offer: Some(offer) };
    let longer = Failure::Call(Error::Refused(refusal(begun)));
    assert_eq!(next_step(&longer).unwrap(), "Try: --amount 5   or: --end '2026-11-22 15:00:00'");
    let refusal = refusal(offer);
    let refused = Failure::Call(Error::Refused(refusal));
    assert_eq!(exit_code(&refused), 1);
    assert_eq!(next_step(&refused).unwrap(), "Try: --amount 5   or: --start '2026-11-22 15:00:00' --end '2026-11-22 17:00:00'");

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
