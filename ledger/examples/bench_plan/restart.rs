//! What a restart takes: a process of its own opens the rows of the world from a snapshot.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use leasehold_ledger::model::Lease;
use leasehold_ledger::storage::disk::{Disk, DiskError, DiskFuture, FrozenView, Row, RowChange};
use leasehold_ledger::storage::snapshot::{SnapshotReader, SnapshotWriter};
use leasehold_ledger::storage::{Store, keys};
use serde_json::{Value, json};

use crate::ALLOCATED;
use crate::report::{self, Budget, Unit};
use crate::world::World;

/// Rebuild time and memory of a process that opens the rows of the world.
pub fn measure(world: &World) -> Vec<report::Row> {
    let file = std::env::temp_dir().join(format!("leasehold-bench-plan-{}", std::process::id()));
    write_snapshot(world, &file);
    let output = Command::new(std::env::current_exe().unwrap()).arg("--restart").arg(&file).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["hash"], format!("{:032x}", world.state.hash()), "the reopened state is another one");
    let leases = world.state.leases_len() as u64;
    let seconds = |name: &str| found[name].as_f64().unwrap();
    let (open_s, read_s, decode_s) = (seconds("open_s"), seconds("read_s"), seconds("decode_s"));
    let mut rows = vec![
        report::Row::single("restart: read, decode, rebuild and check", Unit::Seconds, open_s)
            .with(Budget::single(10.0, "architecture §6: a node with 1,000,000 leases is ready")),
        report::Row::single("of it: reading a snapshot file", Unit::Seconds, read_s),
        report::Row::single("of it: decoding leases, timed apart", Unit::Seconds, decode_s),
        report::Row::single("of it: rebuilding and checking, the rest", Unit::Seconds, open_s - read_s - decode_s)
            .with(Budget::single(4.0, "scheduling-design §2: rebuild, from bindings")),
        report::Row::single("processor time of all", Unit::Seconds, seconds("cpu_s")),
        report::Row::single("resident memory", Unit::Megabytes, found["resident_mb"].as_f64().unwrap())
            .with(Budget::single(1500.0, "architecture §6: a node with 1,000,000 leases")),
    ];
    for (part, bytes) in found["bytes"].as_object().unwrap() {
        let per_lease = bytes.as_f64().unwrap() / leases as f64;
        rows.push(report::Row::single(&format!("memory: {part}"), Unit::BytesPerLease, per_lease));
    }
    rows
}

fn write_snapshot(world: &World, file: &Path) {
    let mut out = BufWriter::new(File::create(file).unwrap());
    let mut reader = SnapshotReader::new(world.store.freeze());
    while let Some(chunk) = reader.next_chunk().unwrap() {
        out.write_all(&(chunk.len() as u64).to_be_bytes()).unwrap();
        out.write_all(&chunk).unwrap();
    }
    out.flush().unwrap();
}

/// Opens a snapshot; what that took, as JSON.
pub fn open(file: &Path) -> Value {
    let reading = Arc::new(Mutex::new(0.0));
    let store = Store::new(Arc::new(SnapshotDisk { file: file.to_owned(), reading: reading.clone() }));
    let before = ALLOCATED.allocated();
    let begin = Instant::now();
    let state = store.open().unwrap().state;
    let (open_s, cpu_s, read_s) = (begin.elapsed().as_secs_f64(), processor_s(), *reading.lock().unwrap());
    let all = ALLOCATED.allocated() - before;
    let resident_mb = resident_mb();

    let leases = || state.leases();
    let reservations = || leases().flat_map(|lease| &lease.reservations);
    let records = bytes_of_all(leases().cloned());
    let journal = bytes_of_all(state.changes_after(state.meta().journal_from, usize::MAX).unwrap().into_iter());
    let hosts = bytes_of_all(state.hosts().cloned());
    let calendar = bytes_of(state.calendar().clone());
    let texts = |lease: &Lease| (lease.name.clone(), lease.project_id.clone(), lease.user_id.clone());
    let parts = json!({
        "all": all,
        "lease records": records,
        "reservations in them": bytes_of_all(reservations().cloned()),
        "bindings in them": bytes_of_all(reservations().flat_map(|one| one.bindings.clone())),
        "events in them": bytes_of_all(leases().flat_map(|lease| lease.events.clone())),
        "names, projects and users in them": bytes_of_all(leases().map(texts)),
        "keys in them": bytes_of_all(leases().map(|lease| lease.key.clone())),
        "calendar": calendar,
        "journal": journal,
        "hosts": hosts,
        "tables, hashes and indexes": all.saturating_sub(records + journal + hosts + calendar),
    });
    json!({
        "open_s": open_s,
        "cpu_s": cpu_s,
        "read_s": read_s,
        "decode_s": decoding_s(file),
        "resident_mb": resident_mb,
        "hash": format!("{:032x}", state.hash()),
        "bytes": parts,
    })
}

/// How long decoding the leases of a snapshot takes, each given up at once.
fn decoding_s(file: &Path) -> f64 {
    let disk = SnapshotDisk { file: file.to_owned(), reading: Arc::default() };
    let (view, mut from, mut decoding_s) = (disk.freeze(), Vec::new(), 0.0);
    loop {
        let rows = view.scan(&from, 1024).unwrap();
        let leases: Vec<&Row> = rows.iter().filter(|(key, _)| key.first() == Some(&keys::LEASE)).collect();
        let begin = Instant::now();
        for (_, value) in leases {
            // A byte of the version comes first.
            black_box(rmp_serde::from_slice::<Lease>(&value[1..]).unwrap());
        }
        decoding_s += begin.elapsed().as_secs_f64();
        let Some((last, _)) = rows.last() else { return decoding_s };
        from.clone_from(last);
    }
}

/// What values take, each in its place in one list.
fn bytes_of_all<T>(values: impl Iterator<Item = T>) -> usize {
    let mut all: Vec<T> = values.collect();
    all.shrink_to_fit();
    bytes_of(all)
}

/// What a value takes, but for its place: what is given back when it goes.
fn bytes_of<T>(value: T) -> usize {
    let with = ALLOCATED.allocated();
    drop(value);
    with - ALLOCATED.allocated()
}

/// What this process has used of the processors, beginning and reading the file included.
fn processor_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks = |place: usize| after_name.split_whitespace().nth(place).unwrap().parse::<f64>().unwrap();
    // Fields 14 and 15 of the whole line, in ticks of 10 ms.
    (ticks(11) + ticks(12)) / 100.0
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kb: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kb / 1024.0
}

/// Rows of a snapshot file, read once from the front.
struct SnapshotDisk {
    file: PathBuf,
    /// Seconds that reading took.
    reading: Arc<Mutex<f64>>,
}

impl Disk for SnapshotDisk {
    fn write(&self, _: Vec<RowChange>, _: bool) -> DiskFuture<()> {
        Box::pin(std::future::ready(Err(error("write", "a snapshot is only read"))))
    }

    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        Err(error("get", "a snapshot is only read from the front"))
    }

    fn freeze(&self) -> Arc<dyn FrozenView> {
        let file = BufReader::with_capacity(1 << 20, File::open(&self.file).unwrap());
        let chunks = Chunks { file, writer: SnapshotWriter::default(), ahead: Vec::new() };
        Arc::new(FromFront { chunks: Mutex::new(chunks), reading: self.reading.clone() })
    }
}

struct Chunks {
    file: BufReader<File>,
    writer: SnapshotWriter,
    /// Rows read and not yet given, the next one last.
    ahead: Vec<Row>,
}

struct FromFront {
    chunks: Mutex<Chunks>,
    reading: Arc<Mutex<f64>>,
}

impl FrozenView for FromFront {
    fn scan(&self, from: &[u8], limit: usize) -> Result<Vec<Row>, DiskError> {
        let begin = Instant::now();
        let mut chunks = self.chunks.lock().unwrap();
        let mut rows = Vec::new();
        while rows.len() < limit {
            if chunks.ahead.is_empty() {
                let mut length = [0; 8];
                if chunks.file.read_exact(&mut length).is_err() {
                    break;
                }
                let mut chunk = vec![0; u64::from_be_bytes(length) as usize];
                chunks.file.read_exact(&mut chunk).map_err(|problem| error("read", &problem.to_string()))?;
                chunks.ahead = chunks.writer.accept(&chunk).map_err(|problem| error("read", &problem.to_string()))?;
                chunks.ahead.reverse();
            }
            let Some(row) = chunks.ahead.pop() else { continue };
            assert!(row.0.as_slice() >= from, "rows are asked for from the front");
            rows.push(row);
        }
        *self.reading.lock().unwrap() += begin.elapsed().as_secs_f64();
        Ok(rows)
    }
}

fn error(what: &'static str, cause: &str) -> DiskError {
    DiskError { what, cause: cause.to_owned(), damaged: false }
}
