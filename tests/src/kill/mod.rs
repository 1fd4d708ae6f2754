//! Four minutes of `kill -9` under client load: three processes, real RocksDB, synced disks, one ledger.
//!
//! `workload.rs` is the clients, `nemesis.rs` the kills, `check.rs` the end. A failed call is *unknown*, unless the answer
//! proves that nothing was done.

mod check;
pub mod history;
mod nemesis;
mod progress;
mod workload;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use comfy_table::{Table, presets};
use leasehold_client::{Client, KeyState, NewHost};
use leasehold_ledger::model::{Lease, PoolKind};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cloud::{CloudProcess, CloudSettings};
use crate::cluster::Cluster;
use crate::settings::{Settings, Timing};
use crate::wait::wall_ms;
use history::History;
use nemesis::Kills;
use progress::Progress;
use workload::{Deletion, Knowledge, Known, Shared, Worker};

/// Longest time without an acknowledged write.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How often the nodes' state hashes are read during the run.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// Hosts to be reserved.
const HOSTS: u32 = 12;
/// What four minutes must have seen: kills, kills of the leader, acknowledged leases.
const WANTED: (u64, u64, u64) = (25, 8, 500);
/// The length of a run the figures above are for.
const FULL_S: u64 = 240;

/// Kills a random node with -9, again and again, under client load; then checks that nothing was lost.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "leasehold-kill", version)]
pub struct Options {
    /// Draws kills and load.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How long.
    #[arg(long, default_value_t = FULL_S)]
    pub seconds: u64,
    /// How many clients.
    #[arg(long, default_value_t = 8)]
    pub clients: u32,
    /// Keep the history of all operations in this file.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
}

/// Runs it; answers whether all is well.
pub async fn run(options: Options) -> Result<bool> {
    println!("leasehold-kill, seed {}: {} clients, {} s of kill -9", options.seed, options.clients, options.seconds);
    let settings = CloudSettings { hosts: HOSTS, seed: options.seed, ..CloudSettings::default() };
    let cloud = CloudProcess::start(&settings).await?;
    // Snapshots come often, so that kills also meet their building, sending and installing.
    let timing = Timing { snapshot_entries: 2_000, keep_entries: 200, ..Timing::default() };
    let settings = Settings { auth_url: Some(cloud.auth_url().to_owned()), timing, ..Settings::default() };
    let mut cluster = Cluster::start(settings, None).await?;
    match judge(&mut cluster, &cloud, &options).await {
        Ok(true) => Ok(true),
        Ok(false) => {
            println!("logs, data and history are kept in {}", cluster.keep().display());
            Ok(false)
        }
        Err(error) => {
            let folder = cluster.keep();
            Err(error.context(format!("{}all is kept in {}", cluster.tails(15), folder.display())))
        }
    }
}

async fn judge(cluster: &mut Cluster, cloud: &CloudProcess, options: &Options) -> Result<bool> {
    let client = crate::caller::connect(cluster, None)?;
    for n in 1..=HOSTS {
        let host = NewHost { name: format!("cmp{n}"), pool: PoolKind::Dedicated, properties: BTreeMap::new() };
        client.register_host(client.new_key(), host).await.with_context(|| format!("registering cmp{n}"))?;
    }
    let history = options.history.clone().unwrap_or_else(|| cluster.folder().join("history.jsonl"));
    let shared = Arc::new(Shared { history: History::create(&history)?, progress: Progress::default() });
    let (kills, known) = ordeal(cluster, options, &shared).await?;
    let operations = shared.history.finish()?;
    let mut wrong = final_checks(cluster, cloud, &client, &known).await?;
    wrong.extend(not_enough(options, kills, &shared.progress));
    println!("{}", table(kills, operations, &shared.progress, &wrong));
    for text in &wrong {
        println!("  ✗ {text}");
    }
    Ok(wrong.is_empty())
}

/// Load and kills at the same time.
async fn ordeal(cluster: &mut Cluster, options: &Options, shared: &Arc<Shared>) -> Result<(Kills, Vec<(Client, Knowledge)>)> {
    let until = Instant::now() + Duration::from_secs(options.seconds);
    // The clients work until the last killed node is back and a write was acknowledged since.
    let (stop, stopping) = watch::channel(false);
    let mut workers = JoinSet::new();
    for number in 0..options.clients {
        // Every client in a project of its own, as `noauth` has it: live keys are counted by project.
        let client = crate::caller::connect(cluster, Some(&format!("project-{number}")))?;
        workers.spawn(Worker::new(number, client, Arc::clone(shared), options.seed).work(stopping.clone()));
    }
    let looks = look_into(cluster, Arc::clone(shared))?;
    let guard = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let silence = shared.progress.silence();
            if silence > SILENCE_MAX {
                return format!("no write was acknowledged for {silence:?}");
            }
        }
    };
    // Silence counts until the last client has its last answer: a cluster that heals only after the run is no success.
    let load = async {
        let kills = nemesis::kill_until(cluster, options.seed, until, &shared.progress).await?;
        stop.send_replace(true);
        let mut known = Vec::new();
        while let Some(worker) = workers.join_next().await {
            known.push(worker??);
        }
        anyhow::Ok((kills, known))
    };
    tokio::select! {
        biased;
        problem = guard => bail!(problem),
        problem = looks => bail!(problem?),
        done = load => done,
    }
}

/// Reads every node's state hash all the time; ends with the first two that differ at one index.
fn look_into(cluster: &Cluster, shared: Arc<Shared>) -> Result<impl Future<Output = Result<String>> + use<>> {
    let services: Vec<_> = (0..cluster.nodes().len()).map(|index| cluster.cluster_service(index)).collect();
    ensure!(!services.is_empty(), "no nodes");
    Ok(async move {
        loop {
            for service in &services {
                let mut request = tonic::Request::new(leasehold_client::wire::v1::StateProbeRequest {});
                request.set_timeout(LOOK_PERIOD);
                // A node that is down or busy tells nothing; the end of the run needs all of them.
                let Ok(answer) = service.clone().state_probe(request).await else { continue };
                let probe = answer.into_inner();
                if let Some(other) = shared.progress.seen_hash(probe.node_id, probe.ledger_index, &probe.state_hash) {
                    return Ok(format!("nodes {} and {other} differ at ledger index {}", probe.node_id, probe.ledger_index));
                }
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    })
}

async fn final_checks(
    cluster: &Cluster,
    cloud: &CloudProcess,
    admin: &Client,
    known: &[(Client, Knowledge)],
) -> Result<Vec<String>> {
    cluster.wait_healthy(Duration::from_secs(60)).await?;
    let leases: Vec<Lease> = admin.list_leases(Default::default()).await?.value;
    let hosts = admin.list_hosts(Default::default()).await?.value;
    let all: Knowledge = known.iter().flat_map(|(_, its)| its.clone()).collect();
    let mut wrong = check::against_clients(&all, &leases);
    wrong.extend(check::double_booked(&hosts, &leases, &cloud.capacities().await?));
    wrong.extend(check::short(&leases));
    println!("  looking for each of {} leases by its id and by its key", all.len());
    let mut lookers = JoinSet::new();
    for (client, knowledge) in known {
        let (client, knowledge) = (client.clone(), knowledge.clone());
        lookers.spawn(async move {
            let mut wrong = Vec::new();
            for (name, known) in &knowledge {
                wrong.extend(look_up(&client, name, known).await.with_context(|| format!("looking up {name}"))?);
            }
            anyhow::Ok(wrong)
        });
    }
    while let Some(looked) = lookers.join_next().await {
        wrong.extend(looked??);
    }
    let (index, hashes) = cluster.hashes_at_rest(Duration::from_secs(60)).await?;
    if hashes.len() != cluster.nodes().len() || hashes.iter().any(|hash| *hash != hashes[0]) {
        wrong.push(format!("the state hashes differ at ledger index {index}: {hashes:?}"));
    }
    Ok(wrong)
}

/// Looks for a lease by its id and by the key it was created with, one at a time, as its tenant.
async fn look_up(client: &Client, name: &str, known: &Known) -> Result<Option<String>> {
    let Some(key) = known.key else { return Ok(None) };
    let state = client.look_up_key(key).await?.value;
    // On a slow machine the looking takes longer than a key is valid; then it says so, and the id has to do.
    let expired = matches!(state, KeyState::Expired) && wall_ms() > key.valid_until.0;
    let Some(id) = known.id else {
        // Whether it applied or never will: it is one of them for good now, and `against_clients` has counted the leases.
        let decided = expired || matches!(state, KeyState::Applied { .. } | KeyState::Never);
        return Ok((!decided).then(|| format!("{name}: its key is still {state:?}")));
    };
    if !expired && !matches!(&state, KeyState::Applied { lease_id: Some(by_key), .. } if *by_key == id) {
        return Ok(Some(format!("{name} ({id}) was acknowledged and its key says {state:?}")));
    }
    let found = crate::caller::found(client, id).await?;
    Ok(match (found, known.deletion) {
        (None, Deletion::No) => Some(format!("{name} ({id}) was acknowledged and is not found by its id")),
        (Some(_), Deletion::Yes) => Some(format!("{name} ({id}) was deleted and is found by its id")),
        _ => None,
    })
}

/// What a run of this length must have seen and has not.
fn not_enough(options: &Options, kills: Kills, progress: &Progress) -> Vec<String> {
    let (all, leaders, leases) = WANTED;
    [
        ("kills", kills.all, all),
        ("kills of the leader", kills.leaders, leaders),
        ("acknowledged leases", progress.creates(), leases),
    ]
    .into_iter()
    .map(|(what, seen, full)| (what, seen, full * options.seconds.min(FULL_S) / FULL_S))
    .filter(|(_, seen, wanted)| seen < wanted)
    .map(|(what, seen, wanted)| format!("{seen} {what}, at least {wanted} are wanted"))
    .collect()
}

fn table(kills: Kills, operations: u64, progress: &Progress, wrong: &[String]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(["what", "figure"]);
    for (what, figure) in [
        ("kills (-9)", kills.all.to_string()),
        ("of the leader", kills.leaders.to_string()),
        ("operations", operations.to_string()),
        ("acknowledged", progress.summary()),
        ("longest time without an acknowledged write", format!("{:.1} s", progress.longest_gap().as_secs_f64())),
        ("violations", wrong.len().to_string()),
    ] {
        table.add_row([what.to_owned(), figure]);
    }
    table.to_string()
}
