//! One operation on the product: attempts under one key, over the network or through an edge, until there is a clear answer; and
//! what a node or an edge said, as the record has it.

use std::time::Duration;

use leasehold_ledger::listing::LeaseFilter;
use leasehold_ledger::model::{Lease, LeaseStatus, RequestKey};
use leasehold_ledger::mutant;
use leasehold_ledger::plan::NoRoom;
use leasehold_ledger::reply::Rejection;
use leasehold_node::operations::{Actor, Answer, Consistency, KeyState, OperationError, Operations, Unavailable};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Turn, Wanted, Workload, wanted};
use crate::history::Ending;
use crate::plan::Draw;
use crate::record::Refusal;
use crate::rows::Rows;
use crate::sim::network::CLIENTS;
use crate::sim::wire::clients::{Asked, Clients, Door};
use crate::sim::world::json as as_json;

/// Attempts of one operation.
const ATTEMPTS: usize = 5;
/// Longer than the product's longest answer: a delete waits for the cloud, and forwarding has its limit.
const PATIENCE: Duration = Duration::from_secs(90);

/// What all attempts of an operation gave.
pub(super) struct Tried {
    pub attempts: Vec<Value>,
    /// The last one's node.
    pub node: usize,
    pub ending: Ending,
    pub said: Said,
}

/// What one attempt gave.
pub(super) struct Said {
    pub reply: Value,
    pub index: Option<u64>,
    pub lease: Option<Lease>,
    /// `None`: done.
    pub refusal: Option<Refusal>,
}

impl Workload {
    /// Attempts under one key, `at` one node or at any, until there is a clear answer or it is given up.
    pub(super) async fn attempts(
        &self,
        turn: Turn,
        who: &Actor,
        key: Option<&RequestKey>,
        wanted: &Wanted,
        at: Option<usize>,
        draw: &mut Draw,
    ) -> Tried {
        let trace = &self.world.trace;
        let (mut attempts, mut unsure) = (Vec::new(), false);
        let of_turn = || Draw::new(self.world.plan.seed, turn.stream("door")).next_u64();
        let door = Door::asked(wanted, key.map_or_else(of_turn, number_of));
        loop {
            let drawn = self.world.member(draw.below(self.world.size()));
            let node = at.unwrap_or(drawn);
            let (attempt, began) = (attempts.len(), trace.now_ns());
            // Planted bug: each attempt has a key of its own, as if the client made it anew.
            let own = |key: RequestKey| RequestKey { id: Uuid::from_u128(key.id.as_u128() ^ attempt as u128), ..key };
            let sent = if mutant!("M06") { key.cloned().map(own) } else { key.cloned() };
            let said = match &self.wire {
                Some(wire) => self.attempt_by_wire(wire, (turn, door), node, who, sent, wanted).await,
                None => self.attempt(node, who, sent, wanted).await,
            };
            let mut attempt = json!({
                "node": self.world.machines[node].id, "invoke_ns": began, "return_ns": trace.now_ns(),
                "answer": said.refusal,
            });
            if self.wire.is_some() {
                attempt["door"] = json!(door.name());
            }
            attempts.push(attempt);
            let again = matches!(said.refusal, Some(Refusal::Unknown | Refusal::Unavailable));
            unsure |= said.refusal == Some(Refusal::Unknown);
            if !again || attempts.len() == ATTEMPTS {
                let ending = match said.refusal {
                    None => Ending::Ok,
                    // An earlier attempt may yet be carried out, or was: only its key tells.
                    Some(_) if unsure => Ending::Info,
                    Some(_) => Ending::Fail,
                };
                return Tried { attempts, node, ending, said };
            }
            tokio::time::sleep(Duration::from_millis(draw.between(50, 2_000))).await;
        }
    }

    /// One attempt on one node, over the network.
    async fn attempt(&self, node: usize, who: &Actor, key: Option<RequestKey>, wanted: &Wanted) -> Said {
        let (who, wanted, rows) = (who.clone(), wanted.clone(), self.rows.clone());
        let serve = move |operations: Operations| async move { carry_out(&operations, &who, key, wanted, &rows).await };
        self.ask(node, serve).await.map_or_else(nothing, |answer| self.said(answer))
    }

    /// One attempt through an edge. `node` is asked first.
    async fn attempt_by_wire(
        &self,
        wire: &Clients,
        (turn, door): (Turn, Door),
        node: usize,
        who: &Actor,
        key: Option<RequestKey>,
        wanted: &Wanted,
    ) -> Said {
        let asked = Asked { door, client: turn.client, nodes: self.world.nodes_from(node), project: &who.project_id.0, key };
        let asking = wire.carry_out(&asked, wanted.clone(), &self.rows);
        let answer = match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok((reply, index, lease))) => return Said { reply, index: Some(index), lease, refusal: None },
            Ok(Err(refused)) => refused,
            Err(_) => return nothing(Refusal::Unknown),
        };
        let reply = json!({"error": answer.text, "kind": answer.refusal, "rejection": answer.rejection});
        Said { reply, index: answer.index, lease: None, refusal: Some(answer.refusal) }
    }

    fn said(&self, answer: Result<(Value, u64, Option<Lease>), OperationError>) -> Said {
        let error = match answer {
            Ok((reply, index, lease)) => return Said { reply, index: Some(index), lease, refusal: None },
            Err(error) => error,
        };
        let rejection = match &error {
            OperationError::Rejected(rejection) => as_json(rejection),
            OperationError::NoRoom { offer: NoRoom { quota: Some(excess), .. }, .. } => {
                as_json(&Rejection::QuotaExceeded(*excess))
            }
            _ => Value::Null,
        };
        let (refusal, index) = match &error {
            OperationError::Rejected(_)
            | OperationError::ComputeHostNotFound(_)
            | OperationError::Conflict(_)
            | OperationError::TooOld { .. } => (Refusal::Rejected, None),
            OperationError::NoRoom { offer, .. } if offer.quota.is_some() => (Refusal::Rejected, None),
            OperationError::NoRoom { ledger_index, .. } => (Refusal::NoRoom, Some(*ledger_index)),
            OperationError::FlavorNotFound(problem) => {
                self.world.trace.finding("R1", format!("of a flavor that is there a node says: {problem}"));
                (Refusal::Rejected, None)
            }
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
        let reply = json!({"error": error.to_string(), "kind": refusal, "rejection": rejection});
        Said { reply, index, lease: None, refusal: Some(refusal) }
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

    /// What a key holds, as the record has it.
    pub(super) async fn look_up(&self, node: usize, who: &Actor, key: RequestKey) -> Option<Value> {
        if let Some(wire) = &self.wire {
            let (door, nodes) = (Door::drawn(number_of(&key)), self.world.nodes_from(node));
            let asked = Asked { door, client: u32::MAX, nodes, project: &who.project_id.0, key: Some(key) };
            return tokio::time::timeout(PATIENCE, wire.look_up(&asked)).await.ok().flatten();
        }
        let who = who.clone();
        let look = move |operations: Operations| async move { operations.look_up_key(&who, key).await };
        match self.ask(node, look).await {
            Ok(Ok(answer)) => Some(match answer.value {
                KeyState::Applied { lease_id, rejection, ledger_index } => {
                    json!({"applied": {"lease_id": lease_id, "rejection": rejection, "ledger_index": ledger_index}})
                }
                KeyState::Never => json!("never"),
                KeyState::Expired => json!("expired"),
                KeyState::Pending { .. } => json!("pending"),
            }),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

/// No answer came.
fn nothing(refusal: Refusal) -> Said {
    Said { reply: json!({"kind": refusal}), index: None, lease: None, refusal: Some(refusal) }
}

/// A number that hangs on a key alone.
fn number_of(key: &RequestKey) -> u64 {
    key.id.as_u64_pair().1 >> 8
}

async fn carry_out(
    operations: &Operations,
    who: &Actor,
    key: Option<RequestKey>,
    wanted: Wanted,
    rows: &Rows,
) -> Result<(Value, u64, Option<Lease>), OperationError> {
    let lease = |answer: Answer<Lease>| (as_json(&answer.value), answer.ledger_index, Some(answer.value));
    Ok(match wanted {
        Wanted::Create(wish) => lease(operations.create_lease(who, key, *wish).await?),
        Wanted::Update { lease_id, change } => lease(operations.update_lease(who, key, lease_id, change).await?),
        Wanted::Claim { lease_id } => lease(operations.claim_offer(who, key, lease_id).await?),
        Wanted::Delete { lease_id } => (Value::Null, operations.delete_lease(who, key, lease_id).await?.ledger_index, None),
        Wanted::Get { lease_id } => lease(operations.get_lease(who, lease_id, Consistency::Linearizable).await?),
        Wanted::List { offers } => {
            let filter = LeaseFilter { offers, ..LeaseFilter::default() };
            let answer = operations.list_leases(who, filter, Consistency::Linearizable).await?;
            (rows.name(&answer.value.leases), answer.ledger_index, None)
        }
        Wanted::Waiting => {
            let filter = LeaseFilter { statuses: [LeaseStatus::Waiting].into(), ..LeaseFilter::default() };
            let answer = operations.list_leases(who, filter, Consistency::Linearizable).await?;
            (rows.name(&answer.value.leases), answer.ledger_index, None)
        }
        Wanted::CreateSeries(wish) => {
            let Answer { value, ledger_index } = operations.create_series(who, key, *wish).await?;
            (wanted::booked(&value, as_json(&value.first)), ledger_index, Some(value.first))
        }
        Wanted::DeleteSeries { series_id } => {
            let Answer { value, ledger_index } = operations.delete_series(who, key, series_id).await?;
            (wanted::deleted(&value), ledger_index, None)
        }
        Wanted::ListSeries { series_id } => {
            let filter = LeaseFilter { series: Some(series_id), ..LeaseFilter::default() };
            let answer = operations.list_leases(who, filter, Consistency::Linearizable).await?;
            (rows.name(&answer.value.leases), answer.ledger_index, None)
        }
        Wanted::WhatIf(wish) => {
            let Answer { value, ledger_index } = operations.what_if(who, *wish).await?;
            (wanted::would_be(&value), ledger_index, None)
        }
        Wanted::Density(wish) => {
            let Answer { value, ledger_index } = operations.density(who, *wish).await?;
            (wanted::fitting(&value), ledger_index, None)
        }
        Wanted::SetQuota { of, set, unset } => {
            let Answer { value, ledger_index } = operations.set_quota(who, key, of, set, unset).await?;
            (as_json(&value), ledger_index, None)
        }
        Wanted::GetQuota { of } => {
            let Answer { value, ledger_index } = operations.get_quota(who, of).await?;
            (as_json(&value), ledger_index, None)
        }
    })
}
