//! V1: what a core of nodes that are well, and see enough of each other, does whatever became of the others.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::node::Death;
use super::world::World;
use super::{commits, network, told};
use crate::nemesis;
use crate::plan::Draw;
use crate::sim::tasks;

/// Longer is not waited; what is allowed is the checker's to say (`check/liveness.rs`).
const GIVE_UP: Duration = Duration::from_secs(90);
/// The core stays as it is for so long after its first commit: it must not fall apart again.
const STAYS: Duration = Duration::from_secs(10);
/// The cut that makes a shape; faults of the plan are numbered from 0.
const CUT: u64 = u64::MAX;

/// Who of the core sees whom. In each there is a node that sees a majority, itself among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A bare majority in which all see each other; the others are down.
    Whole,
    /// All are up; one sees all, and of the others those of one half each other.
    Bridge,
    /// All are up; one sees all, and the others only it. Of five only that one can lead, and it is not who led before.
    Star,
    /// All are up; each sees its two neighbours on a circle.
    Ring,
    /// All are up; all hear the leader, and it hears nobody.
    DeafLeader,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shape::Whole => "whole",
            Shape::Bridge => "a bridge",
            Shape::Star => "a star around a follower",
            Shape::Ring => "a ring",
            Shape::DeafLeader => "whole but for a leader that hears nobody",
        })
    }
}

impl Shape {
    /// One that makes a difference among so many nodes.
    fn draw(draw: &mut Draw, nodes: usize) -> Shape {
        let shapes: &[Shape] = match nodes {
            0..=2 => &[Shape::Whole],
            3 => &[Shape::Whole, Shape::Bridge, Shape::DeafLeader],
            // On a larger circle nobody sees a majority.
            6.. => &[Shape::Whole, Shape::Bridge, Shape::Star, Shape::DeafLeader],
            _ => &[Shape::Whole, Shape::Bridge, Shape::Star, Shape::Ring, Shape::DeafLeader],
        };
        shapes[draw.below(shapes.len())]
    }

    /// The directed links that are cut among nodes on a circle, of which the first is the one that differs.
    fn cuts(self, circle: &[u64]) -> Vec<(u64, u64)> {
        let count = circle.len();
        let half = |place: usize| 2 * place > count;
        let cut = |from: usize, to: usize| match self {
            Shape::Whole => false,
            Shape::Bridge => from != 0 && to != 0 && half(from) != half(to),
            Shape::Star => from != 0 && to != 0,
            Shape::Ring => (from + 1) % count != to && (to + 1) % count != from,
            Shape::DeafLeader => to == 0,
        };
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to))).filter(|(from, to)| from != to);
        pairs.filter(|(from, to)| cut(*from, *to)).map(|(from, to)| (circle[from], circle[to])).collect()
    }
}

/// A drawn core is healed, the rest stays down; it must commit. In half of the runs the leader dies just before everything
/// is healed, so that what is due then finds a new one.
pub async fn live(world: &Arc<World>) {
    // The voters that have all they ever promised, and how many of them it takes.
    let (mut core, quorum) = world.electorate();
    // Where too few are left for a shape to be sure of its majority, a bare one it is.
    let shaped = quorum < core.len() && core.len() == 2 * quorum - 1;
    let mut shape = Shape::draw(&mut Draw::new(world.plan.seed, 21), if shaped { core.len() } else { 1 });
    let leader = world.leader().map(|(leader, _)| leader).filter(|leader| core.contains(leader));
    let centre = leader.and_then(|leader| centre(world, &core, leader));
    if shape == Shape::Star && centre.is_none() {
        shape = Shape::Bridge;
    }
    let mut draw = Draw::new(world.plan.seed, 20);
    while shape == Shape::Whole && core.len() > quorum {
        core.remove(draw.below(core.len()));
    }
    let mut places: Vec<u64> = core.iter().map(|index| world.machines[*index].id).collect();
    world.trace.incident(None, "phase", format!("the core is {places:?}, {shape}"));
    let mut circle = places.clone();
    circle.rotate_left(draw.below(core.len()));
    let first = match shape {
        Shape::Star => centre,
        Shape::DeafLeader => leader,
        Shape::Whole | Shape::Bridge | Shape::Ring => None,
    };
    if let Some(first) = first.map(|index| world.machines[index].id) {
        circle.sort_by_key(|id| *id != first);
    }
    places.extend([network::CLOUD, network::CLIENTS]);
    for index in (0..world.machines.len()).filter(|index| !core.contains(index)) {
        world.hold(index).await;
    }
    world.network.heal_all(Some(&places));
    world.network.cut(CUT, shape.cuts(&circle));
    for index in &core {
        nemesis::heal_machine(world, *index);
        if !world.machines[*index].is_up() {
            let (world, index) = (world.clone(), *index);
            tasks::spawn(async move { world.bring_up(index).await });
        }
    }
    let began = world.trace.now_ns();
    let committing = async {
        while !commits(world).await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    if tokio::time::timeout(GIVE_UP, committing).await.is_err() {
        let seen: Vec<String> = world.machines.iter().map(|machine| told(machine)).collect();
        world.trace.finding("V1", format!("the core, {shape}, committed nothing in {GIVE_UP:?}: {seen:?}"));
        return;
    }
    let took_ms = (world.trace.now_ns() - began) / 1_000_000;
    world.trace.incident(None, "phase", format!("the core commits after {took_ms} ms"));
    tokio::time::sleep(STAYS).await;
    if draw.below(2) == 0
        && let Some((leader, _)) = world.leader()
    {
        world.machines[leader].crash(Death::Kill).await;
    }
}

/// The follower whose log is longest: the others can vote for it. The leader, which it hears, brings it what it lacks.
fn centre(world: &World, core: &[usize], leader: usize) -> Option<usize> {
    let lives = core.iter().filter_map(|index| Some((*index, world.machines[*index].life()?)));
    let followers = lives.filter(|(index, _)| *index != leader);
    followers.max_by_key(|(index, life)| (life.raft.status_of_raft().last_log_index, *index)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Who sees whom, both ways.
    fn pairs(shape: Shape, circle: &[u64]) -> BTreeSet<(u64, u64)> {
        let cuts = shape.cuts(circle);
        let sees = |from: u64, to: u64| !cuts.contains(&(from, to)) && !cuts.contains(&(to, from));
        let all = circle.iter().flat_map(|from| circle.iter().map(|to| (*from, *to)));
        all.filter(|(from, to)| from < to && sees(*from, *to)).collect()
    }

    #[test]
    fn shapes_are_what_they_are_called() {
        let of = |pairs: &[(u64, u64)]| pairs.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(pairs(Shape::Bridge, &[1, 2, 3]), of(&[(1, 2), (1, 3)]));
        assert_eq!(pairs(Shape::Bridge, &[1, 2, 3, 4, 5]), of(&[(1, 2), (1, 3), (1, 4), (1, 5), (2, 3), (4, 5)]));
        assert_eq!(pairs(Shape::Star, &[3, 1, 2, 4, 5]), of(&[(1, 3), (2, 3), (3, 4), (3, 5)]));
        assert_eq!(pairs(Shape::Ring, &[1, 2, 3, 4, 5]), of(&[(1, 2), (2, 3), (3, 4), (4, 5), (1, 5)]));
        assert_eq!(pairs(Shape::DeafLeader, &[1, 2, 3]), of(&[(2, 3)]));
        assert_eq!(Shape::DeafLeader.cuts(&[1, 2, 3]), [(2, 1), (3, 1)]);
        assert!(Shape::Whole.cuts(&[1, 2, 3]).is_empty());
    }

    #[test]
    fn in_every_shape_somebody_sees_a_majority_and_all_come_up() {
        for nodes in [3_u64, 5, 7] {
            let circle: Vec<u64> = (1..=nodes).collect();
            let mut drawn: Vec<Shape> = Vec::new();
            for seed in 0..100 {
                let shape = Shape::draw(&mut Draw::new(seed, 21), circle.len());
                let seen = pairs(shape, &circle);
                let most = circle.iter().map(|one| 1 + seen.iter().filter(|(a, b)| a == one || b == one).count()).max();
                assert!(most.is_some_and(|most| 2 * most > circle.len()), "{shape:?} of {nodes}");
                if !drawn.contains(&shape) {
                    drawn.push(shape);
                }
            }
            assert_eq!(drawn.len(), [3, 5, 4][(nodes as usize - 3) / 2]);
        }
        assert_eq!(Shape::draw(&mut Draw::new(1, 21), 1), Shape::Whole);
    }
}
