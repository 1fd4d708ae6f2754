//! Who has reserved what on which host, and when: over REST, gRPC and the command line alike.

use std::time::Duration;

use leasehold_client::model::{HostId, Lease, LeaseStatus, Phase};
use leasehold_client::{AllocationFilter, Client, Error, HostAllocation, HostListing, HostOrder, RefusalKind, ReservedInterval};
use leasehold_tests::caller;
use leasehold_tests::cloud::http_client;
use leasehold_tests::settings::{Auth, Timing};
use leasehold_tests::wait::wait_for;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::command_line;
use crate::rig::{Rig, from_now, rig_with, tomorrow, wish};

const HOSTS: u32 = 3;

/// What is to be listed of these leases, by what their bookings say.
fn of(leases: &[&Lease]) -> Vec<HostAllocation> {
    let on = |host_id: HostId| {
        let mut reservations = Vec::new();
        for lease in leases {
            for reservation in &lease.reservations {
                if reservation.bindings.iter().any(|one| one.host == host_id && one.phase == Phase::Main) {
                    let (reservation_id, lease_id) = (reservation.id, lease.id);
                    reservations.push(ReservedInterval { reservation_id, lease_id, start: lease.start, end: lease.end });
                }
            }
        }
        reservations.sort_by_key(|one| one.start);
        HostAllocation { host_id, reservations }
    };
    (1..=u64::from(HOSTS)).map(|host| on(HostId(host))).collect()
}

/// The same as Blazar's clients see it.
fn shown(allocation: &HostAllocation) -> Value {
    let date = |second: leasehold_client::model::Seconds| {
        let at = chrono::DateTime::from_timestamp(i64::try_from(second.unix_s()).unwrap(), 0).unwrap();
        at.format("%Y-%m-%dT%H:%M:%S.000000").to_string()
    };
    let reservation = |one: &ReservedInterval| {
        json!({
            "id": one.reservation_id.to_string(), "lease_id": one.lease_id.to_string(),
            "start_date": date(one.start), "end_date": date(one.end),
        })
    };
    let reservations: Vec<Value> = allocation.reservations.iter().map(reservation).collect();
    json!({"resource_id": allocation.host_id.to_string(), "reservations": reservations})
}

/// Three nodes with Keystone, three hosts of 16 CPUs, and the token of the admin.
async fn three_hosts() -> (Rig, String) {
    let rig = rig_with(HOSTS, Auth::Keystone, Timing::default()).await;
    let token = rig.cloud.tenant("admin").await.unwrap().token().to_owned();
    (rig, token)
}

async fn get(rig: &Rig, node: usize, token: &str, path: &str) -> (u16, Value) {
    let url = format!("{}/os-hosts{path}", rig.cluster.nodes()[node].rest_url());
    let answer = http_client().unwrap().get(url).header("X-Auth-Token", token).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn allocations(client: &Client) -> Vec<HostAllocation> {
    client.host_allocations(AllocationFilter::default()).await.unwrap().value
}

#[tokio::test]
async fn every_host_is_listed_with_what_is_reserved_there_and_filters_narrow_it() {
    let (rig, token) = three_hosts().await;
    let client = &rig.client;
    assert_eq!(allocations(client).await, of(&[]), "hosts without reservations are listed, too");
    let mut large = wish("large", from_now(90_000), from_now(93_600));
    large.reservations[0].resource.instance_mut().amount = 20;
    let large = client.create_lease(client.new_key(), large).await.unwrap().value;
    // Booked later, starts earlier.
    let small = client.create_lease(client.new_key(), tomorrow("small")).await.unwrap().value;
    let all = of(&[&large, &small]);
    assert_eq!(all.iter().map(|one| one.reservations.len()).sum::<usize>(), 3, "two hosts of the large one, one of the small");
    assert_eq!(allocations(client).await, all);
    let only =
        |lease: &Lease| client.host_allocations(AllocationFilter { lease_id: Some(lease.id), ..AllocationFilter::default() });
    assert_eq!(only(&large).await.unwrap().value, of(&[&large]));
    let by_reservation = client
        .host_allocations(AllocationFilter { reservation_id: Some(small.reservations[0].id), ..AllocationFilter::default() })
        .await
        .unwrap()
        .value;
    assert_eq!(by_reservation, of(&[&small]));
    let both = client
        .host_allocations(AllocationFilter {
            lease_id: Some(large.id),
            reservation_id: Some(small.reservations[0].id),
            ..AllocationFilter::default()
        })
        .await
        .unwrap()
        .value;
    assert_eq!(both, of(&[]));

    let wire = |allocations: &[HostAllocation]| json!({"allocations": allocations.iter().map(shown).collect::<Vec<_>>()});
    let unknown = Uuid::new_v4();
    for node in 0..rig.cluster.nodes().len() {
        for (query, wanted) in [
            (String::new(), wire(&all)),
            (format!("?lease_id={}", large.id), wire(&of(&[&large]))),
            (format!("?reservation_id={}", small.reservations[0].id), wire(&of(&[&small]))),
            (format!("?lease_id={unknown}"), wire(&of(&[]))),
            ("?lease_id=nonsense".to_owned(), wire(&of(&[]))),
        ] {
            assert_eq!(get(&rig, node, &token, &format!("/allocations{query}")).await, (200, wanted), "{query}");
        }
    }
    for (place, one) in all.iter().enumerate() {
        let path = format!("/{}/allocation", one.host_id);
        assert_eq!(get(&rig, 0, &token, &path).await, (200, json!({"allocation": shown(one)})));
        let path = format!("{path}?lease_id={}", small.id);
        let wanted = shown(&of(&[&small])[place]);
        assert_eq!(get(&rig, 0, &token, &path).await, (200, json!({"allocation": wanted})));
    }
    for path in ["/99/allocation", "/nonsense/allocation"] {
        let (status, said) = get(&rig, 0, &token, path).await;
        assert!(status == 404 && said["error_message"].as_str().unwrap().contains("not found"), "{path}: {status} {said}");
    }

    let since_1_1 = async |path: &str| -> (u16, Value) {
        let url = format!("{}/os-hosts{path}", rig.cluster.nodes()[0].rest_url());
        let request = http_client().unwrap().get(url).header("X-Auth-Token", &token);
        let answer = request.header("openstack-api-version", "reservation 1.1").send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    };
    assert_eq!(since_1_1("/allocations?limit=1&marker=1").await, (200, wire(&all[1..2])));
    for path in ["/allocations?lease_id=nonsense", "/1/allocation?lease_id=nonsense", "/1/allocation?colour=red"] {
        let (status, said) = since_1_1(path).await;
        assert!(status == 400 && !said["error_message"].as_str().unwrap().is_empty(), "{path}: {status} {said}");
    }
    let backwards: Vec<HostAllocation> = all.iter().rev().cloned().collect();
    assert_eq!(since_1_1("/allocations?sort_key=hypervisor_hostname&sort_dir=desc").await, (200, wire(&backwards)));
    assert_eq!(since_1_1("/allocations?sort_key=availability_zone&hosts=3,1&marker=1").await, (200, wire(&all[2..])));
    let (status, said) = since_1_1("/allocations?sort_key=availability_zone&marker=99").await;
    assert!(status == 400 && said["error_message"].as_str().unwrap().contains("99 is not there (any more)"), "{status} {said}");
    let until = chrono::Utc::now() + chrono::TimeDelta::seconds(89_000);
    let before = format!("end_date={}", until.format("%Y-%m-%dT%H:%M:%SZ"));
    assert_eq!(since_1_1(&format!("/allocations?{before}")).await, (200, wire(&of(&[&small]))), "the large one starts later");
    let first = shown(&of(&[&small])[0]);
    assert_eq!(since_1_1(&format!("/1/allocation?{before}")).await, (200, json!({"allocation": first})));
    let page = HostListing { order: HostOrder::Name, descending: true, limit: Some(2), ..HostListing::default() };
    let page = AllocationFilter { hosts: page, ..AllocationFilter::default() };
    assert_eq!(client.host_allocations(page).await.unwrap().value, backwards[..2]);
    let second = AllocationFilter { host_id: Some(all[1].host_id), ..AllocationFilter::default() };
    assert_eq!(client.host_allocations(second.clone()).await.unwrap().value, all[1..2]);
    let none = AllocationFilter { host_id: Some(HostId(99)), ..second };
    match client.host_allocations(none).await {
        Err(Error::Refused(refusal)) => assert_eq!(refusal.kind, RefusalKind::NotFound),
        other => panic!("{other:?}"),
    }
    let paged = command_line::says(&rig.cluster, &["host", "allocations", "--limit", "2", "--token", &token]).await;
    assert!(paged.contains("There may be more: --after 2"), "{paged}");
    let sorted = ["host", "allocations", "--sort", "name", "--reverse", "--after", "3", "--limit", "1", "--token", &token];
    assert_eq!(command_line::json(&rig.cluster, &sorted).await[0]["host_id"], json!(2));
    let named = ["host", "allocations", "3", "--token", &token];
    assert_eq!(command_line::json(&rig.cluster, &named).await.as_array().unwrap().len(), 1);
    let listed = command_line::json(&rig.cluster, &["host", "allocations", "--token", &token]).await;
    let leases = |value: &Value| value["reservations"].as_array().unwrap().len();
    assert_eq!(
        listed.as_array().unwrap().iter().map(leases).collect::<Vec<_>>(),
        all.iter().map(|one| one.reservations.len()).collect::<Vec<_>>()
    );
    let one = ["host", "allocations", "--lease", &small.id.to_string(), "--token", &token];
    let table = command_line::says(&rig.cluster, &one).await;
    assert!(table.contains(&small.id.to_string()) && !table.contains(&large.id.to_string()), "{table}");
}

#[tokio::test]
async fn tenants_do_not_see_what_others_reserved() {
    let (rig, _) = three_hosts().await;
    let tenant = rig.cloud.tenant("demo").await.unwrap();
    let client = caller::connect(&rig.cluster, Some(tenant.token())).unwrap();
    match client.host_allocations(AllocationFilter::default()).await {
        Err(Error::Refused(refusal)) => assert_eq!(refusal.kind, RefusalKind::Forbidden),
        other => panic!("{other:?}"),
    }
    for path in ["/allocations", "/1/allocation"] {
        assert_eq!(get(&rig, 0, tenant.token(), path).await.0, 403, "{path}");
    }
}

#[tokio::test]
async fn a_lease_that_is_over_is_on_no_host() {
    let (rig, _) = three_hosts().await;
    let client = &rig.client;
    let brief = client.create_lease(client.new_key(), wish("brief", from_now(2), from_now(5))).await.unwrap().value;
    assert_eq!(allocations(client).await, of(&[&brief]));
    wait_for("the lease to be over", Duration::from_secs(60), || async {
        let lease = client.get_lease(brief.id).await.map_err(|error| error.to_string())?.value;
        if lease.status == LeaseStatus::Terminated { Ok(()) } else { Err(lease.status.as_str().to_owned()) }
    })
    .await
    .unwrap();
    assert_eq!(allocations(client).await, of(&[]));
    assert_eq!(
        client
            .host_allocations(AllocationFilter { lease_id: Some(brief.id), ..AllocationFilter::default() })
            .await
            .unwrap()
            .value,
        of(&[]),
        "nor where it is asked for"
    );
}
