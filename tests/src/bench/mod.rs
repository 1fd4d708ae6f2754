//! The benchmarks: one load generator for us and for etcd, on the same disk, in the same run.
//!
//! `load.rs` is the loop, `ledger.rs` and `etcd.rs` are what it calls, `failover.rs`, `hot.rs`, `starts.rs` and `disk.rs` measure
//! what is not a load, `report.rs` tells it. Run in a release build.

mod disk;
mod etcd;
mod failover;
mod hot;
mod ledger;
mod load;
mod report;
mod starts;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::cloud::{CloudProcess, CloudSettings};
use crate::cluster::Cluster;
use crate::settings::Settings;
use etcd::Etcd;
use report::Report;

/// Numbers of clients.
const CLIENTS: [usize; 3] = [1, 16, 64];
/// Creates per second of Blazar with instances, by one client (architecture §6).
const BLAZAR_PER_SECOND: f64 = 1.4;
/// Size of a raw command and of etcd's values, bytes.
const VALUE_BYTES: usize = 500;

/// Benchmarks on three synced nodes on this machine, beside etcd where it is installed.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "leasehold-bench", version)]
pub struct Options {
    /// Small numbers: to see that it works, not to measure.
    #[arg(long)]
    pub quick: bool,
    /// Only these: disk, raw, reads, growth, hot, creates, failover, handover, starts, restart. Several are separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// So many leases are there when creates, changes of the leader, starts and a restart are measured.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub leases: Option<u64>,
    /// So many hosts are there then, and as creates are measured while leases grow.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub hosts: Option<u32>,
    /// Where the figures go.
    #[arg(long, default_value = "bench-results.json")]
    pub output: PathBuf,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Scale {
    hosts: u32,
    leases: u64,
    length: Duration,
    rounds: usize,
    starts: u64,
    /// So many leases are there when creates are measured as their number grows.
    growth: [u64; 3],
    /// So many creates each time.
    measured: u64,
    lead: Duration,
}

const FULL: Scale = Scale {
    hosts: 1_000,
    leases: 100_000,
    length: Duration::from_secs(10),
    rounds: 20,
    starts: 1_000,
    growth: [0, 10_000, 100_000],
    measured: 2_000,
    lead: Duration::from_secs(90),
};
const QUICK: Scale = Scale {
    hosts: 20,
    leases: 500,
    length: Duration::from_secs(2),
    rounds: 2,
    starts: 50,
    growth: [0, 50, 500],
    measured: 100,
    lead: Duration::from_secs(25),
};

struct Bench {
    options: Options,
    scale: Scale,
    report: Report,
}

/// Runs the benchmarks; answers when the figures are written.
pub async fn run(options: Options) -> Result<()> {
    let scale = if options.quick { QUICK } else { FULL };
    let (hosts, leases) = (options.hosts.unwrap_or(scale.hosts), options.leases.unwrap_or(scale.leases));
    let scale = Scale { hosts, leases, ..scale };
    if cfg!(debug_assertions) {
        println!("This is not a release build: the figures say nothing. Use `make bench`.");
    }
    let mut bench = Bench { options, scale, report: Report::default() };
    let measured = bench.measure().await;
    // What was measured before something failed is worth as much as ever.
    bench.report.write(&bench.options.output)?;
    println!("\n{}\nwritten to {}", bench.report.tables(), bench.options.output.display());
    measured
}

impl Bench {
    async fn measure(&mut self) -> Result<()> {
        if self.wants("disk") {
            let figures = disk::fdatasync(self.scale.length)?;
            self.report.row("fdatasync of 4 KiB", figures);
        }
        if self.wants("raw") || self.wants("reads") {
            self.beside_etcd().await?;
        }
        if self.wants("growth") {
            self.growth().await?;
        }
        if self.wants("hot") {
            self.hot().await?;
        }
        if ["creates", "failover", "handover", "starts", "restart"].iter().any(|name| self.wants(name)) {
            self.with_leases().await?;
        }
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        self.options.only.is_empty() || self.options.only.iter().any(|only| only == name)
    }

    /// Raw commands and linearizable reads, ours and etcd's, each cluster alone on the machine.
    async fn beside_etcd(&mut self) -> Result<()> {
        let cluster = Cluster::start(Settings { log: "warn".to_owned(), ..Settings::default() }, None).await?;
        let leader = cluster.wait_healthy(Duration::from_secs(30)).await?;
        let url = cluster.nodes()[leader].grpc_url();
        let length = self.scale.length;
        for clients in CLIENTS {
            if self.wants("raw") {
                let call = |channel, _| ledger::probe(channel, vec![7; VALUE_BYTES]);
                self.report.row(
                    "Leasehold, commands of 500 B",
                    load::closed_loop(clients, length, |_| ledger::channel(&url), call).await?,
                );
            }
            if self.wants("reads") {
                let call = |channel, _| ledger::probe_read(channel);
                self.report.row(
                    "Leasehold, linearizable reads",
                    load::closed_loop(clients, length, |_| ledger::channel(&url), call).await?,
                );
            }
        }
        drop(cluster);
        if !Etcd::is_installed() {
            println!("  etcd is not installed (Debian: etcd-server): nothing to compare with");
            return Ok(());
        }
        self.report.value("etcd", json!(Etcd::version()?));
        let etcd = Etcd::start().await?;
        let url = etcd.leader().await?;
        etcd::put(ledger::channel(&url)?, b"read".to_vec(), vec![7; VALUE_BYTES]).await?;
        for clients in CLIENTS {
            if self.wants("raw") {
                let call = |channel, n: u64| etcd::put(channel, n.to_be_bytes().to_vec(), vec![7; VALUE_BYTES]);
                self.report
                    .row("etcd, puts of 500 B", load::closed_loop(clients, length, |_| ledger::channel(&url), call).await?);
            }
            if self.wants("reads") {
                let call = |channel, _| etcd::range(channel, b"read".to_vec());
                self.report
                    .row("etcd, linearizable reads", load::closed_loop(clients, length, |_| ledger::channel(&url), call).await?);
            }
        }
        self.ratio("raw committed commands, 500 B, 64 clients", "Leasehold, commands of 500 B", "etcd, puts of 500 B", 2.0);
        self.ratio("linearizable reads, 64 clients", "Leasehold, linearizable reads", "etcd, linearizable reads", 3.0);
        Ok(())
    }

    /// Holds the ratio of two loads at 64 clients against a bar.
    fn ratio(&mut self, what: &str, ours: &str, theirs: &str, bar: f64) {
        let Some((ours, theirs)) = self.report.figures(ours, 64).zip(self.report.figures(theirs, 64)) else { return };
        let ratio = ours.per_second / theirs.per_second;
        let clean = ours.errors == 0 && theirs.errors == 0;
        let figure = if clean { format!("{ratio:.2} ×") } else { format!("{ratio:.2} ×, with errors") };
        self.report.budget(what, &format!("≥ {bar:.1} × etcd"), figure, clean && ratio >= bar);
    }

    /// A cluster with a cloud whose hosts it has taken over. The cloud lives as long as it is kept.
    async fn with_hosts(&mut self, hosts: u32) -> Result<(Cluster, CloudProcess)> {
        let settings = CloudSettings { hosts, ..CloudSettings::default() };
        let cloud = CloudProcess::start(&settings).await?;
        let settings = Settings { auth_url: Some(cloud.auth_url().to_owned()), log: "warn".to_owned(), ..Settings::default() };
        let cluster = Cluster::start(settings, None).await?;
        let leader = cluster.wait_healthy(Duration::from_secs(30)).await?;
        let begun = Instant::now();
        ledger::register_hosts(&cluster.nodes()[leader].grpc_url(), hosts).await?;
        self.report.value("hosts registered in seconds", json!(begun.elapsed().as_secs_f64()));
        Ok((cluster, cloud))
    }

    /// Creates through REST while there are more and more leases: what one costs is not to grow with them.
    async fn growth(&mut self) -> Result<()> {
        let (cluster, _cloud) = self.with_hosts(self.scale.hosts).await?;
        let leader = cluster.wait_healthy(Duration::from_secs(30)).await?;
        let (grpc, rest) = (cluster.nodes()[leader].grpc_url(), cluster.nodes()[leader].rest_url());
        // What was measured last time is there, too: each client's calls, and the one to warm up.
        let mut there = 0;
        for (step, leases) in self.scale.growth.into_iter().enumerate() {
            ledger::preload(&grpc, leases.saturating_sub(there), step as u64).await?;
            there = there.max(leases);
            for clients in CLIENTS {
                let rest = rest.clone();
                // Other clients, and other leases before them, draw other windows.
                let shift = (step as u64 + 1) << 58 | (clients as u64) << 50;
                let call = move |http, n: u64| ledger::create_rest(http, rest.clone(), n | shift);
                let figures = load::counted(clients, self.scale.measured, |_| crate::cloud::http_client(), call).await?;
                there += figures.calls + figures.errors + clients as u64;
                self.report.row(&format!("lease creates, REST, after {leases} leases"), figures);
            }
        }
        let [first, .., last] = self.scale.growth.map(|leases| format!("lease creates, REST, after {leases} leases"));
        if let Some((first, last)) = self.report.figures(&first, 64).zip(self.report.figures(&last, 64)) {
            let (ratio, clean) = (last.per_second / first.per_second, first.errors + last.errors == 0);
            let figure = format!("{ratio:.2} ×, {} errors", first.errors + last.errors);
            let what = format!("creates through REST after {} leases", self.scale.growth[2]);
            self.report.budget(&what, "≥ 0.8 × as after none (our own)", figure, clean && ratio >= 0.8);
        }
        Ok(())
    }

    /// Plans for one host, of many clients at once.
    async fn hot(&mut self) -> Result<()> {
        let (cluster, _cloud) = self.with_hosts(1).await?;
        let clients = CLIENTS[CLIENTS.len() - 1];
        let hot = hot::run(&cluster, clients, self.scale.length).await?;
        let told = json!({"booked": hot.created, "refused": hot.refused, "stale": hot.stale});
        self.report.value(&format!("plans of {clients} clients for one host"), told);
        let figure = format!("{:.2} % of {}", hot.stale_percent(), hot.created + hot.stale);
        self.report.budget("stale plans, one host", "< 1 %", figure, hot.stale_percent() < 1.0);
        Ok(())
    }

    /// Everything that wants hosts and leases to be there.
    async fn with_leases(&mut self) -> Result<()> {
        let (mut cluster, cloud) = self.with_hosts(self.scale.hosts).await?;
        let leader = cluster.wait_healthy(Duration::from_secs(30)).await?;
        let url = cluster.nodes()[leader].grpc_url();
        let begun = Instant::now();
        ledger::preload(&url, self.scale.leases, 0).await?;
        self.report.value("leases preloaded in seconds", json!(begun.elapsed().as_secs_f64()));
        if self.wants("restart") {
            let (ready_ms, resident) = failover::restart(&mut cluster).await?;
            self.report.value("restart to ready, ms", json!(ready_ms));
            self.report.value("resident after restart, MB", json!(resident / 1_000_000));
            // The architecture's bars, 10 s and 1.5 GB, are for a million leases; a tenth of the leases gets a tenth of them.
            let share = self.scale.leases as f64 / 1_000_000.0;
            let (bar_ms, bar_mb) = (10_000.0 * share, 1_500.0 * share);
            let what = format!("restart to ready, {} leases", self.scale.leases);
            let figure = format!("{:.1} s", ready_ms / 1000.0);
            self.report.budget(&what, &format!("≤ {:.1} s", bar_ms / 1000.0), figure, ready_ms <= bar_ms);
            let what = format!("resident memory, {} leases", self.scale.leases);
            let mb = resident as f64 / 1e6;
            self.report.budget(&what, &format!("≤ {bar_mb:.0} MB"), format!("{mb:.0} MB"), mb <= bar_mb);
        }
        // After the restart, which is to find as many leases as it says.
        if self.wants("creates") {
            self.creates(&cluster).await?;
        }
        if self.wants("failover") {
            let times = failover::kills(&mut cluster, self.scale.rounds).await?;
            self.report.value("kill -9 of the leader to the next write", times.json());
            self.report.budget(
                "new leader serving writes after kill -9",
                "p99 ≤ 3 s",
                format!("{:.0} ms", times.at(99)),
                times.at(99) <= 3_000.0,
            );
        }
        if self.wants("handover") {
            let times = failover::hand_overs(&cluster, self.scale.rounds).await?;
            self.report.value("planned hand-over to the next write", times.json());
            self.report.budget("planned hand-over", "≤ 300 ms", format!("p99 {:.0} ms", times.at(99)), times.at(99) <= 300.0);
        }
        if self.wants("starts") {
            let late = starts::starts(&cluster, &cloud, self.scale.starts, self.scale.lead).await?;
            self.report.value("first call after the start", late.first_call.json());
            self.report.value("ACTIVE after the start", late.recorded.json());
            let figure = |ms: f64| format!("p99 {ms:.0} ms of {} leases", self.scale.starts);
            let (first, recorded) = (late.first_call.at(99), late.recorded.at(99));
            self.report.budget("first call after a start", "p99 ≤ 250 ms", figure(first), first <= 250.0);
            self.report.budget("start recorded", "≤ 1 s + the cloud's time", figure(recorded), recorded <= 1_000.0);
        }
        Ok(())
    }

    async fn creates(&mut self, cluster: &Cluster) -> Result<()> {
        let leader = cluster.wait_healthy(Duration::from_secs(30)).await?;
        let (grpc, rest) = (cluster.nodes()[leader].grpc_url(), cluster.nodes()[leader].rest_url());
        let length = self.scale.length;
        for clients in CLIENTS {
            let call = |channel, n| ledger::create_grpc(channel, n, true);
            // Another number of clients draws other windows.
            let shift = (clients as u64) << 52;
            let figures =
                load::closed_loop(clients, length, |_| ledger::channel(&grpc), move |channel, n| call(channel, n | shift))
                    .await?;
            self.report.row("lease creates, gRPC", figures);
            let call = {
                let rest = rest.clone();
                move |http, n: u64| ledger::create_rest(http, rest.clone(), n | shift | 1 << 60)
            };
            self.report
                .row("lease creates, REST", load::closed_loop(clients, length, |_| crate::cloud::http_client(), call).await?);
        }
        if let Some(figures) = self.report.figures("lease creates, REST", 64) {
            let bar = 100.0 * BLAZAR_PER_SECOND;
            let figure = format!("{:.0}/s, {} errors", figures.per_second, figures.errors);
            let met = figures.errors == 0 && figures.per_second >= bar;
            self.report.budget("creates through REST", "≥ 100 × Blazar (140/s)", figure, met);
            self.report.budget(
                "creates through REST, 64 clients",
                "p99 ≤ 50 ms",
                format!("{:.1} ms", figures.p99_ms),
                figures.errors == 0 && figures.p99_ms <= 50.0,
            );
        }
        self.ratio("creates through gRPC, 64 clients", "lease creates, gRPC", "etcd, puts of 500 B", 1.0);
        Ok(())
    }
}
