//! Changes who is in the cluster, as an operator does it: with the product's own operations (`leasehold cluster add` and
//! `remove`), one change at a time, asked for again on another node until it is seen to be done.

use std::sync::Arc;
use std::time::Duration;

use leasehold_node::operations::{ClusterChange, ClusterStatus};
use leasehold_node::raft::Member;
use tokio::time::Instant;

use super::strike::Strike;
use super::up;
use crate::sim::node::Death;
use crate::sim::roster::Standing;
use crate::sim::world::{World, admin};

/// From here on leaders follow each other on purpose.
pub const GOES_ROUND: &str = "leadership goes round";
/// How long an operator tries.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long he waits for one answer.
const ANSWER: Duration = Duration::from_secs(20);
/// How long a removed node goes on before it is switched off.
const LINGERS: Duration = Duration::from_secs(3);
/// Whoever does not run so long after everything was healed is not waited for.
const STARTING: Duration = Duration::from_secs(5);

/// A new node joins. With `abandon` the leader dies when the node learns, and nobody repeats what was asked. False: nobody does,
/// because the cluster is large enough, or all machines were used.
pub async fn join_one(world: &Arc<World>, strike: &Strike<'_>, abandon: bool) -> bool {
    let _one_at_a_time = world.roster.operator.lock().await;
    if !has_room(world) || world.roster.all(Standing::Spare).is_empty() {
        return false;
    }
    strike.happens();
    join(world, abandon).await;
    true
}

/// Learners are asked to vote. Where there is none a node that joins is left one first. False: none came about.
pub async fn promote(world: &Arc<World>, strike: &Strike<'_>) -> bool {
    let _one_at_a_time = world.roster.operator.lock().await;
    if learners(world).is_empty() && has_room(world) {
        join(world, true).await;
    }
    let learners = learners(world);
    if !learners.is_empty() {
        strike.happens();
    }
    for index in &learners {
        world.roster.unsettle();
        add(world, *index).await;
    }
    !learners.is_empty()
}

fn has_room(world: &World) -> bool {
    world.size() < world.plan.nodes as usize + 2
}

/// Members that do not vote.
fn learners(world: &World) -> Vec<usize> {
    let (voters, members) = world.cluster();
    members.into_iter().filter(|index| !voters.contains(index)).collect()
}

/// A voter is removed. False: too few would stay that have everything.
pub async fn leave(world: &Arc<World>, strike: &Strike<'_>, index: usize) -> bool {
    let _one_at_a_time = world.roster.operator.lock().await;
    let least = (world.plan.nodes as usize).saturating_sub(1).max(1);
    if world.cluster().0.len() <= least || !can_go(world, index) {
        return false;
    }
    strike.happens();
    remove(world, index).await;
    true
}

/// Whether those that have everything are a majority of who stays without this voter: an operator does not take the second
/// of three away when the first is lost.
fn can_go(world: &World, index: usize) -> bool {
    let Some(voters) = world.voters() else { return false };
    let intact = voters.iter().filter(|voter| **voter != index && world.roster.is_intact(**voter)).count();
    voters.contains(&index) && 2 * intact > voters.len() - 1
}

/// A node makes place for a new one. False: too few would stay.
pub async fn replace(world: &Arc<World>, strike: &Strike<'_>, index: usize, join_first: bool) -> bool {
    let _one_at_a_time = world.roster.operator.lock().await;
    if !can_go(world, index) || (!join_first && world.cluster().0.len() == 1) {
        return false;
    }
    strike.happens();
    exchange(world, index, join_first).await;
    true
}

/// Every node that lost what it kept is replaced, and what was removed for good stays away.
pub async fn replace_lost(world: &Arc<World>) {
    let _one_at_a_time = world.roster.operator.lock().await;
    for index in world.roster.all(Standing::Lost) {
        exchange(world, index, world.machines[index].id.is_multiple_of(2)).await;
    }
    members_known(world).await;
    // A removal that was begun and given up.
    for index in world.cluster().1.into_iter().filter(|index| world.roster.standing(*index) == Standing::Gone) {
        remove(world, index).await;
    }
    // A node that never came in.
    let members = world.cluster().1;
    for index in world.roster.all(Standing::Member).into_iter().filter(|index| !members.contains(index)) {
        switch_off(world, index).await;
    }
}

/// Until somebody can say who is in the cluster: whoever leads, or else all who were not removed, once they run. Just after the
/// last of them was killed nobody could, and a node that never came in was taken for a member (seed 1110).
async fn members_known(world: &Arc<World>) {
    let all_run = || world.roster.all(Standing::Member).into_iter().all(|index| world.machines[index].life().is_some());
    let give_up = Instant::now() + STARTING;
    while world.leader().is_none() && !all_run() && Instant::now() < give_up {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Leadership goes round, at rest.
pub async fn hand_over(world: &Arc<World>, times: usize) {
    world.trace.incident(None, "phase", GOES_ROUND);
    for _ in 0..times {
        if let Some((_, life)) = world.leader() {
            let operations = life.operations.clone();
            let transfer = ClusterChange::Transfer { to: None };
            let asked = life.group.spawn("transfer", async move { operations.change_cluster(&admin(), transfer).await });
            // Whether it worked is seen from who leads.
            if let Err(late) = tokio::time::timeout(ANSWER, asked).await {
                tracing::info!(%late, "leadership was not handed over");
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn exchange(world: &Arc<World>, index: usize, join_first: bool) {
    if join_first {
        if join(world, false).await.is_some() {
            remove(world, index).await;
        }
    } else if remove(world, index).await {
        join(world, false).await;
    }
}

async fn join(world: &Arc<World>, abandon: bool) -> Option<usize> {
    let Some(index) = world.roster.take_spare() else {
        world.trace.incident(None, "skipped", "nobody joins: all machines were used");
        return None;
    };
    world.roster.unsettle();
    up(world, index);
    let joined = if abandon {
        tokio::select! {
            biased;
            joined = add(world, index) => joined,
            () = leader_dies(world, index) => true,
        }
    } else {
        add(world, index).await
    };
    joined.then_some(index)
}

/// The leader is killed as soon as the node learns and does not vote.
async fn leader_dies(world: &Arc<World>, index: usize) {
    loop {
        let learns =
            world.leader().filter(|(_, life)| voter(&life.raft.status_of_raft(), world.machines[index].id) == Some(false));
        if let Some((leader, _)) = learns {
            world.trace.incident(Some(world.machines[index].id), "members", "learns, and nobody will say that it is to vote");
            world.machines[leader].crash(Death::Kill).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            return up(world, leader);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Whether it votes; `None`: it is no member.
fn voter(status: &ClusterStatus, node: u64) -> Option<bool> {
    status.members.iter().find(|member| member.node_id == node).map(|member| member.voter)
}

async fn add(world: &Arc<World>, index: usize) -> bool {
    let node = world.machines[index].id;
    let Member { peer_address, grpc_address, .. } = world.machines[index].member();
    let add = ClusterChange::Add { node_id: node, peer_address, grpc_address: Some(grpc_address) };
    let done = change(world, node, add, |status| voter(status, node) == Some(true)).await;
    if !done && world.cluster().1.iter().all(|member| *member != index) {
        // Its id was given away once, and may be known to some: it is not tried again.
        switch_off(world, index).await;
    }
    done
}

async fn remove(world: &Arc<World>, index: usize) -> bool {
    let node = world.machines[index].id;
    world.roster.unsettle();
    let removed = change(world, node, ClusterChange::Remove { node_id: node }, |status| voter(status, node).is_none()).await;
    if removed {
        // It is not told, and goes on for a while.
        world.roster.gone(index);
        world.trace.incident(Some(node), "members", "is out of the cluster");
        tokio::time::sleep(LINGERS).await;
        switch_off(world, index).await;
    }
    removed
}

async fn switch_off(world: &Arc<World>, index: usize) {
    world.roster.gone(index);
    world.trace.incident(Some(world.machines[index].id), "members", "is switched off");
    world.machines[index].crash(Death::Kill).await;
}

/// Asks until it is done; on one node after the other.
async fn change(world: &Arc<World>, node: u64, change: ClusterChange, done: impl Fn(&ClusterStatus) -> bool) -> bool {
    let give_up = Instant::now() + PATIENCE;
    let what = match change {
        ClusterChange::Add { .. } => "joins",
        _ => "is removed",
    };
    world.trace.incident(Some(node), "members", what);
    let mut attempt = 0;
    while Instant::now() < give_up {
        attempt += 1;
        if let Some(life) = world.machines[world.member(attempt)].life() {
            let (operations, change) = (life.operations.clone(), change.clone());
            let asked = life.group.spawn("operator", async move { operations.change_cluster(&admin(), change).await });
            let text = match tokio::time::timeout(ANSWER, asked).await {
                Ok(Ok(Ok(status))) if done(&status) => {
                    world.trace.incident(Some(node), "members", format!("{what}: done"));
                    return true;
                }
                Ok(Ok(Ok(_))) => "done, it is said, but not seen".to_owned(),
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(stopped)) => stopped.to_string(),
                Err(late) => late.to_string(),
            };
            world.trace.incident(Some(node), "members", format!("{what}: {text}"));
            // Done by an attempt whose answer was lost.
            if text.contains("is a voter already") || text.contains("is no member") {
                return true;
            }
            if text.contains("was used before") {
                return false;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.trace.incident(Some(node), "members", format!("{what}: given up"));
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis::heal;
    use crate::plan::{Fault, Plan, Planned};
    use crate::sim::Options;

    #[tokio::test(start_paused = true)]
    async fn who_never_came_in_is_switched_off_though_the_only_member_was_just_killed() {
        let faults = vec![Planned { at_ms: 0, fault: Fault::Join { abandon: false } }];
        let world = World::new(Plan { nodes: 1, faults, ..Plan::simulated(1, 1) }, Options::default());
        world.bring_up(0).await;
        assert!(world.initialise().await);
        // The operator was stopped before he asked anybody who could add it.
        assert_eq!(world.roster.take_spare(), Some(1));
        world.bring_up(1).await;
        world.machines[0].crash(Death::Kill).await;

        heal(&world);
        replace_lost(&world).await;
        assert_eq!([0, 1].map(|index| world.roster.standing(index)), [Standing::Member, Standing::Gone]);
        assert_eq!([0, 1].map(|index| world.machines[index].is_up()), [true, false]);
    }
}
