//! Part of A8: nodes change nothing in the cloud that is not ours, at no time.
//!
//! Ours is what a node made: flavors, classes, providers, server groups, aggregates, images; holds, by their consumer type; and
//! servers of flavors that a node made, with their allocations and the images that Nova keeps of them. Of everything else no line of
//! a node's may change anything, by its own call, by one that took effect late, or by what Nova does upon it.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_cloudsim::Change;

use super::Sheet;
use crate::record::{CloudLine, Record};

/// What is ours, as far as the record has told.
#[derive(Default)]
struct Ours<'a> {
    /// By kind of object: what a node made, also what is gone again.
    made: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// Consumers of holds.
    holds: BTreeSet<&'a str>,
    /// Flavors of servers.
    servers: BTreeMap<&'a str, &'a str>,
    /// Servers of images.
    images: BTreeMap<&'a str, &'a str>,
}

/// See the module.
pub fn look(record: &Record, sheet: &mut Sheet) {
    let mut ours = Ours::default();
    for line in &record.cloud {
        let by_node = line.caller.starts_with("node-");
        for change in &line.changes {
            ours.learn(by_node, change);
            if by_node {
                sheet.must(ours.has(change), || told(line, change));
            }
        }
    }
}

fn told(line: &CloudLine, change: &Change) -> String {
    let CloudLine { n, caller, kind, .. } = line;
    format!("line {n} ({kind:?} of {caller}): {} of {}, which is not ours: {}", change.what, change.id, change.facts)
}

/// The kind of object and what became of it.
fn parts(change: &Change) -> (&str, &str) {
    change.what.split_once('.').unwrap_or((&change.what, ""))
}

impl<'a> Ours<'a> {
    fn learn(&mut self, by_node: bool, change: &'a Change) {
        let text = |name: &str| change.facts[name].as_str().filter(|text| !text.is_empty());
        match parts(change) {
            (kind, "created" | "queued") if by_node => drop(self.made.entry(kind).or_default().insert(&change.id)),
            ("allocation", "set") if text("consumer_type") == Some("LEASEHOLD_HOLD") => drop(self.holds.insert(&change.id)),
            _ => {}
        }
        match parts(change).0 {
            "server" => drop(text("flavor_id").map(|flavor| self.servers.insert(&change.id, flavor))),
            "image" => drop(text("server_id").map(|server| self.images.insert(&change.id, server))),
            _ => {}
        }
    }

    fn made(&self, kind: &str, id: &str) -> bool {
        self.made.get(kind).is_some_and(|ids| ids.contains(id))
    }

    fn has_server(&self, id: &str) -> bool {
        self.servers.get(id).is_some_and(|flavor| self.made("flavor", flavor))
    }

    fn has(&self, change: &Change) -> bool {
        let id = change.id.as_str();
        match parts(change).0 {
            "server" => self.has_server(id),
            "allocation" => self.holds.contains(id) || self.has_server(id),
            "image" => self.made("image", id) || self.images.get(id).is_some_and(|server| self.has_server(server)),
            "inventory" | "traits" => self.made("provider", id),
            // Flavors, classes, providers, groups, aggregates; services, hosts, roles and whatever comes later are never ours.
            kind => self.made(kind, id),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Made, fires, line};
    use super::*;
    use crate::check::Judgement;
    use crate::report::Verdict;

    fn judge(record: &Record) -> Judgement {
        let mut sheet = Sheet::default();
        look(record, &mut sheet);
        sheet.close("A8")
    }

    fn others(line: CloudLine) -> CloudLine {
        CloudLine { caller: "tenant".to_owned(), ..line }
    }

    /// Something is made, by a node or by somebody else, and a node changes it.
    fn changed(ours: bool, made: (&str, Value), then: (&str, Value)) -> Made {
        let first = line(2, 2, made.0, "x", made.1);
        let first = if ours { first } else { others(first) };
        let flavor = line(1, 1, "flavor.created", "r-a", json!({}));
        Made { cloud: vec![flavor, first, line(3, 3, then.0, "x", then.1)], ..Made::default() }
    }

    #[test]
    fn what_a_node_made_it_may_change_and_what_another_made_it_may_not() {
        for (made, then) in [
            ("flavor.created", "flavor.access_removed"),
            ("flavor.created", "flavor.extra_specs_set"),
            ("flavor.created", "flavor.deleted"),
            ("class.created", "class.deleted"),
            ("provider.created", "inventory.set"),
            ("provider.created", "traits.set"),
            ("provider.created", "provider.deleted"),
            ("group.created", "group.deleted"),
            ("aggregate.created", "aggregate.metadata_set"),
            ("image.queued", "image.deleted"),
            ("image.queued", "image.changed"),
        ] {
            let judged = judge(&changed(true, (made, json!({})), (then, json!({}))).record());
            assert_eq!(judged.verdict, Verdict::Pass, "{then}: {judged:?}");
            fires(judge, changed(false, (made, json!({})), (then, json!({}))), "which is not ours");
        }
        fires(judge, changed(true, ("flavor.created", json!({})), ("service.set", json!({}))), "service.set");
    }

    #[test]
    fn servers_are_ours_by_their_flavor_and_with_them_their_allocations_and_images() {
        let server = |flavor: &str| ("server.active", json!({"flavor_id": flavor}));
        for then in ["server.deleting", "allocation.removed", "server.tags_set"] {
            assert_eq!(judge(&changed(false, server("r-a"), (then, json!({}))).record()).verdict, Verdict::Pass, "{then}");
            fires(judge, changed(false, server("m1.small"), (then, json!({}))), then);
        }
        let image = |flavor: &str| {
            let mut made = changed(false, server(flavor), ("image.deleted", json!({})));
            made.cloud.insert(2, others(line(2, 2, "image.queued", "i", json!({"server_id": "x"}))));
            made.cloud[3].changes[0].id = "i".to_owned();
            made
        };
        assert_eq!(judge(&image("r-a").record()).verdict, Verdict::Pass);
        fires(judge, image("m1.small"), "image.deleted of i");
    }

    #[test]
    fn holds_are_ours_by_their_type() {
        let hold = |kind: &str| ("allocation.set", json!({"consumer_type": kind}));
        assert_eq!(
            judge(&changed(true, hold("LEASEHOLD_HOLD"), ("allocation.removed", json!({}))).record()).verdict,
            Verdict::Pass
        );
        fires(judge, changed(false, hold("INSTANCE"), ("allocation.removed", json!({}))), "allocation.removed");
        fires(judge, changed(true, hold("INSTANCE"), ("allocation.removed", json!({}))), "allocation.set");
    }
}
