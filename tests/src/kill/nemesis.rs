//! Kills one node after the other with -9, never two at a time, and starts it again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::progress::Progress;
use crate::cluster::Cluster;
use crate::draw::Draw;
use crate::wait::wait_for;

/// How long a killed node may take until it has caught up again.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// How many nodes were killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kills {
    /// In all.
    pub all: u64,
    /// Of these, while they led.
    pub leaders: u64,
}

/// Kills until the time is up. The next kill is drawn 3 to 6 s after the last, and comes only after the killed node is
/// back and a write was acknowledged since.
pub async fn kill_until(cluster: &mut Cluster, seed: u64, until: Instant, progress: &Progress) -> Result<Kills> {
    let mut draw = Draw::new(seed, 10);
    let mut kills = Kills::default();
    let mut last = Instant::now();
    loop {
        let next = last + Duration::from_millis(draw.between(3_000, 6_000));
        let (wants_leader, other) = (draw.chance(50), draw.between(0, cluster.nodes().len() as u64 - 1) as usize);
        let down = Duration::from_millis(draw.between(100, 1_500));
        tokio::time::sleep_until(next.into()).await;
        if Instant::now() >= until {
            return Ok(kills);
        }
        let leader = cluster.leader().await;
        let target = leader.filter(|_| wants_leader).unwrap_or(other);
        cluster.kill9(target);
        last = Instant::now();
        kills.all += 1;
        kills.leaders += u64::from(leader == Some(target));
        let role = if leader == Some(target) { "leader" } else { "follower" };
        progress.say(&format!("kill {}: node {} ({role}), {}", kills.all, cluster.nodes()[target].id, progress.summary()));
        tokio::time::sleep(down).await;
        let acknowledged = progress.writes();
        cluster.restart(target)?;
        cluster.wait_caught_up(target, BACK_WITHIN).await.with_context(|| format!("after kill {}", kills.all))?;
        wait_for("a write to be acknowledged", BACK_WITHIN, || async {
            (progress.writes() > acknowledged).then_some(()).ok_or_else(|| progress.summary())
        })
        .await?;
    }
}
