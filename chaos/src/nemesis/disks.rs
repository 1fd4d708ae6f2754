//! Takes away or damages what a node keeps. So that all that is promised stays promised, those that have everything stay a
//! majority of the voters; a fault that would break more waits for a while, and is skipped.

use std::sync::Arc;
use std::time::Duration;

use super::strike::Strike;
use super::up;
use crate::plan::{Damage, Target};
use crate::sim::disk::Part;
use crate::sim::node::Death;
use crate::sim::world::World;

/// How long a fault waits until the cluster can bear it, seconds.
const PATIENCE_S: u64 = 30;

/// Whom it may hit.
async fn bearable(world: &World, target: Target) -> Option<usize> {
    for _ in 0..PATIENCE_S {
        let index = world.target(target);
        if world.may_lose(index) {
            return Some(index);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    None
}

/// A node loses everything, and is started with an empty disk under its old id.
pub async fn wipe(world: &Arc<World>, strike: &Strike<'_>, target: Target, down_ms: u64) -> Option<usize> {
    let index = bearable(world, target).await?;
    strike.happens();
    world.roster.lost(index);
    let lose = || {
        world.machines[index].disks.lose(None);
        "everything".to_owned()
    };
    Some(hurt(world, index, down_ms, "lost", lose).await)
}

/// A node's log is damaged or lost: it must not come back.
pub async fn damage_log(
    world: &Arc<World>,
    strike: &Strike<'_>,
    target: Target,
    how: Damage,
    down_ms: u64,
    beyond: bool,
) -> Option<usize> {
    let index = if beyond { world.target(target) } else { bearable(world, target).await? };
    strike.happens();
    world.roster.lost(index);
    Some(hurt(world, index, down_ms, "lost", || format!("log: {}", damage(world, index, Part::Log, how))).await)
}

/// A node's state is damaged or lost: it makes it again.
pub async fn damage_state(world: &Arc<World>, strike: &Strike<'_>, target: Target, how: Damage, down_ms: u64) -> Option<usize> {
    let index = bearable(world, target).await?;
    strike.happens();
    world.roster.rebuilding(index);
    Some(hurt(world, index, down_ms, "damaged", || format!("state: {}", damage(world, index, Part::State, how))).await)
}

/// Ends a node, does something to its disks, and starts it again.
async fn hurt(world: &Arc<World>, index: usize, down_ms: u64, what: &str, how: impl FnOnce() -> String) -> usize {
    let machine = &world.machines[index];
    machine.crash(Death::Kill).await;
    world.trace.incident(Some(machine.id), what, how());
    tokio::time::sleep(Duration::from_millis(down_ms)).await;
    up(world, index);
    index
}

/// Where there is no row of the kind that is wanted, the checksum of any row is wrong, and where there is no row the disk goes.
fn damage(world: &World, index: usize, part: Part, how: Damage) -> String {
    let disks = &world.machines[index].disks;
    let done = match how {
        Damage::Missing => None,
        Damage::Checksum { pick } => disks.rot(part, pick, true).map(|row| format!("checksum of {row}")),
        Damage::Value { pick } => {
            let flipped = disks.rot(part, pick, false).map(|row| format!("value of {row}"));
            flipped.or_else(|| disks.rot(part, pick, true).map(|row| format!("checksum of {row}")))
        }
    };
    done.unwrap_or_else(|| {
        disks.lose(Some(part));
        "missing".to_owned()
    })
}
