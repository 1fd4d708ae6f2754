//! Part of A5: what a row was recorded as done for is there, in the cloud's own record, by then.
//!
//! - `staging_close`: every server that ran when the row was opened is off its host, or gone.
//! - `start`: every server that was parked when the row was opened was woken since, or is gone. Where a tenant made his lease
//!   smaller than what he had parked, the others stay so, once all slots are in use.
//! - `end`: by `on_end` every server is gone; or parked, or gone; or imaged, and then gone.
//!
//! Only servers that were there when the row was opened are looked at: what a late call of an older row, or a tenant, does
//! between the last look of the row's worker and its outcome says nothing against the outcome.

use std::collections::BTreeMap;

use super::Sheet;
use super::leases::{Leases, told};
use super::rows::rows;
use crate::record::{CloudLine, Record};

/// A server that does not let itself be imaged for so long is deleted without (scheduling-design G4), milliseconds.
const GIVEN_UP_MS: u64 = 5 * 60 * 1_000;

/// A row that was recorded as done.
struct Done {
    what: String,
    /// Unix milliseconds: when the row was opened, and when it was recorded as done.
    between: (u64, u64),
    flavor: String,
    owed: Owed,
    slots: u64,
}

/// What is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Parked,
    Woken,
    Gone,
    GoneOrParked,
    Imaged,
}

/// One change of a server: when, what, and its status after it.
type Seen<'a> = (u64, &'a str, &'a str);

/// A server as the record tells of it.
#[derive(Default)]
struct Server<'a> {
    flavor: &'a str,
    seen: Vec<Seen<'a>>,
    /// When an image of it, other than that of a shelve, was whole, Unix milliseconds.
    imaged: Vec<u64>,
    /// When its tenant had it deleted, Unix milliseconds: then nothing of it is to be kept.
    given_up: Option<u64>,
}

impl<'a> Server<'a> {
    /// Its status at an instant; `None`: not there yet, or no more.
    fn status(&self, ms: u64) -> Option<&'a str> {
        let (_, what, status) = self.seen.iter().rfind(|(at_ms, ..)| *at_ms <= ms)?;
        (*what != "server.deleted").then_some(status)
    }

    /// Whether it has a place on a host at an instant, or gets one.
    fn has_place(&self, ms: u64) -> bool {
        self.status(ms).is_some_and(|status| !matches!(status, "SHELVED_OFFLOADED" | "ERROR" | "DELETED"))
    }

    /// When any of these was first seen within a time.
    fn first(&self, (from, to): (u64, u64), any: &[&str]) -> Option<u64> {
        let within = self.seen.iter().find(|(at_ms, what, _)| from <= *at_ms && *at_ms <= to && any.contains(what));
        within.map(|(at_ms, ..)| *at_ms)
    }

    fn was_broken(&self, (from, to): (u64, u64)) -> bool {
        self.seen.iter().any(|(at_ms, _, status)| from <= *at_ms && *at_ms <= to && *status == "ERROR")
    }

    /// Whether what a row owes this server is there; `None`: nothing is owed.
    fn has(&self, done: &Done) -> Option<bool> {
        const LEFT: [&str; 2] = ["server.deleting", "server.deleted"];
        let (from, to) = done.between;
        let before = self.status(from)?;
        let parked = matches!(before, "SHELVED" | "SHELVED_OFFLOADED");
        let runs = before == "ACTIVE";
        let any = |what: &[&str]| self.first(done.between, what).is_some();
        match done.owed {
            // What is broken cannot be woken, and is told on the lease.
            Owed::Woken => parked.then(|| any(&["server.active"]) || any(&LEFT) || self.status(to) == Some("ERROR")),
            Owed::Parked | Owed::GoneOrParked => {
                runs.then(|| any(&["server.shelved_offloaded"]) || any(&LEFT) || self.status(to) == Some("ERROR"))
            }
            Owed::Gone => Some(self.status(to).is_none()),
            Owed::Imaged => runs.then(|| match self.first(done.between, &LEFT) {
                None => self.status(to).is_none_or(|status| status == "SHELVED_OFFLOADED"),
                Some(left) => {
                    let imaged = self.imaged.iter().any(|at_ms| *at_ms <= left);
                    imaged || self.given_up == Some(left) || self.was_broken((from, left)) || left - from >= GIVEN_UP_MS
                }
            }),
        }
    }
}

/// See the module.
pub fn look(record: &Record, sheet: &mut Sheet) {
    let servers = servers(&record.cloud);
    for done in done(record) {
        let of_flavor = || servers.iter().filter(|(_, server)| server.flavor == done.flavor);
        let in_use = of_flavor().filter(|(_, server)| server.has_place(done.between.1)).count() as u64;
        for (id, server) in of_flavor() {
            let Some(there) = server.has(&done) else { continue };
            let there = there || (done.owed == Owed::Woken && in_use >= done.slots);
            sheet.must(there, || {
                let ((from, to), Done { what, owed, .. }) = (done.between, &done);
                let since: Vec<_> = server.seen.iter().filter(|(at_ms, ..)| from <= *at_ms && *at_ms <= to).collect();
                format!("{what} was done after {} ms, and server {id} is not {owed:?}: {since:?}", to - from)
            });
        }
    }
}

fn servers(lines: &[CloudLine]) -> BTreeMap<&str, Server<'_>> {
    let mut servers: BTreeMap<&str, Server<'_>> = BTreeMap::new();
    for line in lines {
        for change in &line.changes {
            let text = |name: &str| change.facts[name].as_str().unwrap_or_default();
            if change.what.starts_with("server.") {
                let server = servers.entry(&change.id).or_default();
                // Tags and locks tell no status.
                let told = !text("status").is_empty();
                let status = if told { text("status") } else { server.seen.last().map_or("", |(_, _, status)| status) };
                if told {
                    server.flavor = text("flavor_id");
                }
                server.seen.push((line.at_ms, &change.what, status));
                if change.what == "server.deleting" && !line.caller.starts_with("node-") {
                    server.given_up.get_or_insert(line.at_ms);
                }
            } else if change.what == "image.active" && !text("name").ends_with("-shelved") {
                servers.entry(text("server_id")).or_default().imaged.push(line.at_ms);
            }
        }
    }
    servers
}

/// Rows that went because they were recorded as done, and not superseded or failed: that is what the lease then shows.
fn done<'a>(record: &'a Record) -> Vec<Done> {
    let (told, hidden) = (told(record), hidden(record));
    let mut all = Vec::new();
    for row in rows(record) {
        let Some(look) = row.gone else { continue };
        let until = |seen: &Leases<'a>| {
            let of_lease = seen.get(row.lease()).into_iter().flat_map(|seen| seen.range(..=look.ledger_index));
            of_lease.map(|(index, lease)| (*index, *lease)).collect::<Vec<_>>()
        };
        let (told, hidden) = (until(&told), until(&hidden));
        let gone = told.last().is_none_or(|(_, lease)| lease.is_none()) && !look.hidden.contains_key(row.lease());
        // As it was last told or seen.
        let seen = told.into_iter().chain(hidden).filter_map(|(index, lease)| Some((index, lease?)));
        let Some((_, lease)) = seen.max_by_key(|(index, _)| *index) else { continue };
        let mut all_of = lease["reservations"].as_array().into_iter().flatten();
        let Some(reservation) = all_of.find(|one| one["id"] == row.reservation()) else { continue };
        let is = |status: &str, stage: &str| !gone && reservation["status"] == status && reservation["stage"] == stage;
        let owed = match row.step() {
            "staging_close" if is("pending", "parked") => Some(Owed::Parked),
            "start" if is("active", "open") => Some(Owed::Woken),
            "end" if gone || is("deleted", "ended") => match reservation["on_end"].as_str() {
                Some("delete") => Some(Owed::Gone),
                Some("shelve") => Some(Owed::GoneOrParked),
                Some("snapshot") => Some(Owed::Imaged),
                _ => None,
            },
            _ => None,
        };
        let unix_ms = |at_ns: u64| record.epoch_ms + at_ns / 1_000_000;
        if let Some(owed) = owed {
            let flavor = super::cloud::flavor_of(reservation).unwrap_or(row.reservation()).to_owned();
            let what = format!("row {} ({} of lease {})", row.id, row.step(), row.lease());
            let bindings = reservation["bindings"].as_array().into_iter().flatten().filter(|one| one["phase"] == "main");
            let slots = bindings.filter_map(|one| one["slots"].as_u64()).sum();
            all.push(Done { what, between: (unix_ms(row.from_ns), unix_ms(look.at_ns)), flavor, owed, slots });
        }
    }
    all
}

/// Those that users do not see: being created, or deleted and not yet confirmed.
fn hidden(record: &Record) -> Leases<'_> {
    let mut leases = Leases::new();
    for look in &record.audit {
        for (id, lease) in &look.hidden {
            leases.entry(id).or_default().insert(look.ledger_index, Some(lease));
        }
    }
    leases
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, fires, line};
    use crate::check::Judgement;
    use crate::check::model::tests::lease;
    use crate::record::Record;
    use crate::report::Verdict;

    const S: u64 = 1_000_000_000;

    fn judge(record: &Record) -> Judgement {
        let mut sheet = super::Sheet::default();
        super::look(record, &mut sheet);
        sheet.close("A5")
    }

    /// A row of `r-a` opened at second 10 and gone at second 20, its reservation as `(status, stage, on_end)` then; what server
    /// `s` did, by second and status.
    fn made(step: &str, then: (&str, &str, &str), did: &[(u64, &str, &str)]) -> Made {
        let mut made = Made::default();
        let mut one = lease("a", 10, 100, &[(1, 1)]);
        made.watch(1, json!({"lease": one}));
        let reservation = &mut one["reservations"][0];
        (reservation["status"], reservation["stage"], reservation["on_end"]) = (json!(then.0), json!(then.1), json!(then.2));
        made.watch(3, json!({"lease": one}));
        made.audit_at(2, 10 * S, &[]);
        made.row(1, "r-a", step, 10);
        made.audit_at(3, 20 * S, &[]);
        made.cloud = (1..)
            .zip(did)
            .map(|(n, (at_s, what, status))| {
                let id = if what.starts_with("image") { "image" } else { "s" };
                line(n, at_s * 1_000, what, id, json!({"flavor_id": "r-a", "status": status, "name": "n", "server_id": "s"}))
            })
            .collect();
        made
    }

    fn passes(made: Made) {
        let judgement = judge(&made.record());
        assert_eq!((judgement.verdict, judgement.looked_at), (Verdict::Pass, 1), "{judgement:?}");
    }

    const PARKED: (u64, &str, &str) = (9, "server.shelved_offloaded", "SHELVED_OFFLOADED");
    const RUNS: (u64, &str, &str) = (9, "server.active", "ACTIVE");

    #[test]
    fn a_start_is_done_when_its_parked_servers_woke() {
        let start = |did: &[_]| made("start", ("active", "open", "delete"), did);
        passes(start(&[PARKED, (20, "server.active", "ACTIVE")]));
        passes(start(&[PARKED, (15, "server.deleting", "SHELVED_OFFLOADED")]));
        passes(start(&[PARKED, (15, "server.error", "ERROR")]));
        // Woken, and then shelved by a late call.
        passes(start(&[PARKED, (15, "server.active", "ACTIVE"), (19, "server.shelved_offloaded", "SHELVED_OFFLOADED")]));
        fires(judge, start(&[PARKED, (21, "server.active", "ACTIVE")]), "not Woken");
        fires(judge, start(&[PARKED, (11, "server.accepted", "SHELVED_OFFLOADED")]), "not Woken");
        // Superseded by its end, it was not done.
        let ended = made("start", ("active", "ended", "delete"), &[PARKED]);
        assert_eq!(judge(&ended.record()).looked_at, 0);
    }

    #[test]
    fn what_is_parked_beyond_the_slots_may_stay_so_once_all_are_in_use() {
        let beside = |at_s: u64, status: &str| {
            let mut made = made("start", ("active", "open", "delete"), &[PARKED]);
            made.cloud.push(line(2, at_s * 1_000, "server.active", "other", json!({"flavor_id": "r-a", "status": status})));
            made
        };
        passes(beside(15, "ACTIVE"));
        fires(judge, beside(21, "ACTIVE"), "not Woken");
        fires(judge, beside(15, "ERROR"), "not Woken");
    }

    #[test]
    fn a_staging_is_closed_when_its_servers_are_off() {
        let close = |did: &[_]| made("staging_close", ("pending", "parked", "delete"), did);
        passes(close(&[RUNS, (20, "server.shelved_offloaded", "SHELVED_OFFLOADED")]));
        passes(close(&[RUNS, (20, "server.deleted", "DELETED")]));
        fires(judge, close(&[RUNS, (20, "server.shelved", "SHELVED")]), "not Parked");
        fires(judge, close(&[RUNS]), "not Parked");
    }

    #[test]
    fn an_end_is_done_when_on_end_is() {
        let end = |on_end: &str, did: &[_]| made("end", ("deleted", "ended", on_end), did);
        let deleted = (20, "server.deleted", "DELETED");
        passes(end("delete", &[RUNS, deleted]));
        fires(judge, end("delete", &[RUNS, (15, "server.deleting", "ACTIVE")]), "not Gone");
        fires(judge, end("delete", &[PARKED]), "not Gone");
        passes(end("shelve", &[RUNS, (20, "server.shelved_offloaded", "SHELVED_OFFLOADED")]));
        fires(judge, end("shelve", &[RUNS]), "not GoneOrParked");
        passes(end("snapshot", &[RUNS, (15, "image.active", ""), (15, "server.deleting", "ACTIVE"), deleted]));
        fires(
            judge,
            end("snapshot", &[RUNS, (15, "server.deleting", "ACTIVE"), (16, "image.active", ""), deleted]),
            "not Imaged",
        );
        fires(judge, end("snapshot", &[RUNS]), "not Imaged");
        // Unless its tenant had it deleted.
        let gone = || end("snapshot", &[RUNS, (15, "server.deleting", "ACTIVE"), deleted]);
        fires(judge, gone(), "not Imaged");
        let mut given_up = gone();
        given_up.cloud.iter_mut().for_each(|line| line.caller = "tenant".to_owned());
        passes(given_up);
        passes(end("snapshot", &[RUNS, (14, "server.error", "ERROR"), (15, "server.deleting", "ERROR"), deleted]));
    }

    #[test]
    fn the_end_of_a_deleted_lease_is_done_when_it_is_gone() {
        let deleted = |did: &[_]| {
            let mut made = made("end", ("active", "ended", "delete"), did);
            made.watches[1].change = json!({"lease_removed": "a"});
            let mut one = lease("a", 10, 100, &[(1, 1)]);
            one["deleted"] = json!(true);
            made.audit[0].hidden.insert("a".to_owned(), one.into());
            made
        };
        fires(judge, deleted(&[RUNS]), "not Gone");
        passes(deleted(&[RUNS, (20, "server.deleted", "DELETED")]));
    }
}
