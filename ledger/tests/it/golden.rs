//! Bytes that are on somebody's disk: what version 1 wrote must be read for ever, and means the same (architecture D15).
//! When one of these tests fails, the change breaks every running cluster: add fields with defaults instead.

use leasehold_ledger::command::{
    BeforeEndWish, Command, CreateLease, CreateSeries, Entry, LeaseWish, OfferWish, Outcome, PlannedOccurrence,
    PlannedReservation, PromoteLease, Recurrence, ReservationWish, SeriesWish, StagingWish, StartWish, WaitWish,
};
use leasehold_ledger::model::*;
use leasehold_ledger::storage::codec::{decode_entry, encode_entry};
use uuid::Uuid;

use crate::world::World;

/// A create with everything in it.
fn create() -> Entry {
    let instance = InstanceWish {
        vcpus: 2,
        memory_mb: 4096,
        disk_gb: 20,
        amount: 3,
        affinity: Some(false),
        zone: Some("nova".to_owned()),
        pool: Some(PoolKind::Shared),
        required_traits: ["T".to_owned()].into(),
        forbidden_traits: Default::default(),
        requirements: vec![Requirement { key: "vcpus".to_owned(), comparison: Comparison::AtLeast, value: "4".to_owned() }],
        resource_properties: "[\">=\", \"$vcpus\", \"4\"]".to_owned(),
        flavor: None,
    };
    let create = CreateLease {
        wish: LeaseWish {
            name: "lease".to_owned(),
            project_id: ProjectId("p".into()),
            user_id: UserId("u".into()),
            start: StartWish::At(Seconds(216_003_600)),
            end: Seconds::OPEN_END,
            before_end: BeforeEndWish::SecondsBefore(3600),
            offer: None,
            wait: None,
            precedence: Default::default(),
            expiry_s: None,
            ignore_quota: false,
            reservations: vec![ReservationWish {
                resource: ResourceWish::Instance(instance.into()),
                staging: Some(StagingWish { start: None, end: Some(Seconds(216_001_000)), park_margin_s: 600 }),
                on_end: OnEnd::Shelve,
                servers: Default::default(),
            }],
        },
        lease_id: LeaseId(Uuid::from_u128(1)),
        event_ids: (2..8).map(|id| EventId(Uuid::from_u128(id))).collect(),
        plan: vec![PlannedReservation {
            reservation_id: ReservationId(Uuid::from_u128(8)),
            bindings: vec![
                Binding { phase: Phase::Staging, host: HostId(1), slots: 3 },
                Binding { phase: Phase::Main, host: HostId(2), slots: 3 },
            ],
        }],
        resource_ids: vec![Uuid::from_u128(9)],
        planned_at: 4,
        moved_to: None,
        adoptions: Default::default(),
        caller_makes_groups: false,
        waits: false,
        asked: None,
        victims: Vec::new(),
    };
    Entry {
        key: Some(RequestKey { project_id: ProjectId("p".into()), id: Uuid::from_u128(10), valid_until: Timestamp(99) }),
        proposed_at: Timestamp(1_793_836_800_000),
        command: Command::CreateLease(Box::new(create)),
    }
}

/// The same with a start that is left open, and was moved.
fn moved() -> Entry {
    let mut entry = create();
    let Command::CreateLease(create) = &mut entry.command else { panic!("it creates") };
    create.wish.start = StartWish::Earliest { from: Some(Seconds(216_003_600)), latest: Seconds(216_090_000) };
    create.moved_to = Some(Seconds(216_007_200));
    entry
}

/// The same as an offer.
fn offer() -> Entry {
    let mut entry = create();
    let Command::CreateLease(create) = &mut entry.command else { panic!("it creates") };
    create.wish.offer = Some(OfferWish::Until(Seconds(216_001_800)));
    entry
}

/// The same where there was no room, as it waits for some.
fn waits() -> Entry {
    let mut entry = create();
    let Command::CreateLease(create) = &mut entry.command else { panic!("it creates") };
    create.wish.wait = Some(WaitWish::Until(Seconds(216_003_000)));
    create.wish.reservations[0].staging = None;
    create.plan[0].bindings.clear();
    create.waits = true;
    entry
}

/// The same where another lease gives way.
fn preempts() -> Entry {
    let mut entry = create();
    let Command::CreateLease(create) = &mut entry.command else { panic!("it creates") };
    create.wish.precedence = Precedence { priority: 3, preemptible: true, preempt: true };
    create.victims = vec![Victim { lease_id: LeaseId(Uuid::from_u128(12)), revision: 2 }];
    entry
}

/// The same that is given back where nobody uses it.
fn expires() -> Entry {
    let mut entry = create();
    let Command::CreateLease(create) = &mut entry.command else { panic!("it creates") };
    create.wish.expiry_s = Some(900);
    entry
}

fn promote() -> Entry {
    let Command::CreateLease(create) = create().command else { panic!("it creates") };
    let command = Command::PromoteLease(Box::new(PromoteLease {
        lease_id: create.lease_id,
        plan: create.plan,
        moved_to: Some(Seconds(216_007_200)),
        planned_at: 9,
    }));
    Entry { key: None, proposed_at: Timestamp(5), command }
}

/// A series of two, of which the second had no room.
fn series() -> Entry {
    let mut entry = create();
    let Command::CreateLease(create) = entry.command else { panic!("it creates") };
    let at = |number: u32| {
        let start = Seconds(216_003_600 + (number - 1) * 86_400);
        Occurrence { number, start, end: start.plus(3_600) }
    };
    let rule = "FREQ=DAILY;COUNT=2".to_owned();
    let recurrence = Recurrence { rule, time_zone: "Europe/Berlin".to_owned(), mode: SeriesMode::BestEffort };
    let reason = LeftOutReason::NoRoom { reservation: 0, short_by: 2, largest_amount: 1, tightest: Some(Class::Vcpu) };
    entry.command = Command::CreateSeries(Box::new(CreateSeries {
        wish: SeriesWish { lease: LeaseWish { end: at(1).end, ..create.wish }, recurrence },
        asked: None,
        series_id: SeriesId(Uuid::from_u128(11)),
        occurrences: vec![PlannedOccurrence {
            occurrence: at(1),
            lease_id: create.lease_id,
            event_ids: create.event_ids,
            resource_ids: create.resource_ids,
            plan: create.plan,
        }],
        left_out: vec![LeftOut { occurrence: at(2), reason }],
        planned_at: create.planned_at,
    }));
    entry
}

fn delete_series() -> Entry {
    let series_id = SeriesId(Uuid::from_u128(11));
    Entry { key: None, proposed_at: Timestamp(5), command: Command::DeleteSeries { series_id } }
}

fn archive() -> Entry {
    Entry { key: None, proposed_at: Timestamp(5), command: Command::ArchiveLeases { ended_before: Timestamp(4) } }
}

fn recall() -> Entry {
    let command = Command::RecallLease { lease_id: LeaseId(Uuid::from_u128(2)), row: vec![1, 0x80] };
    Entry { key: None, proposed_at: Timestamp(5), command }
}

fn claim() -> Entry {
    Entry { key: None, proposed_at: Timestamp(5), command: Command::ClaimOffer { lease_id: LeaseId(Uuid::from_u128(2)) } }
}

fn outcome() -> Entry {
    let reason = Some(Reason { code: ReasonCode::WaitingForEnd, text: "h1".to_owned() });
    let outcome = Outcome::Delayed { reason };
    let command = Command::RecordOutcome { actuation_id: ActuationId(7), revision: 2, outcome };
    Entry { key: None, proposed_at: Timestamp(5), command }
}

/// What was in use at an expiry.
fn used() -> Entry {
    let outcome = Outcome::Used { tokens: [(HostId(1), 2), (HostId(3), 0)].into(), parked: 1 };
    let command = Command::RecordOutcome { actuation_id: ActuationId(7), revision: 2, outcome };
    Entry { key: None, proposed_at: Timestamp(5), command }
}

fn set_downtime() -> Entry {
    let command = Command::SetDowntime {
        host_id: HostId(3),
        downtime_id: DowntimeId(Uuid::from_u128(12)),
        start: Some(StartWish::At(Seconds(216_003_600))),
        end: Seconds(216_007_200),
        withheld: Withheld { vcpus: Some(2), memory_mb: None, disk_gb: Some(10) },
    };
    Entry { key: None, proposed_at: Timestamp(5), command }
}

fn drop_downtime() -> Entry {
    let command = Command::DropDowntime { host_id: HostId(3), downtime_id: DowntimeId(Uuid::from_u128(12)) };
    Entry { key: None, proposed_at: Timestamp(5), command }
}

fn set_upgrade() -> Entry {
    let upgrade = Upgrade { start: Seconds(216_003_600), vcpus: Some(128), memory_mb: None, disk_gb: Some(2000) };
    Entry { key: None, proposed_at: Timestamp(5), command: Command::SetUpgrade { host_id: HostId(3), upgrade } }
}

fn drop_upgrade() -> Entry {
    Entry { key: None, proposed_at: Timestamp(5), command: Command::DropUpgrade { host_id: HostId(3) } }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn entries_of_version_1_keep_their_bytes() {
    for (entry, golden) in [
        (create(), include_str!("golden/create_lease.hex")),
        (moved(), include_str!("golden/create_lease_moved.hex")),
        (offer(), include_str!("golden/create_lease_offer.hex")),
        (waits(), include_str!("golden/create_lease_waits.hex")),
        (preempts(), include_str!("golden/create_lease_preempts.hex")),
        (expires(), include_str!("golden/create_lease_expires.hex")),
        (promote(), include_str!("golden/promote_lease.hex")),
        (series(), include_str!("golden/create_series.hex")),
        (delete_series(), include_str!("golden/delete_series.hex")),
        (claim(), include_str!("golden/claim_offer.hex")),
        (archive(), include_str!("golden/archive_leases.hex")),
        (recall(), include_str!("golden/recall_lease.hex")),
        (outcome(), include_str!("golden/record_outcome.hex")),
        (used(), include_str!("golden/record_outcome_used.hex")),
        (set_downtime(), include_str!("golden/set_downtime.hex")),
        (drop_downtime(), include_str!("golden/drop_downtime.hex")),
        (set_upgrade(), include_str!("golden/set_upgrade.hex")),
        (drop_upgrade(), include_str!("golden/drop_upgrade.hex")),
    ] {
        let golden: String = golden.split_whitespace().collect();
        assert_eq!(hex(&encode_entry(&entry)), golden);
        assert_eq!(decode_entry(&unhex(&golden)).unwrap(), entry);
    }
}

#[test]
fn damaged_and_newer_entries_are_refused() {
    assert!(decode_entry(&[]).is_err());
    let mut newer = encode_entry(&outcome());
    newer[0] = 2;
    assert!(decode_entry(&newer).unwrap_err().to_string().contains("version 2"));
    let bytes = encode_entry(&create());
    for length in 1..bytes.len() {
        assert!(decode_entry(&bytes[..length]).is_err(), "cut at {length}");
    }
}

/// The rows of a state are hashed: the same commands give the same hash in every build.
#[test]
fn a_short_history_keeps_its_hash() {
    let mut world = World::new();
    world.register("h1", PoolKind::Dedicated, 8, 16);
    world.register("s1", PoolKind::Shared, 8, 16);
    world.send(None, Command::InitCluster { cluster_id: Uuid::from_u128(77) }).unwrap();
    world.send(None, Command::AdvanceClock).unwrap();
    assert_eq!(format!("{:032x}", world.state.hash()), include_str!("golden/state.hash").trim());
    world.check_replicas();
}

/// The same of a host with downtimes.
#[test]
fn a_host_with_downtimes_keeps_its_hash() {
    let mut world = World::new();
    world.register("h1", PoolKind::Dedicated, 8, 16);
    let host_id = HostId(1);
    for (id, withheld) in [(1, Withheld::ALL), (2, Withheld { vcpus: Some(2), memory_mb: Some(512), disk_gb: None })] {
        let start = Some(StartWish::At(Seconds(crate::world::ORIGIN_S + 3_600)));
        let end = Seconds(crate::world::ORIGIN_S + 7_200);
        let downtime_id = DowntimeId(Uuid::from_u128(id));
        world.send(None, Command::SetDowntime { host_id, downtime_id, start, end, withheld }).unwrap();
    }
    assert_eq!(format!("{:032x}", world.state.hash()), include_str!("golden/state_downtimes.hash").trim());
    world.check_replicas();
}

/// The same of a host with an upgrade.
#[test]
fn a_host_with_an_upgrade_keeps_its_hash() {
    let mut world = World::new();
    world.register("h1", PoolKind::Dedicated, 8, 16);
    let start = Seconds(crate::world::ORIGIN_S + 3_600);
    let upgrade = Upgrade { start, vcpus: Some(16), memory_mb: Some(16_384), disk_gb: None };
    world.send(None, Command::SetUpgrade { host_id: HostId(1), upgrade }).unwrap();
    assert_eq!(format!("{:032x}", world.state.hash()), include_str!("golden/state_upgrade.hash").trim());
    world.check_replicas();
}
