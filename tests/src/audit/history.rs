//! The record sorted by what it is about.

use std::collections::BTreeMap;

use leasehold_cloudsim::{Kind, Record};
use serde_json::Value;

use crate::cloud::Capacity;

/// Something that became of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEvent {
    /// When it took effect, ms since 1970.
    pub at_ms: u64,
    /// What, as `active`, `shelved_offloaded`, `deleted`.
    pub what: String,
    /// The verb that led there, as `create`, `unshelve`.
    pub verb: String,
    /// Host concerned.
    pub host: Option<String>,
}

/// A change of a reservation's tokens on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEvent {
    /// When it took effect, ms since 1970.
    pub at_ms: u64,
    /// Compute host.
    pub host: String,
    /// Tokens that exist there from now on.
    pub total: u64,
    /// Of these, how many servers may take.
    pub open: u64,
}

/// All servers, tokens and flavors that the record speaks of.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Per server, in order.
    pub servers: BTreeMap<String, Vec<ServerEvent>>,
    /// Per resource class, in order.
    pub tokens: BTreeMap<String, Vec<TokenEvent>>,
    /// Per server, instants of accepted `createImage` calls.
    pub image_calls: BTreeMap<String, Vec<u64>>,
    /// Per server, instants at which an image of it became active, shelves left out.
    pub images: BTreeMap<String, Vec<u64>>,
    /// What one server of a flavor takes.
    pub flavors: BTreeMap<String, Capacity>,
    /// Per server: the flavor it was made with.
    pub flavor_of: BTreeMap<String, String>,
    /// Per server: what it takes.
    pub size_of: BTreeMap<String, Capacity>,
}

/// The resource class of a reservation's tokens.
pub fn class_of(reservation_id: &str) -> String {
    format!("CUSTOM_RESERVATION_{}", reservation_id.to_uppercase().replace('-', "_"))
}

/// When a line's changes took effect.
pub(super) fn instant(line: &Record) -> u64 {
    line.applied_at.unwrap_or(line.at_ms)
}

/// The flavor's figures in a change's facts.
pub(super) fn size(facts: &Value) -> Capacity {
    let amount = |name: &str| facts[name].as_u64().unwrap_or(0);
    Capacity { vcpus: amount("vcpus"), memory_mb: amount("ram"), disk_gb: amount("disk") }
}

impl History {
    /// Sorts a record.
    pub fn of(record: &[Record]) -> History {
        let mut history = History::default();
        for line in record {
            history.call(line);
            for change in &line.changes {
                let (at_ms, facts) = (instant(line), &change.facts);
                let text = |name: &str| facts[name].as_str().unwrap_or_default().to_owned();
                match change.what.split_once('.') {
                    Some(("server", what)) => {
                        if !text("flavor_id").is_empty() {
                            history.flavor_of.insert(change.id.clone(), text("flavor_id"));
                            history.size_of.insert(change.id.clone(), size(facts));
                        }
                        let event = ServerEvent { at_ms, what: what.to_owned(), verb: text("action"), host: change.host.clone() };
                        history.servers.entry(change.id.clone()).or_default().push(event);
                    }
                    Some(("inventory", "set")) => {
                        let amount = |name: &str| facts[name].as_u64().unwrap_or(0);
                        let (total, open) = (amount("total"), amount("total").saturating_sub(amount("reserved")));
                        history.token(&text("class"), at_ms, change.host.as_deref(), total, open);
                    }
                    Some(("inventory", "removed")) => history.token(&text("class"), at_ms, change.host.as_deref(), 0, 0),
                    Some(("flavor", "created")) => {
                        history.flavors.insert(change.id.clone(), size(facts));
                    }
                    Some(("image", "active")) if !text("name").ends_with("-shelved") => {
                        history.images.entry(text("server_id")).or_default().push(at_ms);
                    }
                    _ => {}
                }
            }
        }
        history
    }

    fn call(&mut self, line: &Record) {
        let took_effect = line.kind != Kind::Event && line.applied_at.is_some() && (200..300).contains(&line.status);
        if !took_effect || line.body.get("createImage").is_none() {
            return;
        }
        if let Some(server) = line.path.split('/').skip_while(|part| *part != "servers").nth(1) {
            self.image_calls.entry(server.to_owned()).or_default().push(instant(line));
        }
    }

    fn token(&mut self, class: &str, at_ms: u64, host: Option<&str>, total: u64, open: u64) {
        if class.starts_with("CUSTOM_RESERVATION_") {
            let event = TokenEvent { at_ms, host: host.unwrap_or_default().to_owned(), total, open };
            self.tokens.entry(class.to_owned()).or_default().push(event);
        }
    }

    /// Instants at which a server became `what` by `verb`.
    pub fn times(&self, server: &str, what: &str, verb: &str) -> Vec<u64> {
        let events = self.servers.get(server).map_or(&[][..], Vec::as_slice);
        events.iter().filter(|event| event.what == what && event.verb == verb).map(|event| event.at_ms).collect()
    }

    /// Open tokens of a class over all hosts after each of its changes.
    pub fn open_tokens(&self, class: &str) -> Vec<(u64, u64)> {
        let mut by_host: BTreeMap<&str, u64> = BTreeMap::new();
        let events = self.tokens.get(class).map_or(&[][..], Vec::as_slice);
        events
            .iter()
            .map(|event| {
                by_host.insert(&event.host, event.open);
                (event.at_ms, by_host.values().sum())
            })
            .collect()
    }
}
