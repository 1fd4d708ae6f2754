//! How long nothing can be written: after `kill -9` of the leader, after a planned hand-over, after a restart.

use std::time::{Duration, Instant};

use anyhow::Result;
use leasehold_client::wire::v1;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::wait::wait_for;

/// How long one attempt at a write may take.
const ATTEMPT: Duration = Duration::from_millis(250);
/// When a cluster that does not write again is given up.
const GIVE_UP: Duration = Duration::from_secs(30);

/// Times of one kind, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<f64>);

impl Times {
    /// Of these.
    pub fn of(mut times: Vec<f64>) -> Times {
        times.sort_by(f64::total_cmp);
        Times(times)
    }

    /// The time that `percent` of all do not exceed.
    pub fn at(&self, percent: usize) -> f64 {
        self.0.get((self.0.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// For the report.
    pub fn json(&self) -> Value {
        let round = |ms: f64| (ms * 10.0).round() / 10.0;
        json!({"rounds": self.0.len(), "p50_ms": round(self.at(50)), "p99_ms": round(self.at(99)), "max_ms": round(self.at(100))})
    }
}

/// Writes through the nodes `by` in turn until one acknowledges.
async fn next_write(cluster: &Cluster, by: &[usize]) -> Result<()> {
    let deadline = Instant::now() + GIVE_UP;
    for turn in 0.. {
        let mut request = tonic::Request::new(v1::ProbeRequest { payload: vec![1; 100] });
        request.set_timeout(ATTEMPT);
        let answer = tokio::time::timeout(ATTEMPT, cluster.cluster_service(by[turn % by.len()]).probe(request)).await;
        match answer {
            Ok(Ok(_)) => return Ok(()),
            _ if Instant::now() > deadline => anyhow::bail!("no write for {GIVE_UP:?}"),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    Ok(())
}

/// From `kill -9` of the leader to the next acknowledged write, so many times.
pub async fn kills(cluster: &mut Cluster, rounds: usize) -> Result<Times> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let leader = cluster.wait_healthy(GIVE_UP).await?;
        next_write(cluster, &[leader]).await?;
        let others: Vec<usize> = (0..cluster.nodes().len()).filter(|index| *index != leader).collect();
        let killed = Instant::now();
        cluster.kill9(leader);
        next_write(cluster, &others).await?;
        times.push(killed.elapsed().as_secs_f64() * 1000.0);
        cluster.restart(leader)?;
        cluster.wait_caught_up(leader, Duration::from_secs(120)).await?;
    }
    Ok(Times::of(times))
}

/// From the wish to hand leadership over to the next acknowledged write, so many times.
pub async fn hand_overs(cluster: &Cluster, rounds: usize) -> Result<Times> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let leader = cluster.wait_healthy(GIVE_UP).await?;
        let others: Vec<usize> = (0..cluster.nodes().len()).filter(|index| *index != leader).collect();
        let begun = Instant::now();
        cluster.cluster_service(leader).transfer(v1::TransferRequest { to: None }).await?;
        next_write(cluster, &others).await?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        wait_for("another leader", GIVE_UP, || async {
            let now = cluster.leader().await.ok_or("nobody leads")?;
            (now != leader).then_some(()).ok_or_else(|| "the same leads".to_owned())
        })
        .await?;
    }
    Ok(Times::of(times))
}

/// From the start of a follower's process to `/readyz`, and its resident memory then.
pub async fn restart(cluster: &mut Cluster) -> Result<(f64, u64)> {
    let leader = cluster.wait_healthy(GIVE_UP).await?;
    let follower = (leader + 1) % cluster.nodes().len();
    cluster.kill9(follower);
    let http = crate::cloud::http_client()?;
    let url = format!("{}/readyz", cluster.nodes()[follower].metrics_url());
    let begun = Instant::now();
    cluster.restart(follower)?;
    wait_for("the restarted node to be ready", Duration::from_secs(120), || async {
        let answer = http.get(&url).send().await.map_err(|error| error.to_string())?;
        answer.status().is_success().then_some(()).ok_or_else(|| answer.status().to_string())
    })
    .await?;
    let ready_ms = begun.elapsed().as_secs_f64() * 1000.0;
    Ok((ready_ms, cluster.wait_answers(follower).await?.resident_bytes))
}
