//! What is asked of Leasehold under load: leases over gRPC and REST, raw commands, linearizable reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use leasehold_client::wire::v1;
use leasehold_client::wire::v1::cluster_service_client::ClusterServiceClient;
use leasehold_client::wire::v1::host_service_client::HostServiceClient;
use leasehold_client::wire::v1::lease_service_client::LeaseServiceClient;
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::draw::Draw;
use crate::wait::wall_ms;

/// Leases lie in so many hours, from the day after tomorrow on, so that nothing of them is due.
const HOURS: u64 = 2_000;
/// Between two lines that say how many leases are there.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// How often a lease that is preloaded is drawn again.
const PRELOAD_ATTEMPTS: u64 = 20;
/// How long the keys of measured requests are kept.
const KEY_VALID_MS: u64 = 60_000;

/// A connection of its own.
pub fn channel(url: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true).connect_timeout(Duration::from_secs(5)).connect_lazy())
}

fn failed(status: &tonic::Status) -> anyhow::Error {
    anyhow!("{}: {}", status.code(), status.message())
}

/// Start and length of lease `n`: anywhere in [`HOURS`].
fn window(n: u64) -> (i64, i64) {
    let mut draw = Draw::new(n, 77);
    let first = (wall_ms() / 1000 / 3600 + 48) * 3600;
    let start = first + 3600 * draw.between(0, HOURS - 1);
    (start as i64, (start + 3600 * draw.between(1, 8)) as i64)
}

/// A lease of one small instance on a dedicated host, from `start` to `end`.
pub fn request(name: String, start: i64, end: i64) -> v1::CreateLeaseRequest {
    let instance = v1::Instance {
        vcpus: 1,
        memory_mb: 1024,
        disk_gb: 1,
        amount: 1,
        pool: v1::PoolKind::Dedicated.into(),
        ..v1::Instance::default()
    };
    v1::CreateLeaseRequest {
        name,
        start: Some(v1::When { when: Some(v1::when::When::At(start)) }),
        end: Some(v1::When { when: Some(v1::when::When::At(end)) }),
        before_end: Some(v1::BeforeEnd { when: Some(v1::before_end::When::Never(true)) }),
        reservations: vec![v1::ReservationWish {
            resource: Some(v1::Resource { kind: Some(v1::resource::Kind::Instance(instance)) }),
            staging: None,
            on_end: v1::OnEnd::Delete.into(),
            servers: Vec::new(),
        }],
        ..v1::CreateLeaseRequest::default()
    }
}

/// Creates lease `n` over gRPC. `keyed`: with a key, as the client library sends one; the client (the upper part of `n`)
/// has a project of its own then, because live keys are counted by project.
pub async fn create_grpc(channel: Channel, n: u64, keyed: bool) -> Result<()> {
    let (start, end) = window(n);
    let mut wanted = Request::new(request(format!("bench-{n}"), start, end));
    if keyed {
        wanted.get_mut().request_id = Uuid::now_v7().to_string();
        wanted.get_mut().valid_until_ms = wall_ms() + KEY_VALID_MS;
        wanted.metadata_mut().insert("x-auth-token", format!("bench-{}", n >> 40).parse()?);
    }
    LeaseServiceClient::new(channel).create_lease(wanted).await.map(drop).map_err(|status| failed(&status))
}

/// Creates lease `n` over REST, as Blazar's clients do.
pub async fn create_rest(http: reqwest::Client, url: String, n: u64) -> Result<()> {
    let (start, end) = window(n);
    let body = json!({
        "name": format!("bench-{n}"), "start_date": minute(start)?, "end_date": minute(end)?, "events": [],
        "reservations": [{
            "resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 1024, "disk_gb": 1, "amount": 1, "affinity": null,
            "resource_properties": "",
        }],
    });
    let answer = http.post(format!("{url}/leases")).json(&body).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.as_u16() == 201, "{status} {text}");
    Ok(())
}

/// `%Y-%m-%d %H:%M` of a Unix second, UTC.
pub fn minute(unix_s: i64) -> Result<String> {
    let time = chrono::DateTime::from_timestamp(unix_s, 0).with_context(|| format!("second {unix_s}"))?;
    Ok(time.format("%Y-%m-%d %H:%M").to_string())
}

/// Commits 500 bytes.
pub async fn probe(channel: Channel, payload: Vec<u8>) -> Result<()> {
    ClusterServiceClient::new(channel).probe(v1::ProbeRequest { payload }).await.map(drop).map_err(|status| failed(&status))
}

/// A linearizable read of the index.
pub async fn probe_read(channel: Channel) -> Result<()> {
    ClusterServiceClient::new(channel).probe_read(v1::ProbeReadRequest {}).await.map(drop).map_err(|status| failed(&status))
}

/// Registers `cmp1` to `cmp<hosts>` as dedicated, 16 at a time.
pub async fn register_hosts(url: &str, hosts: u32) -> Result<()> {
    let mut lanes = JoinSet::new();
    for lane in 0..16 {
        let channel = channel(url)?;
        lanes.spawn(async move {
            for n in (1..=hosts).filter(|n| n % 16 == lane) {
                let host = v1::RegisterHostRequest {
                    name: format!("cmp{n}"),
                    pool: v1::PoolKind::Dedicated.into(),
                    ..v1::RegisterHostRequest::default()
                };
                let answer = HostServiceClient::new(channel.clone()).register_host(host).await;
                answer.map_err(|status| failed(&status)).with_context(|| format!("registering cmp{n}"))?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane??;
    }
    Ok(())
}

/// Creates `leases` leases, 64 at a time; `round` up to 7 tells those of one call from those of another. A refusal for want of room is
/// drawn again.
pub async fn preload(url: &str, leases: u64, round: u64) -> Result<()> {
    const LANES: u64 = 64;
    let mut lanes = JoinSet::new();
    let done = Arc::new(AtomicU64::new(0));
    for lane in 0..LANES {
        let (channel, done) = (channel(url)?, done.clone());
        lanes.spawn(async move {
            let mine = leases / LANES + u64::from(lane < leases % LANES);
            for n in 0..mine {
                // No room in that window, or an election: drawn again, elsewhere.
                let mut failed = Ok(());
                for attempt in 0..PRELOAD_ATTEMPTS {
                    failed =
                        create_grpc(channel.clone(), (1 << 62) | (round << 56) | (lane << 40) | (attempt << 32) | n, false).await;
                    if failed.is_ok() {
                        break;
                    }
                }
                failed.context("preloading")?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    let mut told = tokio::time::interval(PROGRESS_EVERY);
    told.tick().await;
    loop {
        tokio::select! {
            biased;
            lane = lanes.join_next() => match lane {
                Some(lane) => lane??,
                None => return Ok(()),
            },
            _ = told.tick() => eprintln!("{} of {leases} leases are there", done.load(Ordering::Relaxed)),
        }
    }
}
