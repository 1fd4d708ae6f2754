//! What is free, how many fit, what a lease would come to: asked of any node, over every face, before a create meets it.

use leasehold_client::command::{Recurrence, StartWish};
use leasehold_client::model::{Class, HostId, InstanceWish, Interval, Lease, LeaseStatus, PoolKind, Seconds, SeriesMode};
use leasehold_client::{
    CapacityWish, Client, DensityWish, Error, HostAmount, HostCount, HostFilter, HostReservation, NewLease, Preempts,
    RefusalKind, WhatIf, WhatIfHosts, WindowWish,
};
use leasehold_tests::caller;
use leasehold_tests::cloud::http_client;
use leasehold_tests::settings::{Auth, Timing};
use leasehold_tests::wait::wait_for;
use serde_json::{Value, json};

use crate::command_line::{self, SIZE};
use crate::rig::{PATIENCE, Rig, from_now, rig, rig_with, wish};

/// Tomorrow, for an hour.
fn window() -> Interval {
    Interval { start: from_now(86_400), end: from_now(90_000) }
}

/// So many servers of 4 vCPUs; a host of the simulated cloud takes four.
fn large(amount: u32, window: Interval) -> NewLease {
    let mut lease = wish("large", window.start, window.end);
    let instance = lease.reservations[0].resource.instance_mut();
    (instance.vcpus, instance.amount) = (4, amount);
    lease
}

fn capacity_wish(window: Interval, filter: HostFilter) -> CapacityWish {
    let (start, end) = (StartWish::At(window.start.minus(3600)), window.end.plus(3600));
    CapacityWish { filter, window: WindowWish { start, end }, steps_max: 10 }
}

fn density_wish(amount: u32, window: Interval) -> DensityWish {
    let instance = large(amount, window).reservations[0].resource.instance().clone();
    let window = WindowWish { start: StartWish::At(window.start), end: window.end };
    DensityWish { instance, whole_hosts: false, seek: true, among: None, window }
}

/// A client that asks one node alone.
fn only(rig: &Rig, node: usize, token: &str) -> Client {
    caller::connect_to(vec![rig.cluster.endpoints()[node].clone()], Some(token)).unwrap()
}

/// The answer of one node, as soon as it knows the time: it has to have heard from the other's clock, which takes a moment after its start.
async fn get(rig: &Rig, node: usize, token: &str, path: &str) -> (u16, Value) {
    let url = format!("{}/{path}", rig.cluster.nodes()[node].rest_url());
    let client = http_client().unwrap();
    wait_for("the node to know the time", PATIENCE, async || {
        let request = client.get(&url).header("X-Auth-Token", token);
        let answer = request.header("OpenStack-API-Version", "reservation 1.1").send().await.unwrap();
        let (status, body): (u16, Value) = (answer.status().as_u16(), answer.json().await.unwrap());
        if status == 503 { Err(body.to_string()) } else { Ok((status, body)) }
    })
    .await
    .unwrap()
}

fn date(second: Seconds) -> String {
    let at = chrono::DateTime::from_timestamp(i64::try_from(second.unix_s()).unwrap(), 0).unwrap();
    at.format("%Y-%m-%dT%H:%M:%S.000000").to_string()
}

#[tokio::test]
async fn every_node_tells_what_is_free_as_soon_as_a_lease_is_booked() {
    let rig = rig_with(3, Auth::Keystone, Timing::default()).await;
    let token = rig.cloud.tenant("admin").await.unwrap().token().to_owned();
    let mut made: Vec<Lease> = Vec::new();
    for round in 0..3u64 {
        let window = window();
        made.push(rig.client.create_lease(rig.client.new_key(), large(3, window)).await.unwrap().value);
        // Two of three nodes may have to wait for it.
        for node in 0..3 {
            let asked = only(&rig, node, &token).capacity(capacity_wish(window, HostFilter::default())).await.unwrap();
            let capacity = asked.value;
            assert_eq!((capacity.hosts, capacity.open_hosts, capacity.total[0], capacity.firm[0]), (3, 3, 48, 0));
            let most = capacity.pieces.iter().map(|piece| piece.reserved[0]).max().unwrap();
            let least = capacity.pieces.iter().map(|piece| piece.available[0]).min().unwrap();
            assert_eq!((most, least), (12 * (round + 1), 48 - 12 * (round + 1)), "node {node}: {capacity:?}");
            assert!(asked.ledger_index >= made.last().unwrap().ledger_index);
        }
    }
    let (last, from) = (made.last().unwrap(), window());
    let path = format!("capacity?start_date={}&end_date={}&steps=1", date(last.start), date(last.end));
    for node in 0..3 {
        let (status, said) = get(&rig, node, &token, &path).await;
        let capacity = &said["capacity"];
        assert_eq!((status, &capacity["start_date"]), (200, &json!(date(last.start))), "{said}");
        assert_eq!(capacity["steps"].as_array().unwrap().len(), 1);
        assert_eq!((&capacity["steps"][0]["reserved"]["VCPU"], &capacity["total"]["VCPU"]), (&json!(36), &json!(48)), "{said}");
        let named = HostFilter { hosts: Some([HostId(2)].into()), pool: Some(PoolKind::Dedicated), ..HostFilter::default() };
        let one = only(&rig, node, &token).capacity(capacity_wish(from, named)).await.unwrap().value;
        assert_eq!((one.hosts, one.total[0]), (1, 16));
    }
    rig.client.delete_lease(rig.client.new_key(), last.id).await.unwrap();
    let after = rig.client.capacity(capacity_wish(from, HostFilter::default())).await.unwrap().value;
    assert_eq!(after.pieces.iter().map(|piece| piece.reserved[0]).max(), Some(24), "what is deleted is free at once");
}

#[tokio::test]
async fn a_tenant_is_told_what_his_create_then_meets_and_nothing_of_the_whole_cloud() {
    let rig = rig_with(2, Auth::Keystone, Timing::default()).await;
    let demo = rig.cloud.tenant("demo").await.unwrap();
    let client = caller::connect(&rig.cluster, Some(demo.token())).unwrap();
    let window = window();
    let found = client.density(density_wish(9, window)).await.unwrap().value;
    assert_eq!((found.window, found.fits.largest_amount, found.fits.tightest), (window, 8, Some(Class::Vcpu)));
    assert_eq!(found.earliest_start, None, "nine never fit on two hosts");
    let on_one = DensityWish { among: Some([HostId(2)].into()), ..density_wish(1, window) };
    assert_eq!(client.density(on_one).await.unwrap().value.fits.largest_amount, 4);

    let told = client.what_if(large(6, window)).await.unwrap();
    assert_eq!(
        told.value,
        WhatIf::Fits { moved_to: None, preempts: Preempts::default(), reservations: vec![HostCount { main: 2, staging: 0 }] }
    );
    // What else moves the index does so now and then; an entry of the question's own would do it each time.
    let pair = wait_for("two answers at one index", PATIENCE, async || {
        let (one, other) = (client.what_if(large(6, window)).await.unwrap(), client.what_if(large(6, window)).await.unwrap());
        if one.ledger_index == other.ledger_index { Ok((one, other)) } else { Err("an entry in between".to_owned()) }
    });
    let (one, other) = pair.await.unwrap();
    assert_eq!((&one, &one.value), (&other, &told.value));
    let made = client.create_lease(client.new_key(), large(6, window)).await.unwrap().value;
    assert_eq!(made.status, LeaseStatus::Pending);

    let WhatIf::NoRoom(told) = client.what_if(large(3, window)).await.unwrap().value else { panic!("it would fit") };
    let refused = match client.create_lease(client.new_key(), large(3, window)).await {
        Err(Error::Refused(refusal)) => refusal.offer.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!((told.short_by, told.largest_amount, told.next_start), (1, 2, Some(window.end)));
    assert_eq!((refused.short_by, refused.largest_amount, refused.next_start()), (1, 2, Some(window.end)));
    assert_eq!(told.tightest.map(Class::name), refused.tightest.as_deref());
    assert_eq!(client.density(density_wish(3, window)).await.unwrap().value.earliest_start, Some(window.end));

    // Servers of four vCPUs fill a host each: six lie on two.
    let whole = |amount: u32, window: Interval| {
        let instance = InstanceWish::anywhere(0, 0, 0, amount);
        DensityWish { instance, whole_hosts: true, ..density_wish(amount, window) }
    };
    let found = client.density(whole(2, window)).await.unwrap().value;
    assert_eq!((found.fits.largest_amount, found.fits.tightest, found.earliest_start), (0, None, Some(window.end)));
    assert_eq!(client.density(whole(3, window)).await.unwrap().value.earliest_start, None, "there are two hosts");
    let asked = format!("capacity/density?resource_type=physical:host&amount=1&start_date={}", date(window.end));
    let (status, body) = get(&rig, 1, demo.token(), &asked).await;
    assert_eq!(
        (status, &body["density"]["largest_amount"], &body["density"]["tightest"]),
        (200, &json!(2), &Value::Null),
        "{body}"
    );

    let senseless = large(1, Interval { start: window.end, end: window.start });
    match (client.what_if(senseless.clone()).await, client.create_lease(client.new_key(), senseless).await) {
        (Err(Error::Refused(asked)), Err(Error::Refused(created))) => assert_eq!(asked, created),
        other => panic!("{other:?}"),
    }
    let kind = |refused: Result<_, Error>| match refused {
        Err(Error::Refused(refusal)) => refusal.kind,
        Ok(()) => panic!("it was answered"),
        Err(other) => panic!("{other}"),
    };
    let whole = client.capacity(capacity_wish(window, HostFilter::default())).await.map(|_| ());
    assert_eq!(kind(whole), RefusalKind::Forbidden);
    assert_eq!(get(&rig, 0, demo.token(), "capacity").await.0, 403);
    let sized = DensityWish { whole_hosts: true, ..density_wish(1, window) };
    assert_eq!(kind(client.density(sized).await.map(|_| ())), RefusalKind::Invalid);
    let nowhere = DensityWish { among: Some([HostId(9)].into()), ..density_wish(1, window) };
    assert_eq!(kind(client.density(nowhere).await.map(|_| ())), RefusalKind::Invalid);
}

/// From `min` to `max` whole hosts.
fn whole(min: u32, max: u32) -> HostReservation {
    HostReservation { min, max, filter: HostFilter::default() }
}

/// A lease without reservations of its own.
fn bare(window: Interval) -> NewLease {
    NewLease { reservations: Vec::new(), ..wish("whole", window.start, window.end) }
}

#[tokio::test]
async fn a_lease_of_whole_hosts_is_asked_about_over_every_face_and_booked_over_none() {
    let rig = rig_with(3, Auth::Keystone, Timing::default()).await;
    let (demo, admin) = (rig.cloud.tenant("demo").await.unwrap(), rig.cloud.tenant("admin").await.unwrap());
    let client = caller::connect(&rig.cluster, Some(demo.token())).unwrap();
    let operator = caller::connect(&rig.cluster, Some(admin.token())).unwrap();
    let window = window();
    let amount = |count: u32, hosts: &[u64]| HostAmount { count, hosts: hosts.iter().copied().map(HostId).collect() };
    let fits = |reservations| WhatIfHosts::Fits { moved_to: None, reservations };
    let asked = vec![whole(1, 2), whole(1, 9)];
    wait_for("answers of one index on all nodes", PATIENCE, async || {
        let told = operator.what_if_hosts(bare(window), asked.clone(), None).await.unwrap();
        assert_eq!(told.value, fits(vec![amount(2, &[1, 2]), amount(1, &[3])]));
        for node in 0..3 {
            let again = only(&rig, node, demo.token()).what_if_hosts(bare(window), asked.clone(), None).await.unwrap();
            assert_eq!(again.value, fits(vec![amount(2, &[]), amount(1, &[])]));
            if again.ledger_index != told.ledger_index {
                return Err("an entry in between".to_owned());
            }
        }
        Ok(())
    })
    .await
    .unwrap();

    // Five servers of four vCPUs lie on two hosts; a host that has one is none any more.
    client.create_lease(client.new_key(), large(5, window)).await.unwrap();
    let WhatIfHosts::NoRoom(no_room) = client.what_if_hosts(bare(window), vec![whole(2, 3)], None).await.unwrap().value else {
        panic!("two are booked")
    };
    assert_eq!((no_room.short_by, no_room.largest_amount, no_room.next_start), (1, 1, Some(window.end)));
    let open = NewLease { start: StartWish::Earliest { from: Some(window.start), latest: window.end }, ..bare(window) };
    let moved = client.what_if_hosts(open, vec![whole(2, 3)], None).await.unwrap().value;
    assert_eq!(moved, WhatIfHosts::Fits { moved_to: Some(window.end), reservations: vec![amount(3, &[])] });
    let daily = |mode| Recurrence { rule: "FREQ=HOURLY;COUNT=3".to_owned(), time_zone: "UTC".to_owned(), mode };
    let series = client.what_if_hosts(bare(window), vec![whole(2, 2)], Some(daily(SeriesMode::BestEffort))).await.unwrap().value;
    let WhatIfHosts::SeriesFits { occurrences, left_out } = series else { panic!("{series:?}") };
    assert_eq!((occurrences.len(), left_out.len(), left_out[0].occurrence.number), (2, 1, 1));
    let series =
        client.what_if_hosts(bare(window), vec![whole(2, 2)], Some(daily(SeriesMode::AllOrNothing))).await.unwrap().value;
    assert!(matches!(series, WhatIfHosts::NoRoom(no_room) if no_room.occurrence == Some(1)));

    let refused = |answer: Result<_, Error>| match answer {
        Err(Error::Refused(refusal)) => (refusal.kind, refusal.message),
        Ok(()) => panic!("it was answered"),
        Err(other) => panic!("{other}"),
    };
    for (lease, reservations, text) in [
        (large(1, window), vec![whole(1, 1)], "reservations: some are of instances and some of whole hosts"),
        (bare(window), vec![whole(1, 1), whole(0, 1)], "reservations[1].min: it is 0; it must be from 1 to 10000"),
        (bare(window), vec![whole(3, 2)], "reservations[0].max: it is 2; it must be at least min, which is 3"),
        (bare(window), vec![whole(1, 1); 9], "reservations: there are 9; a lease of whole hosts has from 1 to 8"),
        (bare(window), Vec::new(), "reservations is empty; a lease of whole hosts must have at least one"),
    ] {
        let (kind, told) = refused(client.what_if_hosts(lease, reservations, None).await.map(drop));
        assert!(kind == RefusalKind::Invalid && told.contains(text), "{told}");
    }
    let leases = client.list_leases(Default::default()).await.unwrap().value;
    assert_eq!(leases.len(), 1, "of whole hosts nothing was booked");

    let body = |min: u32| {
        json!({"name": "whole", "start_date": date(window.start), "end_date": date(window.end),
            "reservations": [{"resource_type": "physical:host", "min": min, "max": 3, "hypervisor_properties": "[\">=\", \"$vcpus\", \"16\"]"}]})
    };
    let post = async |token: &str, path: &str, body: Value| {
        let url = format!("{}/{path}", rig.cluster.nodes()[1].rest_url());
        let request = http_client().unwrap().post(url).header("X-Auth-Token", token).json(&body);
        let answer = request.header("OpenStack-API-Version", "reservation 1.1").send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    for (token, ids) in [(demo.token(), json!([])), (admin.token(), json!(["3"]))] {
        let (status, told) = post(token, "leases/what-if", body(1)).await;
        let one = &told["what_if"]["reservations"][0];
        assert_eq!((status, &one["hosts"], &one["host_ids"]), (200, &json!(1), &ids), "{told}");
    }
    let (_, told) = post(demo.token(), "leases/what-if", body(2)).await;
    assert_eq!(told["what_if"]["offer"]["next_start"], json!(window.end.unix_s()), "{told}");
    assert_eq!(post(demo.token(), "leases", body(1)).await.0, 501);
}

#[tokio::test]
async fn the_command_line_asks_about_whole_hosts() {
    let rig = rig(2).await;
    let ask = |hosts: &'static str| ["lease", "create", "lab", "--start", "+1h", "--end", "+1h", "--hosts", hosts, "--what-if"];
    let told = command_line::json(&rig.cluster, &ask("1-4")).await;
    assert_eq!((&told["fits"], &told["reservations"][0]["host_ids"]), (&json!(true), &json!([1, 2])), "{told}");
    let says = command_line::says(&rig.cluster, &ask("1")).await;
    assert!(says.starts_with("It fits. Whole hosts cannot be booked yet.\nIt would have 1 host"), "{says}");
    let short = command_line::leasehold(&rig.cluster, &ask("3")).await;
    let said = String::from_utf8(short.stdout).unwrap();
    assert!(short.status.code() == Some(1) && said.contains("short by 1 host.\nTry: --hosts 2"), "{said}");
    let repeated = [&ask("2")[..], &["--repeat", "FREQ=DAILY;COUNT=2"]].concat();
    // The start of a rule is a date, and this is one.
    let says = command_line::says(&rig.cluster, &repeated).await;
    assert!(says.matches("2 hosts").count() == 2, "{says}");
    let (code, told) = command_line::fails(&rig.cluster, &ask("2")[..9]).await;
    assert!(code == 2 && told.contains("whole hosts cannot be booked yet"), "{code} {told}");
    assert_eq!(command_line::json(&rig.cluster, &["lease", "list"]).await, json!([]), "nothing was booked");
}

#[tokio::test]
async fn the_command_line_draws_capacity_counts_what_fits_and_tries_a_lease() {
    let rig = rig(2).await;
    let cluster = &rig.cluster;
    let made = [&["lease", "create", "noon", "--end", "+2h", "--amount", "20"], &SIZE[..]].concat();
    command_line::json(cluster, &made).await;
    let drawn = command_line::says(cluster, &["capacity", "show", "--to", "+6h"]).await;
    for text in [
        "2 hosts",
        "│ VCPU      ┆ 32    ┆ 0    ┆ 20              ┆ 0               ┆ 12 ",
        "available over time",
        "0 to 32 vCPU",
        "█",
        "▃",
    ] {
        assert!(drawn.contains(text), "{text:?} is not in\n{drawn}");
    }
    let told = command_line::json(cluster, &["capacity", "show", "--to", "+6h"]).await;
    let reserved: Vec<_> = told["steps"].as_array().unwrap().iter().map(|step| step["reserved"]["vcpus"].as_u64()).collect();
    assert_eq!(reserved, [Some(0), Some(20), Some(0)], "{told}");
    let one = command_line::json(cluster, &["capacity", "show", "--host", "cmp2", "--steps", "1"]).await;
    assert_eq!((&one["hosts"], &one["total"]["vcpus"]), (&json!(1), &json!(16)), "{one}");

    let size = ["--vcpus", "1", "--memory-mb", "256", "--from", "+1h", "--to", "+1h"];
    let density = command_line::json(cluster, &[&["capacity", "density", "--amount", "13"], &size[..]].concat()).await;
    assert_eq!((&density["largest_amount"], &density["tightest"]), (&json!(12), &json!("VCPU")), "{density}");
    assert!(density["earliest_start"].as_str() > density["start"].as_str(), "{density}");
    let says = command_line::says(cluster, &[&["capacity", "density"], &size[..]].concat()).await;
    assert!(says.starts_with("12 more fit from ") && says.contains("VCPU is the tightest"), "{says}");

    let ask = |amount: &'static str| {
        [&["lease", "create", "more", "--end", "+1h", "--what-if", "--amount", amount], &SIZE[..]].concat()
    };
    assert!(command_line::says(cluster, &ask("12")).await.contains("It fits. Nothing was booked."));
    let fits = command_line::json(cluster, &ask("12")).await;
    assert_eq!((&fits["fits"], &fits["no_room"]), (&json!(true), &Value::Null));
    let short = command_line::leasehold(cluster, &ask("13")).await;
    let said = String::from_utf8(short.stdout).unwrap();
    assert_eq!(short.status.code(), Some(1), "{said}");
    assert!(
        said.contains("It does not fit: short by 1 in the window") && said.contains("Try: --amount 12   or: --start"),
        "{said}"
    );
    assert_eq!(command_line::json(cluster, &["lease", "list"]).await.as_array().unwrap().len(), 1, "nothing was booked");

    for (line, wanted, text) in [
        (&["capacity", "show", "--steps", "0"][..], 2, "1..=1000"),
        (&["capacity", "show", "--steps", "1001"], 2, "1..=1000"),
        (&["capacity", "show", "--from", "never"], 2, "--from never"),
        (&["capacity", "show", "--to", "now"], 2, "--to now"),
        (&["capacity", "show", "--host", "99"], 1, "there is no host 99"),
        (&["capacity", "show", "--host", "nowhere"], 1, "no host is called 'nowhere'"),
        (&["capacity", "show", "--from", "2021-01-01"], 1, "later than current date"),
        (&["capacity", "density", "--vcpus", "1"], 2, "--memory-mb"),
    ] {
        let (code, told) = command_line::fails(cluster, line).await;
        assert!(code == wanted && told.contains(text), "{line:?}: {code} {told}");
    }
}
