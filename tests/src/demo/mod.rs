//! The demo: three nodes and a simulated cloud on loopback keep their promises while whoever leads is killed.
//!
//! `scenario.rs` draws it from a seed, `tenant.rs` is what tenants do, `verdict.rs` judges by the cloud's record.

mod scenario;
mod show;
mod tenant;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold_client::{Client, NewHost};
use leasehold_ledger::model::{Lease, LeaseStatus, PoolKind};
use tokio::task::JoinSet;

use crate::audit::Promise;
use crate::cloud::{CloudProcess, CloudSettings, Tenant};
use crate::cluster::Cluster;
use crate::settings::{Auth, Settings};
use crate::wait::{until_ms, wait_for, wall_ms};
use scenario::{KillPlan, LeasePlan, Scenario};
use show::Show;
use verdict::Verdict;

/// Hosts of the dedicated pool, and after them those of the shared one.
const HOSTS: (u32, u32) = (4, 2);
/// Ordinary servers on the shared hosts throughout.
const ORDINARY_SERVERS: u32 = 4;
/// A killed node is started again so long after.
const DOWN: Duration = Duration::from_secs(3);
/// How long after the last end everything must be settled.
const SETTLED_WITHIN: Duration = Duration::from_secs(25);
/// A kill counts within so many milliseconds of its start.
const KILL_WINDOW_MS: u64 = 1_000;
/// How often the leases' statuses are read for the display.
const DISPLAY_PERIOD: Duration = Duration::from_millis(500);

/// Three nodes, a simulated cloud, leader kills around starts, and a verdict from the cloud's own record.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "leasehold-demo", version)]
pub struct Options {
    /// Draws leases and kills.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many leases.
    #[arg(long, default_value_t = 24)]
    pub leases: usize,
    /// How many times the leader is killed.
    #[arg(long, default_value_t = 3)]
    pub kills: usize,
    /// Write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Leave everything running afterwards, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
}

/// What runs.
struct Stage {
    cluster: Cluster,
    cloud: CloudProcess,
    admin: Tenant,
    demo: Tenant,
    client: Client,
    show: Show,
}

/// Runs the demo; answers whether every promise was kept.
pub async fn run(options: Options) -> Result<bool> {
    ensure!(options.leases > 0, "--leases must be at least 1");
    ensure!(options.kills <= 3, "--kills may be at most 3: a killed node must be back before the next kill");
    let scenario = Scenario::draw(options.seed, options.leases, options.kills);
    let mut stage = set_up(&options).await?;
    let played = play(&mut stage, &scenario).await;
    stage.show.end();
    let (promises, kills) = match played {
        Ok(played) => played,
        Err(error) => {
            let folder = stage.cluster.keep();
            return Err(error.context(format!("{}logs are kept in {}", stage.cluster.tails(12), folder.display())));
        }
    };
    let (record, capacities) = (stage.cloud.record().await?, stage.cloud.capacities().await?);
    let asked = verdict::Asked { seed: options.seed, leases: options.leases as u64, kills: options.kills as u64 };
    let took = stage.show.elapsed();
    let verdict = Verdict::of(asked, kills, took, &promises, &record, &capacities);
    println!("\n{}", verdict.table());
    for problem in &verdict.problems {
        println!("  ✗ {problem}");
    }
    if let Some(file) = &options.report {
        std::fs::write(file, serde_json::to_string(&verdict.report)? + "\n")
            .with_context(|| format!("writing {}", file.display()))?;
    }
    if verdict.good() {
        println!("Every promise was kept, once and on time ({:.0} s).", stage.show.elapsed().as_secs_f64());
    } else {
        println!("Promises were broken. Logs are kept in {}", stage.cluster.keep().display());
        println!("and the cloud's record in {}", stage.cloud.keep().display());
    }
    if options.keep {
        keep_on(&stage).await?;
    }
    Ok(verdict.good())
}

async fn set_up(options: &Options) -> Result<Stage> {
    let (dedicated, shared) = HOSTS;
    println!("Leasehold demo, seed {}: three nodes and a simulated OpenStack on loopback", options.seed);
    let settings = CloudSettings { hosts: dedicated + shared, seed: options.seed, ..CloudSettings::default() };
    let show = Show::begin(options.leases as u64 * 2);
    let cloud = CloudProcess::start(&settings).await?;
    let admin = cloud.tenant("admin").await?;
    let demo = cloud.tenant("demo").await?;
    let settings = Settings { auth: Auth::Keystone, auth_url: Some(cloud.auth_url().to_owned()), ..Settings::default() };
    let cluster = Cluster::start(settings, Some(admin.token())).await?;
    cloud.set_endpoint("reservation", "blazar", &cluster.nodes()[0].rest_url()).await?;
    show.say("three nodes vote");
    let operator = crate::caller::connect(&cluster, Some(admin.token()))?;
    let client = crate::caller::connect(&cluster, Some(demo.token()))?;
    register(&operator, 1..=dedicated, PoolKind::Dedicated).await?;
    show.say(format!("cmp1 to cmp{dedicated} are dedicated to reservations"));
    let flavor = admin.create_flavor("m1.small", 1, 512, 1).await?;
    let image = admin.image().await?;
    for n in 1..=ORDINARY_SERVERS {
        boot_ordinary(&demo, &format!("ordinary-{n}"), &flavor, &image).await?;
    }
    register(&operator, dedicated + 1..=dedicated + shared, PoolKind::Shared).await?;
    show.say(format!(
        "cmp{} to cmp{} are shared with {ORDINARY_SERVERS} ordinary servers that run there",
        dedicated + 1,
        dedicated + shared
    ));
    Ok(Stage { cluster, cloud, admin, demo, client, show })
}

async fn register(operator: &Client, hosts: std::ops::RangeInclusive<u32>, pool: PoolKind) -> Result<()> {
    for n in hosts {
        let host = NewHost { name: format!("cmp{n}"), pool, properties: BTreeMap::new() };
        operator.register_host(operator.new_key(), host).await.with_context(|| format!("registering cmp{n}"))?;
    }
    Ok(())
}

async fn boot_ordinary(tenant: &Tenant, name: &str, flavor: &str, image: &str) -> Result<String> {
    let id = tenant.boot(name, flavor, image).await?.map_err(anyhow::Error::msg).with_context(|| format!("booting {name}"))?;
    wait_for(&format!("{name} to be ACTIVE"), Duration::from_secs(10), || async {
        let server = tenant.server(&id).await.map_err(|error| error.to_string())?.ok_or("it is gone")?;
        let status = server["status"].as_str().unwrap_or_default().to_owned();
        if status == "ACTIVE" { Ok(()) } else { Err(status) }
    })
    .await?;
    Ok(id)
}

/// Books, lives, kills; answers every promise that was given, and how many leaders were killed.
async fn play(stage: &mut Stage, scenario: &Scenario) -> Result<(Vec<Promise>, u64)> {
    let image = stage.admin.image().await?;
    let zero_s = wall_ms() / 1000;
    let leases = book(stage, &scenario.leases, zero_s).await?;
    stage.show.say(format!("{} leases are acknowledged; the first starts in {} s", leases.len(), {
        (zero_s + scenario::FIRST_START_S).saturating_sub(wall_ms() / 1000)
    }));
    let mut tenants = JoinSet::new();
    for (plan, lease) in scenario.leases.iter().zip(&leases) {
        tenants.spawn(tenant::live(stage.client.clone(), stage.demo.clone(), image.clone(), plan.clone(), lease.clone()));
    }
    let last_end_ms = leases.iter().map(|lease| lease.end.unix_s() * 1000).max().unwrap_or_default();
    let Stage { cluster, client, show, .. } = stage;
    let display = display(client, show, &leases, last_end_ms);
    let killing = kill_leaders(cluster, show, scenario, &leases);
    let (kills, ()) = tokio::try_join!(killing, display)?;
    let mut promises = Vec::new();
    while let Some(lived) = tenants.join_next().await {
        promises.push(lived??);
    }
    promises.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((promises, kills))
}

/// Books all leases at once.
async fn book(stage: &Stage, plans: &[LeasePlan], zero_s: u64) -> Result<Vec<Lease>> {
    let mut bookings = JoinSet::new();
    for (n, plan) in plans.iter().enumerate() {
        let (client, wish, name) = (stage.client.clone(), tenant::wish(plan, zero_s)?, plan.name.clone());
        bookings.spawn(async move {
            let answer = client.create_lease(client.new_key(), wish).await.with_context(|| format!("booking {name}"))?;
            anyhow::Ok((n, answer.value))
        });
    }
    let mut booked = BTreeMap::new();
    while let Some(done) = bookings.join_next().await {
        let (n, lease) = done??;
        booked.insert(n, lease);
    }
    Ok(booked.into_values().collect())
}

/// Shows the leases' statuses until all are over.
async fn display(client: &Client, show: &Show, leases: &[Lease], last_end_ms: u64) -> Result<()> {
    let ours: BTreeSet<_> = leases.iter().map(|lease| lease.id).collect();
    let deadline_ms = last_end_ms + SETTLED_WITHIN.as_millis() as u64;
    loop {
        let listed = client.list_leases(Default::default()).await;
        if let Ok(answer) = &listed {
            let count = |wanted: &[LeaseStatus]| {
                answer.value.iter().filter(|lease| ours.contains(&lease.id) && wanted.contains(&lease.status)).count()
            };
            let (active, over) = (count(&[LeaseStatus::Active]), count(&[LeaseStatus::Terminated]));
            let failed = count(&[LeaseStatus::Error]);
            let failed_text = if failed > 0 { format!(", {failed} in ERROR") } else { String::new() };
            let moving = count(&[LeaseStatus::Starting, LeaseStatus::Terminating]);
            let waiting = ours.len() - active - over - failed - moving;
            let text = format!("{waiting} waiting, {active} active, {moving} on the move, {over} over{failed_text}");
            show.progress((active + moving + 2 * over) as u64, &text);
            if over + failed == ours.len() {
                return Ok(());
            }
        }
        if wall_ms() > deadline_ms {
            // The verdict tells what is missing.
            show.say("not all leases are over in time");
            return Ok(());
        }
        tokio::time::sleep(DISPLAY_PERIOD).await;
    }
}

/// Kills whoever leads at each planned instant and starts it again; answers how many were killed when planned.
async fn kill_leaders(cluster: &mut Cluster, show: &Show, scenario: &Scenario, leases: &[Lease]) -> Result<u64> {
    let mut kills = 0;
    for KillPlan { lease, offset_ms } in &scenario.kills {
        let (name, start_ms) = (&scenario.leases[*lease].name, leases[*lease].start.unix_s() * 1000);
        let at_ms = start_ms.saturating_add_signed(*offset_ms);
        until_ms(at_ms.saturating_sub(700)).await;
        let leader = cluster.wait_leader(Duration::from_secs(10)).await?;
        until_ms(at_ms).await;
        let killed_ms = wall_ms();
        cluster.kill9(leader);
        // What happened, not what was planned: a kill that came late is none of those that were promised.
        let offset_ms = killed_ms as i64 - start_ms as i64;
        kills += u64::from(offset_ms.unsigned_abs() <= KILL_WINDOW_MS);
        let when = if offset_ms < 0 { format!("{} ms before", -offset_ms) } else { format!("{offset_ms} ms after") };
        show.say(format!("node {} led and was killed (-9), {when} the start of {name}", cluster.nodes()[leader].id));
        let next = cluster.wait_leader(Duration::from_secs(10)).await?;
        show.say(format!("node {} leads, {} ms after the kill", cluster.nodes()[next].id, wall_ms() - killed_ms));
        until_ms(killed_ms + DOWN.as_millis() as u64).await;
        cluster.restart(leader)?;
        cluster.wait_caught_up(leader, Duration::from_secs(30)).await?;
    }
    Ok(kills)
}

async fn keep_on(stage: &Stage) -> Result<()> {
    let endpoints: Vec<String> = stage.cluster.endpoints();
    println!("\nEverything is left running. In another shell:");
    println!("  export LEASEHOLD_ENDPOINTS={}", endpoints.join(","));
    println!(
        "  export OS_AUTH_URL={} OS_USERNAME=admin OS_PASSWORD={} OS_PROJECT_NAME=admin",
        stage.cloud.auth_url(),
        crate::cloud::PASSWORD
    );
    println!("  export OS_USER_DOMAIN_NAME=Default OS_PROJECT_DOMAIN_NAME=Default OS_IDENTITY_API_VERSION=3");
    println!("  {} lease list", crate::binaries::leasehold()?.display());
    for node in stage.cluster.nodes() {
        println!(
            "  node {}: REST {}  gRPC {}  metrics {}/metrics",
            node.id,
            node.rest_url(),
            node.grpc_url(),
            node.metrics_url()
        );
    }
    println!("Logs and data: {}. Ctrl-C ends it.", stage.cluster.folder().display());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
