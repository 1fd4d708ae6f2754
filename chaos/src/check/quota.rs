//! Quotas in time: what was accepted is within every limit, and what was refused for one would have gone beyond it.
//!
//! Which limits hold is known by the index of each change of them, that its key holds; what is used is counted again from the leases
//! (`used`). What is judged of whom:
//!
//! - what took effect at the index of its answer (no hold was needed) is held against the limits of that index; what waited for
//!   the cloud, against those of any index since it was asked for, but for changes of leases, of which nothing is said;
//! - a refusal is right if it is so at any index between the call and the answer, and at any second that may have been its "now";
//! - an operator who reads a quota is told what is set, what holds, and a use that may be so then.
//!
//! A budget counts what leases have used that are there no more. How much that is is not counted here: what is accepted is held
//! against what is to come alone, what is refused against all that was ever booked. At the wire level a refusal does not say what
//! it is about, and is not judged.

mod asked;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::leases::{Leases, told};
use super::model::{Host, Lease, Model, Span};
use super::replay::Replay;
use super::unseen::Unseen;
use super::used::{Use, borders, of_lease, vcpu_s};
use super::witness::moments;
use super::{Judgement, Sheet};
use crate::history::{Ending, Operation};
use crate::record::Record;
use asked::Asked;

/// A look at what a node has applied may come so long after the answer, nanoseconds.
const LOOK_NS: u64 = 50_000_000;
/// Length of a period where none is set.
const PERIOD_S: u64 = 30 * 86_400;
/// Kinds of limits.
const KINDS: [&str; 7] = ["slots", "vcpus", "vcpu_hours", "period_s", "start_ahead_s", "end_ahead_s", "duration_s"];
const HOUR_S: u64 = 3_600;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let Some(limits) = Limits::of(record, &mut sheet) else { return sheet.close("quota") };
    let known = Known { record, told: told(record), unseen: Unseen::new(record), limits, had: OnceCell::new() };
    let mut replay = Replay::new(record);
    let mut questions = known.questions(&replay, &mut sheet);
    let mut indices: BTreeSet<u64> = questions.iter().flat_map(|one| [one.low, one.high]).collect();
    let looks = record.audit.iter().map(|look| look.ledger_index);
    let within = |index: &u64| questions.iter().any(|one| one.low < *index && *index < one.high);
    indices.extend(replay.indices().into_iter().chain(looks).filter(within));
    for index in indices {
        let clocks = (replay.clock_s(index), replay.clock_by_s(index));
        let model = replay.go(index);
        let mut moment = None;
        questions.retain(|one| {
            if index < one.low {
                return true;
            }
            let moment = moment.get_or_insert_with(|| Moment::new(&known, model, index, clocks));
            let problem = one.problem(&known, moment);
            if problem.is_some() && index < one.high {
                return true;
            }
            sheet.must(problem.is_none(), || {
                let Operation { n, op, .. } = one.operation;
                format!("operation {n} ({op}), index {} to {}: {}", one.low, one.high, problem.unwrap_or_default())
            });
            false
        });
    }
    sheet.close("quota")
}

/// By kind; `None`: unlimited.
type Set = BTreeMap<String, Option<u64>>;

/// Every change of what is set, by index.
struct Limits(BTreeMap<u64, (Option<String>, Set, BTreeSet<String>)>);

impl Limits {
    /// `None`: it cannot be told, or nothing was ever set.
    fn of(record: &Record, sheet: &mut Sheet) -> Option<Limits> {
        let mut changes = BTreeMap::new();
        for operation in record.history.iter().filter(|one| one.op == "set_quota" && one.ending != Ending::Fail) {
            let (request, applied) = (&operation.body["request"], &operation.body["resolved"]["applied"]);
            if operation.body["resolved"] == "never" && operation.ending == Ending::Info {
                continue;
            }
            let Some(index) = applied["ledger_index"].as_u64() else {
                sheet.unknown(format!("operation {}: since when the quota is set is not known", operation.n));
                return None;
            };
            if applied["rejection"].is_string() {
                continue;
            }
            let set = set(&request["set"]);
            let unset = request["unset"].as_array().into_iter().flatten().filter_map(|kind| kind.as_str().map(str::to_owned));
            changes.insert(index, (request["of"].as_str().map(str::to_owned), set, unset.collect()));
            sheet.look();
        }
        (!changes.is_empty()).then_some(Limits(changes))
    }

    /// What is set of one project, or of all, at an index.
    fn set(&self, of: Option<&str>, index: u64) -> Set {
        let mut now = Set::new();
        for (_, (whose, set, unset)) in self.0.range(..=index).filter(|(_, (whose, ..))| whose.as_deref() == of) {
            debug_assert_eq!(whose.as_deref(), of);
            now.extend(set.clone());
            now.retain(|kind, _| !unset.contains(kind));
        }
        now
    }

    /// What holds of a project.
    fn in_force(&self, project: &str, index: u64) -> BTreeMap<&'static str, u64> {
        let (own, defaults) = (self.set(Some(project), index), self.set(None, index));
        let of = |kind: &'static str| Some((kind, own.get(kind).or(defaults.get(kind)).copied().flatten()?));
        KINDS.iter().filter_map(|kind| of(kind)).collect()
    }
}

/// As the product writes it: `{"max": 4}` or `"unlimited"`.
fn set(value: &Value) -> Set {
    let all = value.as_object().into_iter().flatten();
    all.map(|(kind, limit)| (kind.clone(), limit["max"].as_u64())).collect()
}

struct Known<'a> {
    record: &'a Record,
    told: Leases<'a>,
    unseen: Unseen<'a>,
    limits: Limits,
    had: OnceCell<Had<'a>>,
}

/// All that a lease was ever seen to be, by project and lease.
type Had<'a> = BTreeMap<String, BTreeMap<&'a str, Vec<Lease>>>;

/// Something that must be so at some index of a time.
struct Question<'a> {
    operation: &'a Operation,
    project: &'a str,
    low: u64,
    high: u64,
    about: About<'a>,
}

enum About<'a> {
    /// These leases are within the limits; of a change, what the lease was before.
    Accepted { new: Vec<Lease>, old: Option<Box<Lease>> },
    /// It was refused for this.
    Refused(&'a Value),
    /// A quota was read.
    Read,
}

/// The leases at one index that are not over: seen; unseen for sure; and perhaps unseen.
struct Moment<'m> {
    index: u64,
    /// The ledger's clock there, at least and at most.
    clocks: (u32, u32),
    seen: Vec<&'m Lease>,
    sure: Vec<&'m Lease>,
    perhaps: Vec<Lease>,
}

impl<'m> Moment<'m> {
    fn new(known: &Known<'_>, model: &'m Model, index: u64, clocks: (u32, u32)) -> Moment<'m> {
        let lasts = |lease: &&Lease| lease.borders().any(|border| border >= clocks.0.saturating_sub(1));
        let mut perhaps = known.unseen.during(index, index);
        perhaps.retain(|lease| !model.leases.contains_key(&lease.id) && lasts(&lease));
        let seen = model.leases.values().filter(lasts).collect();
        Moment { index, clocks, seen, sure: model.hidden.values().filter(lasts).collect(), perhaps }
    }

    /// Those that take part for sure.
    fn least(&self) -> impl Iterator<Item = &Lease> + '_ {
        self.seen.iter().chain(&self.sure).copied()
    }

    /// Those that may, some in several versions.
    fn most(&self) -> impl Iterator<Item = &Lease> + '_ {
        self.seen.iter().copied().chain(&self.perhaps)
    }

    /// What others than these leases have at a second, at least and at most.
    fn others(&self, project: &str, but: &[&str], second: u32) -> (Use, Use) {
        let own = |lease: &&Lease| lease.project_id == project && !but.contains(&lease.id.as_str());
        let add = |sum: Use, used: Use| [sum[0] + used[0], sum[1] + used[1]];
        let least = self.least().filter(own).fold([0; 2], |sum, lease| add(sum, of_lease(lease, second).0));
        // Of one that is there in several versions the largest counts.
        let mut largest: BTreeMap<&str, Use> = BTreeMap::new();
        for lease in self.most().filter(own) {
            let (used, most) = (largest.entry(&lease.id).or_default(), of_lease(lease, second).1);
            *used = [used[0].max(most[0]), used[1].max(most[1])];
        }
        (least, largest.into_values().fold([0; 2], add))
    }

    /// The most that is reserved at once from a second on, at least and at most.
    fn peaks(&self, project: &str, (early, late): (u32, u32)) -> (Use, Use) {
        let own = self.most().chain(self.least()).filter(|lease| lease.project_id == project);
        let all: BTreeSet<u32> = own.flat_map(borders).chain([early, late]).collect();
        let (mut least, mut most) = ([0; 2], [0; 2]);
        for second in all.into_iter().filter(|second| *second >= early) {
            let (low, high) = self.others(project, &[], second);
            for class in 0..2 {
                most[class] = high[class].max(most[class]);
                if second >= late {
                    least[class] = low[class].max(least[class]);
                }
            }
        }
        (least, most)
    }
}

impl<'a> Known<'a> {
    /// A lease as it was told at an index, or, before it, last.
    fn row(&self, id: &str, index: u64, before: bool) -> Option<Lease> {
        let seen = self.told.get(id)?;
        let row = if before { seen.range(..index).next_back() } else { seen.range(..=index).next_back() };
        serde_json::from_value((*row?.1)?.clone()).ok()
    }

    fn questions(&self, replay: &Replay<'_>, sheet: &mut Sheet) -> Vec<Question<'a>> {
        let hosts: BTreeMap<u64, Host> = self
            .record
            .watches
            .iter()
            .filter_map(|line| {
                let host: Host = serde_json::from_value(line.change["host"].clone()).ok()?;
                Some((host.id, host))
            })
            .collect();
        // What needs a hold is booked before it is told.
        let waited = |lease: &Lease| {
            lease.reservations.iter().any(|one| {
                let shared = |host: &u64| hosts.get(host).is_none_or(|host| host.description.pool == "shared");
                one.wish.instance.affinity.is_some() || one.bindings.iter().any(|binding| shared(&binding.host))
            })
        };
        let mut questions = Vec::new();
        for operation in &self.record.history {
            let request = &operation.body["request"];
            let reply = &operation.body["reply"];
            let Some(project) = request["project_id"].as_str() else { continue };
            let low = replay.applied_by(operation.invoke_ns);
            let mut ask = |low, high, about| questions.push(Question { operation, project, low, high, about });
            match (operation.op.as_str(), operation.ending, operation.index) {
                ("create", Ending::Ok, Some(_)) => {
                    let first = |id: &str| Some((id.to_owned(), *self.told.get(id)?.keys().next()?));
                    let Some((id, index)) = reply["id"].as_str().and_then(first) else { continue };
                    let Some(new) = self.row(&id, index, false) else { continue };
                    // Its quota is asked for when it is promoted.
                    if new.waits() {
                        continue;
                    }
                    let low = if waited(&new) { low.min(index) } else { index };
                    ask(low, index, About::Accepted { new: vec![new], old: None });
                }
                ("create_series", Ending::Ok, Some(_)) => {
                    let ids = reply["leases"].as_array().into_iter().flatten().filter_map(|one| one["lease_id"].as_str());
                    let firsts: Vec<u64> = ids.clone().filter_map(|id| Some(*self.told.get(id)?.keys().next()?)).collect();
                    let Some(index) = firsts.iter().min().copied() else { continue };
                    let new: Vec<Lease> = ids.filter_map(|id| self.row(id, index, false)).collect();
                    let low = if new.iter().any(waited) { low.min(index) } else { index };
                    ask(low, index, About::Accepted { new, old: None });
                }
                ("update", Ending::Ok, Some(index)) => {
                    let Some(id) = request["lease_id"].as_str() else { continue };
                    let (Some(old), Some(new)) = (self.row(id, index, true), self.row(id, index, false)) else { continue };
                    if waited(&old) || waited(&new) || old.status == "UPDATING" || new.status == "UPDATING" {
                        continue;
                    }
                    ask(index, index, About::Accepted { new: vec![new], old: Some(Box::new(old)) });
                }
                ("set_quota" | "quota", Ending::Ok, Some(index)) => ask(index, index, About::Read),
                (_, Ending::Fail, _) => {
                    let excess = &reply["rejection"]["quota_exceeded"];
                    if excess.is_object() {
                        let high = replay.applied_by(operation.return_ns + LOOK_NS).max(low);
                        ask(low, high, About::Refused(excess));
                    }
                }
                _ => {}
            }
        }
        (0..questions.len()).for_each(|_| sheet.look());
        questions
    }

    /// vCPU-seconds that a project ever booked of a span, what is there no more included.
    fn ever(&self, project: &str, within: Span) -> u64 {
        let leases = self.had.get_or_init(|| self.had()).get(project);
        let most = |seen: &Vec<Lease>| seen.iter().map(|lease| vcpu_s(lease, within).1).max().unwrap_or(0);
        leases.into_iter().flat_map(BTreeMap::values).map(most).sum()
    }

    fn had(&self) -> Had<'a> {
        let mut had = Had::new();
        let seen = self.told.iter().flat_map(|(id, seen)| seen.values().flatten().map(|row| (*id, *row)));
        let mut last: BTreeMap<&str, &Arc<Value>> = BTreeMap::new();
        let hidden = self.record.audit.iter().flat_map(|look| look.hidden.iter());
        let hidden = hidden.filter(|(id, row)| last.insert(id, row) != Some(row)).map(|(id, row)| (id.as_str(), &**row));
        for (id, row) in seen.chain(hidden) {
            let (Some(project), Ok(lease)) = (row["project_id"].as_str(), serde_json::from_value::<Lease>(row.clone())) else {
                continue;
            };
            // Deleted, it has what it had.
            let lease = Lease { deleted: false, ..lease };
            had.entry(project.to_owned()).or_default().entry(id).or_default().push(lease);
        }
        had
    }
}

impl Question<'_> {
    /// What is not so at an index.
    fn problem(&self, known: &Known<'_>, moment: &Moment<'_>) -> Option<String> {
        let limits = known.limits.in_force(self.project, moment.index);
        match &self.about {
            About::Accepted { new, old } => self.beyond(&limits, new, old.as_deref(), moment),
            About::Refused(excess) => self.within(known, &limits, excess, moment),
            About::Read => self.misread(known, moment),
        }
    }

    /// What was accepted beyond a limit.
    fn beyond(
        &self,
        limits: &BTreeMap<&'static str, u64>,
        new: &[Lease],
        old: Option<&Lease>,
        moment: &Moment<'_>,
    ) -> Option<String> {
        if limits.is_empty() {
            return None;
        }
        let now = moment.clocks.1;
        let of = |kind: &str| limits.get(kind).copied();
        let reach = new.iter().find_map(|lease| {
            let before = |past: &dyn Fn(&Lease) -> u64| old.is_none_or(|old| past(lease) > past(old));
            let ahead = |second: u32| u64::from(second.saturating_sub(now));
            let lasts = |lease: &Lease| u64::from(lease.end.saturating_sub(lease.start));
            [
                ("start_ahead_s", ahead(lease.start), before(&|lease| u64::from(lease.start))),
                ("end_ahead_s", ahead(lease.end), before(&|lease| u64::from(lease.end))),
                ("duration_s", lasts(lease), before(&lasts)),
            ]
            .into_iter()
            .find(|(kind, wanted, more)| *more && of(kind).is_some_and(|limit| *wanted > limit))
            .map(|(kind, wanted, _)| format!("{kind} {wanted} was accepted of lease {}, {:?} is allowed", lease.id, of(kind)))
        });
        if reach.is_some() {
            return reach;
        }
        let ids: Vec<&str> = new.iter().map(|lease| lease.id.as_str()).collect();
        let own = |second: u32| {
            new.iter().map(|lease| of_lease(lease, second).0).fold([0; 2], |sum: Use, one| [sum[0] + one[0], sum[1] + one[1]])
        };
        let had = |second: u32| old.map_or([0; 2], |old| of_lease(old, second).1);
        // Where others begin is where it may become too much.
        let all = moment.least().filter(|lease| lease.project_id == self.project).chain(new).chain(old);
        let seconds: BTreeSet<u32> = all.flat_map(borders).chain([now]).filter(|second| *second >= now).collect();
        for (class, kind) in ["slots", "vcpus"].into_iter().enumerate() {
            let Some(limit) = of(kind) else { continue };
            for second in &seconds {
                let wanted = own(*second)[class];
                if wanted <= had(*second)[class] {
                    continue;
                }
                let used = moment.others(self.project, &ids, *second).0[class];
                if used + wanted > limit {
                    return Some(format!("{wanted} {kind} were accepted at second {second} beside {used}, {limit} are allowed"));
                }
            }
        }
        let (limit, period_s) = (of("vcpu_hours")?, of("period_s").unwrap_or(PERIOD_S));
        let first = new.iter().map(|lease| lease.start.max(now)).min()?;
        let start = u32::try_from(u64::from(first) / period_s * period_s).ok()?;
        let to_come = Span { start: start.max(now), end: start.saturating_add(u32::try_from(period_s).ok()?) };
        let others = moment.least().filter(|one| one.project_id == self.project && !ids.contains(&one.id.as_str()));
        let used: u64 = others.map(|lease| vcpu_s(lease, to_come).0).sum();
        let wanted: u64 = new.iter().map(|lease| vcpu_s(lease, to_come).0).sum();
        let more = wanted > old.map_or(0, |old| vcpu_s(old, to_come).1);
        (more && used + wanted > limit * HOUR_S)
            .then(|| format!("{wanted} vCPU seconds were accepted beside {used} in {to_come:?}, {limit} hours are allowed"))
    }

    /// Why a refusal is not right.
    fn within(
        &self,
        known: &Known<'_>,
        limits: &BTreeMap<&'static str, u64>,
        excess: &Value,
        moment: &Moment<'_>,
    ) -> Option<String> {
        let kind = excess["kind"].as_str().unwrap_or_default();
        let number = |field: &str| excess[field].as_u64();
        let (Some(limit), Some(used), Some(wanted)) = (number("limit"), number("used"), number("wanted")) else {
            return Some(format!("it was refused for {excess}"));
        };
        let wrong = |why: String| Some(format!("it was refused for {excess}: {why}"));
        if limits.get(kind) != Some(&limit) {
            return wrong(format!("at index {} {limits:?} holds", moment.index));
        }
        if used + wanted <= limit {
            return wrong("that is within the limit".to_owned());
        }
        let asked = Asked::new(self.operation, moments(moment.clocks.0, known.record, self.operation));
        match kind {
            "start_ahead_s" | "end_ahead_s" | "duration_s" => {
                (!asked.may_reach(kind, wanted)).then(|| format!("it was refused for {excess}: that was not asked for"))
            }
            "slots" | "vcpus" => {
                let class = usize::from(kind == "vcpus");
                let Some(second) = number("at").and_then(|at| u32::try_from(at).ok()) else {
                    return wrong("it does not say when".to_owned());
                };
                let but: Vec<&str> = self.operation.body["request"]["lease_id"].as_str().into_iter().collect();
                let (least, most) = moment.others(self.project, &but, second);
                if used < least[class] || used > most[class] {
                    return wrong(format!("at index {} others have {} to {}", moment.index, least[class], most[class]));
                }
                (!asked.may_take(class, second, wanted))
                    .then(|| format!("it was refused for {excess}: it does not take that then"))
            }
            "vcpu_hours" => {
                let period_s = limits.get("period_s").copied().unwrap_or(PERIOD_S);
                let Some(start) = number("at").and_then(|at| u32::try_from(at).ok()).filter(|at| u64::from(*at) % period_s == 0)
                else {
                    return wrong("it names no period".to_owned());
                };
                let period = Span { start, end: start.saturating_add(u32::try_from(period_s).unwrap_or(u32::MAX)) };
                let ever = known.ever(self.project, period);
                // Both are told in whole hours, upwards.
                (used * HOUR_S >= ever + HOUR_S)
                    .then(|| format!("it was refused for {excess}: {ever} s was ever booked of {period:?}"))
            }
            _ => wrong("no such limit is known".to_owned()),
        }
    }

    /// What a quota was read as, and is not.
    fn misread(&self, known: &Known<'_>, moment: &Moment<'_>) -> Option<String> {
        let (request, reply) = (&self.operation.body["request"], &self.operation.body["reply"]);
        let of = request["of"].as_str();
        let right = known.limits.set(of, moment.index);
        if set(&reply["set"]) != right || reply["project_id"].as_str() != of {
            return Some(format!("at index {} {right:?} is set, it was told {}", moment.index, reply["set"]));
        }
        let force = match of {
            Some(project) => known.limits.in_force(project, moment.index),
            None => right.iter().filter_map(|(kind, limit)| Some((*KINDS.iter().find(|one| *one == kind)?, (*limit)?))).collect(),
        };
        let told: BTreeMap<&str, u64> = reply["in_force"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(kind, max)| Some((kind.as_str(), max.as_u64()?)))
            .collect();
        if told != force {
            return Some(format!("at index {} {force:?} holds, it was told {told:?}", moment.index));
        }
        let project = of?;
        let seconds = moments(moment.clocks.0, known.record, self.operation);
        let (least, most) = moment.peaks(project, (*seconds.start(), *seconds.end()));
        let told = ["slots_peak", "vcpus_peak"].map(|peak| reply["used"][peak][0].as_u64().unwrap_or(u64::MAX));
        let between = (0..2).all(|class| (least[class]..=most[class]).contains(&told[class]));
        (!between).then(|| format!("it was told a use of {told:?} at most, {least:?} to {most:?} is reserved"))
    }
}

#[cfg(test)]
mod tests;
