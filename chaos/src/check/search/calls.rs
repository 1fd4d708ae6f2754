//! What clients did, as calls of the specification.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::ledger::{Change, Hashed, Kind, List, Number, Op, Shrunk, View};
use super::linear::Call;
use super::room::Rooms;
use crate::check::expire::shrinks;
use crate::check::keys::is_not_found;
use crate::check::model::CALENDAR_UNIX_S;
use crate::check::rules;
use crate::history::{Ending, Operation};
use crate::record::Record;

/// What clocks drift between two looks, beside their tolerance, milliseconds.
const DRIFT_MS: u64 = 250;

/// The operations of a record, and what is known of their leases.
pub struct History<'a> {
    record: &'a Record,
    rooms: Rooms<'a>,
    numbers: BTreeMap<String, Number>,
    /// By lease.
    pools: BTreeMap<Number, BTreeSet<String>>,
    /// Where in its lease a reservation stands.
    places: BTreeMap<String, usize>,
    /// Leases by the key that made them.
    by_key: BTreeMap<&'a str, Number>,
    by_series: BTreeMap<&'a str, BTreeSet<Number>>,
    /// Leases of a series by its key and their number in it.
    occurrences: BTreeMap<&'a str, BTreeMap<u64, Number>>,
    /// Leases of which the ledger's clock chose an instant that nobody was told.
    timeless: BTreeSet<Number>,
    /// Leases that began to wait for room when they were made, and whether they were ever seen to have some.
    waited: BTreeMap<Number, bool>,
    /// What was given back at expiries: of which lease, not before which instant, and by when, nanoseconds.
    shrunk: Vec<(Number, Shrunk, u64, u64)>,
    /// What lists showed, by row: lists of an hour show the same rows again and again, in every pool.
    shown: RefCell<BTreeMap<*const Value, Option<(Number, Hashed)>>>,
}

impl<'a> History<'a> {
    /// Of a record.
    pub fn new(record: &'a Record) -> History<'a> {
        let told = |one: &'a Operation| vec![&one.body["reply"], &one.body["reply"]["first"]];
        let replies = record.history.iter().flat_map(|one| record.listed(one).unwrap_or_else(|| told(one)));
        let rows: Vec<&Value> = record.watches.iter().map(|line| &line.change["lease"]).chain(replies).collect();
        let told = record.watches.iter().map(|line| &line.change["host"]);
        let hosts: BTreeMap<u64, &str> =
            told.filter_map(|host| Some((host["id"].as_u64()?, host["description"]["pool"].as_str()?))).collect();
        let (mut numbers, mut read) = (BTreeMap::new(), BTreeSet::new());
        let (mut pools, mut places, mut by_key): (BTreeMap<Number, BTreeSet<String>>, _, _) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (mut by_series, mut occurrences): (BTreeMap<_, BTreeSet<_>>, BTreeMap<_, BTreeMap<_, _>>) = Default::default();
        // A row that many lists show is one value.
        for row in rows.into_iter().filter(|row| read.insert(std::ptr::from_ref::<Value>(row))) {
            let Some(id) = row["id"].as_str() else { continue };
            let next = Number::try_from(numbers.len()).unwrap_or(Number::MAX);
            let number = *numbers.entry(id.to_owned()).or_insert(next);
            if let Some(series) = row["series"]["id"].as_str() {
                by_series.entry(series).or_default().insert(number);
                // Under one key, each with the times that it was booked for.
                if let (Some(key), Some(place)) = (row["key"]["id"].as_str(), row["series"]["number"].as_u64()) {
                    occurrences.entry(key).or_default().insert(place, number);
                }
            } else if let Some(key) = row["key"]["id"].as_str() {
                by_key.insert(key, number);
            }
            for (place, one) in row["reservations"].as_array().into_iter().flatten().enumerate() {
                if let Some(id) = one["id"].as_str() {
                    places.insert(id.to_owned(), place);
                }
                let bound = one["bindings"].as_array().into_iter().flatten();
                let of = bound.filter_map(|binding| hosts.get(&binding["host"].as_u64()?).map(|pool| (*pool).to_owned()));
                pools.entry(number).or_default().extend(of);
            }
        }
        let mut waited: BTreeMap<Number, bool> = BTreeMap::new();
        let mut told: BTreeSet<Number> = BTreeSet::new();
        for row in record.watches.iter().map(|line| &line.change["lease"]) {
            let Some(number) = row["id"].as_str().and_then(|id| numbers.get(id)).copied() else { continue };
            if told.insert(number) && row["wait"].is_object() {
                waited.insert(number, false);
            } else if row["wait"].is_null()
                && let Some(has_room) = waited.get_mut(&number)
            {
                *has_room = true;
            }
        }
        let rooms = Rooms::new(record, &numbers);
        let shrunk = shrinks(record).into_iter().filter_map(|one| {
            let since_ms = (one.expiry_s + CALENDAR_UNIX_S) * 1_000;
            let since_ms = since_ms.saturating_sub(record.epoch_ms + record.clock_tolerance_ms + DRIFT_MS);
            let since_ns = (since_ms * 1_000_000).min(one.by_ns);
            Some((*numbers.get(one.lease)?, Shrunk { amounts: one.amounts, end: one.end }, since_ns, one.by_ns))
        });
        let shrunk = shrunk.collect();
        let (timeless, shown) = Default::default();
        let mut history =
            History { record, rooms, numbers, pools, places, by_key, by_series, occurrences, timeless, waited, shrunk, shown };
        history.timeless = record.history.iter().filter_map(|operation| history.untold(operation)).collect();
        history
    }

    fn number(&self, id: &Value) -> Option<Number> {
        id.as_str().and_then(|id| self.numbers.get(id)).copied()
    }

    /// The lease of which an operation left an instant to the ledger's clock without being told which it was.
    fn untold(&self, operation: &Operation) -> Option<Number> {
        if operation.ending != Ending::Info {
            return None;
        }
        let request = &operation.body["request"];
        match operation.op.as_str() {
            "create" => self.made(operation).filter(|_| View::asked(&request["wish"]).is_some_and(|view| view.start.is_none())),
            "update" => {
                let change = Change::of(&request["change"], &self.places)?;
                self.number(&request["lease_id"]).filter(|_| change.is_open())
            }
            _ => None,
        }
    }

    /// The lease that an operation made whose ending was unclear. One that nobody ever saw was not made, or not for long, and
    /// nothing depends on it.
    fn made(&self, operation: &Operation) -> Option<Number> {
        let said = self.number(&operation.body["resolved"]["applied"]["lease_id"]);
        said.or_else(|| self.by_key.get(operation.key.as_deref()?).copied())
    }

    fn view(&self, number: Number, view: View) -> Hashed {
        if self.timeless.contains(&number) { view.timeless().into() } else { view.into() }
    }

    /// A lease as a list showed it; the record keeps the row for as long as this lives.
    fn shown(&self, row: &'a Value) -> Option<(Number, Hashed)> {
        let read = || {
            let number = self.number(&row["id"])?;
            Some((number, self.view(number, View::of(row)?)))
        };
        self.shown.borrow_mut().entry(std::ptr::from_ref(row)).or_insert_with(read).clone()
    }

    fn change(&self, number: Number, change: Change) -> Change {
        if self.timeless.contains(&number) { change.timeless() } else { change }
    }

    /// All pools in which something was booked.
    pub fn pools(&self) -> BTreeSet<&str> {
        self.pools.values().flatten().map(String::as_str).collect()
    }

    /// The id of a lease.
    pub fn id(&self, number: Number) -> &str {
        self.numbers.iter().find(|(_, other)| **other == number).map_or("?", |(id, _)| id)
    }

    /// What concerns a pool, by invocation.
    pub fn calls(&self, pool: &str) -> Vec<Call<Op>> {
        let here = |number: Number| self.pools.get(&number).is_some_and(|pools| pools.contains(pool));
        let mut calls = Vec::new();
        for operation in &self.record.history {
            for (op, applied) in self.ops(operation, pool, &here) {
                if op.lease().is_none_or(here) {
                    let answered = operation.ending != Ending::Info;
                    let return_ns = answered.then_some(operation.return_ns);
                    calls.push(Call { n: operation.n, op, invoke_ns: operation.invoke_ns, return_ns, applied });
                }
            }
            calls.extend(self.expiry(operation).filter(|call| call.op.lease().is_some_and(here)));
            calls.extend(self.promotion(operation).filter(|call| call.op.lease().is_some_and(here)));
        }
        let made_by =
            |number: Number| self.record.history.iter().find(|one| self.created(one) == Some(number)).map_or(0, |one| one.n);
        for (number, shrunk, invoke_ns, by_ns) in self.shrunk.iter().filter(|(number, ..)| here(*number)) {
            let (n, op) = (made_by(*number), Op::Shrink(*number, shrunk.clone()));
            calls.push(Call { n, op, invoke_ns: *invoke_ns, return_ns: Some(*by_ns), applied: true });
        }
        calls
    }

    /// The lease that an operation made by itself.
    fn created(&self, operation: &Operation) -> Option<Number> {
        match operation.ending {
            _ if operation.op != "create" => None,
            Ending::Ok => self.number(&operation.body["reply"]["id"]),
            Ending::Info => self.made(operation),
            Ending::Fail => None,
        }
    }

    /// That what waited for room was booked, if it was ever seen so: the leader does that at any time.
    fn promotion(&self, operation: &Operation) -> Option<Call<Op>> {
        let number = self.created(operation).filter(|number| self.waited.get(number) == Some(&true))?;
        let invoke_ns = operation.invoke_ns;
        Some(Call { n: operation.n, op: Op::Promote(number), invoke_ns, return_ns: None, applied: false })
    }

    /// That an offer goes by itself from its expiry on, if it was not claimed, and what waits for room from the end of its time on: nobody asks for that, and nobody is told when.
    fn expiry(&self, operation: &Operation) -> Option<Call<Op>> {
        let wish = &operation.body["request"]["wish"];
        let number = self.created(operation)?;
        let waits = || wish["wait"]["until"].as_u64().filter(|_| self.waited.contains_key(&number));
        let until = wish["offer"]["until"].as_u64().or_else(waits)?;
        let unix_ms = (until + CALENDAR_UNIX_S) * 1_000;
        let since_ms = unix_ms.saturating_sub(self.record.epoch_ms + self.record.clock_tolerance_ms + DRIFT_MS);
        let invoke_ns = (since_ms * 1_000_000).max(operation.invoke_ns);
        Some(Call { n: operation.n, op: Op::Expire(number), invoke_ns, return_ns: None, applied: false })
    }

    /// The leases of a series as they were made. That all of them are made at once is not asked here.
    fn series(&self, operation: &Operation) -> Vec<Op> {
        let wish = &operation.body["request"]["wish"];
        let made = operation.key.as_deref().and_then(|key| self.occurrences.get(key)).into_iter().flatten();
        let times = rules::occurrences(wish).unwrap_or_default();
        let of = |(place, number): (&u64, &Number)| {
            let span = times.get(usize::try_from(*place).ok()?.checked_sub(1)?)?;
            let view = View::asked(&wish["lease"])?;
            let view = View { start: Some(span.start.into()), end: Some(span.end.into()), ..view };
            Some(Op::Create(*number, self.view(*number, view)))
        };
        made.filter_map(of).collect()
    }

    /// One operation as one or several of the specification, and whether it is known to have taken effect without an answer.
    ///
    /// What an answer tells of a lease is a read of its own within the operation: a repeated request is answered with what
    /// the lease has become, if what it was is not kept any more.
    fn ops(&self, operation: &'a Operation, pool: &str, here: &dyn Fn(Number) -> bool) -> Vec<(Op, bool)> {
        let (request, reply) = (&operation.body["request"], &operation.body["reply"]);
        let seen = || {
            let number = self.number(&reply["id"])?;
            Some(Op::Seen(number, self.view(number, View::of(reply)?)))
        };
        let create = |number: Option<Number>, view: Option<View>| {
            number.zip(view).map(|(number, view)| {
                let waiting = self.waited.contains_key(&number);
                Op::Create(number, self.view(number, View { waiting, ..view }))
            })
        };
        let of = self.number(&request["lease_id"]);
        let resolved = &operation.body["resolved"];
        let kept = resolved["applied"]["rejection"].is_null();
        let applied = !resolved["applied"].is_null() && kept;
        // Never, or refused: nothing happened.
        let nothing = operation.ending == Ending::Info && (resolved == "never" || !kept);
        let ops: Vec<Option<Op>> = match (operation.op.as_str(), operation.ending) {
            _ if nothing => Vec::new(),
            ("create", Ending::Ok) => {
                let view = View::asked(&request["wish"]);
                let view = view.map(|view| View { start: view.start.or(reply["start"].as_u64()), ..view });
                vec![create(self.number(&reply["id"]), view), seen()]
            }
            ("create", Ending::Info) => vec![create(self.made(operation), View::asked(&request["wish"]))],
            ("create", Ending::Fail) if reply["kind"] == "no_room" => {
                vec![self.rooms.refused(operation, pool).map(|refused| Op::NoRoom(Box::new(refused)))]
            }
            ("update", ending @ (Ending::Ok | Ending::Info)) => {
                let mut change = Change::of(&request["change"], &self.places);
                if let Some(change) = change.as_mut().filter(|_| ending == Ending::Ok) {
                    change.start = change.start.map(|at| at.or(reply["start"].as_u64()));
                    change.end = change.end.map(|at| at.or(reply["end"].as_u64()));
                }
                let changed = of.zip(change).map(|(number, change)| Op::Update(number, self.change(number, change)));
                vec![changed, (ending == Ending::Ok).then(seen).flatten()]
            }
            ("claim", ending @ (Ending::Ok | Ending::Info)) => {
                vec![of.map(Op::Claim), (ending == Ending::Ok).then(seen).flatten()]
            }
            ("delete", Ending::Ok | Ending::Info) => vec![of.map(Op::Delete)],
            ("create_series", Ending::Ok | Ending::Info) => {
                let first = &reply["first"];
                let seen = self.number(&first["id"]).zip(View::of(first));
                let seen = seen.map(|(number, view)| Op::Seen(number, self.view(number, view)));
                self.series(operation).into_iter().map(Some).chain([seen]).collect()
            }
            ("delete_series", Ending::Ok) => {
                let deleted = reply["deleted"].as_array().into_iter().flatten();
                deleted.map(|id| self.number(id).map(Op::Delete)).collect()
            }
            // Which of them had not started nobody was told: each was deleted by it, or was not.
            ("delete_series", Ending::Info) => {
                let all = request["series_id"].as_str().and_then(|id| self.by_series.get(id));
                return all.into_iter().flatten().map(|number| (Op::Delete(*number), false)).collect();
            }
            ("get", Ending::Ok) => vec![seen()],
            (op @ ("list" | "offers" | "waiting"), Ending::Ok) => {
                // A row that is not kept is the witness's to tell. One that does not say what its lease is says nothing of the
                // others: only a whole list tells who is not there.
                let rows = self.record.listed(operation).into_iter().flatten();
                let told: Option<Vec<_>> = rows.map(|row| self.shown(row)).collect();
                let told = told.map(|told| told.into_iter().filter(|(number, _)| here(*number)).collect());
                let project = request["project_id"].as_str();
                let kind = match op {
                    "offers" => Kind::Offers,
                    "waiting" => Kind::Waiting,
                    _ => Kind::Leases,
                };
                vec![project.zip(told).map(|(project, told)| Op::List(List::new((project.into(), kind), told)))]
            }
            (_, Ending::Fail) if is_not_found(operation) => vec![of.map(Op::Absent)],
            _ => Vec::new(),
        };
        ops.into_iter().flatten().map(|op| (op, applied)).collect()
    }
}

/// An operation in words.
pub fn told(call: &Call<Op>, history: &History<'_>) -> String {
    match &call.op {
        Op::Create(number, _) => format!("lease {} was made", history.id(*number)),
        Op::Update(number, _) => format!("lease {} was changed", history.id(*number)),
        Op::Claim(number) => format!("offer {} was claimed", history.id(*number)),
        Op::Expire(number) => format!("offer {} expired", history.id(*number)),
        Op::Promote(number) => format!("lease {} was promoted", history.id(*number)),
        Op::Shrink(number, shrunk) => format!("lease {} expired: {shrunk:?}", history.id(*number)),
        Op::Delete(number) => format!("lease {} was deleted", history.id(*number)),
        Op::Seen(number, view) => format!("lease {} was seen as {:?}", history.id(*number), view.view),
        Op::Absent(number) => format!("lease {} was not there", history.id(*number)),
        Op::List(list) => format!("a list of {:?}", list.numbers().map(|number| history.id(number)).collect::<Vec<_>>()),
        Op::NoRoom(_) => "there was no room".to_owned(),
    }
}
