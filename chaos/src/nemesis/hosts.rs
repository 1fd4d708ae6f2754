//! Takes compute hosts in, closes and opens them, and lets them go, as an operator does it: with the product's own operations
//! (`leasehold host add`, `set` and `remove`), asked for on one node after the other under one key until the answer is known.
//! What was acknowledged is looked at on another node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use leasehold_ledger::model::{Host, HostId, PoolKind, RequestKey, Timestamp};
use leasehold_ledger::reply::Rejection;
use leasehold_ledger::state::State;
use leasehold_node::operations::{Answer, Consistency, HostRequest, OperationError, Operations};
use tokio::time::Instant;
use uuid::Uuid;

use super::strike::Strike;
use crate::plan::Draw;
use crate::sim::hosts::{self, Claim};
use crate::sim::rng::stream;
use crate::sim::world::{World, admin};

/// How long an operator tries.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long he waits for one answer: a host is taken in with a dozen calls, and the cloud may be slow.
const ANSWER: Duration = Duration::from_secs(45);
/// Keys outlive every run.
const KEY_MS: u64 = 12 * 3_600 * 1_000;
/// So many hosts that take bookings an operator leaves.
const LEAST: usize = 2;

type Answered<T> = Result<Answer<T>, OperationError>;

/// A host comes. False: there is none that has yet to come.
pub async fn add(world: &Arc<World>, strike: &Strike<'_>, shared: bool) -> bool {
    let Some(claim) = hosts::claim_spare(world) else { return false };
    strike.happens();
    let pool = if shared { PoolKind::Shared } else { PoolKind::Dedicated };
    let request = HostRequest { name: claim.name.clone(), pool, properties: BTreeMap::new() };
    let key = key(world, strike, 0);
    let answer = ask(world, &claim, "is taken in", move |operations| {
        let (key, request) = (key.clone(), request.clone());
        async move { operations.register_host(&admin(), Some(key), request).await }.boxed()
    });
    match answer.await {
        Some(Ok(Answer { value, ledger_index })) => {
            let right = value.description.hypervisor_hostname == claim.name && value.description.pool == pool && value.reservable;
            if !right {
                world.trace.finding("S1", format!("host {} was asked for as {pool:?}, {value:?} was made", claim.name));
            }
            let known = |host: Option<&Host>| host.is_some_and(|host| host.description == value.description);
            look(world, &claim, value.id, ledger_index, known).await;
        }
        Some(Err(OperationError::ComputeHostNotFound(name))) => {
            world.trace.finding("reasons", format!("host {name} was said to be unknown to the cloud, which has it"));
        }
        _ => {}
    }
    true
}

/// A host takes no new bookings for a while. False: too few would.
pub async fn drain(world: &Arc<World>, strike: &Strike<'_>, pick: u64, long: Duration) -> bool {
    let Some((claim, host)) = hosts::claim_known(world, pick, LEAST) else { return false };
    strike.happens();
    set(world, strike, &claim, host.id, false).await;
    tokio::time::sleep(long).await;
    set(world, strike, &claim, host.id, true).await;
    true
}

/// A host goes once nothing is bound to it, or stays if that takes too long. False: too few would be left.
pub async fn remove(world: &Arc<World>, strike: &Strike<'_>, pick: u64, drain: bool, wait: Duration) -> bool {
    let Some((claim, host)) = hosts::claim_known(world, pick, LEAST) else { return false };
    strike.happens();
    let closed = if drain { set(world, strike, &claim, host.id, false).await } else { None };
    let give_up = Instant::now() + wait;
    // A node that has just come in knows nothing of the host yet, and may be the only one that runs.
    let seen_in = |state: &State| closed.is_some_and(|at| state.ledger_index() < at) || hosts::is_in_use(state, host.id);
    let in_use = || hosts::with_state(world, seen_in).unwrap_or(true);
    while drain && in_use() && Instant::now() < give_up {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Closed and empty it stays empty.
    let was_free = closed.is_some() && !in_use();
    let key = key(world, strike, 2);
    let answer = ask(world, &claim, "is let go", move |operations| {
        let key = key.clone();
        async move { operations.delete_host(&admin(), Some(key), host.id).await }.boxed()
    });
    match answer.await {
        Some(Ok(Answer { ledger_index, .. })) => {
            claim.is_gone();
            look(world, &claim, host.id, ledger_index, |host| host.is_none()).await;
        }
        Some(Err(OperationError::Rejected(Rejection::HostInUse(_)))) => {
            if was_free {
                world.trace.finding("reasons", format!("host {} is said to be in use, and nothing is bound to it", claim.name));
            }
            if closed.is_some() {
                set(world, strike, &claim, host.id, true).await;
            }
        }
        // Perhaps it went, or will: it is left alone for as long as one that did.
        _ => claim.is_gone(),
    }
    true
}

/// Opens a host to new bookings, or closes it. The index at which that was acknowledged, if it was.
async fn set(world: &Arc<World>, strike: &Strike<'_>, claim: &Claim, id: HostId, reservable: bool) -> Option<u64> {
    let key = key(world, strike, if reservable { 1 } else { 3 });
    let what = if reservable { "takes bookings" } else { "takes no bookings" };
    let answer = ask(world, claim, what, move |operations| {
        let key = key.clone();
        async move { operations.update_host(&admin(), Some(key), id, BTreeMap::new(), Some(reservable)).await }.boxed()
    });
    let Some(Ok(Answer { ledger_index, .. })) = answer.await else { return None };
    look(world, claim, id, ledger_index, |host| host.is_some_and(|host| host.reservable == reservable)).await;
    Some(ledger_index)
}

/// A key of its own for each thing that one fault asks for.
pub(super) fn key(world: &World, strike: &Strike<'_>, what: u64) -> RequestKey {
    let mut draw = Draw::new(world.plan.seed, stream("key of a host", &[strike.number, what]));
    let id = Uuid::from_u64_pair(draw.next_u64(), draw.next_u64());
    RequestKey { project_id: admin().project_id, id, valid_until: Timestamp(world.trace.now_ms() + KEY_MS) }
}

/// S1: what was acknowledged is so on any node from then on. Nobody else does anything with this host meanwhile.
pub(super) async fn look(world: &Arc<World>, claim: &Claim, id: HostId, index: u64, is_right: impl Fn(Option<&Host>) -> bool) {
    let answer = ask(world, claim, "is looked at", move |operations| {
        async move { operations.get_host(&admin(), id, Consistency::Linearizable).await }.boxed()
    });
    let seen = match answer.await {
        Some(Ok(answer)) => Some((Some(answer.value), answer.ledger_index >= index)),
        Some(Err(OperationError::Rejected(Rejection::HostNotFound(_)))) => Some((None, true)),
        _ => None,
    };
    if let Some((host, later)) = seen
        && !(is_right(host.as_ref()) && later)
    {
        world.trace.finding("S1", format!("host {} was changed at index {index}, and then read as {host:?}", claim.name));
    }
}

/// Asks one node after the other until somebody knows the answer. `None`: nobody did in time.
pub(super) async fn ask<T: Send + 'static>(
    world: &Arc<World>,
    claim: &Claim,
    what: &str,
    call: impl Fn(Operations) -> BoxFuture<'static, Answered<T>>,
) -> Option<Answered<T>> {
    let give_up = Instant::now() + PATIENCE;
    let tell = |text: &str| world.trace.incident(None, "hosts", format!("{} {what}: {text}", claim.name));
    let mut attempt = 0;
    while Instant::now() < give_up {
        attempt += 1;
        if let Some(life) = world.machines[world.member(attempt)].life() {
            let asked = life.group.spawn("operator", call(life.operations.clone()));
            match tokio::time::timeout(ANSWER, asked).await {
                Ok(Ok(Ok(answer))) => {
                    tell(&format!("done at index {}", answer.ledger_index));
                    return Some(Ok(answer));
                }
                Ok(Ok(Err(OperationError::Internal(text)))) => {
                    world.trace.finding("R1", format!("host {} {what}: {text}", claim.name));
                    return Some(Err(OperationError::Internal(text)));
                }
                Ok(Ok(Err(error))) if is_final(&error) => {
                    tell(&error.to_string());
                    return Some(Err(error));
                }
                Ok(Ok(Err(error))) => tell(&error.to_string()),
                Ok(Err(stopped)) => tell(&stopped.to_string()),
                Err(late) => tell(&late.to_string()),
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tell("given up");
    None
}

/// Whether asking again would give the same.
fn is_final(error: &OperationError) -> bool {
    matches!(
        error,
        OperationError::Rejected(_)
            | OperationError::ComputeHostNotFound(_)
            | OperationError::Conflict(_)
            | OperationError::Forbidden { .. }
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::{Fault, Plan, Planned};
    use crate::sim::Options;

    async fn alone(faults: Vec<Fault>) -> Arc<World> {
        let faults = faults.into_iter().map(|fault| Planned { at_ms: 0, fault }).collect();
        let mut plan = Plan { nodes: 1, faults, ..Plan::simulated(1, 1) };
        (plan.sim.wire, plan.sim.hosts, plan.sim.spare_hosts) = (false, 3, 1);
        let world = World::new(plan, Options::default());
        world.bring_up(0).await;
        assert!(world.initialise().await);
        world
    }

    /// Has the fault at this place happen; whether it did.
    async fn strike(world: &Arc<World>, place: usize) -> bool {
        let fault = world.plan.faults[place].fault.clone();
        let one = Strike::new(world, place as u64, &fault);
        match fault {
            Fault::HostAdd { shared } => add(world, &one, shared).await,
            Fault::HostDrain { pick, for_ms } => drain(world, &one, pick, Duration::from_millis(for_ms)).await,
            Fault::HostRemove { pick, drain, wait_ms } => remove(world, &one, pick, drain, Duration::from_millis(wait_ms)).await,
            other => panic!("{other:?}"),
        }
    }

    fn findings(world: &World) -> Vec<String> {
        world.trace.kept().1.into_iter().map(|finding| finding.text).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_come_and_go_and_calls_for_one_that_comes_again_have_other_ids() {
        let comes = || Fault::HostAdd { shared: false };
        let goes = Fault::HostRemove { pick: 0, drain: true, wait_ms: 1_000 };
        let world = alone(vec![comes(), comes(), comes(), comes(), goes, comes()]).await;
        for place in 0..4 {
            assert!(strike(&world, place).await, "{place}");
        }
        assert!(!strike(&world, 5).await, "the cloud has no more");
        assert!(strike(&world, 4).await);
        assert_eq!((hosts::known(&world).len(), hosts::traces(&world)), (3, Vec::<String>::new()));
        assert!(!strike(&world, 5).await, "its compute remembers what was deleted");
        tokio::time::sleep(Duration::from_secs(320)).await;
        assert!(strike(&world, 5).await);
        let back = hosts::known(&world).into_iter().max_by_key(|host| host.id).unwrap();
        assert_eq!((back.id.0, back.description.hypervisor_hostname.as_str()), (5, "cmp1"));
        let calls = world.cloud.calls.all();
        let ids: BTreeSet<&str> = calls.iter().map(|call| call.global_request_id.as_str()).collect();
        assert_eq!(ids.len(), calls.len());
        assert_eq!(findings(&world), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_closed_for_a_while_and_the_last_two_are_left_alone() {
        let comes = || Fault::HostAdd { shared: true };
        let closed = || Fault::HostDrain { pick: 0, for_ms: 10_000 };
        let world = alone(vec![comes(), comes(), comes(), closed(), closed()]).await;
        for place in 0..3 {
            assert!(strike(&world, place).await, "{place}");
        }
        let open = || hosts::known(&world).iter().filter(|host| host.reservable).count();
        let other = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            (open(), strike(&world, 4).await)
        };
        let (first, other) = tokio::join!(strike(&world, 3), other);
        assert_eq!((first, other, open()), (true, (2, false), 3));
        assert_eq!(findings(&world), [""; 0]);
    }
}
