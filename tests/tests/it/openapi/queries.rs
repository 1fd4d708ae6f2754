//! The queries of the document: the server knows each key that stands there, and no other.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_tests::cloud::http_client;
use serde_json::Value;

use super::document::{Document, HEADER};
use crate::rig::{Rig, rig};

/// What must be said beside a key, for the question to be one: examples of other keys of the operation.
fn beside(operation: &str, key: &str) -> &'static [&'static str] {
    match (operation, key) {
        ("density_get", "flavor_id" | "resource_type") => &[],
        ("density_get", _) => &["vcpus", "memory_mb"],
        (_, "scope") => &["start_date"],
        // Behind what is not there a page goes on by id alone.
        ("downtime_list", "marker") => &["sort_key"],
        _ => &[],
    }
}

/// The parameters of an operation that are part of its query, by name.
fn keys(operation: &Value) -> BTreeMap<&str, &Value> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    all.filter(|one| one["in"] == "query").map(|one| (one["name"].as_str().unwrap(), one)).collect()
}

fn text(example: &Value) -> String {
    example.as_str().map_or_else(|| example.to_string(), str::to_owned)
}

/// As it stands in a URL.
fn encoded(query: &[(&str, String)]) -> String {
    let byte = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let pair = |(key, value): &(&str, String)| format!("{key}={}", value.bytes().map(byte).collect::<String>());
    query.iter().map(pair).collect::<Vec<_>>().join("&")
}

#[tokio::test]
async fn each_key_of_a_query_in_the_document_is_known_and_any_other_is_refused_by_name() {
    let Rig { cluster, cloud: _cloud, client: _client } = rig(1).await;
    let root = cluster.nodes()[0].rest_url().trim_end_matches("/v1").to_owned();
    let client = http_client().unwrap();
    let ask = async |path: &str, query: &[(&str, String)]| -> (u16, String) {
        let request = client.get(format!("{root}{}?{}", path.replace("{id}", "1"), encoded(query)));
        let answer = request.header(HEADER, "reservation 1.1").send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        (status, body["error_message"].as_str().unwrap_or_default().to_owned())
    };
    let document = Document::read();
    let mut asked = BTreeSet::new();
    for (path, method, operation) in document.operations() {
        let id = operation["operationId"].as_str().unwrap();
        let keys = keys(operation);
        if keys.is_empty() {
            continue;
        }
        assert_eq!(method, "get", "{id}");
        let mut known = BTreeSet::new();
        for (key, parameter) in &keys {
            let example = &parameter["example"];
            assert!(!example.is_null(), "{id} has no example of {key}");
            assert_eq!(document.problems(&parameter["schema"], example), Vec::<String>::new(), "{id}: the example of {key}");
            let needed = keys.iter().filter(|(_, other)| other["required"] == true).map(|(name, _)| *name);
            let with: BTreeSet<&str> = needed.chain(beside(id, key).iter().copied()).filter(|name| name != key).collect();
            let mut query: Vec<(&str, String)> = with.iter().map(|name| (*name, text(&keys[name]["example"]))).collect();
            query.push((key, text(example)));
            let (status, said) = ask(path, &query).await;
            // Of a flavor that the cloud does not have, that is what is wrong.
            let is_known = status == 200 || (*key == "flavor_id" && status == 404);
            assert!(is_known, "{id} with {query:?}: {status} {said}");

            query.push(("colour", "red".to_owned()));
            let (status, said) = ask(path, &query).await;
            assert_eq!(status, 400, "{id} with {query:?}: {said}");
            let listed = said.strip_prefix("colour is unknown; known are ").unwrap_or_else(|| panic!("{id}: {said}"));
            known.extend(listed.split(", ").map(str::to_owned));
        }
        let documented: BTreeSet<String> = keys.keys().map(|key| (*key).to_owned()).collect();
        assert_eq!(known, documented, "{id}: what the server knows, and what the document says");
        asked.insert(id.to_owned());
    }
    let wanted = [
        "lease_list",
        "offer_list",
        "lease_utilisation",
        "host_list",
        "allocation_list",
        "allocation_get",
        "downtime_list",
        "downtime_list_all",
        "quota_list",
        "capacity_get",
        "density_get",
    ];
    assert!(wanted.iter().all(|id| asked.contains(*id)), "{asked:?}");
}
