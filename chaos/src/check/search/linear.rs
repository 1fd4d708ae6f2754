//! Whether a history has a linearization, for any sequential specification.
//!
//! What Wing and Gong search, in Lowe's just-in-time form: the carried set holds every distinct pair of (operations under way
//! that have taken effect, state) that explains all answers so far. It is cut at every answer, not at quiet points only.
//!
//! Three things keep it small, and lose nothing:
//! 1. A write takes effect only when an answer needs it, its own or another's: it could have waited so long.
//! 2. A read that would give its answer now has given it: it stands in nobody's way any more.
//! 3. Before an answer only those writes are tried that may bring it, or a read still under way, nearer to what it saw.
//!
//! An operation without an answer stays under way to the end, so that it may take effect at any time, or never.

use std::collections::BTreeSet;

/// A sequential specification.
pub trait Spec {
    /// What there is between two operations.
    type State: Clone + Ord;
    /// An operation with its answer.
    type Op;

    /// The state after an operation; `None`: it cannot give this answer here. A read leaves the state as it is.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// Whether it may change the state.
    fn writes(&self, op: &Self::Op) -> bool;

    /// Whether a write may have to come before `op`. `false` promises that it commutes with `op`, or does not bring it nearer
    /// to its answer.
    fn relevant(&self, _state: &Self::State, _op: &Self::Op, _write: &Self::Op) -> bool {
        true
    }

    /// Whether some of these writes could lead to where a read gives its answer. When unsure, yes.
    fn in_reach(&self, _state: &Self::State, _read: &Self::Op, _writes: &[&Self::Op]) -> bool {
        true
    }
}

/// An operation in time.
#[derive(Clone, Debug)]
pub struct Call<Op> {
    /// Its number, for the evidence.
    pub n: u64,
    /// What, and its answer.
    pub op: Op,
    /// When it was asked for.
    pub invoke_ns: u64,
    /// When it was answered; without: never.
    pub return_ns: Option<u64>,
    /// It is known to have taken effect, though it was not answered.
    pub applied: bool,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is a linearization.
    Linearizable,
    /// There is none of what was answered up to and with this operation. Beside it: those under way then.
    Broken {
        /// Place of the answer that nothing explains.
        place: usize,
        /// Places of what was under way at that time.
        beside: Vec<usize>,
    },
    /// It took too long.
    GaveUp,
}

/// Operations under way that have taken effect, and the state.
type Pair<S> = (BTreeSet<usize>, S);

/// After so many steps it is asked whether it takes too long.
const ASK_EVERY: u64 = 256;

/// Searches. `over` says when to give up.
pub fn search<S: Spec>(spec: &S, start: S::State, calls: &[Call<S::Op>], over: impl Fn() -> bool) -> Found {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        events.push((call.invoke_ns, false, place));
        events.extend(call.return_ns.map(|at_ns| (at_ns.max(call.invoke_ns), true, place)));
    }
    // At one instant what begins comes first: operations that touch are side by side.
    events.sort_unstable();
    // What is known to have happened has happened by the end, whenever.
    let end_ns = events.last().map_or(0, |last| last.0);
    events.extend((0..calls.len()).filter(|place| owed(&calls[*place])).map(|place| (end_ns, true, place)));
    let mut search = Search { spec, calls, writes: BTreeSet::new(), reads: BTreeSet::new(), steps: 0, over, tired: false };
    let mut pairs = BTreeSet::from([(BTreeSet::new(), start)]);
    for (_, answered, place) in events {
        let mut next = BTreeSet::new();
        if answered {
            pairs.into_iter().for_each(|pair| search.answer(pair, place, &mut next));
            search.writes.remove(&place);
            search.reads.remove(&place);
        } else if spec.writes(&calls[place].op) {
            search.writes.insert(place);
            continue;
        } else {
            search.reads.insert(place);
            next.extend(pairs.into_iter().map(|pair| search.read(pair)));
        }
        if search.tired {
            return Found::GaveUp;
        }
        if next.is_empty() {
            return Found::Broken { place, beside: search.writes.union(&search.reads).copied().collect() };
        }
        pairs = next;
    }
    Found::Linearizable
}

fn owed<Op>(call: &Call<Op>) -> bool {
    call.return_ns.is_none() && call.applied
}

struct Search<'a, S: Spec, F> {
    spec: &'a S,
    calls: &'a [Call<S::Op>],
    /// Under way.
    writes: BTreeSet<usize>,
    /// Under way.
    reads: BTreeSet<usize>,
    steps: u64,
    over: F,
    tired: bool,
}

impl<S: Spec, F: Fn() -> bool> Search<'_, S, F> {
    fn op(&self, place: usize) -> &S::Op {
        &self.calls[place].op
    }

    /// Every read under way that would give its answer now has given it.
    fn read(&self, (mut done, state): Pair<S::State>) -> Pair<S::State> {
        for read in &self.reads {
            if !done.contains(read) && self.spec.step(&state, self.op(*read)).is_some() {
                done.insert(*read);
            }
        }
        (done, state)
    }

    /// All pairs that explain one more answer.
    fn answer(&mut self, pair: Pair<S::State>, place: usize, next: &mut BTreeSet<Pair<S::State>>) {
        let mut seen = BTreeSet::from([pair.clone()]);
        let mut open = vec![pair];
        while let Some((mut done, state)) = open.pop() {
            self.steps += 1;
            self.tired |= self.steps.is_multiple_of(ASK_EVERY) && (self.over)();
            if self.tired {
                return;
            }
            if done.remove(&place) {
                next.insert((done, state));
                continue;
            }
            if self.writes.contains(&place)
                && let Some(after) = self.spec.step(&state, self.op(place))
            {
                next.insert(self.read((done.clone(), after)));
            }
            for write in self.candidates(&done, &state, place) {
                if let Some(after) = self.spec.step(&state, self.op(write)) {
                    let mut done = done.clone();
                    done.insert(write);
                    let pair = self.read((done, after));
                    if !seen.contains(&pair) {
                        seen.insert(pair.clone());
                        open.push(pair);
                    }
                }
            }
        }
    }

    /// Writes that may have to come before an answer: for its own sake, or for that of a read that it would overtake.
    fn candidates(&self, done: &BTreeSet<usize>, state: &S::State, place: usize) -> Vec<usize> {
        let waiting = |under_way: &BTreeSet<usize>| -> Vec<usize> {
            under_way.iter().copied().filter(|other| *other != place && !done.contains(other)).collect()
        };
        let writes = waiting(&self.writes);
        if writes.is_empty() {
            return writes;
        }
        let ops: Vec<&S::Op> = writes.iter().map(|write| self.op(*write)).collect();
        let mut reads: Vec<&S::Op> = waiting(&self.reads).into_iter().map(|read| self.op(read)).collect();
        // The answer's own effect may be what a read saw.
        let all: Vec<&S::Op> = ops.iter().copied().chain(self.writes.contains(&place).then(|| self.op(place))).collect();
        reads.retain(|read| self.spec.in_reach(state, read, &all));
        reads.push(self.op(place));
        let relevant = |write: &usize| reads.iter().any(|read| self.spec.relevant(state, read, self.op(*write)));
        writes.into_iter().filter(relevant).collect()
    }
}
