//! What is free, how many fit and what a lease would come to, over REST: microversion, policy, and that nothing is booked.

use leasehold_ledger::command::Command;
use leasehold_ledger::model::PoolKind;

use super::policy::host;
use super::*;

impl Edge {
    /// Leads, and has one host of 4 vCPUs on which a lease needs nothing of the cloud to be booked.
    async fn with_host() -> Edge {
        let edge = Edge::start(true).await;
        assert_eq!(edge.get("/v1/leases").await.status, 200, "it leads");
        let mut host = host();
        host.description.pool = PoolKind::Dedicated;
        edge.raft.propose(None, Command::RegisterHost(Box::new(host))).await.unwrap().outcome.unwrap();
        edge
    }

    /// In 1.1.
    async fn newer(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let request = self.ask_as(token, method, path).header("openstack-api-version", "reservation 1.1");
        Answer::of(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }
}

/// A lease of so many instances of one vCPU, from ten to twelve on the first day of 2100.
fn small(amount: u32) -> Value {
    lease(json!({"reservations": [{"resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 64, "disk_gb": 0,
        "amount": amount, "affinity": null, "resource_properties": ""}]}))
}

const MORNING: &str = "start_date=2100-01-01 08:00&end_date=2100-01-01 14:00";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_is_answered_and_books_nothing() {
    let edge = Edge::with_host().await;
    let what_if = edge.newer("p1/member", "POST", "/v1/leases/what-if", Some(&small(3))).await;
    let fits = json!({"fits": true, "reservations": [{"hosts": 1, "staging_hosts": 0}], "start_date": null, "offer": null});
    assert_eq!((what_if.status, &what_if.body["what_if"]), (200, &fits), "{what_if:?}");
    let index = |answer: &Answer| answer.header("x-leasehold-ledger-index").unwrap().parse::<u64>().unwrap();
    assert_eq!(edge.get("/v1/leases").await.body["leases"], json!([]));
    let again = edge.newer("p1/reader", "POST", "/v1/leases/what-if", Some(&small(3))).await;
    assert_eq!((&again.body, index(&again)), (&what_if.body, index(&what_if)), "no entry was made");

    let made = Answer::of(edge.ask("POST", "/v1/leases").json(&small(3))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let refused = edge.newer("p1/member", "POST", "/v1/leases/what-if", Some(&small(2))).await;
    let create = Answer::of(edge.ask("POST", "/v1/leases").json(&small(2))).await;
    assert_eq!((refused.status, create.status), (200, 409), "{create:?}");
    assert_eq!((&refused.body["what_if"]["fits"], &refused.body["what_if"]["offer"]), (&json!(false), &create.body["offer"]));

    let capacity = edge.newer("p9/admin", "GET", &format!("/v1/capacity?{MORNING}&steps=10"), None).await;
    let shown = &capacity.body["capacity"];
    assert_eq!((capacity.status, &shown["hosts"], &shown["total"]["VCPU"]), (200, &json!(1), &json!(4)), "{capacity:?}");
    let steps = shown["steps"].as_array().unwrap();
    let told: Vec<_> =
        steps.iter().map(|step| (&step["start_date"], &step["reserved"]["VCPU"], &step["available"]["VCPU"])).collect();
    let date = |hour: u32| json!(format!("2100-01-01T{hour:02}:00:00.000000"));
    assert_eq!(told, [(&date(8), &json!(0), &json!(4)), (&date(10), &json!(3), &json!(1)), (&date(12), &json!(0), &json!(4)),]);
    assert_eq!(index(&capacity), index(&refused));

    let density = format!("/v1/capacity/density?{MORNING}&vcpus=1&memory_mb=64&amount=2");
    let density = edge.newer("p2/reader", "GET", &density, None).await;
    let found = &density.body["density"];
    assert_eq!((density.status, &found["largest_amount"], &found["tightest"]), (200, &json!(1), &json!("VCPU")), "{density:?}");
    assert_eq!(found["earliest_start_date"], date(12));
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_nought_has_none_of_these_paths_and_says_which_version_has() {
    let edge = Edge::start(false).await;
    let text = "this path needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1";
    for (method, path) in [("GET", "/v1/capacity"), ("GET", "/v1/capacity/density?vcpus=1"), ("POST", "/v1/leases/what-if")] {
        let old = Answer::of(edge.ask_as("p1/admin", method, path).json(&small(1))).await;
        assert_eq!(old.message(), (404, text), "{method} {path}");
    }
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_ask_is_policy_and_bad_questions_are_told_what_would_be_right() {
    let edge = Edge::with_host().await;
    for (token, method, path, rule) in [
        ("p1/member", "GET", "/v1/capacity?steps=x", "capacity:get"),
        ("p1/reader", "GET", "/v1/capacity", "capacity:get"),
        ("p1/nobody", "GET", "/v1/capacity/density", "capacity:density"),
        ("p1/nobody", "POST", "/v1/leases/what-if", "leases:what_if"),
    ] {
        let refused = edge.newer(token, method, path, None).await;
        let text = format!("Policy doesn't allow leasehold:{rule} to be performed");
        assert_eq!(refused.message(), (403, text.as_str()), "{token} {method} {path}");
    }
    for (path, text) in [
        ("/v1/capacity?steps=0", "steps must be >= 1"),
        ("/v1/capacity?hosts=2", "hosts: there is no host 2"),
        ("/v1/capacity?start_date=2100-01-01 10:00&end_date=2100-01-01 10:00", "End date must be later than start date."),
        ("/v1/capacity?start_date=2020-02-01 10:00", "Start date must be later than current date"),
        (
            "/v1/capacity?end_date=2130-01-01 10:00",
            "end date lies beyond the calendar, which ends 100 years after 2020-01-01; leave it open instead",
        ),
        ("/v1/capacity/density?vcpus=1", "Missing parameter memory_mb"),
    ] {
        let refused = edge.newer("p1/admin", "GET", path, None).await;
        assert_eq!(refused.message(), (400, text), "{path}");
    }
    let senseless = lease(json!({"end_date": "2099-01-01 00:00"}));
    let refused = edge.newer("p1/member", "POST", "/v1/leases/what-if", Some(&senseless)).await;
    assert_eq!(refused.message(), (400, "End date must be later than start date."));
    edge.end().await;
}
