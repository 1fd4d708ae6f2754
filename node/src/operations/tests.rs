//! Operations on nodes of one process, without edges and without a cloud.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use leasehold_ledger::command::{
    BeforeEndWish, Command, CreateLease, EndWish, LeaseChange, LeaseWish, Recurrence, RegisterHost, ReservationWish, SeriesWish,
    StartWish,
};
use leasehold_ledger::listing::LeaseFilter;
use leasehold_ledger::model::{
    Adoption, Amounts, Anchor, EventId, HostDescription, InstanceWish, LeaseId, NodeId, Observation, OnEnd, PoolKind, Precedence,
    ProjectId, RequestKey, ReservationId, ResourceWish, Seconds, SeriesMode, UserId,
};
use leasehold_ledger::plan::{CapacityWish, DensityWish, HostFilter, Overlay, Tell, WindowWish, plan_adopting};

use futures::StreamExt;
use leasehold_ledger::reply::Rejection;
use leasehold_ledger::state::{ChangeSubject, State};

use super::Bounds;
use super::{Actor, Consistency, KeyState, OperationError, Operations, Unavailable};
use crate::raft::{Member, RaftConfig, RaftNode, Timing};
use crate::seams::{HttpOptions, Seams};

/// One node, which is the cluster once it is initialised.
pub(crate) struct Lone {
    pub operations: Operations,
    _folder: tempfile::TempDir,
}

impl Lone {
    /// Started, without a leader.
    pub async fn start() -> Lone {
        Lone::start_with(Bounds::default()).await
    }

    async fn start_with(bounds: Bounds) -> Lone {
        let folder = tempfile::tempdir().unwrap();
        let seams = Seams::system(&HttpOptions::default()).unwrap();
        let config = RaftConfig {
            node_id: NodeId(1),
            cluster_id: None,
            data_dir: folder.path().to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            member: Member::default(),
            tls: None,
            timing: Timing::default(),
        };
        let raft = RaftNode::start(config, &seams).await.unwrap();
        Lone { operations: Operations::new(raft, None, NodeId(1), bounds, seams), _folder: folder }
    }

    /// Leads, and has one host with this many vCPUs.
    pub async fn with_host(vcpus: u32) -> Lone {
        Lone::start().await.led(vcpus).await
    }

    /// The same with one host of four vCPUs, where so much may be asked for.
    pub async fn with(bounds: Bounds) -> Lone {
        Lone::start_with(bounds).await.led(4).await
    }

    async fn led(self, vcpus: u32) -> Lone {
        let lone = self;
        lone.operations.inner.raft.initialise().await.unwrap();
        lone.operations.probe(&actor("admin"), Vec::new()).await.unwrap();
        lone.register(host("h1", PoolKind::Dedicated, vcpus)).await;
        lone
    }

    async fn register(&self, host: RegisterHost) {
        let command = Command::RegisterHost(Box::new(host));
        self.operations.inner.raft.propose(None, command).await.unwrap().outcome.unwrap();
    }

    /// One more host, shared: what is booked there waits for its hold, which nobody makes.
    pub async fn add_shared_host(&self, vcpus: u32) {
        self.register(host("h2", PoolKind::Shared, vcpus)).await;
    }

    pub async fn end(self) {
        self.operations.inner.raft.stop().await;
    }
}

pub(crate) fn actor(role: &str) -> Actor {
    Actor { user_id: UserId("u".into()), project_id: ProjectId("p".into()), roles: BTreeSet::from([role.to_owned()]) }
}

pub(crate) fn host(name: &str, pool: PoolKind, vcpus: u32) -> RegisterHost {
    let capacity = Amounts { vcpus, memory_mb: 8192, disk_gb: 100, slots: 64 };
    let description = HostDescription {
        hypervisor_hostname: name.to_owned(),
        service_name: name.to_owned(),
        root_provider: uuid::Uuid::new_v5(&uuid::Uuid::nil(), name.as_bytes()),
        hypervisor_type: "QEMU".to_owned(),
        hypervisor_version: 8,
        cpu_info: "{}".to_owned(),
        vcpus,
        memory_mb: 8192,
        local_gb: 100,
        zone: None,
        pool,
        anchor_budget: 64,
        memory_grain_mb: 0,
        anchor: Anchor::Memory,
    };
    let observation = Observation { capacity, firm: Amounts::default(), max_unit: capacity, traits: BTreeSet::new(), up: true };
    RegisterHost { description, observation, properties: Default::default() }
}

/// A lease far in the future of so many instances with one vCPU each.
pub(crate) fn wish(amount: u32) -> LeaseWish {
    let instance = InstanceWish::anywhere(1, 64, 0, amount);
    let start = Seconds::from_unix_s(4_102_444_800).unwrap();
    LeaseWish {
        name: "a".to_owned(),
        project_id: ProjectId("p".into()),
        user_id: UserId("u".into()),
        start: StartWish::At(start),
        end: start.plus(3600),
        before_end: BeforeEndWish::Never,
        offer: None,
        wait: None,
        precedence: Default::default(),
        expiry_s: None,
        ignore_quota: false,
        reservations: vec![ReservationWish {
            resource: ResourceWish::Instance(instance.into()),
            staging: None,
            on_end: OnEnd::Delete,
            servers: Default::default(),
        }],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_dropped_while_it_is_proposed_leaves_no_booking_behind() {
    let lone = Lone::with_host(4).await;
    let (operations, member) = (lone.operations.clone(), actor("member"));
    {
        let mut create = std::pin::pin!(operations.create_lease(&member, None, wish(4)));
        assert!(futures::poll!(&mut create).is_pending(), "planned and handed over, not answered yet");
        assert!(!operations.inner.overlay.lock().is_empty(), "the plan is booked while it is in flight");
    }
    assert!(operations.inner.overlay.lock().is_empty(), "the booking went with the request");

    // What was handed over is committed all the same, before or after what comes later; then it is a lease like any other.
    let again = async {
        loop {
            for lease in
                operations.list_leases(&member, LeaseFilter::default(), Consistency::Linearizable).await.unwrap().value.leases
            {
                operations.delete_lease(&member, None, lease.id).await.unwrap();
            }
            match operations.create_lease(&member, None, wish(2)).await {
                Ok(made) => return made.value,
                Err(OperationError::NoRoom { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
    };
    let made = tokio::time::timeout(Duration::from_secs(10), again).await.expect("a booking is left behind");

    let change = LeaseChange { end: Some(EndWish::At(made.end.plus(60))), ..LeaseChange::default() };
    {
        let mut update = std::pin::pin!(operations.update_lease(&member, None, made.id, change));
        // Who may change it is read first, so that it takes more than one poll until the plan is booked.
        let booked = async {
            loop {
                if futures::poll!(&mut update).is_ready() {
                    return false;
                }
                if !operations.inner.overlay.lock().is_empty() {
                    return true;
                }
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
        };
        assert!(booked.await, "the update was answered before it could be dropped");
    }
    assert!(operations.inner.overlay.lock().is_empty());
    lone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_changes_wait_for_the_election_as_a_create_does() {
    let lone = Lone::start().await;
    let (operations, member) = (lone.operations.clone(), actor("member"));
    let read = operations.list_leases(&member, LeaseFilter::default(), Consistency::Linearizable);
    let unknown = LeaseId(uuid::Uuid::from_u128(9));
    let change = operations.update_lease(&member, None, unknown, LeaseChange::default());
    let delete = operations.delete_lease(&member, None, unknown);
    let elect = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        operations.inner.raft.initialise().await.unwrap();
    };
    let (read, change, delete, ()) = tokio::join!(read, change, delete, elect);
    assert_eq!(read.unwrap().value.leases, Vec::new());
    let not_found = OperationError::Rejected(Rejection::LeaseNotFound(unknown));
    assert_eq!((change.unwrap_err(), delete.unwrap_err()), (not_found.clone(), not_found));
    lone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_not_answered_by_a_node_that_nobody_confirms() {
    let lone = Lone::start().await;
    let (operations, admin) = (lone.operations.clone(), actor("admin"));
    let window = WindowWish { start: StartWish::Now, end: Seconds::OPEN_END };
    let instance = wish(1).reservations[0].resource.instance().clone();
    let capacity = operations.capacity(&admin, CapacityWish { filter: HostFilter::default(), window, steps_max: 1 });
    let density = operations.density(&admin, DensityWish { instance, whole_hosts: false, seek: false, among: None, window });
    let what_if = operations.what_if(&admin, wish(1));
    let (capacity, density, what_if) = tokio::join!(capacity, density, what_if);
    let unconfirmed = OperationError::Unavailable(Unavailable::NoQuorum);
    assert_eq!(capacity.unwrap_err(), unconfirmed);
    assert_eq!(density.unwrap_err(), unconfirmed);
    assert_eq!(what_if.unwrap_err(), unconfirmed);
    lone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_sees_its_own_leases_and_changes_and_no_others() {
    let lone = Lone::with_host(4).await;
    let operations = lone.operations.clone();
    let of = |project: &str, role: &str| Actor { project_id: ProjectId(project.into()), ..actor(role) };
    let own = |project: &str| LeaseWish { project_id: ProjectId(project.into()), ..wish(1) };
    let foreign = operations.create_lease(&of("q", "member"), None, own("q")).await.unwrap().value;
    let made = operations.create_lease(&of("p", "member"), None, own("p")).await.unwrap().value;

    let asked = LeaseFilter { project_id: Some(ProjectId("q".into())), ..LeaseFilter::default() };
    let refused = operations.list_leases(&of("p", "member"), asked.clone(), Consistency::Linearizable).await.unwrap_err();
    assert_eq!(refused, OperationError::Forbidden { rule: "blazar:leases:get".to_owned() });
    let seen = operations.list_leases(&of("p", "admin"), asked, Consistency::Linearizable).await.unwrap().value.leases;
    assert_eq!(seen, vec![foreign.clone()]);

    let denied = |rule: &str| OperationError::Forbidden { rule: format!("blazar:leases:{rule}") };
    let change = LeaseChange { name: Some("b".to_owned()), ..LeaseChange::default() };
    for stranger in [of("p", "member"), of("q", "reader")] {
        let changed = operations.update_lease(&stranger, None, foreign.id, change.clone()).await;
        assert_eq!(changed.unwrap_err(), denied("put"));
        assert_eq!(operations.delete_lease(&stranger, None, foreign.id).await.unwrap_err(), denied("delete"));
    }

    let mut watch = operations.watch(&of("p", "reader"), 0).await.unwrap();
    match watch.next().await.unwrap().unwrap().subject {
        ChangeSubject::Lease(lease) => assert_eq!(lease.id, made.id, "neither the host nor the foreign lease comes first"),
        other => panic!("{other:?}"),
    }
    let mut all = operations.watch(&of("p", "admin"), 0).await.unwrap();
    assert!(matches!(all.next().await.unwrap().unwrap().subject, ChangeSubject::Host(_)));
    lone.end().await;
}

// One thread: nobody confirms the read while it is polled for the first time.
#[tokio::test]
async fn an_adoption_refused_while_the_same_key_is_answered_gives_that_answer() {
    let lone = Lone::with_host(4).await;
    let (operations, member) = (lone.operations.clone(), actor("member"));
    let raft = &operations.inner.raft;
    let mut wish = wish(1);
    wish.reservations[0].servers = [uuid::Uuid::from_u128(1)].into();
    let key = |id| RequestKey {
        project_id: ProjectId("p".into()),
        id: uuid::Uuid::from_u128(id),
        valid_until: raft.now().unwrap().plus_ms(60_000),
    };
    let (sent_twice, refused) = (key(1), key(2));

    // There is no cloud here, so every look at the servers is refused.
    let mut second = std::pin::pin!(operations.create_lease(&member, Some(sent_twice.clone()), wish.clone()));
    assert!(futures::poll!(&mut second).is_pending(), "a refusal is no answer before the read is confirmed");
    let reservation_id = ReservationId(uuid::Uuid::from_u128(7));
    let adoption = Adoption {
        flavor_of: ReservationId(uuid::Uuid::from_u128(8)),
        anchor: Anchor::Memory,
        servers: wish.reservations[0].servers.clone(),
        opened: false,
    };
    let adoptions = BTreeMap::from([(reservation_id, adoption)]);
    let now = raft.now().unwrap();
    let planned =
        plan_adopting(&raft.state(), &Overlay::default(), &wish, &[reservation_id], &adoptions, now, Tell::WhatFits).unwrap();
    let first = CreateLease {
        wish: wish.clone(),
        lease_id: LeaseId(uuid::Uuid::from_u128(9)),
        event_ids: (20..26).map(|id| EventId(uuid::Uuid::from_u128(id))).collect(),
        plan: planned.reservations,
        resource_ids: vec![uuid::Uuid::from_u128(10)],
        planned_at: planned.planned_at,
        moved_to: planned.moved_to,
        adoptions,
        caller_makes_groups: false,
        waits: false,
        asked: None,
        victims: Vec::new(),
    };
    let made = raft.propose(Some(sent_twice), Command::CreateLease(Box::new(first))).await.unwrap();
    made.outcome.unwrap();
    assert_eq!(second.await.unwrap().value.id, LeaseId(uuid::Uuid::from_u128(9)));

    let unknown = operations.create_lease(&member, Some(refused), wish).await.unwrap_err();
    assert!(matches!(unknown, OperationError::CloudUnavailable(_)), "{unknown}");
    lone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_sent_twice_at_once_is_not_refused_for_the_room_that_its_own_lease_takes() {
    let lone = Lone::with_host(4).await;
    let (operations, member) = (lone.operations.clone(), actor("member"));
    for n in 0..20 {
        let key = RequestKey {
            project_id: ProjectId("p".into()),
            id: uuid::Uuid::from_u128(100 + n),
            valid_until: operations.inner.raft.now().unwrap().plus_ms(60_000),
        };
        let create = || operations.create_lease(&member, Some(key.clone()), wish(4));
        let (one, other) = futures::join!(create(), create());
        let (one, other) = (one.unwrap().value.id, other.unwrap().value.id);
        assert_eq!(one, other);
        operations.delete_lease(&member, None, one).await.unwrap();
    }
    lone.end().await;
}

// The simulation's witness found an offer refused as over while the first attempt stood in the log, whose disk hung (seed 200).
#[tokio::test(flavor = "multi_thread")]
async fn what_planning_refuses_is_stored_with_the_key_so_that_no_other_attempt_books_it() {
    let lone = Lone::with_host(4).await;
    let (operations, member) = (lone.operations.clone(), actor("member"));
    let valid_until = operations.inner.raft.now().unwrap().plus_ms(60_000);
    let key = |id| RequestKey { project_id: ProjectId("p".into()), id: uuid::Uuid::from_u128(id), valid_until };
    let stored = async |id| match operations.look_up_key(&member, key(id)).await.unwrap().value {
        KeyState::Applied { lease_id: None, rejection, .. } => rejection,
        KeyState::Never => None,
        other => panic!("{other:?}"),
    };
    let text = |rejection: Rejection| Some(rejection.to_string());
    let past = StartWish::At(Seconds::from_unix_s(1_600_000_000).unwrap());

    let late = LeaseWish { start: past, ..wish(1) };
    let refused = operations.create_lease(&member, Some(key(1)), late.clone()).await.unwrap_err();
    assert_eq!(refused, OperationError::Rejected(Rejection::StartInPast));
    assert_eq!(stored(1).await, text(Rejection::StartInPast));
    // By a flavor, which is in the key's content as it was asked for.
    let refused = operations.create_here(Some(key(5)), late.clone(), Some(Box::new(late.clone())), false).await;
    assert_eq!(refused.err(), Some(OperationError::Rejected(Rejection::StartInPast)));
    assert_eq!(stored(5).await, text(Rejection::StartInPast));

    let recurrence = Recurrence {
        rule: "FREQ=DAILY;COUNT=2".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        mode: SeriesMode::AllOrNothing,
    };
    let series = SeriesWish { lease: LeaseWish { end: Seconds::from_unix_s(1_600_003_600).unwrap(), ..late }, recurrence };
    let refused = operations.create_series(&member, Some(key(2)), series).await.unwrap_err();
    assert_eq!(refused, OperationError::Rejected(Rejection::StartInPast));
    assert_eq!(stored(2).await, text(Rejection::StartInPast));

    let made = operations.create_lease(&member, None, wish(1)).await.unwrap().value;
    let change = LeaseChange { start: Some(past), ..LeaseChange::default() };
    let refused = operations.update_lease(&member, Some(key(3)), made.id, change).await.unwrap_err();
    assert_eq!(refused, OperationError::Rejected(Rejection::StartInPast));
    assert_eq!(stored(3).await, text(Rejection::StartInPast));

    // What is said of a priority is a part of that, and of the key's content.
    let ranked = |priority, preempt| Precedence { priority, preempt, preemptible: false };
    let nonsense = LeaseWish { precedence: ranked(0, true), ..wish(1) };
    let refused = operations.create_lease(&member, Some(key(6)), nonsense).await.unwrap_err();
    assert!(refused.to_string().contains("no lease has a lower priority than 0"), "{refused}");
    assert!(stored(6).await.is_some_and(|stored| stored.contains("no lease has a lower priority than 0")));
    let other = operations.create_lease(&member, Some(key(6)), wish(1)).await.unwrap_err();
    assert_eq!(other, OperationError::Rejected(Rejection::RequestIdReused));

    // There may be room later, for the same key, or somebody who gives way.
    assert!(matches!(operations.create_lease(&member, Some(key(4)), wish(9)).await, Err(OperationError::NoRoom { .. })));
    assert_eq!(stored(4).await, None);
    let nobody = LeaseWish { precedence: ranked(1, true), ..wish(4) };
    let refused = operations.create_lease(&actor("admin"), Some(key(7)), nobody).await;
    assert!(matches!(refused, Err(OperationError::NoRoom { .. })), "{refused:?}");
    assert_eq!(stored(7).await, None);
    lone.end().await;
}

// To find out what would fit instead takes many times as long as to plan, and the overlay's lock is that of all plans.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_fit_instead_is_found_out_once_and_with_no_plan_in_flight() {
    let lone = Lone::with_host(4).await;
    let operations = lone.operations.clone();
    let asked = std::sync::Mutex::new(Vec::new());
    let search = |amount: u32| {
        let (asked, wish) = (&asked, wish(amount));
        move |state: &State, overlay: &Overlay, now, tell| {
            asked.lock().unwrap().push((tell, overlay.is_empty()));
            plan_adopting(state, overlay, &wish, &[], &BTreeMap::new(), now, tell)
        }
    };
    let now = operations.inner.raft.now().unwrap();
    let refused = operations.plan(now, search(9)).await.map(|_| ());
    let Err(OperationError::NoRoom { offer, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((offer.largest_amount, offer.short_by), (4, 5));
    assert_eq!(asked.lock().unwrap().split_off(0), [(Tell::Shortage, true), (Tell::WhatFits, true)]);

    let (_, booked) = operations.plan(now, search(3)).await.unwrap();
    asked.lock().unwrap().clear();
    assert_eq!(operations.plan(now, search(2)).await.map(|_| ()), Err(OperationError::Unavailable(Unavailable::Busy)));
    let asked = asked.into_inner().unwrap();
    assert!(asked.len() > 1 && asked.iter().all(|one| *one == (Tell::Shortage, false)), "{asked:?}");
    drop(booked);
    lone.end().await;
}

// The simulation's witness found answers with the index of whatever came next (architecture D24).
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_the_lease_as_its_own_entry_left_it_whatever_came_after() {
    let lone = Lone::with_host(4).await;
    let (operations, member) = (lone.operations.clone(), actor("member"));
    let made = operations.create_lease(&member, None, wish(1)).await.unwrap();
    let renamed = LeaseChange { name: Some("later".to_owned()), ..LeaseChange::default() };
    let changed = operations.update_lease(&member, None, made.value.id, renamed).await.unwrap();
    assert!(changed.ledger_index > made.ledger_index);
    assert_eq!(operations.lease_left_at(made.value.id, made.ledger_index).await.unwrap(), made);
    assert_eq!(operations.lease_left_at(made.value.id, changed.ledger_index).await.unwrap(), changed);
    operations.delete_lease(&member, None, made.value.id).await.unwrap();
    assert_eq!(operations.lease_left_at(made.value.id, made.ledger_index).await.unwrap(), made);
    lone.end().await;
}
