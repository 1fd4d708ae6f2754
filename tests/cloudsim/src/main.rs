//! The simulated cloud as a program: prints where it is, serves until it is ended.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use leasehold_cloudsim::{Clock, Cloud, CloudConfig, Endpoint, HostSpec, serve};
use tokio::net::TcpListener;

/// A simulated Keystone, Nova, Placement, Glance and Neutron on one port.
///
/// The first line on standard output is the OS_AUTH_URL. Users are admin, demo, alt_demo and leasehold (project
/// service), each with the password oslab. Control is below /_sim.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How many compute hosts there are: cmp1, cmp2, ...
    #[arg(long, default_value_t = 4)]
    hosts: u32,
    /// CPUs of each host.
    #[arg(long, default_value_t = 10)]
    vcpus: u64,
    /// Memory of each host in MB.
    #[arg(long, default_value_t = 8192)]
    memory_mb: u64,
    /// Disk of each host in GB.
    #[arg(long, default_value_t = 1000)]
    disk_gb: u64,
    /// Nova's cpu_allocation_ratio.
    #[arg(long, default_value_t = 1.0)]
    cpu_ratio: f64,
    /// Nova's ram_allocation_ratio.
    #[arg(long, default_value_t = 1.0)]
    ram_ratio: f64,
    /// The seed of ids, jitter and faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long a token is valid, in seconds.
    #[arg(long, default_value_t = 14_400)]
    token_ttl_s: u64,
    /// From SHELVED to SHELVED_OFFLOADED in ms; -1: only by shelveOffload.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    offload_after_ms: i64,
    /// From a boot or unshelve to the choice of a host, in ms.
    #[arg(long, default_value_t = 60)]
    schedule_ms: u64,
    /// From there to ACTIVE, in ms.
    #[arg(long, default_value_t = 140)]
    spawn_ms: u64,
    /// A service to name in the catalog, as TYPE=URL, for example reservation=http://127.0.0.1:1234/v1.
    #[arg(long, value_name = "TYPE=URL")]
    endpoint: Vec<String>,
    /// Leave calls that only read out of the record.
    #[arg(long)]
    no_reads: bool,
    /// Write the record to this file as it grows, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let options = Options::parse();
    let listener = TcpListener::bind(options.listen).await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    let cloud = Arc::new(Mutex::new(Cloud::new(config(&options, base_url)?)));
    if let Some(path) = &options.record {
        let file = File::create(path)?;
        tokio::spawn(write_record(Arc::clone(&cloud), file));
    }
    let auth_url = cloud.lock().unwrap_or_else(PoisonError::into_inner).auth_url();
    println!("{auth_url}");
    io::stdout().flush()?;
    let clock: Clock = Arc::new(wall_ms);
    serve(cloud, listener, clock).await
}

fn config(options: &Options, base_url: String) -> io::Result<CloudConfig> {
    let mut config = CloudConfig {
        seed: options.seed,
        token_ttl_s: options.token_ttl_s,
        created_at_ms: wall_ms(),
        base_url,
        record_reads: !options.no_reads,
        ..CloudConfig::default()
    };
    config.hosts = (1..=options.hosts)
        .map(|number| HostSpec {
            vcpus: options.vcpus,
            memory_mb: options.memory_mb,
            disk_gb: options.disk_gb,
            cpu_ratio: options.cpu_ratio,
            ram_ratio: options.ram_ratio,
            ..HostSpec::new(&format!("cmp{number}"))
        })
        .collect();
    config.timings.offload_after_ms = options.offload_after_ms;
    config.timings.schedule_ms = options.schedule_ms;
    config.timings.spawn_ms = options.spawn_ms;
    for endpoint in &options.endpoint {
        let (kind, url) = endpoint
            .split_once('=')
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("--endpoint {endpoint}: not TYPE=URL")))?;
        let name = if kind == "reservation" { "blazar" } else { kind };
        config.endpoints.push(Endpoint { service_type: kind.to_owned(), name: name.to_owned(), url: url.to_owned() });
    }
    Ok(config)
}

/// The wall clock: the cloud's true time when it runs as a program.
fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Appends new lines of the record to the file, 20 ms late at most.
async fn write_record(cloud: Arc<Mutex<Cloud>>, file: File) {
    let mut out = BufWriter::new(file);
    let mut written = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tick.tick().await;
        let fresh: Vec<String> = {
            let cloud = cloud.lock().unwrap_or_else(PoisonError::into_inner);
            cloud.record()[written..].iter().filter_map(|line| serde_json::to_string(line).ok()).collect()
        };
        written += fresh.len();
        let wrote = fresh.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
        if let Err(error) = wrote {
            // A proof without its record is none.
            eprintln!("leasehold-cloudsim: the record cannot be written: {error}");
            std::process::exit(1);
        }
    }
}
