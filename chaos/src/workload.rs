//! Clients: they book, change, delete and read, collide on purpose, try again with the same key, and write down what they saw.

mod attempts;
mod expire;
pub mod flavors;
mod gather;
mod offers;
mod pace;
mod preempt;
mod quotas;
mod series;
mod waits;
pub mod wanted;
mod wishes;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold_ledger::model::{Lease, LeaseId, ProjectId, RequestKey, Timestamp};
use parking_lot::Mutex;
use serde_json::json;
use uuid::Uuid;

use crate::history::{Ending, Operation};
use crate::picture::data::asked;
use crate::plan::Draw;
use crate::record::Refusal;
use crate::rows::Rows;
use crate::sim::network::CLIENTS;
use crate::sim::rng::stream;
use crate::sim::tasks;
use crate::sim::trace::EPOCH_MS;
use crate::sim::wire::clients::Clients;
use crate::sim::world::{World, actor};
use crate::tenant;
use attempts::{Said, Tried};
use pace::Pace;
use series::KnownSeries;
pub use wanted::Wanted;

/// Who calls when everything is well is answered within this, deletes included.
const ANSWER: Duration = Duration::from_secs(20);
/// Of so many operations one asks again for an earlier one.
const AGAIN_ONE_IN: usize = 10;
/// Of so many operations one only asks what would be, where clients do so.
const QUESTION_ONE_IN: usize = 10;
/// So many operations are remembered for that.
const ENDED_MAX: usize = 60;
/// Keys outlive every run.
const KEY_MS: u64 = 12 * 3_600 * 1_000;

/// A project with its user.
#[derive(Clone, Debug)]
pub struct Project {
    /// Keystone's id.
    pub id: String,
    /// Whose tokens its tenants use in the cloud.
    pub user: &'static str,
    /// His id, as leases are said to be his.
    pub user_id: String,
    /// What he may do.
    pub role: &'static str,
}

/// Of all projects.
pub const USERS: [&str; 2] = ["demo", "alt_demo"];
/// Who may set quotas.
pub const OPERATOR: &str = "admin";

/// All clients together.
pub struct Workload {
    world: Arc<World>,
    /// At the wire level.
    pub wire: Option<Arc<Clients>>,
    projects: Vec<Project>,
    over: AtomicBool,
    numbers: Mutex<u64>,
    history: Mutex<Vec<Operation>>,
    /// Leases as they were last seen by the client that holds them.
    known: Mutex<Vec<Known>>,
    /// Leases as lists showed them.
    pub rows: Arc<Rows>,
    /// The last operations that ended clearly under a key.
    ended: Mutex<VecDeque<Ended>>,
    /// Series that clients booked.
    series: Mutex<Vec<KnownSeries>>,
}

/// A lease that clients know of, and the stream of the operation that made it.
#[derive(Clone, Debug)]
struct Known {
    made_by: u64,
    lease: Lease,
}

/// One operation of one client. All that is drawn for it hangs on these numbers, so that leaving it out moves no other.
#[derive(Clone, Copy, Debug)]
struct Turn {
    client: u32,
    number: u32,
    /// What becomes of an offer, or of a series, is a further operation of the turn that asked for it, with streams of its own.
    part: u32,
}

impl Turn {
    /// A stream for one purpose.
    fn stream(self, purpose: &str) -> u64 {
        let numbers = [u64::from(self.client), u64::from(self.number)];
        match self.part {
            0 => stream(purpose, &numbers),
            1 => stream(&format!("{purpose} of an offer"), &numbers),
            part => stream(&format!("{purpose} of part {part}"), &numbers),
        }
    }
}

/// An operation that ended clearly, and the stream of it.
#[derive(Clone, Debug)]
struct Ended {
    made_by: u64,
    n: u64,
    wanted: Wanted,
    key: RequestKey,
    ending: Ending,
}

impl Workload {
    /// For these projects, and perhaps an operator.
    pub fn new(world: Arc<World>, projects: Vec<Project>, operator: Option<&Project>) -> Arc<Workload> {
        let (numbers, history, known, rows, ended, series) = Default::default();
        let users = projects.iter().chain(operator).map(|project| (project.id.clone(), project.user));
        let wire = world.tcp.clone().map(|tcp| Clients::new(tcp, &world.cloud, world.trace.clone(), world.plan.seed, users));
        let wire = wire.map(Arc::new);
        Arc::new(Workload { world, wire, projects, over: AtomicBool::new(false), numbers, history, known, rows, ended, series })
    }

    /// No client begins anything new.
    pub fn stop(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// The operations so far, by invocation; they are handed over.
    pub fn history(&self) -> Vec<Operation> {
        let mut history = std::mem::take(&mut *self.history.lock());
        history.sort_by_key(|operation| operation.n);
        history
    }

    /// One client, until [`stop`](Self::stop).
    pub async fn client(self: Arc<Self>, client: u32) {
        let project = self.projects[client as usize % self.projects.len()].clone();
        let gap_ms = self.world.plan.sim.gap_ms;
        let mut pace = Pace::new(&self.world.plan, client, (gap_ms / 10, gap_ms * 2));
        while let Some((turn, mut draw, at_fault)) = self.turn(&mut pace).await {
            if !at_fault || !self.at_fault(turn, &project).await {
                self.operate(turn, &project, &mut draw).await;
            }
        }
    }

    /// Everything is healed: each member answers what a client wants of it, in time. V2 means clients, not entries without meaning.
    pub async fn call_on_all(self: &Arc<Self>) {
        let project = self.projects[0].clone();
        let client = self.world.plan.sim.clients;
        let mut number = 0;
        for node in self.world.cluster().1 {
            let mut ask = async |wanted: Wanted| {
                let turn = Turn { client, number, part: 0 };
                number += 1;
                let what = wanted.request(&actor(&project.user_id, &project.id, project.role), Timestamp(0)).0;
                let asked = tokio::time::timeout(ANSWER, self.perform(turn, &project, wanted, Some(node))).await;
                let (refusal, lease) = asked.unwrap_or((Some(Refusal::Unknown), None));
                if matches!(refusal, Some(Refusal::Unknown | Refusal::Unavailable | Refusal::Forbidden)) {
                    let id = self.world.machines[node].id;
                    let text =
                        format!("after the healing node {id} answers a {what} of a client with {refusal:?} within {ANSWER:?}");
                    self.world.trace.finding("V2", text);
                }
                lease
            };
            if let Some(lease) = ask(Wanted::Create(Box::new(self.modest(&project)))).await {
                ask(Wanted::Get { lease_id: lease.id }).await;
                ask(Wanted::Delete { lease_id: lease.id }).await;
            }
        }
        if self.world.plan.sim.waits {
            self.wait_after_all(Turn { client, number, part: 0 }, &project).await;
        }
    }

    /// One operation.
    async fn operate(self: &Arc<Self>, turn: Turn, project: &Project, draw: &mut Draw) {
        let mut offer = Draw::new(self.world.plan.seed, turn.stream("offer"));
        if offer.below(offers::ONE_IN) == 0 {
            self.offer(turn, &mut offer, project, false).await;
            return;
        }
        let mut waits = Draw::new(self.world.plan.seed, turn.stream("wait"));
        if self.world.plan.sim.waits && waits.below(waits::ONE_IN) == 0 {
            self.wait(turn, &mut waits, project).await;
            return;
        }
        let mut ranks = Draw::new(self.world.plan.seed, turn.stream("priority"));
        if self.world.plan.sim.priorities && ranks.below(preempt::ONE_IN) == 0 {
            let wanted = self.ranked(&mut ranks, project);
            self.perform(turn, project, wanted, None).await;
            return;
        }
        let mut expires = Draw::new(self.world.plan.seed, turn.stream("expiry"));
        if self.world.plan.sim.expiries
            && expires.below(expire::ONE_IN) == 0
            && self.about_expiry(turn, &mut expires, project).await
        {
            return;
        }
        let mut series = Draw::new(self.world.plan.seed, turn.stream("series"));
        if self.world.plan.sim.series && series.below(series::ONE_IN) == 0 {
            self.about_series(turn, &mut series, project).await;
            return;
        }
        let mut asks = Draw::new(self.world.plan.seed, turn.stream("question"));
        if self.world.plan.sim.questions && asks.below(QUESTION_ONE_IN) == 0 {
            let wanted = self.question(&mut asks, project);
            self.perform(turn, project, wanted, None).await;
            return;
        }
        let again = if draw.below(AGAIN_ONE_IN) == 0 { self.ended_before(turn, project) } else { None };
        if let Some(ended) = again {
            self.again(turn, project, ended, draw).await;
            return;
        }
        let border = turn.client % 3 == 2 && draw.below(2) == 0;
        let border = if border { self.at_its_border(turn, draw, project).await } else { None };
        let wanted = border.unwrap_or_else(|| self.choose(turn, draw, project));
        self.perform(turn, project, wanted, None).await;
    }

    /// Of several the one that draws the highest for a turn: one more or less changes the choice only where it would be chosen.
    fn pick<T>(&self, turn: Turn, purpose: &str, of: impl Iterator<Item = T>, made_by: impl Fn(&T) -> u64) -> Option<T> {
        of.max_by_key(|one| Draw::at(self.world.plan.seed, turn.stream(purpose), made_by(one)))
    }

    /// One of the last operations of a project that ended clearly.
    fn ended_before(&self, turn: Turn, project: &Project) -> Option<Ended> {
        let ended = self.ended.lock();
        let own = ended.iter().filter(|one| one.key.project_id.0 == project.id);
        self.pick(turn, "again", own, |one| one.made_by).cloned()
    }

    /// The next operation's number.
    fn number(&self) -> u64 {
        let mut numbers = self.numbers.lock();
        *numbers += 1;
        *numbers - 1
    }

    /// Has it done, `at` one node or at any. What it was refused for at last, and the lease.
    async fn perform(
        self: &Arc<Self>,
        turn: Turn,
        project: &Project,
        wanted: Wanted,
        at: Option<usize>,
    ) -> (Option<Refusal>, Option<Lease>) {
        let draw = &mut Draw::new(self.world.plan.seed, turn.stream("attempts"));
        let wanted = self.perhaps_by_flavor(turn, wanted);
        let n = self.number();
        let trace = &self.world.trace;
        let who = actor(&project.user_id, &project.id, project.role);
        let valid_until = Timestamp(trace.now_ms() + KEY_MS);
        let id = Uuid::from_u64_pair(draw.next_u64(), draw.next_u64());
        let key = wanted.writes().then(|| RequestKey { project_id: who.project_id.clone(), id, valid_until });
        let invoke_ns = trace.now_ns();
        let (op, request) = wanted.request(&who, valid_until);
        trace.remark(CLIENTS, || format!("client {} asks #{n}: {op} {}", turn.client, asked(op, &request, EPOCH_MS)));
        let Tried { attempts, node, ending, said } = self.attempts(turn, &who, key.as_ref(), &wanted, at, draw).await;
        let what = (said.refusal, said.lease.clone());
        self.told(turn, "operation", n, ending, &said);
        if ending == Ending::Ok {
            self.learn(turn, project, &wanted, &said);
        }
        let operation = Operation {
            n,
            client: turn.client,
            op: op.to_owned(),
            key: key.as_ref().map(|key| key.id.to_string()),
            invoke_ns,
            ending,
            return_ns: trace.now_ns(),
            index: said.index,
            body: json!({
                "request": request, "reply": said.reply, "attempts": attempts, "node": self.world.machines[node].id,
                "number": turn.number,
            }),
        };
        self.history.lock().push(operation);
        if let Some(key) = key.filter(|_| ending != Ending::Info) {
            let mut ended = self.ended.lock();
            ended.push_back(Ended { made_by: turn.stream("operation"), n, wanted, key, ending });
            if ended.len() > ENDED_MAX {
                ended.pop_front();
            }
        }
        what
    }

    /// Asks again for what ended before: the same request with the old key, or what the key holds. What failed is only looked up: asked
    /// for again it might be done now, if nothing is stored.
    async fn again(&self, turn: Turn, project: &Project, ended: Ended, draw: &mut Draw) {
        let n = self.number();
        let trace = &self.world.trace;
        let who = actor(&project.user_id, &project.id, project.role);
        let Ended { n: of, wanted, key, ending, .. } = ended;
        let (_, request) = wanted.request(&who, key.valid_until);
        let id = key.id.to_string();
        let invoke_ns = trace.now_ns();
        let number = turn.number;
        trace.remark(CLIENTS, || format!("client {} asks #{n}: again for #{of}", turn.client));
        let (op, ending, index, body) = if ending == Ending::Ok && draw.below(2) == 0 {
            let Tried { attempts, ending, said, .. } = self.attempts(turn, &who, Some(&key), &wanted, None, draw).await;
            self.told(turn, "repeat", n, ending, &said);
            let body = json!({
                "of": of, "request": request, "reply": said.reply, "attempts": attempts, "number": number,
            });
            ("repeat", ending, said.index, body)
        } else {
            let found = self.look_up(self.world.member(draw.below(self.world.size())), &who, key).await;
            let ending = if found.is_some() { Ending::Ok } else { Ending::Fail };
            trace.note("look_up", u64::from(turn.client), n, ending as u64);
            ("look_up", ending, None, json!({"of": of, "request": request, "resolved": found, "number": number}))
        };
        let return_ns = trace.now_ns();
        let again =
            Operation { n, client: turn.client, op: op.to_owned(), key: Some(id), invoke_ns, ending, return_ns, index, body };
        self.history.lock().push(again);
    }

    /// Notes what a client was told.
    fn told(&self, turn: Turn, op: &'static str, n: u64, ending: Ending, said: &Said) {
        let trace = &self.world.trace;
        trace.note(op, u64::from(turn.client), n, said.index.unwrap_or(0) * 4 + ending as u64);
        trace.remark(CLIENTS, || {
            let why = said.refusal.map_or_else(String::new, |refusal| format!(" {refusal:?}"));
            let index = said.index.map_or_else(String::new, |index| format!(" at index {index}"));
            format!("client {} is told of #{n}: {ending:?}{why}{index}", turn.client)
        });
    }

    /// What a client knows after an acknowledgement; its tenant goes to work.
    fn learn(self: &Arc<Self>, turn: Turn, project: &Project, wanted: &Wanted, said: &Said) {
        let mut known = self.known.lock();
        match (wanted, said.lease.as_ref()) {
            (Wanted::Create(_), Some(lease)) => {
                known.push(Known { made_by: turn.stream("operation"), lease: lease.clone() });
                // With an offer, or what waits for room, there is nothing to be done in the cloud.
                if lease.unclaimed_until().is_none() && lease.wait.is_none() {
                    self.live(project, lease);
                }
            }
            (Wanted::Claim { .. }, Some(lease)) => {
                if let Some(held) = known.iter_mut().find(|held| held.lease.id == lease.id) {
                    held.lease = lease.clone();
                }
                self.live(project, lease);
            }
            (Wanted::Update { .. } | Wanted::Get { .. }, Some(lease)) => {
                if let Some(held) = known.iter_mut().find(|held| held.lease.id == lease.id) {
                    let has_room = held.lease.wait.is_some() && lease.wait.is_none();
                    held.lease = lease.clone();
                    if has_room {
                        self.live(project, lease);
                    }
                }
            }
            (Wanted::Delete { lease_id }, _) => known.retain(|held| held.lease.id != *lease_id),
            (Wanted::CreateSeries(_), Some(first)) => {
                let made_by = turn.stream("operation");
                self.series.lock().extend(KnownSeries::told(made_by, &project.id, &said.reply));
                known.push(Known { made_by, lease: first.clone() });
                self.live(project, first);
            }
            (Wanted::DeleteSeries { series_id }, _) => {
                let gone: Vec<LeaseId> = serde_json::from_value(said.reply["deleted"].clone()).unwrap_or_default();
                known.retain(|held| !gone.contains(&held.lease.id));
                self.series.lock().retain(|one| !one.is(*series_id));
            }
            _ => {}
        }
    }

    /// The tenant of a lease goes to work.
    fn live(&self, project: &Project, lease: &Lease) {
        for place in 0..lease.reservations.len() {
            tasks::spawn(tenant::live(self.world.clone(), project.user, lease.clone(), place));
        }
    }

    /// Resolves what ended unclear, by the keys; to be called when everything is healed. So it does with quotas that were set:
    /// their answer tells what holds then, and its index; since when, only the key tells.
    pub async fn resolve(&self) {
        let mut history = std::mem::take(&mut *self.history.lock());
        let open = |operation: &&mut Operation| {
            operation.ending == Ending::Info || (operation.ending == Ending::Ok && operation.op == "set_quota")
        };
        for operation in history.iter_mut().filter(open) {
            let Some(key) = operation.key.as_deref().and_then(|key| Uuid::parse_str(key).ok()) else { continue };
            let project_id = ProjectId(operation.body["request"]["project_id"].as_str().unwrap_or_default().into());
            let valid_until = Timestamp(operation.body["request"]["valid_until_ms"].as_u64().unwrap_or_default());
            let who = actor("resolver", &project_id.0, "member");
            let key = RequestKey { project_id, id: key, valid_until };
            for attempt in 0..30 {
                let node = self.world.member(attempt);
                let resolved = self.look_up(node, &who, key.clone()).await.filter(|found| found != "pending");
                if let Some(resolved) = resolved {
                    operation.body["resolved"] = resolved;
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        self.history.lock().append(&mut history);
    }
}
