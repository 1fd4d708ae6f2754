//! Bad input over gRPC: the right code, a text that helps, nothing changed.

use std::time::{Duration, Instant};

use leasehold_client::wire::v1;
use leasehold_client::wire::v1::lease_service_client::LeaseServiceClient;
use leasehold_client::wire::v1::resource::Kind;
use leasehold_client::wire::v1::what_if_response::Outcome;
use leasehold_client::wire::v1::when::When;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use crate::rig::{PATIENCE, Rig, from_now, rig, tomorrow};

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";
const A_MINUTE_MS: u64 = 60_000;

/// A lease that would be booked, with one thing changed.
fn lease(change: impl FnOnce(&mut v1::CreateLeaseRequest)) -> v1::CreateLeaseRequest {
    let mut request = tomorrow("a").into_request();
    change(&mut request);
    request
}

fn instance(change: impl FnOnce(&mut v1::Instance)) -> v1::CreateLeaseRequest {
    lease(|request| {
        let Some(v1::Resource { kind: Some(Kind::Instance(instance)) }) = &mut request.reservations[0].resource else {
            panic!("a lease of an instance")
        };
        change(instance);
    })
}

fn when(when: When) -> Option<v1::When> {
    Some(v1::When { when: Some(when) })
}

/// A second so many seconds from now.
fn at(seconds: u64) -> Option<v1::When> {
    when(When::At(i64::try_from(from_now(seconds).unix_s()).unwrap()))
}

/// What is sent, and what the text must contain; all are INVALID_ARGUMENT.
fn creates() -> Vec<(v1::CreateLeaseRequest, &'static str)> {
    let long = || "x".repeat(10_000);
    let soon = leasehold_tests::wait::wall_ms() + A_MINUTE_MS;
    vec![
        (instance(|one| one.amount = 0), "amount"),
        (instance(|one| one.amount = 10_001), "and must be <= 10000"),
        (instance(|one| one.amount = u32::MAX), "and must be <= 10000"),
        (instance(|one| one.vcpus = 0), "vcpus"),
        (instance(|one| one.memory_mb = 0), "memory_mb"),
        (instance(|one| (one.memory_mb, one.amount) = (u32::MAX, 2)), "larger than any cloud"),
        (instance(|one| one.pool = 99), "pool"),
        (instance(|one| one.zone = Some(long())), "zone"),
        (instance(|one| one.required_traits = vec!["lower".to_owned()]), "required_traits"),
        (instance(|one| one.forbidden_traits = (0..65).map(|n| format!("T{n}")).collect()), "forbidden_traits"),
        (instance(|one| one.resource_properties = "x".repeat(20_000)), "resource_properties"),
        (lease(|one| one.reservations[0].resource = None), "reservations[0].resource"),
        (lease(|one| one.reservations[0].on_end = 99), "reservations[0].on_end"),
        (lease(|one| one.reservations[0].servers = vec!["nonsense".to_owned()]), "servers"),
        (lease(|one| one.reservations[0].servers = vec![NOBODY.to_owned(); 2]), "each server once"),
        (lease(|one| one.name = String::new()), "name"),
        (lease(|one| one.name = long()), "name"),
        (lease(|one| one.name = "a\tb".to_owned()), "name"),
        (lease(|one| one.start = when(When::At(1_600_000_000))), "later than current date"),
        (lease(|one| one.start = when(When::At(-1))), "start"),
        (lease(|one| one.start = when(When::Never(true))), "start"),
        (lease(|one| one.start = when(When::Now(false))), "start"),
        (lease(|one| one.start = Some(v1::When { when: None })), "start"),
        (lease(|one| one.end = at(80_000)), "later than start date"),
        (lease(|one| one.end.clone_from(&one.start)), "later than start date"),
        (lease(|one| one.end = when(When::Now(true))), "end"),
        (lease(|one| one.end = when(When::At(i64::MAX))), "end"),
        (lease(|one| one.end = when(When::At(4_733_683_200))), "end"),
        (lease(|one| one.request_id = "no uuid".to_owned()), "request_id"),
        (lease(|one| one.valid_until_ms = soon), "request_id"),
        // Version 4 has no time inside, so it needs a validity of its own (architecture D18).
        (lease(|one| one.request_id = NOBODY.to_owned()), "valid_until_ms"),
        (lease(|one| (one.request_id, one.valid_until_ms) = (NOBODY.to_owned(), soon + 25 * 3_600_000)), "24 hours"),
    ]
}

/// What the node says once it knows a leader: on a busy machine there are elections.
async fn create(rig: &Rig, request: v1::CreateLeaseRequest) -> Result<v1::CreateLeaseResponse, Status> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match rig.cluster.lease_service(0).create_lease(request.clone()).await {
            Err(status) if status.code() == Code::Unavailable && Instant::now() < give_up => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => return answer.map(tonic::Response::into_inner),
        }
    }
}

/// Everything that could have been changed, as it is.
async fn everything(rig: &Rig) -> (Vec<v1::Lease>, Vec<v1::Host>) {
    let leases = rig.cluster.lease_service(0).list_leases(v1::ListLeasesRequest::default()).await.unwrap().into_inner().leases;
    let hosts = rig.cluster.host_service(0).list_hosts(v1::ListHostsRequest::default()).await.unwrap().into_inner().hosts;
    (leases, hosts)
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, wanted: Code, text: &str) {
    let status = answer.unwrap_err();
    assert!(status.code() == wanted && status.message().contains(text), "wanted {wanted:?} with {text:?}, got {status:?}");
}

#[tokio::test]
async fn wrong_wishes_are_answered_with_a_code_and_a_text_and_change_nothing() {
    let rig = rig(1).await;
    let mut wrong = Vec::new();
    for (request, text) in creates() {
        let short: String = format!("{request:?}").chars().take(600).collect();
        match create(&rig, request).await {
            Err(status) if status.code() == Code::InvalidArgument && status.message().contains(text) => {}
            other => {
                let told: String = format!("{other:?}").chars().take(300).collect();
                wrong.push(format!("{short}\n    wanted {text:?}, got {told}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (leases, hosts) = everything(&rig).await;
    assert_eq!((leases.len(), hosts.len()), (0, 1));
}

#[tokio::test]
async fn wrong_questions_are_answered_with_a_code_and_a_text() {
    let rig = rig(1).await;
    // With the patience of a client: the first create finds the leader.
    create(&rig, lease(|_| {})).await.unwrap();
    let before = everything(&rig).await;
    let (mut leases, mut capacity) = (rig.cluster.lease_service(0), rig.cluster.capacity_service(0));
    let whole = v1::WhatIfRequest { lease: Some(lease(|_| {})) };
    assert!(matches!(leases.what_if(whole).await.unwrap().into_inner().outcome, Some(Outcome::Fits(_))));
    refused(leases.what_if(v1::WhatIfRequest { lease: None }).await, Code::InvalidArgument, "lease is missing");
    // What is said of idempotency does not matter; all else is refused as a create is.
    for (request, text) in creates().into_iter().filter(|(one, _)| one.request_id.is_empty() && one.valid_until_ms == 0) {
        refused(leases.what_if(v1::WhatIfRequest { lease: Some(request) }).await, Code::InvalidArgument, text);
    }

    // Whole hosts are asked about, and nothing else.
    let hosts = |more: &dyn Fn(&mut v1::ReservationWish)| {
        let resource = v1::Resource { kind: Some(Kind::Hosts(v1::WholeHosts { min: 1, max: 1, filter: None })) };
        let mut reservation = v1::ReservationWish { resource: Some(resource), ..Default::default() };
        more(&mut reservation);
        lease(|lease| lease.reservations = vec![reservation])
    };
    let whole = v1::WhatIfRequest { lease: Some(hosts(&|_| {})) };
    // The only host has the lease that was made before.
    let told = leases.what_if(whole).await.unwrap().into_inner().outcome;
    assert!(matches!(&told, Some(Outcome::NoRoom(no_room)) if no_room.short_by == 1), "{told:?}");
    for (request, text) in [
        (hosts(&|one| one.on_end = 2), "reservations[0].on_end is \"2\"; it must be unspecified"),
        (hosts(&|one| one.staging = Some(v1::StagingWish::default())), "reservations[0].staging is"),
        (hosts(&|one| one.servers = vec!["x".to_owned()]), "reservations[0].servers is \"x\"; it must be empty"),
    ] {
        refused(leases.what_if(v1::WhatIfRequest { lease: Some(request) }).await, Code::InvalidArgument, text);
    }
    refused(leases.create_lease(hosts(&|_| {})).await, Code::Unimplemented, "reservations[0].resource is of whole hosts");
    let resource = hosts(&|_| {}).reservations.remove(0).resource;
    let change = v1::ReservationChange { resource, ..Default::default() };
    let update = v1::UpdateLeaseRequest { reservations: vec![change], ..Default::default() };
    refused(leases.update_lease(update).await, Code::Unimplemented, "reservations[0].resource is of whole hosts");

    let show = v1::ShowCapacityRequest::default();
    let of = |filter| v1::ShowCapacityRequest { filter: Some(filter), ..show.clone() };
    let term = || v1::Requirement { key: "vcpus".to_owned(), comparison: 99, value: "1".to_owned() };
    for (request, text) in [
        (v1::ShowCapacityRequest { steps_max: 1001, ..show.clone() }, "steps: it is 1001; it must be from 1 to 1000"),
        (v1::ShowCapacityRequest { start: when(When::Never(true)), ..show.clone() }, "start"),
        (v1::ShowCapacityRequest { start: when(When::At(1_600_000_000)), ..show.clone() }, "later than current date"),
        (v1::ShowCapacityRequest { start: at(60), end: at(30), ..show.clone() }, "later than start date"),
        (v1::ShowCapacityRequest { end: when(When::Now(true)), ..show.clone() }, "end"),
        (v1::ShowCapacityRequest { end: when(When::At(4_733_683_201)), ..show.clone() }, "calendar"),
        (of(v1::HostFilter { host_ids: vec![1, 99], ..Default::default() }), "hosts: there is no host 99"),
        (of(v1::HostFilter { host_ids: (1..=1001).collect(), ..Default::default() }), "hosts: 1001 are named"),
        (of(v1::HostFilter { pool: 99, ..Default::default() }), "filter.pool"),
        (of(v1::HostFilter { zone: Some("x".repeat(256)), ..Default::default() }), "zone"),
        (of(v1::HostFilter { required_traits: vec!["lower".to_owned()], ..Default::default() }), "required_traits"),
        (of(v1::HostFilter { requirements: vec![term()], ..Default::default() }), "filter.requirements[0].comparison"),
    ] {
        refused(capacity.show(request).await, Code::InvalidArgument, text);
    }
    let one = v1::Instance { vcpus: 1, memory_mb: 1, ..Default::default() };
    let density = |instance| v1::DensityRequest { instance: Some(instance), ..Default::default() };
    for (request, text) in [
        (v1::DensityRequest::default(), "instance is missing"),
        (density(v1::Instance { vcpus: 0, ..one.clone() }), "vcpus"),
        (density(v1::Instance { memory_mb: 0, ..one.clone() }), "memory_mb"),
        (density(v1::Instance { amount: 10_001, ..one.clone() }), "and must be <= 10000"),
        (density(v1::Instance { pool: 99, ..one.clone() }), "instance.pool"),
        (v1::DensityRequest { host_ids: vec![99], ..density(one.clone()) }, "there is no host 99"),
        (v1::DensityRequest { start: at(60), end: at(60), ..density(one) }, "later than start date"),
    ] {
        refused(capacity.density(request).await, Code::InvalidArgument, text);
    }
    assert_eq!(everything(&rig).await, before);
}

#[tokio::test]
async fn wrong_changes_and_ids_that_nobody_has_change_nothing() {
    let rig = rig(1).await;
    let made = create(&rig, lease(|_| {})).await.unwrap().lease.unwrap();
    let before = everything(&rig).await;
    let (mut leases, mut hosts) = (rig.cluster.lease_service(0), rig.cluster.host_service(0));
    let update = v1::UpdateLeaseRequest { lease_id: made.id.clone(), ..Default::default() };
    let resized = |amount| v1::ReservationChange {
        reservation_id: made.reservations[0].id.clone(),
        resource: instance(|one| one.amount = amount).reservations[0].resource.clone(),
        on_end: 0,
    };
    let change = |reservations| v1::UpdateLeaseRequest { reservations, ..update.clone() };
    for (request, text) in [
        (change(vec![resized(0)]), "amount"),
        (change(vec![resized(10_001)]), "and must be <= 10000"),
        (change(vec![v1::ReservationChange { reservation_id: NOBODY.to_owned(), ..resized(2) }]), NOBODY),
        (change(vec![v1::ReservationChange { reservation_id: "nonsense".to_owned(), ..resized(2) }]), "reservation_id"),
        (v1::UpdateLeaseRequest { end: at(80_000), ..update.clone() }, "later than"),
        (v1::UpdateLeaseRequest { end: when(When::At(1_600_000_000)), ..update.clone() }, "later than"),
        (v1::UpdateLeaseRequest { start: when(When::At(1_600_000_000)), ..update.clone() }, "later than"),
        (v1::UpdateLeaseRequest { name: Some("x".repeat(10_000)), ..update.clone() }, "name"),
        (v1::UpdateLeaseRequest { lease_id: "nonsense".to_owned(), ..update.clone() }, "lease_id"),
    ] {
        refused(leases.update_lease(request).await, Code::InvalidArgument, text);
    }
    let unknown = || NOBODY.to_owned();
    let get = |lease_id| v1::GetLeaseRequest { lease_id, stale: false };
    refused(leases.get_lease(get(unknown())).await, Code::NotFound, NOBODY);
    refused(leases.get_lease(get("nonsense".to_owned())).await, Code::InvalidArgument, "lease_id");
    let renamed = v1::UpdateLeaseRequest { lease_id: unknown(), name: Some("b".to_owned()), ..Default::default() };
    refused(leases.update_lease(renamed).await, Code::NotFound, NOBODY);
    let delete = v1::DeleteLeaseRequest { lease_id: unknown(), ..Default::default() };
    refused(leases.delete_lease(delete).await, Code::NotFound, NOBODY);
    refused(leases.look_up_key(v1::LookUpKeyRequest::default()).await, Code::InvalidArgument, "request_id");

    refused(hosts.get_host(v1::GetHostRequest { host_id: 99, stale: false }).await, Code::NotFound, "99");
    let set = v1::UpdateHostRequest { host_id: 99, reservable: Some(false), ..Default::default() };
    refused(hosts.update_host(set).await, Code::NotFound, "99");
    let key = [("k".to_owned(), "x".repeat(10_000))].into();
    let set = v1::UpdateHostRequest { host_id: 1, properties: key, ..Default::default() };
    refused(hosts.update_host(set).await, Code::InvalidArgument, "properties");
    refused(hosts.delete_host(v1::DeleteHostRequest { host_id: 99, ..Default::default() }).await, Code::NotFound, "99");
    let add = v1::RegisterHostRequest { name: "no-such-host".to_owned(), ..Default::default() };
    refused(hosts.register_host(add).await, Code::NotFound, "no-such-host");
    let by = v1::ListAllocationsRequest { lease_id: Some("nonsense".to_owned()), ..Default::default() };
    refused(hosts.list_allocations(by).await, Code::InvalidArgument, "lease_id");
    assert_eq!(everything(&rig).await, before);
}

#[tokio::test]
async fn five_megabytes_and_a_thousand_idle_connections_do_not_hold_up_others() {
    let rig = rig(1).await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        let endpoint = Endpoint::from_shared(rig.cluster.nodes()[0].grpc_url()).unwrap();
        idle.push(endpoint.connect().await.unwrap());
    }
    let large = lease(|one| one.name = "x".repeat(5 << 20));
    refused(rig.cluster.lease_service(0).create_lease(large).await, Code::OutOfRange, "4194304");
    // One of them is as good as any other, and a new one as the old.
    let asked = Instant::now();
    let mut old = LeaseServiceClient::new(idle.pop().unwrap());
    old.list_leases(v1::ListLeasesRequest::default()).await.unwrap();
    let (leases, hosts) = everything(&rig).await;
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!((leases.len(), hosts.len(), idle.len()), (0, 1, 999));
}
