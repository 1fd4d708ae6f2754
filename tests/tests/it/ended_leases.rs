//! Ended leases leave the nodes' memory after a while, and nobody who asks for them sees it.

use std::time::Duration;

use leasehold_client::command::{EndWish, LeaseChange, Recurrence, StartWish};
use leasehold_client::model::{Interval, Lease, LeaseId, LeaseStatus, Precedence, SeriesId, SeriesMode};
use leasehold_client::{Client, Error, LeaseFilter, LeaseOrder, NewLease, RefusalKind, UtilisationWish, WhatIf};
use leasehold_tests::caller;
use leasehold_tests::cloud::http_client;
use leasehold_tests::cluster::Cluster;
use leasehold_tests::settings::Settings;
use leasehold_tests::wait::wait_for;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::command_line;
use crate::rig::{PATIENCE, empty, from_now, rig_set, wish};

/// Seconds that they stay.
const IN_MEMORY_S: u64 = 10;
/// Leases of no series that end.
const ENDED: usize = 6;

async fn rest(cluster: &Cluster, node: usize, version: &str, method: Method, path: &str) -> (StatusCode, Value) {
    let url = format!("{}{path}", cluster.nodes()[node].rest_url());
    let request = http_client().unwrap().request(method, url).header("openstack-api-version", format!("reservation {version}"));
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or(Value::Null))
}

/// How many leases left memory, as the leader tells.
async fn left_memory(cluster: &Cluster) -> Option<usize> {
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    let text = reqwest::get(format!("{}/metrics", cluster.nodes()[leader].metrics_url())).await.unwrap().text().await.unwrap();
    text.lines().find_map(|line| line.strip_prefix("leasehold_leases_archived ")?.parse().ok())
}

/// Everything that is asked of leases, of each node and over each face.
async fn answers(
    cluster: &Cluster,
    client: &Client,
    leases: &[LeaseId],
    series: SeriesId,
    past: Interval,
) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut paths: Vec<(&str, String)> = leases.iter().map(|id| ("1.0", format!("/leases/{id}"))).collect();
    paths.extend(leases.iter().map(|id| ("1.1", format!("/leases/{id}"))));
    paths.push(("1.0", "/leases".to_owned()));
    for query in [
        "",
        "?status=TERMINATED",
        "?status=ACTIVE,PENDING",
        "?name=ended-3",
        "?limit=3",
        "?sort_key=name&sort_dir=desc",
        "?sort_key=end_date&limit=4",
    ] {
        paths.push(("1.1", format!("/leases{query}")));
    }
    paths.push(("1.1", format!("/leases?series_id={series}")));
    paths.push(("1.1", format!("/leases?series_id={series}&status=TERMINATED&sort_key=name")));
    for id in leases {
        paths.push(("1.1", format!("/leases?limit=3&marker={id}")));
        paths.push(("1.1", format!("/leases?sort_key=name&limit=2&marker={id}")));
    }
    for node in 0..cluster.nodes().len() {
        for (version, path) in &paths {
            let (status, body) = rest(cluster, node, version, Method::GET, path).await;
            assert_eq!(status, StatusCode::OK, "{path}: {body}");
            all.push((format!("node {node} {version} {path}"), body));
        }
    }
    let filter = LeaseFilter { order: LeaseOrder::End, descending: true, limit: Some(5), ..LeaseFilter::default() };
    let of_series = LeaseFilter { series: Some(series), ..LeaseFilter::default() };
    for filter in [LeaseFilter::default(), filter, of_series] {
        let listed = client.list_leases(filter).await.unwrap().value;
        all.push(("listed over gRPC".to_owned(), serde_json::to_value(listed).unwrap()));
    }
    for id in leases {
        all.push((format!("{id} over gRPC"), serde_json::to_value(client.get_lease(*id).await.unwrap().value).unwrap()));
    }
    let used = client.utilisation(UtilisationWish { filter: LeaseFilter::default(), window: past, steps_max: 9 }).await.unwrap();
    all.push(("utilisation".to_owned(), format!("{:?}", used.value).into()));
    all.push(("command line".to_owned(), command_line::says(cluster, &["lease", "list", "--sort", "name"]).await.into()));
    all.push(("its JSON".to_owned(), command_line::json(cluster, &["lease", "show", "ended-2"]).await));
    all
}

fn assert_alike(before: &[(String, Value)], now: &[(String, Value)]) {
    assert_eq!(before.len(), now.len());
    for (before, now) in before.iter().zip(now) {
        assert_eq!(before, now);
    }
}

#[tokio::test]
async fn a_lease_that_left_memory_is_shown_listed_changed_and_deleted_as_before() {
    let more = format!("[leader]\nended_leases_in_memory_s = {IN_MEMORY_S}\n");
    let mut cluster = Cluster::start(Settings { more, ..Settings::default() }, None).await.unwrap();
    let client = caller::connect(&cluster, None).unwrap();
    let begun = from_now(0);
    let brief = |name: String| NewLease { start: StartWish::Now, end: from_now(3), ..empty(&name) };
    let mut leases: Vec<Lease> = Vec::new();
    let (first_key, first_wish) = (client.new_key(), brief("ended-0".to_owned()));
    leases.push(client.create_lease(first_key, first_wish.clone()).await.unwrap().value);
    for n in 1..ENDED {
        leases.push(client.create_lease(client.new_key(), brief(format!("ended-{n}"))).await.unwrap().value);
    }
    for name in ["later-1", "later-2"] {
        leases.push(client.create_lease(client.new_key(), empty(name)).await.unwrap().value);
    }
    // Its first lease ends, and the others are to come.
    let first = NewLease { start: StartWish::At(from_now(2)), end: from_now(4), ..empty("daily") };
    let recurrence =
        Recurrence { rule: "FREQ=DAILY;COUNT=3".to_owned(), time_zone: "UTC".to_owned(), mode: SeriesMode::AllOrNothing };
    let series = client.create_series(client.new_key(), first, recurrence).await.unwrap().value;
    let members: Vec<LeaseId> = series.leases.iter().map(|one| one.lease_id).collect();
    let mut ids: Vec<LeaseId> = leases.iter().map(|lease| lease.id).chain(members.iter().copied()).collect();
    let ended: Vec<LeaseId> = ids[..ENDED].to_vec();
    ids.sort_unstable();

    wait_for("their ends", PATIENCE, || async {
        let over = LeaseFilter { statuses: [LeaseStatus::Terminated].into(), ..LeaseFilter::default() };
        let over = client.list_leases(over).await.map_err(|error| error.to_string())?.value.len();
        (over == ENDED + 1).then_some(()).ok_or_else(|| format!("{over} are over"))
    })
    .await
    .unwrap();
    let past = Interval { start: begun, end: from_now(1) };
    let before = answers(&cluster, &client, &ids, series.id, past).await;
    assert_eq!(left_memory(&cluster).await.unwrap_or(0), 0, "it took too long to ask before they leave");
    wait_for("that they leave memory", PATIENCE, || async {
        let left = left_memory(&cluster).await;
        (left == Some(ENDED + 1)).then_some(()).ok_or_else(|| format!("{left:?} have left"))
    })
    .await
    .unwrap();
    assert_alike(&before, &answers(&cluster, &client, &ids, series.id, past).await);

    for node in 0..3 {
        cluster.kill9(node);
        cluster.restart(node).unwrap();
        cluster.wait_answers(node).await.unwrap();
        cluster.wait_caught_up(node, PATIENCE).await.unwrap();
    }
    cluster.wait_leader(PATIENCE).await.unwrap();
    assert_alike(&before, &answers(&cluster, &client, &ids, series.id, past).await);

    // What may be done with an ended lease may be done still, and is refused with the same words.
    let again = client.create_lease(first_key, first_wish).await.unwrap();
    assert_eq!(again.value.id, ended[0], "the key is answered as it was");
    let end = LeaseChange { end: Some(EndWish::At(from_now(1_000))), ..LeaseChange::default() };
    let Err(Error::Refused(refused)) = client.update_lease(client.new_key(), ended[1], end).await else { panic!("it is over") };
    assert_eq!(refused.message, "Terminated leases can only be renamed");
    let Err(Error::Refused(refused)) = client.claim_offer(client.new_key(), ended[1]).await else { panic!("it is no offer") };
    assert!(refused.message.contains("is no offer"), "{refused:?}");
    let renamed = LeaseChange { name: Some("renamed".to_owned()), ..LeaseChange::default() };
    let renamed = client.update_lease(client.new_key(), ended[2], renamed).await.unwrap().value;
    assert_eq!((renamed.name.as_str(), renamed.status), ("renamed", LeaseStatus::Terminated));

    for (node, id) in [(0, ended[3]), (1, ended[4]), (2, ended[5])] {
        let (status, _) = rest(&cluster, node, "1.1", Method::DELETE, &format!("/leases/{id}")).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let gone = client.get_lease(id).await;
        assert!(matches!(gone, Err(Error::Refused(refusal)) if refusal.kind == RefusalKind::NotFound));
        let (status, _) = rest(&cluster, node, "1.1", Method::DELETE, &format!("/leases/{id}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    // Of a series what is to come is deleted, and what has ended is told of wherever it is.
    let gone = client.delete_series(client.new_key(), series.id).await.unwrap().value;
    assert_eq!((gone.deleted, gone.kept), (members[1..].to_vec(), members[..1].to_vec()));
    let of_series = LeaseFilter { series: Some(series.id), ..LeaseFilter::default() };
    let listed = client.list_leases(of_series).await.unwrap().value;
    assert_eq!(listed.iter().map(|lease| lease.id).collect::<Vec<_>>(), members[..1]);
    client.delete_lease(client.new_key(), members[0]).await.unwrap();
    let gone = client.delete_series(client.new_key(), series.id).await;
    assert!(matches!(gone, Err(Error::Refused(refusal)) if refusal.kind == RefusalKind::NotFound));
    let left: Vec<LeaseId> = client.list_leases(LeaseFilter::default()).await.unwrap().value.iter().map(|one| one.id).collect();
    assert_eq!(left, ids.iter().filter(|id| !ended[3..].contains(id) && !members.contains(id)).copied().collect::<Vec<_>>());
    // On the command line a name means a lease that has not ended, where there is one.
    let called = async || crate::command_line::json(&cluster, &["lease", "show", "renamed"]).await["id"].clone();
    assert_eq!(called().await, ended[2].to_string());
    let lives = client.create_lease(client.new_key(), empty("renamed")).await.unwrap().value;
    assert_eq!(called().await, lives.id.to_string());
    let (_, hashes) = cluster.hashes_at_rest(Duration::from_secs(30)).await.unwrap();
    assert!(hashes.len() == 3 && hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[tokio::test]
async fn a_lease_that_gave_way_is_told_of_as_before_when_it_has_left_memory() {
    let mut rig = rig_set(1, "[leader]\nended_leases_in_memory_s = 1\n").await;
    let client = rig.client.clone();
    // Leases that begin within ten seconds give way no more.
    let (start, end) = (from_now(20), from_now(21));
    let of = |name: &str, amount: u32, precedence: Precedence| {
        let mut wish = NewLease { precedence, ..wish(name, start, end) };
        wish.reservations[0].resource.instance_mut().amount = amount;
        wish
    };
    let WhatIf::NoRoom(told) = client.what_if(of("all", 5_000, Precedence::default())).await.unwrap().value else {
        panic!("that is too much")
    };
    let gives = Precedence { priority: 0, preemptible: true, preempt: false };
    let victim = client.create_lease(client.new_key(), of("victim", told.largest_amount, gives)).await.unwrap().value;
    let takes = Precedence { priority: 1, preemptible: false, preempt: true };
    let urgent = client.create_lease(client.new_key(), of("urgent", 1, takes)).await.unwrap().value;

    let listed = async |status| {
        let filter = LeaseFilter { statuses: [status].into(), ..LeaseFilter::default() };
        let found = client.list_leases(filter).await.map_err(|error| error.to_string())?.value;
        Ok::<_, String>(found.into_iter().map(|lease| lease.id).collect::<Vec<_>>())
    };
    let before = client.get_lease(victim.id).await.unwrap().value;
    assert_eq!((before.status, listed(LeaseStatus::Error).await), (LeaseStatus::Error, Ok(vec![victim.id])));
    wait_for("that both leave memory", 2 * PATIENCE, || async {
        let left = left_memory(&rig.cluster).await;
        (left == Some(2)).then_some(()).ok_or_else(|| format!("{left:?} have left"))
    })
    .await
    .unwrap();
    for restarts in [false, true] {
        if restarts {
            let leader = rig.cluster.wait_leader(PATIENCE).await.unwrap();
            rig.cluster.kill9(leader);
            rig.cluster.restart(leader).unwrap();
            rig.cluster.wait_answers(leader).await.unwrap();
            rig.cluster.wait_caught_up(leader, PATIENCE).await.unwrap();
        }
        assert_eq!(listed(LeaseStatus::Error).await, Ok(vec![victim.id]));
        assert_eq!(listed(LeaseStatus::Terminated).await, Ok(vec![urgent.id]));
        assert_eq!(listed(LeaseStatus::Active).await, Ok(Vec::new()));
        for node in 0..3 {
            let (status, body) = rest(&rig.cluster, node, "1.1", Method::GET, &format!("/leases/{}", victim.id)).await;
            assert_eq!((status, &body["lease"]["status"]), (StatusCode::OK, &"ERROR".into()), "{body}");
        }
        // Until it left, the leader may have noted that nothing of it is left in the cloud: an entry that changes
        // nothing that is told but the index.
        let told = client.get_lease(victim.id).await.unwrap().value;
        assert!(told.ledger_index >= before.ledger_index, "{} {}", told.ledger_index, before.ledger_index);
        assert_eq!(told, Lease { ledger_index: told.ledger_index, ..before.clone() });
    }
    let renamed = LeaseChange { name: Some("gave way".to_owned()), ..LeaseChange::default() };
    let renamed = client.update_lease(client.new_key(), victim.id, renamed).await.unwrap().value;
    assert_eq!((renamed.name.as_str(), renamed.reason), ("gave way", before.reason));
    client.delete_lease(client.new_key(), victim.id).await.unwrap();
    assert_eq!(listed(LeaseStatus::Error).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_page_of_what_is_seldom_goes_on_where_it_ends_and_the_library_and_the_command_line_go_on_by_themselves() {
    let more = "[leader]\nended_leases_in_memory_s = 1\n[api]\nended_leases_read_max = 2\n".to_owned();
    let cluster = Cluster::start(Settings { more, ..Settings::default() }, None).await.unwrap();
    let client = caller::connect(&cluster, None).unwrap();
    let brief = |name: &str| NewLease { start: StartWish::Now, end: from_now(2), ..empty(name) };
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(client.create_lease(client.new_key(), brief(if n < 5 { "many" } else { "seldom" })).await.unwrap().value.id);
    }
    let seldom = ids[5];
    let there =
        client.create_lease(client.new_key(), NewLease { end: from_now(3600), ..brief("seldom") }).await.unwrap().value.id;
    wait_for("that all leave memory", 2 * PATIENCE, || async {
        let left = left_memory(&cluster).await;
        (left == Some(6)).then_some(()).ok_or_else(|| format!("{left:?} have left"))
    })
    .await
    .unwrap();
    let mut both = [seldom, there];
    both.sort_unstable();

    // Two rows are read for a page.
    let (mut found, mut marker, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("/leases?name=seldom&limit=5{marker}");
        let (status, body) = rest(&cluster, pages % 3, "1.1", Method::GET, &path).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        found.extend(
            body["leases"].as_array().unwrap().iter().map(|lease| lease["id"].as_str().unwrap().parse::<LeaseId>().unwrap()),
        );
        pages += 1;
        match body.get("next") {
            Some(next) => marker = format!("&marker={}", next.as_str().unwrap()),
            None => break,
        }
    }
    assert_eq!((found.as_slice(), pages), (both.as_slice(), 3));
    for descending in [false, true] {
        let filter = LeaseFilter { name: Some("seldom".to_owned()), limit: Some(5), descending, ..LeaseFilter::default() };
        let listed: Vec<LeaseId> = client.list_leases(filter.clone()).await.unwrap().value.iter().map(|one| one.id).collect();
        let first = LeaseFilter { limit: Some(1), ..filter };
        let first = client.list_leases(first).await.unwrap().value.iter().map(|one| one.id).collect::<Vec<_>>();
        both.sort_unstable_by(|one, other| if descending { other.cmp(one) } else { one.cmp(other) });
        assert_eq!((listed.as_slice(), first.as_slice()), (both.as_slice(), &both[..1]));
    }
    let told = command_line::json(&cluster, &["lease", "list", "--name", "seldom", "--limit", "5"]).await;
    assert_eq!(told.as_array().map(Vec::len), Some(2), "{told}");

    // What is no page by id is refused, and says what would be one.
    for query in ["", "?name=seldom", "?name=seldom&limit=5&sort_key=name"] {
        let (status, body) = rest(&cluster, 0, "1.1", Method::GET, &format!("/leases{query}")).await;
        let text = body["error_message"].as_str().unwrap_or_default();
        assert!(
            status == StatusCode::BAD_REQUEST && text.contains("more than 2 leases") && text.contains("with a limit"),
            "{body}"
        );
    }
}
