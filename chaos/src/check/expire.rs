//! Z1: what expires is counted in time and not before it, with its tokens closed, and nothing that is in use is given back
//! (docs/decisions/0023).
//!
//! What the ledger recorded of a count is known by what was told of the lease; what was in use, by the cloud's own record. An
//! instant of the count is looked for at which the tokens are closed on all hosts, the last before the outcome is seen applied: from
//! the count on until they are opened again what is in use can only become less, so that whatever is in use at that instant was to be
//! kept. A server without a token that is parked counts, too; one that is being booted has no token, and gets none.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::cloud::{Cloud, figure, flavor_of, reservation_of};
use super::model::{CALENDAR_UNIX_S, Expiry, Lease, Reservation};
use super::replay::Replay;
use super::{Judgement, Sheet};
use crate::record::Record;

/// There is a leader so soon after the healing (V2), milliseconds.
const LED_MS: u64 = 30_000;
/// What is due is counted within this, while the cloud and a majority are well (A2), milliseconds.
const COUNTED_MS: u64 = 60_000;
/// A look at what a node applied may come that much later than it, nanoseconds.
const SEEN_NS: u64 = 100_000_000;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let counts = counts(record, &mut sheet);
    let stories = stories(record, counts.iter().map(|count| count.flavor.clone()).collect());
    for count in &counts {
        let story = stories.get(&count.flavor).map_or(&[][..], Vec::as_slice);
        let problem = count.problem(record, story);
        sheet.must(problem.is_none(), || {
            let Count { index, lease, reservation, .. } = count;
            format!("at index {index} reservation {reservation} of lease {lease} {}", problem.unwrap_or_default())
        });
    }
    if !record.plan.is_beyond() {
        in_time(record, &mut sheet);
    }
    sheet.close("Z1")
}

/// An outcome that was recorded: what a reservation had, and what it keeps.
struct Count<'a> {
    index: u64,
    lease: &'a str,
    reservation: &'a str,
    flavor: String,
    /// When the count was seen to begin, and when its outcome was seen, nanoseconds.
    within_ns: (u64, u64),
    /// Slots by the name of the host.
    had: BTreeMap<String, u64>,
    kept: BTreeMap<String, u64>,
}

/// What the count of a reservation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// Nothing was in use, and the reservation is over, or will be once the others are counted.
    Unused,
    /// It keeps what is in use.
    Kept { released: u64 },
    /// It is over, as was known before.
    Over,
}

/// What became of the count of a reservation, if one that was under way ended.
fn came(was: &Reservation, is: &Reservation) -> Option<Came> {
    match (was.expiry?, is.expiry?) {
        (Expiry::Counting, Expiry::Unused) => Some(Came::Unused),
        (Expiry::Counting, Expiry::Counted { .. }) if is.stage == "ended" => Some(Came::Unused),
        (Expiry::Counting, Expiry::Counted { released }) => Some(Came::Kept { released }),
        (Expiry::Unused, Expiry::Counted { .. }) => Some(Came::Over),
        (Expiry::Counting, Expiry::Counting) | (Expiry::Unused, _) | (Expiry::Counted { .. }, _) => None,
    }
}

/// How often expiries came to what, for the goals of coverage.
#[must_use]
pub fn reached(record: &Record) -> BTreeMap<String, u64> {
    let mut reached: BTreeMap<String, u64> = BTreeMap::new();
    changes(record, |change| {
        let Change { was, is, .. } = change;
        for (was, is) in pairs(was, is) {
            let name = match came(was, is) {
                Some(Came::Unused) => "none in use",
                Some(Came::Kept { released: 0 }) => "all in use",
                Some(Came::Kept { .. }) => "some in use",
                Some(Came::Over) | None => continue,
            };
            *reached.entry(name.to_owned()).or_default() += 1;
        }
        let is_counted_anew = pairs(was, is).any(|(was, is)| was.is_expiring() && is.expiry.is_none());
        if is_counted_anew && was.expiry().zip(is.expiry()).is_some_and(|(was, is)| was < is) {
            *reached.entry("changed meanwhile".to_owned()).or_default() += 1;
        }
    });
    reached
}

/// What a count changed of a lease as its clients see it.
pub struct Shrink<'a> {
    /// Which.
    pub lease: &'a str,
    /// Instances before and after, by the reservation's place.
    pub amounts: Vec<(usize, u64, u64)>,
    /// Its end before and after, if that moved.
    pub end: Option<(u64, u64)>,
    /// When it was due, calendar seconds.
    pub expiry_s: u64,
    /// By when somebody had applied it, nanoseconds.
    pub by_ns: u64,
}

/// All of them, in the order of the ledger.
pub fn shrinks(record: &Record) -> Vec<Shrink<'_>> {
    let mut shrinks = Vec::new();
    changes(record, |change| {
        let Change { id, was, is, by_ns, .. } = change;
        let came = |(_, (was, is)): &(usize, (&Reservation, &Reservation))| came(was, is).is_some();
        let counted: Vec<_> = pairs(was, is).enumerate().filter(came).collect();
        if counted.is_empty() {
            return;
        }
        let amount = |one: &Reservation| one.wish.instance.amount;
        let amounts = counted.iter().filter(|(_, (was, is))| amount(was) != amount(is));
        let amounts: Vec<_> = amounts.map(|(place, (was, is))| (*place, amount(was), amount(is))).collect();
        let end = (was.end != is.end).then_some((u64::from(was.end), u64::from(is.end)));
        if amounts.is_empty() && end.is_none() {
            return;
        }
        let expiry_s = was.expiry().map_or(0, u64::from);
        shrinks.push(Shrink { lease: id, amounts, end, expiry_s, by_ns });
    });
    shrinks
}

/// One lease at one index, and before it.
struct Change<'a, 'b> {
    index: u64,
    by_ns: u64,
    id: &'a str,
    was: &'b Lease,
    is: &'b Lease,
    row: &'a Value,
}

/// Every change of a lease that is to expire.
fn changes<'a>(record: &'a Record, mut see: impl FnMut(Change<'a, '_>)) {
    let replay = Replay::new(record);
    let mut before: BTreeMap<&str, Lease> = BTreeMap::new();
    for index in replay.indices() {
        let by_ns = replay.applied_ns(index).unwrap_or(u64::MAX);
        for change in replay.changes_at(index) {
            let row = &change["lease"];
            if let Some(id) = change["lease_removed"].as_str() {
                before.remove(id);
            }
            let Some(id) = row["id"].as_str().filter(|_| row["expiry_s"].is_u64()) else { continue };
            // What does not read is told of by the witness, which reads the same lines.
            let Ok(is) = serde_json::from_value::<Lease>(row.clone()) else { continue };
            if let Some(was) = before.get(id) {
                see(Change { index, by_ns, id, was, is: &is, row });
            }
            before.insert(id, is);
        }
    }
}

/// Reservations of a lease before and after.
fn pairs<'b>(was: &'b Lease, is: &'b Lease) -> impl Iterator<Item = (&'b Reservation, &'b Reservation)> {
    was.reservations.iter().zip(&is.reservations)
}

/// All outcomes that were recorded. What each changes of its lease is judged as it is seen.
fn counts<'a>(record: &'a Record, sheet: &mut Sheet) -> Vec<Count<'a>> {
    let replay = Replay::new(record);
    let told = record.watches.iter().map(|line| &line.change["host"]);
    let names: BTreeMap<u64, &str> =
        told.filter_map(|host| Some((host["id"].as_u64()?, host["description"]["hypervisor_hostname"].as_str()?))).collect();
    let named = |slots: BTreeMap<u64, u64>| -> BTreeMap<String, u64> {
        slots
            .into_iter()
            .map(|(host, slots)| (names.get(&host).map_or_else(|| host.to_string(), ToString::to_string), slots))
            .collect()
    };
    let mut begun: BTreeMap<String, u64> = BTreeMap::new();
    let mut counts = Vec::new();
    changes(record, |change| {
        let Change { index, by_ns, id, was, is, row } = change;
        let clock_s = replay.clock_s(index.saturating_sub(1));
        timed(&change, clock_s, replay.clock_by_s(index), sheet);
        let mut ended = false;
        for (place, (before, after)) in pairs(was, is).enumerate() {
            if after.is_expiring() && !before.is_expiring() {
                begun.insert(after.id.clone(), by_ns);
            }
            let Some(came) = came(before, after) else { continue };
            ended |= after.stage == "ended";
            let problem = ruled(came, before, after);
            sheet.must(problem.is_none(), || {
                format!("at index {index} reservation {} of lease {id} {}", after.id, problem.unwrap_or_default())
            });
            let reservation = row["reservations"][place]["id"].as_str().unwrap_or_default();
            let flavor = flavor_of(&row["reservations"][place]).unwrap_or(reservation).to_owned();
            let kept = if matches!(came, Came::Kept { .. }) { named(after.slots()) } else { BTreeMap::new() };
            let within_ns = (begun.get(reservation).copied().unwrap_or(by_ns), by_ns);
            counts.push(Count { index, lease: id, reservation, flavor, within_ns, had: named(before.slots()), kept });
        }
        let any = pairs(was, is).any(|(was, is)| came(was, is).is_some());
        if any {
            let problem = as_a_whole(&change, ended, replay.clock_by_s(index));
            sheet.must(problem.is_none(), || format!("at index {index} lease {id} {}", problem.unwrap_or_default()));
        }
    });
    counts
}

/// It is counted so long after it became active as was asked for, and when it is changed meanwhile, so long after that.
fn timed(change: &Change<'_, '_>, clock_s: u32, clock_by_s: u32, sheet: &mut Sheet) {
    let Change { index, id, was, is, .. } = change;
    let Some(time) = is.expiry() else { return };
    if was.expiry() != Some(time) {
        let least = clock_s.saturating_add(is.expiry_s.unwrap_or(0));
        sheet.must(time >= least, || {
            format!("at index {index} lease {id} is to expire at {time}, not before {least} was asked for")
        });
    }
    let begins = pairs(was, is).any(|(was, is)| is.is_expiring() && !was.is_expiring());
    if begins {
        sheet.must(clock_by_s >= time, || {
            format!("at index {index}, second {clock_by_s}, lease {id} is counted, which is to expire at {time}")
        });
    }
}

/// What is wrong with what a count made of a reservation.
fn ruled(came: Came, was: &Reservation, is: &Reservation) -> Option<String> {
    let (had, has) = (was.slots(), is.slots());
    let Came::Kept { released } = came else {
        let as_it_was = had == has && was.wish == is.wish;
        return (!as_it_was).then(|| format!("is not in use, and is another: it has {has:?} of {had:?}"));
    };
    let amount: u64 = has.values().sum();
    if amount == 0 || amount != is.wish.instance.amount || amount + released != was.wish.instance.amount {
        let (was, is) = (was.wish.instance.amount, is.wish.instance.amount);
        return Some(format!("gave back {released} of {was}, and has {amount} slots of {is}"));
    }
    if let Some((host, slots)) = has.iter().find(|(host, slots)| **slots > had.get(*host).copied().unwrap_or(0)) {
        return Some(format!("has {slots} slots on host {host} after its expiry, and had fewer"));
    }
    // Until the cloud has given it back it is nobody else's.
    let lost = had
        .iter()
        .find(|(host, slots)| has.get(*host).copied().unwrap_or(0) + is.leaving(**host) < **slots + was.leaving(**host));
    lost.map(|(host, _)| format!("gave slots of host {host} away before the cloud gave them back"))
}

/// What is wrong with what the counts of one entry made of the lease.
fn as_a_whole(change: &Change<'_, '_>, ended: bool, clock_s: u32) -> Option<String> {
    let Change { was, is, row, .. } = change;
    let all = is.reservations.iter().all(|one| one.stage == "ended");
    if ended && all {
        let booked = pairs(was, is).all(|(before, after)| before.stage == "ended" || after.booked_end >= Some(was.end));
        if is.end > was.end || is.end > clock_s || !booked {
            return Some(format!("is not in use, and ends at {} instead of {}", is.end, was.end));
        }
    } else if was.end != is.end || is.status != was.status {
        return Some(format!("is in use, and is {} until {} instead of {}", is.status, is.end, was.end));
    }
    let released = |one: &Reservation| matches!(one.expiry, Some(Expiry::Counted { released }) if released > 0);
    let says = &row["reason"]["code"];
    let silent = is.reservations.iter().any(released) && says != "EXPIRED";
    // Of one that failed that is of more interest.
    (silent && is.status != "ERROR").then(|| format!("gave something back, and says {says}"))
}

/// What became of the tokens and the servers of a flavor.
#[derive(Clone, Debug)]
enum Step {
    /// So many tokens are open at a provider of a host.
    Tokens(String, String, u64),
    /// A server has a token on a host; or has none any more.
    User(String, Option<String>),
    /// A server is so; or is gone.
    Server(String, Option<String>),
}

/// What is there of a flavor.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// By provider.
    tokens: BTreeMap<String, (String, u64)>,
    users: BTreeMap<String, String>,
    servers: BTreeMap<String, String>,
}

impl Standing {
    fn follow(&mut self, step: &Step) {
        match step.clone() {
            Step::Tokens(provider, host, open) => drop(self.tokens.insert(provider, (host, open))),
            Step::User(server, Some(host)) => drop(self.users.insert(server, host)),
            Step::User(server, None) => drop(self.users.remove(&server)),
            Step::Server(server, Some(status)) => drop(self.servers.insert(server, status)),
            Step::Server(server, None) => drop(self.servers.remove(&server)),
        }
    }

    /// A host of these on which tokens are open.
    fn opened<'h>(&self, hosts: &'h BTreeMap<String, u64>) -> Option<&'h str> {
        let is_open = |host: &&String| self.tokens.values().any(|(on, open)| on == *host && *open > 0);
        hosts.keys().find(is_open).map(String::as_str)
    }

    fn used(&self, host: &str) -> u64 {
        self.users.values().filter(|on| *on == host).count() as u64
    }

    /// Servers without a token that are parked.
    fn parked(&self) -> impl Iterator<Item = &str> {
        let is_parked =
            move |(server, status): &(&String, &String)| *status == "SHELVED_OFFLOADED" && !self.users.contains_key(*server);
        self.servers.iter().filter(is_parked).map(|(server, _)| server.as_str())
    }
}

/// Of each of these flavors, by time.
fn stories(record: &Record, flavors: BTreeSet<String>) -> BTreeMap<String, Vec<(u64, Step)>> {
    let mut stories: BTreeMap<String, Vec<(u64, Step)>> = BTreeMap::new();
    if flavors.is_empty() {
        return stories;
    }
    let of_class = |class: &str| reservation_of(class).filter(|flavor| flavors.contains(flavor));
    let mut cloud = Cloud::default();
    for line in &record.cloud {
        for change in &line.changes {
            let id = &change.id;
            let mut note = |flavor: String, step: Step| stories.entry(flavor).or_default().push((line.at_ms, step));
            let (had, was) = (cloud.users.get(id).cloned(), cloud.servers.get(id).cloned());
            match change.what.as_str() {
                "inventory.set" | "inventory.removed" => {
                    let class = change.facts["class"].as_str().unwrap_or_default();
                    if let Some(flavor) = of_class(class) {
                        let open = figure(&change.facts["total"]).saturating_sub(figure(&change.facts["reserved"]));
                        let open = if change.what == "inventory.set" { open } else { 0 };
                        note(flavor, Step::Tokens(id.clone(), change.host.clone().unwrap_or_default(), open));
                    }
                }
                "provider.deleted" => {
                    for ((provider, class), tokens) in cloud.inventories.iter().filter(|((provider, _), _)| provider == id) {
                        if let Some(flavor) = of_class(class) {
                            note(flavor, Step::Tokens(provider.clone(), tokens.host.clone(), 0));
                        }
                    }
                }
                _ => {}
            }
            cloud.follow(line, change);
            if change.what.starts_with("allocation.") {
                if let Some(flavor) = had.and_then(|(_, class)| of_class(&class)) {
                    note(flavor, Step::User(id.clone(), None));
                }
                if let Some((host, class)) = cloud.users.get(id)
                    && let Some(flavor) = of_class(class)
                {
                    note(flavor, Step::User(id.clone(), Some(host.clone())));
                }
            } else if change.what.starts_with("server.") {
                let is = cloud.servers.get(id);
                let flavor = is.or(was.as_ref()).map(|(flavor, _)| flavor.clone());
                if let Some(flavor) = flavor.filter(|flavor| flavors.contains(flavor)) {
                    note(flavor, Step::Server(id.clone(), is.map(|(_, status)| status.clone())));
                }
            }
        }
    }
    stories
}

impl Count<'_> {
    /// What is wrong with it, by what the cloud's record tells of its flavor.
    fn problem(&self, record: &Record, story: &[(u64, Step)]) -> Option<String> {
        let unix_ms = |at_ns: u64| record.epoch_ms + at_ns / 1_000_000;
        let (from_ms, by_ms) = (unix_ms(self.within_ns.0.saturating_sub(SEEN_NS)), unix_ms(self.within_ns.1));
        let (mut now, mut closed) = (Standing::default(), None);
        for (at_ms, step) in story.iter().take_while(|(at_ms, _)| *at_ms <= by_ms) {
            if *at_ms > from_ms && now.opened(&self.had).is_none() {
                closed = Some(now.clone());
            }
            now.follow(step);
        }
        let opened = now.opened(&self.had).map(str::to_owned);
        if opened.is_none() {
            closed = Some(now);
        }
        let Some(closed) = closed else {
            let host = opened.unwrap_or_default();
            return Some(format!("was counted while its tokens were open, on {host} to the last"));
        };
        self.takes_away(&closed)
    }

    /// What is in use, and was given back.
    fn takes_away(&self, standing: &Standing) -> Option<String> {
        for (host, had) in &self.had {
            let (used, kept) = (standing.used(host), self.kept.get(host).copied().unwrap_or(0));
            if used.min(*had) > kept {
                return Some(format!("keeps {kept} of {had} slots on {host} at its expiry, and {used} are in use"));
            }
        }
        // Also where it has no slots any more, and its servers stand still.
        let in_use = standing.users.len() as u64;
        let (had, kept): (u64, u64) = (self.had.values().sum(), self.kept.values().sum());
        let parked: Vec<&str> = standing.parked().collect();
        let wanted = (in_use + parked.len() as u64).min(had);
        (kept < wanted).then(|| {
            format!("keeps {kept} of {had} slots at its expiry, of which {in_use} are in use, and {parked:?} are parked")
        })
    }
}

/// An expiry that is due, of a lease that stays active, is over in time: once everything is healed, and always where nothing is
/// done to the cluster.
fn in_time(record: &Record, sheet: &mut Sheet) {
    let Some(healed_ms) = record.healed_ms() else { return };
    let calm_until_ms = if record.plan.faults.is_empty() { record.phase_ms("the core is").unwrap_or(healed_ms) } else { 0 };
    let well_ms = |due_ms: u64| {
        let is_calm = due_ms + COUNTED_MS <= calm_until_ms;
        if is_calm { due_ms } else { due_ms.max(healed_ms + LED_MS) }
    };
    let replay = Replay::new(record);
    let over_ms = record.over_ms();
    // Since when each that is active is due, Unix milliseconds.
    let mut due: BTreeMap<&str, u64> = BTreeMap::new();
    let mut judge = |id: &str, due_ms: u64, over_ms: u64| {
        let limit_ms = well_ms(due_ms) + COUNTED_MS;
        sheet.must(over_ms <= limit_ms, || {
            format!("lease {id} was to be counted at {due_ms} ms, and was not until {over_ms} ms, {limit_ms} ms is the limit")
        });
    };
    for index in replay.indices() {
        let at_ms = replay.applied_ns(index).map_or(over_ms, |at_ns| record.epoch_ms + at_ns / 1_000_000);
        for change in replay.changes_at(index) {
            let row = &change["lease"];
            let Some(id) = row["id"].as_str().or(change["lease_removed"].as_str()) else { continue };
            let event = row["events"].as_array().into_iter().flatten().find(|event| event["kind"] == "expiry");
            let open = event.filter(|event| row["status"] == "ACTIVE" && event["status"] != "DONE");
            let now = open.and_then(|event| event["time"].as_u64()).map(|time| (time + CALENDAR_UNIX_S) * 1_000);
            match (due.get(id).copied(), now) {
                // The same as before: since then.
                (Some(before), Some(now)) if before >= now => {}
                (before, now) => {
                    if let Some(before) = before {
                        judge(id, before, at_ms);
                        due.remove(id);
                    }
                    if let Some(id) = row["id"].as_str() {
                        due.extend(now.map(|now| (id, now.max(at_ms))));
                    }
                }
            }
        }
    }
    for (id, due_ms) in due {
        judge(id, due_ms, over_ms);
    }
}

#[cfg(test)]
mod tests;
