//! The ledger as clients see it, without any index: which leases there are, and what was asked of them.
//!
//! Only what clients themselves decide is in a [`View`]: a lease's status and events, what is bound where and what the cloud
//! still holds move by the ledger's clock and by what the leader learns, which no client sees begin. Where the ledger's clock
//! chose an instant (`now`) and nobody was told which, that lease's instants are in none of its views.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::linear::Spec;
use super::room::Refused;
use super::state::State;

/// What clients decided of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Whose.
    pub project: Rc<str>,
    /// Its name.
    pub name: String,
    /// Calendar seconds; `None`: nobody was told.
    pub start: Option<u64>,
    /// Calendar seconds; `None`: nobody was told.
    pub end: Option<u64>,
    /// Wish and what happens at the end, by place, as JSON.
    pub reservations: Vec<(String, String)>,
    /// It is an offer that was not claimed.
    pub offered: bool,
    /// It waits for room.
    pub waiting: bool,
}

impl View {
    /// Of a lease as the product writes it. While a change waits for the cloud, what it would return to: the change is answered
    /// when it has come true.
    pub fn of(lease: &Value) -> Option<View> {
        let ones = lease["reservations"].as_array()?;
        let waits = lease["status"] == "UPDATING";
        // The edges do not tell what it would return to.
        if waits && ones.iter().any(|one| one.get("previous").is_none()) {
            return None;
        }
        let before = |one: &Value, field: &str| {
            let old = &one["previous"][field];
            if waits && !old.is_null() { old.to_string() } else { one[field].to_string() }
        };
        let previous = ones.first().map(|one| &one["previous"]["interval"]).filter(|span| waits && span.is_object());
        let second = |field: &str| previous.map_or(&lease[field], |span| &span[field]).as_u64();
        let old_name = lease["before_update"]["name"].as_str().filter(|_| waits);
        Some(View {
            project: lease["project_id"].as_str()?.into(),
            name: old_name.or(lease["name"].as_str())?.to_owned(),
            start: second("start"),
            end: second("end"),
            reservations: ones.iter().map(|one| (before(one, "wish"), before(one, "on_end"))).collect(),
            offered: lease["offer"].is_object() && lease["offer"]["claimed_at"].is_null(),
            waiting: lease["wait"].is_object(),
        })
    }

    /// Of a wish; instants that it leaves to the ledger's clock are open.
    pub fn asked(wish: &Value) -> Option<View> {
        let ones = wish["reservations"].as_array()?;
        Some(View {
            project: wish["project_id"].as_str()?.into(),
            name: wish["name"].as_str()?.to_owned(),
            start: wish["start"]["at"].as_u64(),
            end: wish["end"].as_u64(),
            reservations: ones.iter().map(|one| (one["resource"].to_string(), one["on_end"].to_string())).collect(),
            offered: wish["offer"].is_object(),
            waiting: false,
        })
    }

    /// The list that has it.
    pub fn list(&self) -> (Rc<str>, Kind) {
        let kind = match (self.offered, self.waiting) {
            (true, _) => Kind::Offers,
            (false, true) => Kind::Waiting,
            (false, false) => Kind::Leases,
        };
        (self.project.clone(), kind)
    }

    /// Without its instants.
    pub fn timeless(self) -> View {
        View { start: None, end: None, ..self }
    }
}

/// A view with its hash, by which it is compared.
#[derive(Clone, Debug)]
pub struct Hashed {
    /// What it is.
    pub view: Rc<View>,
    /// Of all of it.
    pub hash: u128,
}

impl From<View> for Hashed {
    fn from(view: View) -> Hashed {
        let hash = xxh3_128(format!("{view:?}").as_bytes());
        Hashed { view: Rc::new(view), hash }
    }
}

/// What an update asks for; what it does not name stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// A new name.
    pub name: Option<String>,
    /// A new start; the inner `None` is `now`, and nobody was told when that was.
    pub start: Option<Option<u64>>,
    /// A new end, likewise.
    pub end: Option<Option<u64>>,
    /// Wish and perhaps `on_end` by the reservation's place.
    pub reservations: Vec<(usize, String, Option<String>)>,
}

impl Change {
    /// Out of a request; `places` knows where in its lease a reservation stands.
    pub fn of(change: &Value, places: &BTreeMap<String, usize>) -> Option<Change> {
        let instant = |value: &Value| (!value.is_null()).then(|| value["at"].as_u64());
        let mut reservations = Vec::new();
        for one in change["reservations"].as_array().into_iter().flatten() {
            let place = places.get(one["reservation_id"].as_str()?)?;
            let on_end = Some(&one["on_end"]).filter(|on_end| !on_end.is_null()).map(Value::to_string);
            reservations.push((*place, one["resource"].to_string(), on_end));
        }
        let name = change["name"].as_str().map(str::to_owned);
        Some(Change { name, start: instant(&change["start"]), end: instant(&change["end"]), reservations })
    }

    /// Whether it leaves an instant to the ledger's clock.
    pub fn is_open(&self) -> bool {
        self.start == Some(None) || self.end == Some(None)
    }

    /// Without its instants.
    pub fn timeless(self) -> Change {
        Change { start: None, end: None, ..self }
    }

    fn on(&self, view: &View) -> View {
        let mut view = view.clone();
        view.name = self.name.clone().unwrap_or(view.name);
        view.start = self.start.unwrap_or(view.start);
        view.end = self.end.unwrap_or(view.end);
        for (place, wish, on_end) in &self.reservations {
            if let Some(one) = view.reservations.get_mut(*place) {
                one.0.clone_from(wish);
                one.1 = on_end.clone().unwrap_or_else(|| one.1.clone());
            }
        }
        view
    }
}

/// What became of a lease at its expiry: from what to what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shrunk {
    /// Instances, by the reservation's place.
    pub amounts: Vec<(usize, u64, u64)>,
    /// Its end, if it ended.
    pub end: Option<(u64, u64)>,
}

impl Shrunk {
    /// `None`: it is not what it was then.
    fn on(&self, view: &View) -> Option<View> {
        let mut view = view.clone();
        for (place, was, is) in &self.amounts {
            let one = view.reservations.get_mut(*place)?;
            let mut wish: Value = serde_json::from_str(&one.0).ok()?;
            let amount = wish.pointer_mut("/instance/amount").filter(|amount| amount.as_u64() == Some(*was))?;
            *amount = (*is).into();
            one.0 = wish.to_string();
        }
        // Without its instants it has no end to move.
        if let (Some((was, is)), Some(end)) = (self.end, view.end.as_mut()) {
            if *end != was {
                return None;
            }
            *end = is;
        }
        Some(view)
    }
}

/// A lease by a number of its own.
pub type Number = u32;

/// An operation with its answer, as far as one pool is concerned.
#[derive(Clone, Debug)]
pub enum Op {
    /// A lease was made.
    Create(Number, Hashed),
    /// A lease was changed.
    Update(Number, Change),
    /// An offer was claimed.
    Claim(Number),
    /// An offer was not claimed in time, or what waited for room found none in time, and went.
    Expire(Number),
    /// What waited for room was booked.
    Promote(Number),
    /// What nobody used of a lease was given back at its expiry.
    Shrink(Number, Shrunk),
    /// A lease was deleted.
    Delete(Number),
    /// A lease was seen so.
    Seen(Number, Hashed),
    /// A lease was not there.
    Absent(Number),
    /// All leases of a project.
    List(List),
    /// There was no room.
    NoRoom(Box<Refused>),
}

/// What a list has: offers that nobody has claimed stand in one of their own, and so does what waits for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// All others.
    Leases,
    /// Such offers.
    Offers,
    /// What waits for room.
    Waiting,
}

/// A list of a project: all leases of a kind.
#[derive(Clone, Debug)]
pub struct List {
    of: (Rc<str>, Kind),
    leases: BTreeMap<Number, Hashed>,
    sum: u128,
}

impl List {
    /// As it was answered.
    pub fn new(of: (Rc<str>, Kind), leases: BTreeMap<Number, Hashed>) -> List {
        let sum = leases.iter().fold(0, |sum: u128, (number, view)| sum.wrapping_add(State::part(*number, view)));
        List { of, leases, sum }
    }

    /// The leases in it.
    pub fn numbers(&self) -> impl Iterator<Item = Number> + '_ {
        self.leases.keys().copied()
    }

    /// What a lease adds to the sums of this list and of a state.
    fn parts(&self, state: &State, number: Number) -> (u128, u128) {
        let part = |view: Option<&Hashed>| view.map_or(0, |view| State::part(number, view));
        let is = state.get(number).filter(|is| is.view.list() == self.of);
        (part(self.leases.get(&number)), part(is))
    }
}

impl Op {
    /// The one lease that it is about.
    pub fn lease(&self) -> Option<Number> {
        match self {
            Op::Create(number, _)
            | Op::Update(number, _)
            | Op::Claim(number)
            | Op::Expire(number)
            | Op::Promote(number)
            | Op::Shrink(number, _)
            | Op::Delete(number)
            | Op::Seen(number, _)
            | Op::Absent(number) => Some(*number),
            Op::List(_) | Op::NoRoom(_) => None,
        }
    }
}

/// The specification.
pub struct Ledger;

impl Spec for Ledger {
    type State = State;
    type Op = Op;

    fn step(&self, state: &State, op: &Op) -> Option<State> {
        let is = op.lease().and_then(|number| state.get(number));
        match op {
            Op::Create(number, view) => is.is_none().then(|| state.with(*number, Some(view.clone()))),
            Op::Update(number, change) => is.map(|is| state.with(*number, Some(change.on(&is.view).into()))),
            Op::Claim(number) => is.map(|is| {
                let claimed = View { offered: false, ..View::clone(&is.view) };
                state.with(*number, Some(claimed.into()))
            }),
            Op::Promote(number) => is.filter(|is| is.view.waiting).map(|is| {
                let promoted = View { waiting: false, ..View::clone(&is.view) };
                state.with(*number, Some(promoted.into()))
            }),
            Op::Shrink(number, shrunk) => {
                is.and_then(|is| shrunk.on(&is.view)).map(|view| state.with(*number, Some(view.into())))
            }
            Op::Expire(number) => is.filter(|is| is.view.offered || is.view.waiting).map(|_| state.with(*number, None)),
            Op::Delete(number) => is.map(|_| state.with(*number, None)),
            Op::Seen(_, seen) => is.filter(|is| is.hash == seen.hash).map(|_| state.clone()),
            Op::Absent(_) => is.is_none().then(|| state.clone()),
            Op::List(list) => (state.sum(&list.of) == list.sum).then(|| state.clone()),
            Op::NoRoom(refused) => refused.justified(|number| state.get(number).is_some()).then(|| state.clone()),
        }
    }

    fn writes(&self, op: &Op) -> bool {
        let reads = matches!(op, Op::Seen(..) | Op::Absent(_) | Op::List(_) | Op::NoRoom(_));
        !reads
    }

    fn relevant(&self, state: &State, op: &Op, write: &Op) -> bool {
        let Some(number) = write.lease() else { return false };
        match op {
            Op::List(list) => {
                let (told, is) = list.parts(state, number);
                told != is
            }
            // What makes a lease may take room, of one that waits too; what deletes one never does.
            Op::NoRoom(_) => !matches!(write, Op::Delete(_) | Op::Expire(_) | Op::Promote(_) | Op::Claim(_) | Op::Shrink(..)),
            _ => op.lease() == Some(number),
        }
    }

    fn in_reach(&self, state: &State, read: &Op, writes: &[&Op]) -> bool {
        let Op::List(list) = read else {
            return read.lease().is_none_or(|number| writes.iter().any(|write| write.lease() == Some(number)));
        };
        // All leases that nobody is writing must be as they are told.
        let (mut told, mut is) = (list.sum, state.sum(&list.of));
        let mut numbers: Vec<Number> = writes.iter().filter_map(|write| write.lease()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let (of_list, of_state) = list.parts(state, number);
            (told, is) = (told.wrapping_sub(of_list), is.wrapping_sub(of_state));
        }
        told == is
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::model::tests::lease;

    #[test]
    fn a_change_that_waits_is_seen_as_what_it_would_return_to() {
        let mut row = lease("a", 100, 200, &[(1, 2)]);
        let before = View::of(&row).expect("it reads");
        row["status"] = json!("UPDATING");
        row["before_update"] = json!({"name": "a", "events": []});
        let wish = row["reservations"][0]["wish"].clone();
        row["reservations"][0]["previous"] = json!({"interval": {"start": 100, "end": 200}, "wish": wish, "on_end": "delete"});
        (row["name"], row["end"], row["reservations"][0]["wish"]["instance"]["amount"]) = (json!("b"), json!(300), json!(7));
        assert_eq!(View::of(&row), Some(before.clone()));
        row["status"] = json!("PENDING");
        assert_ne!(View::of(&row), Some(before));
    }

    #[test]
    fn a_change_changes_what_it_names() {
        let before = View::of(&lease("a", 100, 200, &[(1, 2)])).expect("it reads");
        let places = BTreeMap::from([("r-a".to_owned(), 0)]);
        let changed = |change: Value| Change::of(&change, &places).expect("it reads").on(&before);
        assert_eq!(changed(json!({})), before);
        assert_eq!(changed(json!({"end": {"at": 201}})), View { end: Some(201), ..before.clone() });
        assert_eq!(changed(json!({"end": "now"})), View { end: None, ..before.clone() });
        assert_eq!(changed(json!({"name": "b"})), View { name: "b".to_owned(), ..before.clone() });
        let wish = json!({"instance": {"amount": 7}});
        let other = json!({"reservations": [{"reservation_id": "r-a", "resource": wish, "on_end": null}]});
        assert_eq!(changed(other).reservations, [(wish.to_string(), before.reservations[0].1.clone())]);
        let foreign = json!({"reservations": [{"reservation_id": "r-b", "resource": wish}]});
        assert!(Change::of(&foreign, &places).is_none());
    }

    #[test]
    fn an_expiry_makes_smaller_what_is_as_it_was_then() {
        let view = View::of(&lease("a", 100, 200, &[(1, 3)])).expect("it reads");
        let amount = |view: &View| View { reservations: Vec::new(), ..view.clone() };
        let shrunk = Shrunk { amounts: vec![(0, 3, 1)], end: Some((200, 150)) };
        let after = shrunk.on(&view).expect("it is as it was");
        let smaller = View::of(&lease("a", 100, 150, &[(1, 1)])).expect("it reads");
        assert_eq!((amount(&after), &after.reservations), (amount(&smaller), &smaller.reservations));
        assert_eq!(shrunk.on(&after), None);
        assert_eq!(Shrunk { end: Some((300, 150)), ..Shrunk::default() }.on(&view), None);
        assert_eq!(shrunk.on(&view.timeless()).map(|view| view.end), Some(None));
    }

    #[test]
    fn a_list_is_in_reach_when_all_that_nobody_writes_is_as_it_tells() {
        let view = |id: &str| Hashed::from(View::of(&lease(id, 100, 200, &[(1, 2)])).expect("it reads"));
        let state = State::default().with(1, Some(view("a"))).with(2, Some(view("b")));
        let list = |leases: &[(Number, &str)]| {
            Op::List(List::new(("p".into(), Kind::Leases), leases.iter().map(|(number, id)| (*number, view(id))).collect()))
        };
        assert!(Ledger.step(&state, &list(&[(1, "a"), (2, "b")])).is_some());
        let (reads, delete) = (list(&[(1, "a")]), Op::Delete(2));
        assert!(Ledger.step(&state, &reads).is_none());
        assert!(Ledger.in_reach(&state, &reads, &[&delete]) && Ledger.relevant(&state, &reads, &delete));
        assert!(!Ledger.in_reach(&state, &reads, &[&Op::Delete(1)]) && !Ledger.relevant(&state, &reads, &Op::Delete(1)));
        assert!(Ledger.step(&state.with(2, None), &reads).is_some());
    }
}
