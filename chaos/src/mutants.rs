//! Planted bugs and who must find them (chaos-design §8). `leasehold-chaos mutants` runs each over seeds, one process a seed,
//! until a checker that is meant for it finds it; the same seed without the bug must pass that checker.
//!
//! The bugs themselves stand where the rule stands that they break; look for `mutant!("M09")`. Here is only the list.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::child::child;
use crate::picture::promises::PROMISED;
use crate::plan::Profile;
use crate::report::{Report, Verdict};

/// Says in a process which bug is planted in it.
pub const VARIABLE: &str = "LEASEHOLD_MUTANT";

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mutant {
    /// Its number in chaos-design §8; `N` are of decisions that came later, `C` of what checkers did not see, `H` of hosts and cells, `W` of
    /// what waits for room, `E` of ended leases that left memory, `Y` of who gives way, `Z` of what
    /// expires, `J` of who joins others.
    pub id: &'static str,
    /// What is wrong.
    pub bug: &'static str,
    /// Any of these checkers must find it.
    pub killers: &'static [&'static str],
    /// What happens in the runs that look for it.
    pub profile: Profile,
    /// It shows late in the life of leases: its runs are twice as long.
    pub late: bool,
}

impl Mutant {
    const fn late(self) -> Mutant {
        Mutant { late: true, ..self }
    }
}

const fn mutant(id: &'static str, bug: &'static str, killers: &'static [&'static str], profile: Profile) -> Mutant {
    Mutant { id, bug, killers, profile, late: false }
}

/// All of them. M03 needs a real disk and is not here.
pub const MUTANTS: [Mutant; 74] = [
    mutant("M01", "append without sync", &["S1", "M1"], Profile::Power),
    mutant("M02", "vote without sync", &["M1", "H1"], Profile::Power),
    mutant("M04", "local read without read index", &["witness", "search"], Profile::Links),
    mutant("M05", "read reuses an index confirmed before the call", &["witness"], Profile::Busy),
    mutant("M06", "client retry without key", &["witness"], Profile::Links),
    mutant("M07", "key table left out of the snapshot", &["witness", "H1"], Profile::Snapshots),
    mutant("M08", "closed intervals: end == start collides", &["witness"], Profile::Swarm),
    mutant("M09", "plan not re-verified in apply", &["L1"], Profile::Busy),
    mutant("M10", "hash-map order in apply", &["H1"], Profile::Busy),
    mutant("M11", "no fence: an old leader keeps acting", &["A4"], Profile::Links),
    mutant("M12", "successor skips the wait for the old lease", &["A4"], Profile::Links),
    mutant("M13", "cancel acked before the fence", &["A3"], Profile::Busy),
    mutant("M14", "timers dropped on leadership change", &["A2"], Profile::Links),
    mutant("M15", "outcome recorded before the call", &["A5"], Profile::Swarm),
    mutant("M16", "intent not committed before the call", &["A6"], Profile::Swarm),
    mutant("M17", "409 on unshelve read as failure", &["A5", "A9"], Profile::Cloud),
    mutant("M18", "202 taken as done", &["A5", "A8"], Profile::Cloud),
    mutant("M19", "token opened before hold raised", &["A7"], Profile::Swarm),
    mutant("M20", "wall clock instead of ledger tick in apply", &["H1"], Profile::Swarm),
    mutant("M21", "clock step back replays starts", &["A1", "M1"], Profile::Clocks),
    mutant("M22", "orphan cleanup deletes by prefix only", &["A8"], Profile::Swarm),
    mutant("M23", "no back-off on 503", &["A9"], Profile::Cloud),
    // What is due is derived and read by apply, so that replicas part before a start is late.
    mutant("M24", "snapshot drops the pending timers", &["A2", "H1"], Profile::Snapshots),
    mutant("M25", "purge before the snapshot is synced", &["S1"], Profile::Power),
    mutant("M26", "corrupt log entry truncated silently", &["S2"], Profile::Power),
    mutant("M27", "1 kB leaked per election", &["B1"], Profile::Links),
    mutant("M28", "pre-vote and quorum-loss probe off", &["V1"], Profile::Links),
    mutant("N01", "staging not booked", &["witness", "L1"], Profile::Busy),
    mutant("N02", "plan verified without zone and traits", &["witness"], Profile::Busy),
    mutant("N03", "stale plan stored as the answer", &["witness"], Profile::Busy),
    mutant("N04", "an offer that is over is claimed", &["O1"], Profile::Busy),
    mutant("N05", "lists of leases have unclaimed offers", &["witness", "search"], Profile::Busy),
    mutant("N11", "what is due in the next seconds is done at once", &["A1"], Profile::Busy),
    mutant("N12", "a lease that is being started is not told", &["A10"], Profile::Swarm),
    mutant("N13", "a subscription that goes on misses an index", &["watch"], Profile::Links),
    mutant("N14", "gRPC leaves a change out where a stream goes on", &["follow"], Profile::Links),
    mutant("N15", "a lease that is not there is an internal error", &["R1"], Profile::Swarm),
    mutant("N16", "snapshots are not taken", &["V2"], Profile::Snapshots),
    mutant("N17", "a write waits for every member", &["V3"], Profile::Load),
    mutant("N18", "too much is left without an answer", &["V4"], Profile::Load),
    mutant("N20", "a change that comes too late is said to be too early", &["reasons"], Profile::Busy),
    mutant("N40", "a lease that lacked a host says so for ever", &["R42"], Profile::Power),
    // New leases are the witness's, those that move R42's.
    mutant("N41", "hosts that are down are booked", &["witness", "R42"], Profile::Power),
    mutant(
        "N42",
        "what a peer expects clocks to show is believed, also where its machine stood still",
        &["V1", "V2"],
        Profile::Links,
    ),
    mutant("C01", "after its first call an errand does not say whose its calls are", &["signed"], Profile::Swarm),
    mutant("C02", "the tasks of a term that is over are not stopped", &["A4"], Profile::Links),
    mutant("C03", "a step whose call failed once is told as failed", &["A5"], Profile::Cloud),
    mutant("C04", "a plan that does not fit is taken, and its host said to be overcommitted", &["L1"], Profile::Busy),
    mutant("C05", "who may use a flavor of somebody else is tidied up", &["A8"], Profile::Swarm),
    mutant("C06", "second images of somebody else's servers are tidied up", &["A8"], Profile::Swarm),
    mutant("C07", "who waits for the cloud looks without a pause", &["A9"], Profile::Swarm),
    mutant("C08", "a service that asks for a pause is called again by what is no server's", &["A9"], Profile::Cloud),
    mutant("H01", "a host that is closed to bookings is booked", &["witness"], Profile::Hosts),
    mutant("H02", "what was made for a host stays when it goes", &["A8"], Profile::Hosts),
    mutant("H03", "a host goes though it is booked", &["L1"], Profile::Hosts),
    mutant("H28", "what is declared not to be had of a host is shown, and nobody heeds it", &["L1"], Profile::Hosts),
    mutant("H29", "what a host is to have from a time on is promised at once", &["L1"], Profile::Hosts),
    mutant("H04", "a list that lacks a silent cell is taken for whole", &["A5"], Profile::Cloud),
    mutant("N21", "all or nothing books what fits and says nothing of the rest", &["series"], Profile::Series),
    mutant("N22", "the deletion of a series forgets one lease", &["series"], Profile::Series),
    mutant("N23", "best effort leaves out all behind the first without room", &["series"], Profile::Series),
    mutant("N24", "what fits is counted for the first second of a window only", &["witness"], Profile::Series),
    mutant("Q01", "quota is looked at when planning only", &["quota"], Profile::Series),
    mutant("Q02", "what a change adds is not held against the quota", &["quota"], Profile::Series),
    mutant("Q03", "what a deleted lease had stays used", &["quota"], Profile::Series),
    mutant("E01", "lists forget the leases that left memory", &["witness", "search"], Profile::Busy),
    mutant("E02", "the deletion of a series forgets what left memory", &["series"], Profile::Series).late(),
    mutant("W01", "what waits for room waits for ever", &["W1"], Profile::Busy),
    mutant("Y01", "leases give way that did not allow it", &["Y1"], Profile::Busy),
    mutant("Z01", "what is in use is counted while its tokens are open", &["Z1"], Profile::Busy),
    mutant("Z02", "servers that are parked count for nothing at the expiry", &["Z1"], Profile::Busy),
    mutant("J01", "leases join others on hosts that nobody has in use", &["J1"], Profile::Hosts),
    mutant("J02", "leases move though no host becomes free by it", &["J1"], Profile::Busy),
    mutant("N19", "a damaged state stops the node for good", &["V5"], Profile::Disks),
];

/// The bug of this id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Mutant> {
    MUTANTS.iter().find(|mutant| mutant.id == id)
}

/// The names of all of them.
pub fn ids() -> impl Iterator<Item = &'static str> {
    MUTANTS.iter().map(|mutant| mutant.id)
}

/// How far to look.
#[derive(Clone, Debug)]
pub struct Search {
    /// Only these; empty: all.
    pub only: Vec<String>,
    /// Simulated seconds with faults of each run.
    pub seconds: u64,
    /// Seeds at most.
    pub seeds: u64,
    /// Processor time for one bug at most.
    pub cpu_max: Duration,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// By a checker that is meant for it.
    Killed,
    /// Found, but by others only.
    WrongChecker,
    /// Not found.
    Survived,
}

/// A row of the matrix.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which.
    pub mutant: Mutant,
    /// What became of it.
    pub fate: Fate,
    /// The checker, the seed, and the simulated second of its first finding there.
    pub killed_by: Option<(String, u64, f64)>,
    /// What was found in how many seeds, by checker.
    pub found: BTreeMap<String, u64>,
    /// Seeds run.
    pub seeds: u64,
    /// Runs that did not end by themselves or told nothing.
    pub broken: u64,
    /// Processor seconds, those of runs without the bug included.
    pub cpu_s: f64,
}

/// Longest run of one process by the clock on the wall; a bug may make it run for ever.
const PATIENCE: Duration = Duration::from_secs(180);

/// What one run showed: the first finding of each checker, in simulated seconds.
struct Run {
    findings: BTreeMap<String, f64>,
    cpu_s: f64,
    broken: bool,
}

/// Runs every one, prints each row as it is known; `true` if all were killed.
///
/// # Errors
/// When processes cannot be started, or an unmutated run finds something.
pub fn all(search: &Search, report: Option<&PathBuf>) -> Result<bool> {
    let wanted: Vec<&Mutant> =
        MUTANTS.iter().filter(|mutant| search.only.is_empty() || search.only.iter().any(|id| id == mutant.id)).collect();
    ensure!(search.only.iter().all(|id| find(id).is_some()), "there is no such mutant: {:?}", search.only);
    let profiles: BTreeSet<Profile> = wanted.iter().map(|mutant| mutant.profile).collect();
    let mut control = BTreeMap::new();
    let mut clean = true;
    for profile in profiles {
        for seed in 1..=2 {
            let found: Vec<String> = judged(&mut control, profile, seed, search.seconds)?.into_iter().collect();
            println!("control {profile} seed {seed}: {}", if found.is_empty() { "passes".to_owned() } else { found.join(" ") });
            clean &= found.is_empty();
        }
    }
    let mut rows = Vec::new();
    for mutant in wanted {
        let row = hunt(mutant, search, &mut control)?;
        print!("{}", told(&row));
        rows.push(row);
    }
    println!("\n{}", matrix(&rows));
    if let Some(folder) = report {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("mutants.json"), serde_json::to_vec_pretty(&rows)?)?;
    }
    let blind = if search.only.is_empty() { blind(&rows) } else { BTreeSet::new() };
    if !blind.is_empty() {
        println!("checkers that found no planted bug meant for them: {}", blind.iter().copied().collect::<Vec<_>>().join(" "));
    }
    let alive = rows.iter().filter(|row| row.fate != Fate::Killed).count();
    println!(
        "{} of {} killed{}",
        rows.len() - alive,
        rows.len(),
        if clean { "" } else { "; runs without a bug found something, too" }
    );
    Ok(alive == 0 && clean && blind.is_empty())
}

/// Checkers that found nothing meant for them in all of these rows: nothing shows that they can see.
fn blind(rows: &[Row]) -> BTreeSet<&'static str> {
    let sees = |check: &str| rows.iter().any(|row| row.mutant.killers.contains(&check) && row.found.contains_key(check));
    PROMISED.iter().copied().filter(|check| !sees(check)).collect()
}

/// Runs without a bug, by profile, seed and seconds: what they found.
type Control = BTreeMap<(Profile, u64, u64), BTreeSet<String>>;

fn judged(control: &mut Control, profile: Profile, seed: u64, seconds: u64) -> Result<BTreeSet<String>> {
    if let Some(found) = control.get(&(profile, seed, seconds)) {
        return Ok(found.clone());
    }
    let run = run(None, profile, seed, seconds)?;
    ensure!(!run.broken, "a run without a bug did not end ({profile}, seed {seed})");
    let found: BTreeSet<String> = run.findings.into_keys().collect();
    control.insert((profile, seed, seconds), found.clone());
    Ok(found)
}

fn hunt(mutant: &Mutant, search: &Search, control: &mut Control) -> Result<Row> {
    let seconds = if mutant.late { 2 * search.seconds } else { search.seconds };
    let (mut found, mut killed_by) = (BTreeMap::new(), None);
    let (mut seeds, mut broken, mut cpu_s) = (0, 0, 0.0);
    for seed in 1..=search.seeds {
        if cpu_s >= search.cpu_max.as_secs_f64() || killed_by.is_some() {
            break;
        }
        let run = run(Some(mutant.id), mutant.profile, seed, seconds)?;
        seeds += 1;
        broken += u64::from(run.broken);
        cpu_s += run.cpu_s;
        if run.findings.is_empty() {
            continue;
        }
        // What the run shows without the bug is not the bug's.
        let also = judged(control, mutant.profile, seed, seconds)?;
        for (check, at_s) in run.findings.iter().filter(|(check, _)| !also.contains(*check)) {
            *found.entry(check.clone()).or_default() += 1;
            if mutant.killers.contains(&check.as_str()) && killed_by.is_none() {
                killed_by = Some((check.clone(), seed, *at_s));
            }
        }
    }
    let fate = match (&killed_by, found.is_empty()) {
        (Some(_), _) => Fate::Killed,
        (None, false) => Fate::WrongChecker,
        (None, true) => Fate::Survived,
    };
    Ok(Row { mutant: *mutant, fate, killed_by, found, seeds, broken, cpu_s })
}

/// One process with one seed.
fn run(mutant: Option<&str>, profile: Profile, seed: u64, seconds: u64) -> Result<Run> {
    let folder = std::env::temp_dir().join(format!("leasehold-mutants-{}", std::process::id()));
    let mut command = child()?;
    command.args(["run", "sim", "--seed", &seed.to_string(), "--seconds", &seconds.to_string()]);
    command.args(["--profile", &profile.to_string(), "--report"]).arg(&folder).env_remove(VARIABLE);
    if let Some(id) = mutant {
        command.env(VARIABLE, id);
    }
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let code = loop {
        if let Some(status) = child.try_wait()? {
            break status.code();
        }
        if began.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let path = folder.join("report.json");
    let told = matches!(code, Some(0..=2)) && path.exists();
    let outcome = if told {
        let report: Report = serde_json::from_slice(&std::fs::read(&path)?).with_context(|| format!("{}", path.display()))?;
        let mut findings = BTreeMap::new();
        for finding in &report.findings {
            let at_s = finding.at_ns as f64 / 1e9;
            let first = findings.entry(finding.check.clone()).or_insert(at_s);
            *first = first.min(at_s);
        }
        // Checkers judge the whole: when it went wrong stands in their evidence.
        for judgement in report.board.judgements.iter().filter(|one| one.verdict == Verdict::Violation) {
            findings.entry(judgement.check.clone()).or_insert(report.simulated_s);
        }
        Run { findings, cpu_s: report.cpu_s, broken: false }
    } else {
        Run { findings: BTreeMap::new(), cpu_s: began.elapsed().as_secs_f64(), broken: true }
    };
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(outcome)
}

fn told(row: &Row) -> String {
    let Row { mutant, seeds, cpu_s, broken, .. } = row;
    let fate = match (&row.killed_by, row.fate) {
        (Some((check, seed, at_s)), _) => format!("killed by {check}, seed {seed}, at {at_s:.1} s"),
        (None, Fate::WrongChecker) => format!("found only by {}", row.found.keys().cloned().collect::<Vec<_>>().join(" ")),
        (None, _) => "SURVIVED".to_owned(),
    };
    let mut text = format!("{} {}: {fate} ({seeds} seeds, {cpu_s:.0} CPU s", mutant.id, mutant.bug);
    if *broken > 0 {
        text += &format!(", {broken} broken runs");
    }
    text + ")\n"
}

/// `K`: found by a checker meant for it; `x`: by another; `.`: not found by one that is meant for it.
fn matrix(rows: &[Row]) -> String {
    let named = rows.iter().flat_map(|row| row.mutant.killers.iter().map(|check| (*check).to_owned()));
    let checks: BTreeSet<String> = named.chain(rows.iter().flat_map(|row| row.found.keys().cloned())).collect();
    let mut text = format!("{:4}", "");
    for check in &checks {
        text += &format!(" {check:>4}");
    }
    for row in rows {
        text += &format!("\n{:4}", row.mutant.id);
        for check in &checks {
            let meant = row.mutant.killers.contains(&check.as_str());
            let sign = match (meant, row.found.contains_key(check)) {
                (true, true) => "K",
                (false, true) => "x",
                (true, false) => ".",
                (false, false) => "",
            };
            let width = check.len().max(4);
            text += &format!(" {sign:>width$}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_checker_has_a_bug_to_find() {
        let meant: BTreeSet<&str> = MUTANTS.iter().flat_map(|one| one.killers).copied().collect();
        assert_eq!(meant, BTreeSet::from(PROMISED));
    }

    #[test]
    fn a_checker_that_finds_nothing_meant_for_it_is_blind() {
        let row = |mutant: &Mutant| {
            let found = mutant.killers.iter().map(|check| ((*check).to_owned(), 1)).collect();
            let (fate, killed_by) = (Fate::Killed, None);
            Row { mutant: *mutant, fate, killed_by, found, seeds: 1, broken: 0, cpu_s: 1.0 }
        };
        let mut rows: Vec<Row> = MUTANTS.iter().map(row).collect();
        assert!(blind(&rows).is_empty());
        // Found where it was not meant to be says nothing for it.
        for row in rows.iter_mut().filter(|row| row.mutant.killers.contains(&"A7")) {
            row.found = BTreeMap::from([("L1".to_owned(), 1)]);
        }
        assert_eq!(blind(&rows), BTreeSet::from(["A7"]));
    }

    /// The bugs of chaos-design §8 that a simulation can show, and who must find each there. Ours may name more.
    #[test]
    fn every_bug_of_the_design_is_there_and_its_killer_there_is_one_here() {
        let design: [(&str, &[&str]); 27] = [
            ("M01", &["S1"]),
            ("M02", &["M1", "H1"]),
            ("M04", &["witness", "search"]),
            ("M05", &["witness"]),
            ("M06", &["witness"]),
            ("M07", &["witness", "H1"]),
            ("M08", &["witness"]),
            ("M09", &["L1"]),
            ("M10", &["H1"]),
            ("M11", &["A4"]),
            ("M12", &["A4"]),
            ("M13", &["A3"]),
            ("M14", &["A2"]),
            ("M15", &["A5"]),
            ("M16", &["A6"]),
            ("M17", &["A5", "A9"]),
            ("M18", &["A5", "A8"]),
            ("M19", &["A7"]),
            ("M20", &["H1"]),
            ("M21", &["A1", "M1"]),
            ("M22", &["A8"]),
            ("M23", &["A9"]),
            ("M24", &["A2"]),
            ("M25", &["S1"]),
            ("M26", &["S2"]),
            ("M27", &["B1"]),
            ("M28", &["V1"]),
        ];
        for (id, killers) in design {
            let ours = find(id).map_or(&[][..], |mutant| mutant.killers);
            assert!(killers.iter().all(|killer| ours.contains(killer)), "{id}: {ours:?}");
        }
    }

    #[test]
    fn every_id_is_there_once_and_names_its_killers() {
        let ids: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.id).collect();
        assert_eq!(ids.len(), MUTANTS.len());
        assert!(MUTANTS.iter().all(|mutant| !mutant.killers.is_empty()));
        assert!(find("M09").is_some() && find("M03").is_none());
    }

    /// A bug in the list that stands nowhere would survive for another reason than a blind checker.
    #[test]
    fn every_bug_is_planted_somewhere_and_every_planted_bug_is_listed() {
        let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the package")).join("..");
        let mut folders: Vec<PathBuf> = ["ledger/src", "node/src", "chaos/src"].iter().map(|part| root.join(part)).collect();
        let (mut planted, opening) = (BTreeSet::new(), concat!("mutant", "!(\""));
        while let Some(folder) = folders.pop() {
            for item in std::fs::read_dir(folder).expect("a folder of sources") {
                let path = item.expect("an item").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("mutants.rs") {
                    let text = std::fs::read_to_string(&path).expect("a source");
                    planted.extend(text.match_indices(opening).map(|(at, _)| text[at + opening.len()..][..3].to_owned()));
                }
            }
        }
        let listed: BTreeSet<String> = MUTANTS.iter().map(|mutant| mutant.id.to_owned()).collect();
        assert_eq!(planted, listed);
    }
}
