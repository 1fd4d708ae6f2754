//! A lease from its booking to its end, over both edges, with the cloud looking on.

use std::time::Duration;

use leasehold_client::command::{EndWish, LeaseChange, OfferWish, Recurrence, ReservationChange, StagingWish, StartWish};
use leasehold_client::model::{Interval, Lease, LeaseId, LeaseStatus, OnEnd, SeriesMode, Stage};
use leasehold_client::state::ChangeSubject;
use leasehold_client::{Error, LeaseFilter, LeaseOrder, NewLease, Refusal, RefusalKind, Scope, UtilisationWish, WhatIf};
use leasehold_tests::audit::{End, History, Promise, double_booked, judge};
use leasehold_tests::caller;
use leasehold_tests::cloud::http_client;
use leasehold_tests::settings::{Auth, Timing};
use leasehold_tests::wait::wait_for;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::command_line;
use crate::rig::{PATIENCE, from_now, rig, rig_with, tomorrow, wish};

#[tokio::test]
async fn a_lease_is_booked_read_changed_and_deleted_over_grpc() {
    let rig = rig(1).await;
    let client = &rig.client;
    let booked = client.create_lease(client.new_key(), tomorrow("a")).await.unwrap();
    assert_eq!(booked.value.status, LeaseStatus::Pending);
    let read = client.get_lease(booked.value.id).await.unwrap();
    assert_eq!(read.value, booked.value);
    assert!(read.ledger_index >= booked.ledger_index);

    let end = EndWish::At(from_now(100_000));
    let change = LeaseChange { name: Some("b".to_owned()), end: Some(end), ..LeaseChange::default() };
    let changed = client.update_lease(client.new_key(), booked.value.id, change).await.unwrap();
    assert_eq!(changed.value.name, "b");
    assert!(changed.ledger_index > booked.ledger_index);
    assert_eq!(client.list_leases(Default::default()).await.unwrap().value, [changed.value]);

    client.delete_lease(client.new_key(), booked.value.id).await.unwrap();
    assert!(caller::found(client, booked.value.id).await.unwrap().is_none());
    assert!(client.list_leases(Default::default()).await.unwrap().value.is_empty());
}

#[tokio::test]
async fn leases_are_listed_by_what_they_are_page_by_page_over_every_face() {
    let rig = rig(1).await;
    let client = &rig.client;
    for (place, name) in ["c", "a", "b"].into_iter().enumerate() {
        let start = from_now(86_400 * (1 + u64::try_from(place).unwrap()));
        client.create_lease(client.new_key(), wish(name, start, start.plus(3_600))).await.unwrap();
    }
    let names = |leases: &[Lease]| leases.iter().map(|lease| lease.name.clone()).collect::<String>();
    let list = async |filter: LeaseFilter| client.list_leases(filter).await.unwrap().value;
    let by_name = LeaseFilter { order: LeaseOrder::Name, limit: Some(2), ..LeaseFilter::default() };
    let first = list(by_name.clone()).await;
    assert_eq!(names(&first), "ab");
    assert_eq!(names(&list(LeaseFilter { after: Some(first[1].id), ..by_name.clone() }).await), "c");
    let gone = LeaseFilter { after: Some(LeaseId(Default::default())), ..by_name };
    let Err(Error::Refused(refused)) = client.list_leases(gone).await else { panic!("no such marker") };
    assert!(refused.message.contains("marker: 00000000"), "{refused:?}");
    let second_day = Interval { start: from_now(86_400 * 2 - 60), end: from_now(86_400 * 2 + 60) };
    let then = LeaseFilter { window: Some((second_day, Scope::Overlapping)), ..LeaseFilter::default() };
    assert_eq!(names(&list(then.clone()).await), "a");

    let window = Interval { start: from_now(0), end: from_now(86_400 * 7) };
    let all = UtilisationWish { filter: LeaseFilter::default(), window, steps_max: 100 };
    let used = client.utilisation(all).await.unwrap().value;
    let most: Vec<u64> = used.steps.iter().map(|step| step.reserved[3]).collect();
    assert_eq!((used.leases, most), (3, vec![0, 1, 0, 1, 0, 1, 0]));

    let rest = async |path: &str| -> Value {
        let url = format!("{}{path}", rig.cluster.nodes()[0].rest_url());
        let request = http_client().unwrap().get(url).header("openstack-api-version", "reservation 1.1");
        request.send().await.unwrap().json().await.unwrap()
    };
    let paged = rest(&format!("/leases?sort_key=name&sort_dir=desc&limit=1&marker={}", first[1].id)).await;
    assert_eq!((paged["leases"].as_array().unwrap().len(), &paged["leases"][0]["name"]), (1, &json!("a")));
    let none = rest("/leases?status=ERROR,ACTIVE").await;
    assert_eq!(none["leases"], json!([]));
    let hosts = rest("/os-hosts?reservable=true&limit=1&marker=0").await;
    assert_eq!(hosts["hosts"][0]["id"], json!("1"));
    assert_eq!(rest("/os-hosts?reservable=false").await["hosts"], json!([]));
    assert_eq!(rest("/os-hosts/allocations?marker=1").await["allocations"], json!([]));

    let said = command_line::says(&rig.cluster, &["lease", "list", "--sort", "name", "--limit", "2"]).await;
    assert!(said.contains("There may be more: --after"), "{said}");
    let said = command_line::says(&rig.cluster, &["lease", "utilisation", "--to", "+7d"]).await;
    assert!(said.contains("3 leases") && said.contains("reserved over time"), "{said}");
}

#[tokio::test]
async fn an_offer_is_held_claimed_dropped_or_goes_by_itself_and_a_watch_tells() {
    let rig = rig(1).await;
    let client = &rig.client;
    let offer = |name: &str, offer: OfferWish| NewLease { offer: Some(offer), ..tomorrow(name) };
    let key = client.new_key();
    let held = client.create_lease(key, offer("held", OfferWish::For(3_600))).await.unwrap();
    assert_eq!(client.create_lease(key, offer("held", OfferWish::For(3_600))).await.unwrap().value.id, held.value.id);
    let brief = client.create_lease(client.new_key(), offer("brief", OfferWish::For(2))).await.unwrap();
    let dropped = client.create_lease(client.new_key(), offer("dropped", OfferWish::Until(from_now(3_600)))).await.unwrap();
    client.delete_lease(client.new_key(), dropped.value.id).await.unwrap();
    assert!(client.list_leases(Default::default()).await.unwrap().value.is_empty());

    let mut watch = client.watch(brief.ledger_index);
    loop {
        let change = watch.next().await.unwrap();
        if matches!(change.subject, ChangeSubject::LeaseRemoved { lease_id, .. } if lease_id == brief.value.id) {
            break;
        }
    }
    let late = client.claim_offer(client.new_key(), brief.value.id).await;
    assert!(matches!(late, Err(Error::Refused(refusal)) if refusal.kind == RefusalKind::NotFound));
    let offers = LeaseFilter { offers: true, ..LeaseFilter::default() };
    assert_eq!(client.list_leases(offers.clone()).await.unwrap().value, std::slice::from_ref(&held.value));

    let change = LeaseChange { name: Some("b".to_owned()), ..LeaseChange::default() };
    let refused = client.update_lease(client.new_key(), held.value.id, change).await;
    assert!(matches!(refused, Err(Error::Refused(refusal)) if refusal.kind == RefusalKind::Conflict));
    let key = client.new_key();
    let claimed = client.claim_offer(key, held.value.id).await.unwrap();
    assert_eq!(client.claim_offer(key, held.value.id).await.unwrap().value, claimed.value);
    assert_eq!(client.claim_offer(client.new_key(), held.value.id).await.unwrap().value, claimed.value);
    assert_eq!(client.list_leases(Default::default()).await.unwrap().value, [claimed.value]);
    assert!(client.list_leases(offers).await.unwrap().value.is_empty());
}

#[tokio::test]
async fn a_series_is_booked_as_a_whole_told_of_once_and_deleted_over_any_node() {
    let rig = rig(1).await;
    let client = &rig.client;
    let recurrence = |mode| Recurrence { rule: "FREQ=DAILY;COUNT=3".to_owned(), time_zone: "UTC".to_owned(), mode };
    let key = client.new_key();
    let wish = tomorrow("a");
    let booked = client.create_series(key, wish.clone(), recurrence(SeriesMode::AllOrNothing)).await.unwrap();
    let again = client.create_series(key, wish, recurrence(SeriesMode::AllOrNothing)).await.unwrap();
    assert_eq!(again, booked);
    let series = booked.value;
    assert_eq!((series.leases.len(), series.left_out.len()), (3, 0));
    assert_eq!(series.first.series.as_ref().map(|member| (member.id, member.number)), Some((series.id, 1)));
    let mut watch = client.watch(booked.ledger_index - 1);
    for _ in 0..3 {
        let change = watch.next().await.unwrap();
        assert_eq!(change.ledger_index, booked.ledger_index, "all of them by one entry");
    }

    // All but one instance of the host, on the second day.
    let (second, mut large) = (series.leases[1].occurrence, tomorrow("large"));
    large.start = StartWish::At(second.start);
    large.end = second.end;
    let Err(Error::Refused(refusal)) = client.create_lease(client.new_key(), many(large.clone(), 10_000)).await else {
        panic!("it is too much")
    };
    let fits = refusal.offer.unwrap().largest_amount;
    client.create_lease(client.new_key(), many(large, fits)).await.unwrap();
    let daily = NewLease { start: StartWish::At(series.first.start), end: series.first.end, ..tomorrow("b") };
    let refused = client.create_series(client.new_key(), daily.clone(), recurrence(SeriesMode::AllOrNothing)).await;
    let Err(Error::Refused(refusal)) = refused else { panic!("it has no room: {refused:?}") };
    assert_eq!((refusal.code.as_str(), refusal.offer.unwrap().occurrence), ("no_room", Some(2)));
    let asked = client.what_if_series(daily.clone(), recurrence(SeriesMode::BestEffort)).await.unwrap().value;
    let part = client.create_series(client.new_key(), daily, recurrence(SeriesMode::BestEffort)).await.unwrap().value;
    let numbers: Vec<u32> = part.leases.iter().map(|one| one.occurrence.number).collect();
    assert_eq!((numbers, part.left_out[0].occurrence.number), (vec![1, 3], 2));
    let occurrences = part.leases.iter().map(|one| one.occurrence).collect();
    assert_eq!(asked, WhatIf::SeriesFits { occurrences, left_out: part.left_out.clone() });

    let listed = LeaseFilter { series: Some(part.id), ..LeaseFilter::default() };
    assert_eq!(client.list_leases(listed.clone()).await.unwrap().value.len(), 2);
    let gone = client.delete_series(client.new_key(), part.id).await.unwrap().value;
    assert_eq!((gone.deleted, gone.kept), (part.leases.iter().map(|one| one.lease_id).collect(), vec![]));
    assert!(client.list_leases(listed).await.unwrap().value.is_empty());
    let again = client.delete_series(client.new_key(), part.id).await;
    assert!(matches!(again, Err(Error::Refused(refusal)) if refusal.kind == RefusalKind::NotFound));
}

fn many(mut wish: NewLease, amount: u32) -> NewLease {
    wish.reservations[0].resource.instance_mut().amount = amount;
    wish
}

#[tokio::test]
async fn a_change_without_room_is_told_when_it_has_some() {
    let rig = rig_with(1, Auth::Keystone, Timing::default()).await;
    let demo = rig.cloud.tenant("demo").await.unwrap();
    let client = caller::connect(&rig.cluster, Some(demo.token())).unwrap();
    let (start, end) = (from_now(86_400), from_now(90_000));
    let amount = |name: &str, start, end, amount| {
        let mut lease = wish(name, from_now(0), end);
        lease.start = StartWish::At(start);
        lease.reservations[0].resource.instance_mut().amount = amount;
        lease
    };
    let lease = client.create_lease(client.new_key(), amount("mine", start, end, 8)).await.unwrap().value;
    client.create_lease(client.new_key(), amount("other", start, end.plus(3_600), 8)).await.unwrap();
    let mut resource = lease.reservations[0].wish.clone();
    resource.instance_mut().amount = 12;
    let larger = vec![ReservationChange { reservation_id: lease.reservations[0].id, resource, on_end: None }];
    let change = LeaseChange { reservations: larger, ..LeaseChange::default() };
    let refused = client.update_lease(client.new_key(), lease.id, change.clone()).await;
    let Err(Error::Refused(Refusal { offer: Some(offer), message, .. })) = refused else { panic!("{refused:?}") };
    assert_eq!((offer.largest_amount, offer.latest_end(), offer.start_is_fixed), (8, None, false), "{message}");
    let next = offer.next_start().unwrap();
    assert_eq!(next, end.plus(3_600), "{message}");
    assert_eq!(offer.next_end(), Some(next.plus(end.0 - start.0)));
    let until = EndWish::At(offer.next_end().unwrap());
    let moved = LeaseChange { start: Some(StartWish::At(next)), end: Some(until), ..change };
    let moved = client.update_lease(client.new_key(), lease.id, moved).await.unwrap().value;
    assert_eq!((moved.start, moved.reservations[0].wish.instance().amount), (next, 12));

    // What has begun can end later at most.
    let now = client.create_lease(client.new_key(), wish("now", from_now(0), start)).await.unwrap().value;
    wait_for("the lease to have begun", PATIENCE, || async {
        let lease = client.get_lease(now.id).await.map_err(|error| error.to_string())?.value;
        if lease.status == LeaseStatus::Active { Ok(()) } else { Err(format!("{lease:?}")) }
    })
    .await
    .unwrap();
    let url = format!("{}/leases/{}", rig.cluster.nodes()[0].rest_url(), now.id);
    client.create_lease(client.new_key(), amount("next", start.plus(60), end.plus(3_600), 8)).await.unwrap();
    let put =
        http_client().unwrap().put(url).header("OpenStack-API-Version", "reservation 1.1").header("X-Auth-Token", demo.token());
    let told: Value = put.json(&json!({"end_date": "2098-01-01 10:00"})).send().await.unwrap().json().await.unwrap();
    let latest = start.plus(60).unix_s();
    let offer = &told["offer"];
    assert_eq!(
        (&offer["latest_end"], &offer["start_is_fixed"], &offer["next_start"]),
        (&json!(latest), &json!(true), &Value::Null),
        "{told}"
    );
    assert!(told["error_message"].as_str().unwrap().contains("; all of it fits until 2"), "{told}");
}

#[tokio::test]
async fn a_lease_whose_start_is_open_begins_when_there_is_room_and_is_made_once() {
    let rig = rig(1).await;
    let (start, end) = (from_now(86_400), from_now(90_000));
    let all_of_it = |name: &str, start: StartWish| {
        let mut lease = wish(name, from_now(0), end);
        lease.start = start;
        lease.reservations[0].resource.instance_mut().amount = 16;
        lease
    };
    rig.client.create_lease(rig.client.new_key(), all_of_it("first", StartWish::At(start))).await.unwrap();

    let open = |latest| all_of_it("open", StartWish::Earliest { from: Some(start), latest });
    let asked = rig.client.what_if(open(end)).await.unwrap().value;
    assert!(matches!(asked, WhatIf::Fits { moved_to: Some(start), .. } if start == end), "{asked:?}");
    let key = rig.client.new_key();
    let moved = rig.client.create_lease(key, open(end)).await.unwrap().value;
    assert_eq!((moved.start, moved.end.0 - moved.start.0), (end, 3_600));
    assert_eq!(rig.client.create_lease(key, open(end)).await.unwrap().value.id, moved.id);
    let Err(Error::Refused(none)) = rig.client.create_lease(rig.client.new_key(), open(end)).await else { panic!("no room") };
    assert_eq!(none.offer.unwrap().next_start(), Some(moved.end));
    let change = LeaseChange { start: Some(StartWish::Earliest { from: None, latest: end }), ..LeaseChange::default() };
    let Err(Error::Refused(fixed)) = rig.client.update_lease(rig.client.new_key(), moved.id, change).await else {
        panic!("moved")
    };
    assert!(fixed.message.contains("only a new lease may leave its start open"), "{fixed:?}");

    let body = json!({"name": "rest", "start_date": "2098-01-01 10:00", "latest_start_date": "2098-01-01 20:00",
        "end_date": "2098-01-01 12:00", "reservations": [{"resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 1024,
        "disk_gb": 1, "amount": 16}]});
    let post = || {
        let request = http_client().unwrap().post(format!("{}/leases", rig.cluster.nodes()[0].rest_url())).json(&body);
        request.header("OpenStack-API-Version", "reservation 1.1").send()
    };
    for (start, end) in [("2098-01-01T10", "2098-01-01T12"), ("2098-01-01T12", "2098-01-01T14")] {
        let answer: Value = post().await.unwrap().json().await.unwrap();
        let date = |key: &str| answer["lease"][key].as_str().unwrap_or_default().to_owned();
        assert!(date("start_date").starts_with(start) && date("end_date").starts_with(end), "{answer}");
    }
}

#[tokio::test]
async fn a_refusal_for_want_of_room_says_what_would_fit() {
    let rig = rig(1).await;
    let mut large = tomorrow("large");
    large.reservations[0].resource.instance_mut().amount = 1000;
    let refused = rig.client.create_lease(rig.client.new_key(), large).await.unwrap_err();
    let Error::Refused(refusal) = refused else { panic!("{refused}") };
    assert_eq!(refusal.kind, RefusalKind::Conflict);
    let offer = refusal.offer.unwrap();
    assert_eq!((offer.largest_amount, offer.short_by), (16, 984));
}

#[tokio::test]
async fn servers_booted_early_are_parked_woken_at_the_start_and_deleted_at_the_end() {
    let rig = rig_with(2, Auth::Keystone, Timing::default()).await;
    let demo = rig.cloud.tenant("demo").await.unwrap();
    let client = caller::connect(&rig.cluster, Some(demo.token())).unwrap();
    let mut staged = wish("staged", from_now(28), from_now(34));
    staged.reservations[0].staging = Some(StagingWish { start: None, end: Some(from_now(18)), park_margin_s: 8 });
    let lease = client.create_lease(client.new_key(), staged).await.unwrap().value;
    let reservation = lease.reservations[0].id.to_string();
    wait_for("the staging window to open", Duration::from_secs(12), || async {
        let stage = client.get_lease(lease.id).await.map_err(|error| error.to_string())?.value.reservations[0].stage;
        (stage == Stage::Staging).then_some(()).ok_or_else(|| format!("{stage:?}"))
    })
    .await
    .unwrap();
    let image = demo.image().await.unwrap();
    // The stage is told before the cloud has followed: the tenant tries until the flavor is there.
    let give_up = std::time::Instant::now() + PATIENCE;
    let server = loop {
        match demo.boot("early", &reservation, &image).await.unwrap() {
            Ok(booted) => break booted,
            Err(refused) => assert!(std::time::Instant::now() < give_up, "{refused}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    wait_for("the lease to be over", Duration::from_secs(60), || async {
        let status = client.get_lease(lease.id).await.map_err(|error| error.to_string())?.value.status;
        (status == LeaseStatus::Terminated).then_some(()).ok_or_else(|| status.as_str().to_owned())
    })
    .await
    .unwrap();
    let record = rig.cloud.record().await.unwrap();
    let promise = Promise {
        name: "staged".to_owned(),
        reservation_id: reservation,
        amount: 1,
        start_ms: lease.start.unix_s() * 1000,
        end_ms: lease.end.unix_s() * 1000,
        on_end: End::Delete,
        staged: vec![server],
        booted: Vec::new(),
    };
    let finding = judge(&promise, &History::of(&record));
    assert!(finding.problems.is_empty(), "{finding:#?}");
    assert_eq!(double_booked(&record, &rig.cloud.capacities().await.unwrap()), Vec::<String>::new());
}

#[tokio::test]
async fn servers_that_one_lease_parked_wake_in_the_next_that_names_them() {
    let rig = rig_with(1, Auth::Keystone, Timing::default()).await;
    let demo = rig.cloud.tenant("demo").await.unwrap();
    let client = caller::connect(&rig.cluster, Some(demo.token())).unwrap();
    let is = |lease: LeaseId, wanted: LeaseStatus| {
        let client = &client;
        wait_for(wanted.as_str(), Duration::from_secs(40), move || async move {
            let status = client.get_lease(lease).await.map_err(|error| error.to_string())?.value.status;
            (status == wanted).then_some(()).ok_or_else(|| status.as_str().to_owned())
        })
    };
    let mut parking = wish("parking", from_now(3), from_now(12));
    parking.reservations[0].on_end = OnEnd::Shelve;
    let first = client.create_lease(client.new_key(), parking).await.unwrap().value;
    is(first.id, LeaseStatus::Active).await.unwrap();
    let flavor = first.reservations[0].id;
    let image = demo.image().await.unwrap();
    let server = demo.boot("kept", &flavor.to_string(), &image).await.unwrap().unwrap();
    let mut adopting = wish("adopting", from_now(20), from_now(26));
    adopting.reservations[0].servers = [server.parse().unwrap()].into();
    let refused = client.create_lease(client.new_key(), adopting.clone()).await.unwrap_err();
    let Error::Refused(refusal) = refused else { panic!("{refused}") };
    assert_eq!(refusal.kind, RefusalKind::Conflict, "{refusal:?}");
    is(first.id, LeaseStatus::Terminated).await.unwrap();

    let key = client.new_key();
    let second = client.create_lease(key, adopting.clone()).await.unwrap().value;
    assert_eq!(second.reservations[0].flavor(), flavor);
    // The same wish under its key is the same lease, though its servers are taken now.
    assert_eq!(client.create_lease(key, adopting).await.unwrap().value.id, second.id);
    is(second.id, LeaseStatus::Active).await.unwrap();
    is(second.id, LeaseStatus::Terminated).await.unwrap();
    let record = rig.cloud.record().await.unwrap();
    let of_server: Vec<_> = record.iter().flat_map(|line| &line.changes).filter(|one| one.id == server).collect();
    let woken = of_server.iter().filter(|one| one.what == "server.active" && one.facts["action"] == "unshelve").count();
    let deleted = of_server.iter().filter(|one| one.what == "server.deleted").count();
    assert_eq!((woken, deleted), (1, 1));
    assert_eq!(double_booked(&record, &rig.cloud.capacities().await.unwrap()), Vec::<String>::new());
}

/// Blazar's REST API as a client of OpenStack calls it.
struct Rest {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Rest {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).header("X-Auth-Token", &self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }
}

#[tokio::test]
async fn a_lease_lives_over_rest_as_blazars_clients_see_it() {
    let rig = rig_with(0, Auth::Keystone, Timing::default()).await;
    let settings_token = rig.cloud.tenant("admin").await.unwrap().token().to_owned();
    let demo = rig.cloud.tenant("demo").await.unwrap();
    let rest =
        |token: &str| Rest { http: http_client().unwrap(), url: rig.cluster.nodes()[1].rest_url(), token: token.to_owned() };
    let (operator, tenant) = (rest(&settings_token), rest(demo.token()));
    let (status, host) = operator.call(Method::POST, "/os-hosts", Some(json!({"name": "cmp1"}))).await;
    assert_eq!(status, StatusCode::CREATED, "{host}");
    let body = json!({
        "name": "a", "start_date": "now", "end_date": "2099-01-01 00:00", "events": [],
        "reservations": [{"resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 1024, "disk_gb": 1, "amount": 1,
                          "affinity": null, "resource_properties": ""}],
    });
    let (status, answer) = tenant.call(Method::POST, "/leases", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let lease = &answer["lease"];
    assert_eq!(lease["status"], "PENDING");
    assert_eq!(lease["project_id"], demo.project_id());
    let path = format!("/leases/{}", lease["id"].as_str().unwrap());
    wait_for("the lease to be ACTIVE", PATIENCE, || async {
        let (_, answer) = tenant.call(Method::GET, &path, None).await;
        let status = answer["lease"]["status"].as_str().unwrap().to_owned();
        if status == "ACTIVE" { Ok(()) } else { Err(status) }
    })
    .await
    .unwrap();
    let (flavor, image) = (lease["reservations"][0]["flavor_id"].as_str().unwrap(), demo.image().await.unwrap());
    let server = demo.boot("mine", flavor, &image).await.unwrap().unwrap();
    wait_for("the server to be ACTIVE", PATIENCE, || async {
        let status = demo.server(&server).await.unwrap().unwrap()["status"].as_str().unwrap().to_owned();
        if status == "ACTIVE" { Ok(()) } else { Err(status) }
    })
    .await
    .unwrap();
    let (status, answer) = tenant.call(Method::DELETE, &path, None).await;
    assert_eq!((status, answer), (StatusCode::NO_CONTENT, Value::Null));
    assert_eq!(tenant.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(demo.server(&server).await.unwrap(), None);
}
