//! A thousand leases that start in the same second: how late the cloud hears of each, and how late the ledger knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use leasehold_client::LeaseFilter;
use leasehold_client::model::{Lease, LeaseStatus, ProjectId, Stage};
use leasehold_client::state::ChangeSubject;
use leasehold_client::wire::v1::lease_service_client::LeaseServiceClient;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};

use super::failover::Times;
use super::ledger;
use crate::audit::{History, class_of};
use crate::cloud::CloudProcess;
use crate::cluster::Cluster;
use crate::wait::{wait_for, wall_ms};

/// Lateness of the first call to the cloud, and of the commit that says ACTIVE, both after the start.
#[derive(Clone, Debug)]
pub struct Lateness {
    /// Tokens opened, by the cloud's record.
    pub first_call: Times,
    /// ACTIVE seen by a watcher.
    pub recorded: Times,
}

/// Books `leases` leases for one second, `lead` from now, waits, and measures.
pub async fn starts(cluster: &Cluster, cloud: &CloudProcess, leases: u64, lead: Duration) -> Result<Lateness> {
    let leader = cluster.wait_healthy(Duration::from_secs(30)).await?;
    let url = cluster.nodes()[leader].grpc_url();
    let start = wall_ms() / 1000 + lead.as_secs();
    // The cloud must know the project that the flavors are opened to; with `noauth` the token names it.
    let project = cloud.tenant("demo").await?.project_id().to_owned();
    let booked = book(&url, &project, leases, start as i64).await?;
    let client = crate::caller::connect(cluster, None)?;
    let project_id = ProjectId(project.clone().into());
    let ours: BTreeMap<_, _> = booked.iter().map(|lease| (lease.id, lease.clone())).collect();
    wait_for("all reservations to be prepared", lead, || async {
        let listed = client
            .list_leases(LeaseFilter { project_id: Some(project_id.clone()), ..LeaseFilter::default() })
            .await
            .map_err(|error| error.to_string())?
            .value;
        let waiting = listed
            .iter()
            .filter(|lease| ours.contains_key(&lease.id))
            .filter(|lease| lease.reservations.iter().any(|reservation| reservation.stage < Stage::Prepared))
            .count();
        (waiting == 0).then_some(()).ok_or(format!("{waiting} are not"))
    })
    .await?;
    let mut watch = client.watch(booked.iter().map(|lease| lease.ledger_index).max().context("a lease")?);
    let (mut recorded, mut waiting) = (Vec::new(), ours.keys().copied().collect::<BTreeSet<_>>());
    let all = async {
        while !waiting.is_empty() {
            let change = watch.next().await?;
            if let ChangeSubject::Lease(lease) = change.subject
                && lease.status == LeaseStatus::Active
                && waiting.remove(&lease.id)
            {
                recorded.push(wall_ms().saturating_sub(start * 1000) as f64);
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(lead + Duration::from_secs(120), all).await.context("not all leases became ACTIVE")??;
    let history = History::of(&cloud.record().await?);
    let mut first_call = Vec::new();
    for reservation in booked.iter().flat_map(|lease| &lease.reservations) {
        let tokens = history.open_tokens(&class_of(&reservation.id.to_string()));
        let opened = tokens.iter().find(|(_, open)| *open > 0).context("tokens that opened")?;
        let late = opened.0.checked_sub(start * 1000);
        first_call.push(late.with_context(|| format!("reservation {} was opened before its start", reservation.id))? as f64);
    }
    Ok(Lateness { first_call: Times::of(first_call), recorded: Times::of(recorded) })
}

async fn book(url: &str, project: &str, leases: u64, start: i64) -> Result<Vec<Lease>> {
    let mut lanes = JoinSet::new();
    for lane in 0..32 {
        let (channel, project) = (ledger::channel(url)?, MetadataValue::<Ascii>::try_from(project)?);
        lanes.spawn(async move {
            let mut booked = Vec::new();
            for n in (0..leases).filter(|n| n % 32 == lane) {
                let mut wanted = Request::new(ledger::request(format!("due-{n}"), start, start + 3600));
                wanted.metadata_mut().insert("x-auth-token", project.clone());
                let answer = LeaseServiceClient::new(channel.clone()).create_lease(wanted).await;
                let answer = answer.map_err(|status| anyhow!("{}: {}", status.code(), status.message()))?.into_inner();
                booked.push(Lease::try_from(answer.lease.context("the lease")?)?);
            }
            anyhow::Ok(booked)
        });
    }
    let mut booked = Vec::new();
    while let Some(lane) = lanes.join_next().await {
        booked.extend(lane??);
    }
    Ok(booked)
}
