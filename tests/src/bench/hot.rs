//! Many clients want the same host: how many plans the ledger found stale (architecture D2: fewer than one of a hundred).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use leasehold_client::wire::v1;
use leasehold_client::wire::v1::lease_service_client::LeaseServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::ledger;
use crate::cluster::Cluster;
use crate::draw::Draw;
use crate::wait::wall_ms;

/// All windows lie in so many hours, so that they are in each other's way.
const HOURS: u64 = 12;

/// What became of the plans of a run.
#[derive(Clone, Copy, Debug)]
pub struct Hot {
    /// Leases that were booked.
    pub created: u64,
    /// Creates that were refused for want of room.
    pub refused: u64,
    /// Plans that the ledger found stale, most of them planned again.
    pub stale: u64,
}

impl Hot {
    /// Stale ones of a hundred plans that got into the log.
    pub fn stale_percent(&self) -> f64 {
        100.0 * self.stale as f64 / (self.created + self.stale).max(1) as f64
    }
}

/// So many clients book and delete for `length`, each one lease after the other, on the one host that there is.
///
/// # Errors
/// When a create fails for another reason than room, or a delete fails.
pub async fn run(cluster: &Cluster, clients: usize, length: Duration) -> Result<Hot> {
    let leader = cluster.wait_healthy(Duration::from_secs(30)).await?;
    let (url, metrics) = (cluster.nodes()[leader].grpc_url(), cluster.nodes()[leader].metrics_url());
    let before = stale_plans(&metrics).await?;
    let end = Instant::now() + length;
    let mut callers = JoinSet::new();
    for client in 0..clients as u64 {
        let channel = ledger::channel(&url)?;
        callers.spawn(async move {
            let mut draw = Draw::new(client, 78);
            let (mut created, mut refused) = (0, 0);
            while Instant::now() < end {
                match create(channel.clone(), &mut draw).await? {
                    Some(id) => {
                        created += 1;
                        let delete = v1::DeleteLeaseRequest { lease_id: id, ..v1::DeleteLeaseRequest::default() };
                        LeaseServiceClient::new(channel.clone()).delete_lease(delete).await.context("deleting")?;
                    }
                    None => refused += 1,
                }
            }
            anyhow::Ok((created, refused))
        });
    }
    let mut hot = Hot { created: 0, refused: 0, stale: 0 };
    while let Some(caller) = callers.join_next().await {
        let (created, refused) = caller??;
        hot.created += created;
        hot.refused += refused;
    }
    let led_by: BTreeSet<usize> = [leader, cluster.wait_healthy(Duration::from_secs(30)).await?].into();
    ensure!(led_by.len() == 1, "the leader changed meanwhile, and its plans are not counted");
    hot.stale = stale_plans(&metrics).await? - before;
    Ok(hot)
}

/// The lease, or nothing where there is no room.
async fn create(channel: Channel, draw: &mut Draw) -> Result<Option<String>> {
    let start = (wall_ms() / 1000 / 3600 + 48 + draw.between(0, HOURS - 1)) * 3600;
    let end = start + 3600 * draw.between(1, HOURS);
    let wanted = ledger::request("hot".to_owned(), start as i64, end as i64);
    match LeaseServiceClient::new(channel).create_lease(wanted).await {
        Ok(made) => Ok(Some(made.into_inner().lease.context("a lease")?.id)),
        // Only a lack of room comes with an offer of what would have some.
        Err(status) if status.metadata().contains_key("leasehold-offer") => Ok(None),
        Err(status) => bail!("creating: {}: {}", status.code(), status.message()),
    }
}

/// How many plans the ledger found stale, by this node's metrics.
async fn stale_plans(url: &str) -> Result<u64> {
    let text = reqwest::get(format!("{url}/metrics")).await?.error_for_status()?.text().await?;
    let line = text.lines().find_map(|line| line.strip_prefix("leasehold_plans_stale_total "));
    line.context("the metric leasehold_plans_stale_total")?.trim().parse().context("its value")
}
