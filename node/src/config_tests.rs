//! What a configuration may and may not be, and the page that tells.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn minimal() -> Config {
    Config {
        node: NodeSection { id: 1, data_dir: "data".into(), threads: None },
        auth: AuthSection { mode: AuthMode::Noauth, cache_s: 300 },
        ..Config::default()
    }
}

#[test]
fn a_minimal_configuration_is_accepted() {
    minimal().check().unwrap();
}

fn from_variables(variables: &[(&str, &str)]) -> Result<Config, Error> {
    let minimal = [("node.id", "1"), ("node.data_dir", "7"), ("auth.mode", "noauth")];
    Config::from_parts(None, minimal.iter().chain(variables).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
}

const CLOUD: [(&str, &str); 2] = [("cloud.auth_url", "http://k/v3"), ("cloud.username", "007")];

#[test]
fn texts_from_variables_are_taken_as_they_are_and_numbers_as_numbers() {
    for password in ["12345", "0123", "true", "1e5", "[x", "{}", "\"q\"", " "] {
        let config =
            from_variables(&[CLOUD[0], CLOUD[1], ("cloud.password", password), ("cloud.timeout_s", "7"), ("node.threads", "3")])
                .unwrap();
        assert_eq!(config.node.task_threads(), 3);
        let cloud = config.cloud.unwrap();
        assert_eq!((cloud.password.unwrap().reveal(), cloud.username.as_deref()), (password, Some("007")));
        assert_eq!((cloud.timeout_s, config.node.data_dir), (Some(7), "7".into()));
    }
    let told = from_variables(&[("node.id", "one")]).unwrap_err().to_string();
    assert!(told.contains("id"), "{told}");
    assert!(from_variables(&[("node.colour", "1")]).unwrap_err().to_string().contains("colour"));
}

#[test]
fn no_error_shows_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let load = |text: &str| {
        let file = folder.path().join("leasehold.toml");
        std::fs::write(&file, format!("[node]\nid = 1\ndata_dir = \"d\"\n[cloud]\n{text}")).unwrap();
        Config::load(Some(&file))
    };
    for line in ["password = 98.76", "password = [98, 76]", "password = 98x76", "password = \"98\"76", "password = { a = 9876 }"]
    {
        let told = load(line).unwrap_err().to_string();
        assert!(!told.contains("98") && !told.contains("76"), "{told}");
        assert!(told.contains("password") || told.contains("line 5"), "{told}");
    }
    let whole = load("auth_url = \"http://k/v3\"\nusername = \"u\"\npassword = 9876").unwrap();
    assert_eq!(whole.cloud.unwrap().password.unwrap().reveal(), "9876");
}

#[test]
fn an_address_that_nobody_can_dial_needs_an_advertised_one() {
    let mut config = minimal();
    config.listen.peer = SocketAddr::from(([0, 0, 0, 0], 1236));
    assert!(config.check().unwrap_err().to_string().contains("listen.peer_advertised"));
    let mut config = minimal();
    config.listen.grpc = "[::]:1235".parse().unwrap();
    assert!(config.check().unwrap_err().to_string().contains("listen.grpc_advertised"));
    config.listen.grpc_advertised = Some("n1:1235".to_owned());
    assert!(config.check().unwrap_err().to_string().contains("auth.mode"));
}

#[test]
fn a_token_is_not_to_be_trusted_for_longer_than_five_minutes() {
    let mut config = minimal();
    config.auth.cache_s = 301;
    assert!(config.check().unwrap_err().to_string().contains("auth.cache_s"));
}

#[test]
fn noauth_is_refused_beyond_loopback() {
    let mut config = minimal();
    config.listen.rest = SocketAddr::from(([0, 0, 0, 0], 1234));
    assert!(config.check().unwrap_err().to_string().contains("auth.mode"));
}

#[test]
fn plain_peers_are_refused_beyond_loopback() {
    let mut config = minimal();
    config.listen.peer = SocketAddr::from(([192, 0, 2, 1], 1236));
    assert!(config.check().unwrap_err().to_string().contains("listen.peer"));
}

#[test]
fn an_election_shorter_than_three_heartbeats_is_refused() {
    let mut config = minimal();
    config.raft.election_min_ms = 250;
    assert!(config.check().unwrap_err().to_string().contains("heartbeat"));
}

#[test]
fn secrets_are_not_shown() {
    assert_eq!(format!("{:?}", Secret::new("hunter2")), "(secret)");
}

/// Keys and defaults of one section of the reference, as its tables have them.
fn documented(reference: &str, section: &str) -> BTreeMap<String, String> {
    let heading = format!("## [{section}]");
    let lines = reference.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with("## "));
    let rows = lines.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(key, rest)| (key.to_owned(), rest.split(" | ").next().unwrap().trim_matches('`').to_owned())).collect()
}

#[test]
fn the_reference_names_every_key_with_its_default_and_no_other() {
    let reference = include_str!("../../docs/configuration.md");
    let full = Config { cloud: Some(CloudSection::default()), ..Config::default() };
    let value = serde_json::to_value(&full).unwrap();
    let sections: Vec<&str> = reference.lines().filter_map(|line| line.strip_prefix("## [")?.strip_suffix(']')).collect();
    assert_eq!(sections.len(), value.as_object().unwrap().len(), "{sections:?}");
    for (section, keys) in value.as_object().unwrap() {
        let documented = documented(reference, section);
        let keys = keys.as_object().unwrap();
        assert_eq!(documented.keys().collect::<Vec<_>>(), keys.keys().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
        for (key, default) in keys {
            let default = match default {
                // What is used then is told in words.
                serde_json::Value::Null => continue,
                // Of a key that must be given there is no default.
                _ if section == "node" || (section == "cloud" && key == "auth_url") => "none".to_owned(),
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(documented[key], default, "docs/configuration.md: default of `{key}` of [{section}]");
        }
    }
}

/// Each wrong value is told by its key.
#[test]
fn values_that_would_quietly_be_others_are_refused() {
    type Change = fn(&mut Config);
    let cases: &[(&str, Change)] = &[
        ("cloud.timeout_s", |config| {
            config.cloud = Some(CloudSection { auth_url: "http://k/v3".into(), timeout_s: Some(0), ..CloudSection::default() });
        }),
        ("raft.snapshot_entries", |config| config.raft.snapshot_entries = 0),
        ("raft.keep_entries", |config| config.raft.keep_entries = u64::MAX),
        ("raft.election_min_ms", |config| config.raft.heartbeat_ms = u64::MAX),
        ("raft.election_max_ms", |config| config.raft.election_max_ms = u64::MAX),
        ("raft.election_max_ms", |config| {
            (config.raft.heartbeat_ms, config.raft.election_min_ms, config.raft.election_max_ms) = (20, 60, 259);
        }),
        ("api.requests_max", |config| config.api.requests_max = 0),
        ("api.connections_max", |config| config.api.connections_max = 0),
        ("api.priority_role", |config| config.api.priority_role = Some(String::new())),
        ("api.quota_exempt_role", |config| config.api.quota_exempt_role = Some(String::new())),
        ("api.expiry_s_default", |config| config.api.expiry_s_default = Some(59)),
        ("api.ended_leases_read_max", |config| config.api.ended_leases_read_max = 0),
        ("api.ended_leases_read_max", |config| config.api.ended_leases_read_max = 10_000_001),
        ("api.expiry_s_default", |config| config.api.expiry_s_default = Some(31_536_001)),
        ("api.expiry_s_default", |config| (config.api.expiry, config.api.expiry_s_default) = (false, Some(900))),
        ("leader.parallel", |config| config.leader.parallel = 0),
        ("leader.reconcile_s", |config| config.leader.reconcile_s = 0),
        ("leader.monitor_s", |config| config.leader.monitor_s = 0),
        ("leader.healing_grace_s", |config| config.leader.healing_grace_s = 1 << 32),
        ("leader.healing_horizon_s", |config| config.leader.healing_horizon_s = u64::MAX),
        ("leader.defragment_s", |config| config.leader.defragment_s = 1 << 32),
        ("leader.defragment_lead_s", |config| config.leader.defragment_lead_s = 9),
        ("leader.defragment_gain_s", |config| config.leader.defragment_gain_s = 0),
    ];
    for (key, change) in cases {
        let mut config = minimal();
        change(&mut config);
        let told = config.check().unwrap_err().to_string();
        assert!(told.contains(key), "{key}: {told}");
    }
    for seconds in [None, Some(60), Some(31_536_000)] {
        let mut config = minimal();
        config.api.expiry_s_default = seconds;
        config.check().unwrap();
    }
}
