//! The search against the checker of others (Wing, Gong and Lowe's, in `todc-utils`) and against trying every order, on small
//! random histories; and how it does with long ones.

use std::collections::{BTreeMap, BTreeSet};

use todc_utils::{Action, History, Specification, WGLChecker};

use super::linear::{Call, Found, Spec, search};
use crate::plan::Draw;

/// Cells by number, each with a value; a look sees some or all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Cells;

type Values = BTreeMap<u8, u8>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Op {
    Set(u8, u8),
    /// Only from this value to that.
    Swap(u8, u8, u8),
    Get(u8, u8),
    All(Values),
}

fn value(state: &Values, cell: u8) -> u8 {
    state.get(&cell).copied().unwrap_or(0)
}

impl Spec for Cells {
    type State = Values;
    type Op = Op;

    fn step(&self, state: &Values, op: &Op) -> Option<Values> {
        let set = |cell: u8, to: u8| {
            let mut state = state.clone();
            state.insert(cell, to);
            state
        };
        match op {
            Op::Set(cell, to) => Some(set(*cell, *to)),
            Op::Swap(cell, from, to) => (value(state, *cell) == *from).then(|| set(*cell, *to)),
            Op::Get(cell, seen) => (value(state, *cell) == *seen).then(|| state.clone()),
            Op::All(seen) => CELLS.into_iter().all(|cell| value(state, cell) == value(seen, cell)).then(|| state.clone()),
        }
    }

    fn writes(&self, op: &Op) -> bool {
        matches!(op, Op::Set(..) | Op::Swap(..))
    }

    fn relevant(&self, state: &Values, op: &Op, write: &Op) -> bool {
        let (Op::Set(cell, _) | Op::Swap(cell, ..)) = write else { return false };
        match op {
            Op::Set(mine, _) | Op::Swap(mine, ..) | Op::Get(mine, _) => mine == cell,
            Op::All(seen) => value(state, *cell) != value(seen, *cell),
        }
    }

    fn in_reach(&self, state: &Values, read: &Op, writes: &[&Op]) -> bool {
        let Op::All(seen) = read else { return true };
        let writable = |cell: u8| writes.iter().any(|write| matches!(write, Op::Set(one, _) | Op::Swap(one, ..) if *one == cell));
        CELLS.into_iter().all(|cell| value(state, cell) == value(seen, cell) || writable(cell))
    }
}

const CELLS: [u8; 3] = [0, 1, 2];

/// A history of threads that work on one store, each operation taking effect somewhere in its time; some are not answered, and
/// with `lies` an answer or two is another than it was.
fn history(seed: u64, threads: usize, length: usize, lies: bool) -> Vec<Call<Op>> {
    let mut draw = Draw::new(seed, 77);
    let small = |draw: &mut Draw, bound: usize| u8::try_from(draw.below(bound)).unwrap_or(0);
    let mut clocks = vec![0u64; threads];
    // Begin, effect and end of each.
    let mut spans: Vec<(u64, u64, u64)> = Vec::new();
    for number in 0..length {
        let clock = &mut clocks[number % threads];
        let begin = *clock + draw.between(1, 6);
        let effect = begin + draw.between(0, 12);
        let end = effect + draw.between(0, 12);
        *clock = end;
        spans.push((begin, effect, end));
    }
    spans.sort_by_key(|span| span.1);
    let mut state = Values::new();
    let mut calls = Vec::new();
    for (place, (invoke_ns, _, end)) in spans.into_iter().enumerate() {
        let cell = small(&mut draw, 3);
        let op = match draw.below(8) {
            0..=1 => Op::Set(cell, small(&mut draw, 3)),
            2..=3 => Op::Swap(cell, value(&state, cell), small(&mut draw, 3)),
            4..=5 => Op::Get(cell, value(&state, cell)),
            _ => Op::All(state.clone()),
        };
        let lost = Cells.writes(&op) && draw.below(6) == 0;
        let took = !lost || draw.below(2) == 0;
        if took && let Some(after) = Cells.step(&state, &op) {
            state = after;
        }
        let applied = lost && took && draw.below(2) == 0;
        calls.push(Call { n: place as u64, op, invoke_ns, return_ns: (!lost).then_some(end), applied });
    }
    for _ in 0..usize::from(lies) * 2 {
        let place = draw.below(calls.len());
        match &mut calls[place].op {
            Op::Get(_, seen) | Op::Swap(_, seen, _) => *seen = small(&mut draw, 3),
            Op::All(seen) => drop(seen.insert(small(&mut draw, 3), small(&mut draw, 3))),
            Op::Set(..) => {}
        }
    }
    calls
}

/// Tries every order that real time allows.
fn by_force(
    calls: &[Call<Op>],
    done: &mut BTreeSet<usize>,
    state: &Values,
    failed: &mut BTreeSet<(BTreeSet<usize>, Values)>,
) -> bool {
    let owes = |place: &usize| !done.contains(place) && (calls[*place].return_ns.is_some() || calls[*place].applied);
    let left: Vec<usize> = (0..calls.len()).filter(owes).collect();
    if left.is_empty() {
        return true;
    }
    if failed.contains(&(done.clone(), state.clone())) {
        return false;
    }
    let first_end = left.iter().filter_map(|place| calls[*place].return_ns).min().unwrap_or(u64::MAX);
    for place in (0..calls.len()).filter(|place| calls[*place].invoke_ns <= first_end) {
        if done.contains(&place) {
            continue;
        }
        if let Some(after) = Cells.step(state, &calls[place].op) {
            done.insert(place);
            if by_force(calls, done, &after, failed) {
                return true;
            }
            done.remove(&place);
        }
    }
    failed.insert((done.clone(), state.clone()));
    false
}

fn forced(calls: &[Call<Op>]) -> bool {
    by_force(calls, &mut BTreeSet::new(), &Values::new(), &mut BTreeSet::new())
}

fn ours(calls: &[Call<Op>]) -> bool {
    match search(&Cells, Values::new(), calls, || false) {
        Found::Linearizable => true,
        Found::Broken { .. } => false,
        Found::GaveUp => panic!("nobody told it to"),
    }
}

#[test]
fn it_says_what_trying_every_order_says() {
    let mut said = BTreeMap::new();
    for seed in 0..6_000 {
        let calls = history(seed, 2 + (seed % 4) as usize, 4 + (seed % 9) as usize, seed % 2 == 0);
        let expected = forced(&calls);
        assert_eq!(ours(&calls), expected, "seed {seed}: {calls:#?}");
        *said.entry(expected).or_insert(0) += 1;
    }
    assert!(said.values().all(|many| *many > 500), "both happen: {said:?}");
}

/// The same store for the other checker, which knows only operations that were answered.
struct Theirs;

impl Specification for Theirs {
    type State = Values;
    type Operation = Op;

    fn init() -> Values {
        Values::new()
    }

    fn apply(op: &Op, state: &Values) -> (bool, Values) {
        match Cells.step(state, op) {
            Some(after) => (true, after),
            None => (false, state.clone()),
        }
    }
}

fn theirs(calls: &[Call<Op>]) -> bool {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        events.push((call.invoke_ns, false, place));
        events.push((call.return_ns.expect("it was answered"), true, place));
    }
    events.sort_unstable();
    // Each operation is a process of its own: who asked does not matter.
    let action = |(_, answered, place): (u64, bool, usize)| {
        let op = calls[place].op.clone();
        (place, if answered { Action::Response(op) } else { Action::Call(op) })
    };
    WGLChecker::<Theirs>::is_linearizable(History::from_actions(events.into_iter().map(action).collect()))
}

#[test]
fn it_says_what_the_checker_of_others_says() {
    let mut said = BTreeMap::new();
    for seed in 0..3_000 {
        let mut calls = history(seed, 2 + (seed % 5) as usize, 4 + (seed % 12) as usize, seed % 2 == 0);
        calls.retain(|call| call.return_ns.is_some());
        let expected = theirs(&calls);
        assert_eq!(ours(&calls), expected, "seed {seed}: {calls:#?}");
        *said.entry(expected).or_insert(0) += 1;
    }
    assert!(said.len() == 2 && said.values().all(|many| *many > 200), "both happen: {said:?}");
}

#[test]
fn what_takes_too_long_is_given_up() {
    let mut calls: Vec<Call<Op>> = Vec::new();
    for n in 0..14 {
        calls.push(Call { n, op: Op::Set(0, n as u8), invoke_ns: 1, return_ns: None, applied: false });
    }
    calls.push(Call { n: 99, op: Op::Get(0, 77), invoke_ns: 2, return_ns: Some(3), applied: false });
    assert_eq!(search(&Cells, Values::new(), &calls, || true), Found::GaveUp);
}

#[test]
fn the_answer_that_nothing_explains_is_named() {
    let call = |n: u64, op: Op| Call { n, op, invoke_ns: n * 10, return_ns: Some(n * 10 + 5), applied: false };
    let mut calls = vec![call(0, Op::Set(1, 2)), call(1, Op::Get(1, 2)), call(2, Op::Get(1, 0))];
    calls.push(Call { n: 3, op: Op::Set(2, 2), invoke_ns: 0, return_ns: None, applied: false });
    assert_eq!(search(&Cells, Values::new(), &calls, || false), Found::Broken { place: 2, beside: vec![3] });
}

mod many {
    use super::super::ledger::{Change, Hashed, Kind, Ledger, List, Number, Op, View};
    use super::super::state::State;
    use super::*;

    fn view(name: u64) -> Hashed {
        let (project, reservations) = ("p".into(), Vec::new());
        View { project, name: name.to_string(), start: Some(1), end: Some(2), reservations, offered: false, waiting: false }
            .into()
    }

    /// Ten clients that are never at rest: creations, changes, deletions, looks at one lease and at all of them.
    fn busy(seed: u64, length: usize) -> Vec<Call<Op>> {
        let mut draw = Draw::new(seed, 78);
        let mut clocks = [0u64; 10];
        let mut spans: Vec<(u64, u64, u64)> = Vec::new();
        for number in 0..length {
            let clock = &mut clocks[number % 10];
            let begin = *clock + draw.between(1, 20);
            let effect = begin + draw.between(0, 50);
            *clock = effect + draw.between(0, 50);
            spans.push((begin, effect, *clock));
        }
        spans.sort_by_key(|span| span.1);
        let (mut state, mut there, mut made) = (State::default(), BTreeMap::<Number, Hashed>::new(), 0);
        let mut calls = Vec::new();
        for (n, (invoke_ns, _, end)) in spans.into_iter().enumerate() {
            let one = there.keys().nth(draw.below(there.len())).copied();
            let op = match (draw.below(10), one) {
                (0..=2, Some(number)) => Op::Seen(number, there[&number].clone()),
                (3, _) => Op::List(List::new(("p".into(), Kind::Leases), there.clone())),
                (4..=5, Some(number)) => Op::Update(number, Change { name: Some(n.to_string()), ..Change::default() }),
                (6..=7, Some(number)) if there.len() > 50 => Op::Delete(number),
                _ => {
                    made += 1;
                    Op::Create(made, view(n as u64))
                }
            };
            let lost = Ledger.writes(&op) && draw.below(200) == 0;
            state = Ledger.step(&state, &op).expect("it was drawn so");
            if let Some(number) = op.lease() {
                there.remove(&number);
                there.extend(state.get(number).map(|view| (number, view.clone())));
            }
            let applied = lost && draw.below(2) == 0;
            calls.push(Call { n: n as u64, op, invoke_ns, return_ns: (!lost).then_some(end), applied });
        }
        calls
    }

    #[test]
    fn ten_thousand_operations_of_ten_clients_are_judged() {
        let calls = busy(1, 10_000);
        let began = crate::cpu::used_s();
        assert_eq!(search(&Ledger, State::default(), &calls, || false), Found::Linearizable);
        println!("{:.2} CPU s for {} operations", crate::cpu::used_s() - began, calls.len());
    }

    #[test]
    fn one_old_list_among_thousands_of_operations_is_found() {
        for seed in 1..=10 {
            let mut calls = busy(seed, 2_000);
            let place = (1_000..2_000).find(|place| matches!(calls[*place].op, Op::List(_))).expect("there are lists");
            // As it was before the first thing happened.
            calls[place].op = Op::List(List::new(("p".into(), Kind::Leases), BTreeMap::new()));
            let found = search(&Ledger, State::default(), &calls, || false);
            assert!(matches!(found, Found::Broken { place: at, .. } if at == place), "seed {seed}: {found:?}");
        }
    }
}
