//! Clients: they book, change, delete and read, collide on purpose, try again with the same key, and write down what they saw.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold_ledger::command::{
    BeforeEndWish, EndWish, LeaseChange, LeaseWish, ReservationChange, ReservationWish, StagingWish, StartWish,
};
use leasehold_ledger::model::{
    InstanceWish, Lease, LeaseId, OnEnd, PoolKind, ProjectId, RequestKey, ResourceWish, Seconds, Timestamp, UserId,
};
use leasehold_ledger::mutant;
use leasehold_node::operations::{Actor, Consistency, KeyState, LeaseFilter, OperationError, Operations, Unavailable};
use parking_lot::Mutex;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::history::{Ending, Operation};
use crate::picture::data::asked;
use crate::plan::{Draw, Sim};
use crate::record::Refusal;
use crate::sim::cloud::{TRAIT, ZONE};
use crate::sim::network::CLIENTS;
use crate::sim::rng::stream;
use crate::sim::trace::EPOCH_MS;
use crate::sim::world::{World, actor, json as as_json};
use crate::tenant;

/// Attempts of one operation.
const ATTEMPTS: usize = 5;
/// Longer than the product's longest answer: a delete waits for the cloud, and forwarding has its limit.
const PATIENCE: Duration = Duration::from_secs(90);
/// Keys outlive every run.
const KEY_MS: u64 = 12 * 3_600 * 1_000;

/// A project with its user.
#[derive(Clone, Debug)]
pub struct Project {
    /// Keystone's id.
    pub id: String,
    /// A token for what its tenants do in the cloud.
    pub token: String,
}

/// All clients together.
pub struct Workload {
    world: Arc<World>,
    projects: Vec<Project>,
    over: AtomicBool,
    numbers: Mutex<u64>,
    history: Mutex<Vec<Operation>>,
    /// Leases as they were last seen by the client that holds them.
    known: Mutex<Vec<Known>>,
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
}

impl Turn {
    /// A stream for one purpose.
    fn stream(self, purpose: &str) -> u64 {
        stream(purpose, &[u64::from(self.client), u64::from(self.number)])
    }
}

#[derive(Clone, Debug)]
enum Wanted {
    Create(Box<LeaseWish>),
    Update { lease_id: LeaseId, change: LeaseChange },
    Delete { lease_id: LeaseId },
    Get { lease_id: LeaseId },
    List,
}

/// What one attempt gave.
struct Said {
    reply: Value,
    index: Option<u64>,
    lease: Option<Lease>,
    /// `None`: done.
    refusal: Option<Refusal>,
}

impl Workload {
    /// For these projects.
    pub fn new(world: Arc<World>, projects: Vec<Project>) -> Arc<Workload> {
        let (numbers, history, known) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Workload { world, projects, over: AtomicBool::new(false), numbers, history, known })
    }

    /// No client begins anything new.
    pub fn stop(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// The operations so far, by invocation.
    pub fn history(&self) -> Vec<Operation> {
        let mut history = self.history.lock().clone();
        history.sort_by_key(|operation| operation.n);
        history
    }

    /// One client, until [`stop`](Self::stop). Each operation has its number and with it its time; one whose time comes while
    /// an earlier one is under way is left out, and so is one that the plan does not want.
    pub async fn client(self: Arc<Self>, client: u32) {
        let project = self.projects[client as usize % self.projects.len()].clone();
        let Sim { gap_ms, operations, .. } = &self.world.plan.sim;
        let wanted = |number| operations.as_ref().is_none_or(|all| all.get(&client).is_some_and(|own| own.contains(&number)));
        let mut due = tokio::time::Instant::now();
        for number in 0.. {
            let turn = Turn { client, number };
            let mut draw = Draw::new(self.world.plan.seed, turn.stream("operation"));
            due += Duration::from_millis(draw.between(gap_ms / 10, gap_ms * 2).max(1));
            if due < tokio::time::Instant::now() {
                continue;
            }
            tokio::time::sleep_until(due).await;
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            if wanted(number) {
                let wanted = self.choose(turn, &mut draw, &project);
                self.perform(turn, &project, wanted).await;
            }
        }
    }

    fn now_s(&self) -> u64 {
        self.world.trace.now_ms() / 1_000
    }

    fn choose(&self, turn: Turn, draw: &mut Draw, project: &Project) -> Wanted {
        // Of the latest the one that draws the highest: a lease more or less changes the choice only where it would be chosen.
        let lease = {
            let known = self.known.lock();
            let own = known.iter().rev().filter(|known| known.lease.project_id.0 == project.id).take(12);
            let rank = |known: &&Known| Draw::at(self.world.plan.seed, turn.stream("lease"), known.made_by);
            own.max_by_key(rank).map(|known| known.lease.clone())
        };
        let what = draw.below(20);
        match (what, lease) {
            (0..=2, Some(lease)) => Wanted::Update { lease_id: lease.id, change: self.change(draw, &lease) },
            (3..=4, Some(lease)) => Wanted::Delete { lease_id: lease.id },
            (5..=7, Some(lease)) => Wanted::Get { lease_id: lease.id },
            // What an operation is hangs on its number alone: it does not book instead because there is no lease yet.
            (0..=9, _) => Wanted::List,
            _ => Wanted::Create(Box::new(self.wish(draw, project))),
        }
    }

    /// Times lie on a grid of ten seconds, so that ends meet starts; amounts are large enough to collide.
    fn wish(&self, draw: &mut Draw, project: &Project) -> LeaseWish {
        let grid = self.now_s() / 10 * 10;
        let start = grid + 10 * draw.between(1, 8);
        let end = start + 10 * draw.between(1, 10);
        let second = |unix_s: u64| Seconds::from_unix_s(i64::try_from(unix_s).unwrap_or(0)).unwrap_or_default();
        let staged = draw.below(2) == 0 && start >= grid + 40;
        let staging = staged.then(|| StagingWish { start: None, end: Some(second(start - 15)), park_margin_s: 15 });
        let instance = InstanceWish {
            vcpus: u32::try_from(draw.between(1, 5)).unwrap_or(1),
            memory_mb: [512, 1_024, 4_096][draw.below(3)],
            disk_gb: 1,
            amount: u32::try_from(draw.between(1, 5)).unwrap_or(1),
            affinity: [None, None, None, Some(true), Some(false)][draw.below(5)],
            zone: [None, None, None, Some("nova"), Some(ZONE)][draw.below(5)].map(str::to_owned),
            pool: [None, Some(PoolKind::Dedicated), Some(PoolKind::Shared)][draw.below(3)],
            required_traits: (draw.below(6) == 0).then(|| TRAIT.to_owned()).into_iter().collect(),
            forbidden_traits: (draw.below(12) == 0).then(|| TRAIT.to_owned()).into_iter().collect(),
            requirements: Vec::new(),
            resource_properties: String::new(),
        };
        let on_end = [OnEnd::Delete, OnEnd::Delete, OnEnd::Shelve, OnEnd::Snapshot][draw.below(4)];
        LeaseWish {
            name: format!("lease-{}", draw.below(1_000_000)),
            project_id: ProjectId(project.id.clone()),
            user_id: UserId(format!("user-of-{}", project.id)),
            start: if draw.below(8) == 0 && !staged { StartWish::Now } else { StartWish::At(second(start)) },
            end: second(end),
            before_end: if draw.below(3) == 0 { BeforeEndWish::SecondsBefore(5) } else { BeforeEndWish::Never },
            reservations: vec![ReservationWish {
                resource: ResourceWish::Instance(instance),
                staging,
                on_end,
                servers: BTreeSet::new(),
            }],
        }
    }

    fn change(&self, draw: &mut Draw, lease: &Lease) -> LeaseChange {
        let mut change = LeaseChange::default();
        match draw.below(6) {
            0 => change.name = Some(format!("renamed-{}", draw.below(1_000_000))),
            1 => change.end = Some(EndWish::Now),
            2 => change.end = Some(EndWish::At(lease.end.plus(10 * u32::try_from(draw.between(1, 4)).unwrap_or(1)))),
            3 => change.start = Some(StartWish::At(lease.start.plus(10))),
            _ => {
                if let Some(reservation) = lease.reservations.first() {
                    let mut resource = reservation.wish.clone();
                    resource.instance_mut().amount = u32::try_from(draw.between(1, 6)).unwrap_or(1);
                    change.reservations = vec![ReservationChange { reservation_id: reservation.id, resource, on_end: None }];
                }
            }
        }
        change
    }

    async fn perform(self: &Arc<Self>, turn: Turn, project: &Project, wanted: Wanted) {
        let mut draw = Draw::new(self.world.plan.seed, turn.stream("attempts"));
        let n = {
            let mut numbers = self.numbers.lock();
            *numbers += 1;
            *numbers - 1
        };
        let trace = &self.world.trace;
        let who = actor(&format!("user-of-{}", project.id), &project.id, "member");
        let writes = !matches!(wanted, Wanted::Get { .. } | Wanted::List);
        let valid_until = Timestamp(trace.now_ms() + KEY_MS);
        let id = Uuid::from_u64_pair(draw.next_u64(), draw.next_u64());
        let key = writes.then(|| RequestKey { project_id: who.project_id.clone(), id, valid_until });
        let invoke_ns = trace.now_ns();
        let (op, request) = request(&wanted, &who, valid_until);
        trace.remark(CLIENTS, || format!("client {} asks #{n}: {op} {}", turn.client, asked(op, &request, EPOCH_MS)));
        let (mut attempts, mut unsure) = (Vec::new(), false);
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            let node = draw.below(self.world.machines.len());
            let began = trace.now_ns();
            // Planted bug: each attempt has a key of its own, as if the client made it anew.
            let own = |key: RequestKey| RequestKey { id: Uuid::from_u128(key.id.as_u128() ^ attempt as u128), ..key };
            let sent = if mutant!("M06") { key.clone().map(own) } else { key.clone() };
            let said = self.attempt(node, &who, sent, &wanted).await;
            attempts.push(json!({
                "node": self.world.machines[node].id, "invoke_ns": began, "return_ns": trace.now_ns(),
                "answer": said.refusal,
            }));
            let again = matches!(said.refusal, Some(Refusal::Unknown | Refusal::Unavailable));
            unsure |= said.refusal == Some(Refusal::Unknown);
            last = Some((node, said));
            if !again || attempt + 1 == ATTEMPTS {
                break;
            }
            tokio::time::sleep(Duration::from_millis(draw.between(50, 2_000))).await;
        }
        let Some((node, said)) = last else { return };
        let ending = match said.refusal {
            None => Ending::Ok,
            // An earlier attempt may yet be carried out, or was: only its key tells.
            Some(_) if unsure => Ending::Info,
            Some(_) => Ending::Fail,
        };
        trace.note("operation", u64::from(turn.client), n, said.index.unwrap_or(0) * 4 + ending as u64);
        trace.remark(CLIENTS, || {
            let why = said.refusal.map_or_else(String::new, |refusal| format!(" {refusal:?}"));
            let index = said.index.map_or_else(String::new, |index| format!(" at index {index}"));
            format!("client {} is told of #{n}: {ending:?}{why}{index}", turn.client)
        });
        if ending == Ending::Ok {
            self.learn(turn, project, &wanted, said.lease.as_ref());
        }
        let operation = Operation {
            n,
            client: turn.client,
            op: op.to_owned(),
            key: key.map(|key| key.id.to_string()),
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
    }

    /// What a client knows after an acknowledgement; its tenant goes to work.
    fn learn(self: &Arc<Self>, turn: Turn, project: &Project, wanted: &Wanted, lease: Option<&Lease>) {
        let mut known = self.known.lock();
        match (wanted, lease) {
            (Wanted::Create(_), Some(lease)) => {
                known.push(Known { made_by: turn.stream("operation"), lease: lease.clone() });
                tokio::spawn(tenant::live(self.world.clone(), project.token.clone(), lease.clone()));
            }
            (Wanted::Update { .. } | Wanted::Get { .. }, Some(lease)) => {
                if let Some(held) = known.iter_mut().find(|held| held.lease.id == lease.id) {
                    held.lease = lease.clone();
                }
            }
            (Wanted::Delete { lease_id }, _) => known.retain(|held| held.lease.id != *lease_id),
            _ => {}
        }
    }

    /// One attempt on one node, over the network.
    async fn attempt(&self, node: usize, who: &Actor, key: Option<RequestKey>, wanted: &Wanted) -> Said {
        let (who, wanted) = (who.clone(), wanted.clone());
        self.ask(node, move |operations| async move { carry_out(&operations, &who, key, wanted).await }).await.map_or_else(
            |refusal| Said { reply: json!({"kind": refusal}), index: None, lease: None, refusal: Some(refusal) },
            |answer| self.said(answer),
        )
    }

    fn said(&self, answer: Result<(Value, u64, Option<Lease>), OperationError>) -> Said {
        let error = match answer {
            Ok((reply, index, lease)) => return Said { reply, index: Some(index), lease, refusal: None },
            Err(error) => error,
        };
        let (refusal, index) = match &error {
            OperationError::Rejected(_) | OperationError::ComputeHostNotFound(_) | OperationError::Conflict(_) => {
                (Refusal::Rejected, None)
            }
            OperationError::NoRoom { ledger_index, .. } => (Refusal::NoRoom, Some(*ledger_index)),
            OperationError::Forbidden { .. } => (Refusal::Forbidden, None),
            OperationError::HoldRefused(_) => (Refusal::HoldRefused, None),
            OperationError::Unavailable(Unavailable::Withdrawn(_)) => (Refusal::Withdrawn, None),
            OperationError::Unavailable(_) | OperationError::CloudUnavailable(_) => (Refusal::Unavailable, None),
            OperationError::Unknown => (Refusal::Unknown, None),
            OperationError::Internal(problem) => {
                self.world.trace.finding("R1", format!("an internal error: {problem}"));
                (Refusal::Unknown, None)
            }
        };
        Said { reply: json!({"error": error.to_string(), "kind": refusal}), index, lease: None, refusal: Some(refusal) }
    }

    /// Has a node do something for a client. `Err`: no answer came.
    async fn ask<T, F>(&self, node: usize, serve: impl FnOnce(Operations) -> F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (world, id) = (&self.world, self.world.machines[node].id);
        let asking = async {
            if !world.network.pass("ask", CLIENTS, id).await {
                return Err(Refusal::Unknown);
            }
            let Some(life) = world.machines[node].life() else { return Err(Refusal::Unavailable) };
            let answer = life.group.spawn("client", serve(life.operations.clone())).await;
            let answer = answer.map_err(|_| Refusal::Unknown)?;
            if world.network.pass("told", id, CLIENTS).await { Ok(answer) } else { Err(Refusal::Unknown) }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or(Err(Refusal::Unknown))
    }

    /// Resolves what ended unclear, by the keys; to be called when everything is healed.
    pub async fn resolve(&self) {
        let mut history = std::mem::take(&mut *self.history.lock());
        for operation in history.iter_mut().filter(|operation| operation.ending == Ending::Info) {
            let Some(key) = operation.key.as_deref().and_then(|key| Uuid::parse_str(key).ok()) else { continue };
            let project_id = ProjectId(operation.body["request"]["project_id"].as_str().unwrap_or_default().to_owned());
            let valid_until = Timestamp(operation.body["request"]["valid_until_ms"].as_u64().unwrap_or_default());
            let who = actor("resolver", &project_id.0, "member");
            let key = RequestKey { project_id, id: key, valid_until };
            for attempt in 0..30 {
                let (who, key) = (who.clone(), key.clone());
                let look = move |operations: Operations| async move { operations.look_up_key(&who, key).await };
                let node = attempt % self.world.machines.len();
                let resolved = match self.ask(node, look).await {
                    Ok(Ok(answer)) => match answer.value {
                        KeyState::Applied { lease_id, rejection, ledger_index } => Some(json!({"applied": {
                            "lease_id": lease_id, "rejection": rejection, "ledger_index": ledger_index}})),
                        KeyState::Never => Some(json!("never")),
                        KeyState::Expired => Some(json!("expired")),
                        KeyState::Pending { .. } => None,
                    },
                    Ok(Err(_)) | Err(_) => None,
                };
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

async fn carry_out(
    operations: &Operations,
    who: &Actor,
    key: Option<RequestKey>,
    wanted: Wanted,
) -> Result<(Value, u64, Option<Lease>), OperationError> {
    let lease =
        |answer: leasehold_node::operations::Answer<Lease>| (as_json(&answer.value), answer.ledger_index, Some(answer.value));
    Ok(match wanted {
        Wanted::Create(wish) => lease(operations.create_lease(who, key, *wish).await?),
        Wanted::Update { lease_id, change } => lease(operations.update_lease(who, key, lease_id, change).await?),
        Wanted::Delete { lease_id } => (Value::Null, operations.delete_lease(who, key, lease_id).await?.ledger_index, None),
        Wanted::Get { lease_id } => lease(operations.get_lease(who, lease_id, Consistency::Linearizable).await?),
        Wanted::List => {
            let answer = operations.list_leases(who, LeaseFilter::default(), Consistency::Linearizable).await?;
            (as_json(&answer.value), answer.ledger_index, None)
        }
    })
}

fn request(wanted: &Wanted, who: &Actor, valid_until: Timestamp) -> (&'static str, Value) {
    let (op, mut request) = match wanted {
        Wanted::Create(wish) => ("create", json!({"wish": as_json(wish)})),
        Wanted::Update { lease_id, change } => ("update", json!({"lease_id": lease_id, "change": as_json(change)})),
        Wanted::Delete { lease_id } => ("delete", json!({"lease_id": lease_id})),
        Wanted::Get { lease_id } => ("get", json!({"lease_id": lease_id})),
        Wanted::List => ("list", json!({})),
    };
    request["project_id"] = json!(who.project_id);
    request["valid_until_ms"] = json!(valid_until);
    (op, request)
}
