//! The simulation as a program: one seed is one run, and plans that once failed pass.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// Runs the program; exit code and what it printed.
fn chaos(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_leasehold-chaos")).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

fn hash(text: &str) -> &str {
    text.split(" hash ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("no hash in {text}"))
}

#[test]
fn one_seed_is_one_run_in_two_processes_and_another_seed_is_another() {
    let mut hashes = Vec::new();
    for seed in ["2", "5", "11"] {
        let run = || chaos(&["run", "sim", "--seed", seed, "--seconds", "60"]);
        let ((_, first), (_, second)) = (run(), run());
        assert_eq!(hash(&first), hash(&second), "seed {seed}");
        hashes.push(hash(&first).to_owned());
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 3);
}

#[test]
fn a_wire_run_passes_and_replays_to_the_same_hash() {
    let run = |level: &str| chaos(&["run", "sim", "--seed", "5", "--seconds", "90", "--level", level]);
    let ((code, first), (_, second)) = (run("wire"), run("wire"));
    assert_eq!(code, 0, "{first}");
    assert_eq!(hash(&first), hash(&second));
    // Through both edges, and it is another run than one of messages.
    let doors = first.lines().find_map(|line| line.strip_prefix("asked through ")).unwrap_or_else(|| panic!("{first}"));
    assert!(["grpc", "library", "rest"].iter().all(|door| doors.contains(door)), "{doors}");
    let (_, carried) = run("message");
    assert!(hash(&carried) != hash(&first) && !carried.contains("asked through"), "{carried}");
}

#[test]
fn plans_that_once_failed_pass() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("regressions");
    let mut seen = 0;
    for item in std::fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        let (code, text) = chaos(&["replay", path.to_str().unwrap()]);
        assert_eq!(code, 0, "{}: {text}", path.display());
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn disks_that_lie_about_their_syncs_are_found_out() {
    // One node that loses its power again and again.
    let (code, text) = chaos(&["run", "sim", "--seed", "111", "--seconds", "120", "--planted", "lying-sync"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.starts_with("leasehold-chaos run sim --seed 111 --seconds 120"), "{text}");
    assert!(text.contains("H1 Violation") && text.contains("S1 Violation"), "{text}");
    assert_eq!(chaos(&["run", "sim", "--seed", "111", "--seconds", "120"]).0, 0);
}

#[test]
fn servers_that_wake_early_because_all_clocks_err_alike_are_found() {
    let plan = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("planted/all-clocks-ahead.json");
    let plan = plan.to_str().unwrap();
    let (code, text) = chaos(&["replay", plan, "--planted", "wrong-majority"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("A1 Violation"), "{text}");
    // The same with only one clock ahead is within the promise.
    assert_eq!(chaos(&["replay", plan]).0, 0);
}

#[test]
fn a_cluster_that_lost_the_logs_of_a_majority_refuses_and_one_that_hides_it_is_found() {
    let plan = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("planted/majority-of-logs-lost.json");
    let (code, text) = chaos(&["replay", plan.to_str().unwrap()]);
    assert!(code == 0 || code == 2, "{text}");
    assert!(text.contains("S2 Pass"), "{text}");
    // Planted: the log ends where it is damaged, and nobody is told.
    let output = Command::new(env!("CARGO_BIN_EXE_leasehold-chaos"))
        .args(["replay", plan.to_str().unwrap()])
        .env("LEASEHOLD_MUTANT", "M26")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("S2 Violation"), "{text}");
}

#[test]
fn a_kept_run_is_judged_again_alike() {
    let folder = std::env::temp_dir().join(format!("leasehold-chaos-check-{}", std::process::id()));
    let kept = folder.to_str().unwrap();
    let (code, said) = chaos(&["run", "sim", "--seed", "3", "--seconds", "30", "--report", kept]);
    let (again, told) = chaos(&["check", kept]);
    let board = |text: &str| text.lines().find(|line| line.starts_with("checked: ")).map(str::to_owned);
    assert_eq!(code, again, "{told}");
    assert!(board(&said).is_some());
    assert_eq!(board(&said), board(&told));
    // A lost acknowledgement is seen in the files, too.
    let run = folder.join("run.json");
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&run).unwrap()).unwrap();
    value["finals"][0]["leases"] = serde_json::json!({});
    std::fs::write(&run, value.to_string()).unwrap();
    let (code, told) = chaos(&["check", kept]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("S1 Violation"), "{told}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn fresh_seeds_leave_a_picture_without_being_asked_for_one() {
    let folder = std::env::temp_dir().join(format!("leasehold-chaos-for-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold-chaos"));
    let output = command.current_dir(&folder).args(["run", "sim", "--for", "1s", "--seconds", "10"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // So short a run may be below its goals.
    assert!(matches!(output.status.code(), Some(0 | 2)), "{:?}: {said}", output.status);
    assert!(said.contains("the picture is chaos-report/index.html"), "{said}");
    let index = std::fs::read_to_string(folder.join("chaos-report/index.html"));
    let index = index.unwrap_or_else(|error| panic!("{error}: {said}"));
    let seed = index.split("href=\"").nth(1).and_then(|rest| rest.split('/').next());
    let seed = seed.unwrap_or_else(|| panic!("no seed in {index}: {said}"));
    assert!(folder.join("chaos-report").join(seed).join("report.html").is_file(), "{index}: {said}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn seeds_that_are_run_twice_are_the_same() {
    let (code, said) = chaos(&["run", "sim", "--seeds", "5..6", "--seconds", "30", "--twice"]);
    assert!(code == 0 && said.contains("1 seeds in ") && said.contains(" s, each twice: "), "{said}");
    assert_eq!(said.matches("seed 5: pass").count(), 2, "{said}");
}

#[test]
fn a_wrong_command_line_is_told_as_such() {
    let wrong: [&[&str]; 6] = [
        &["run", "sim", "--seeds", "5..5"],
        &["run", "sim"],
        &["run", "sim", "--seeds", "5..6", "--jobs", "0"],
        &["run", "sim", "--for", "1y"],
        &["mutants", "--only", "M99"],
        &["shrink"],
    ];
    for arguments in wrong {
        assert_eq!(chaos(arguments).0, 64, "{arguments:?}");
    }
    assert_eq!(chaos(&["replay", "/nowhere/at/all.json"]).0, 3);
}

#[test]
fn tenants_whose_tokens_ended_log_in_again() {
    let plan = serde_json::json!({
        "seed": 3, "nodes": 3,
        "faults": [{"at_ms": 1_000, "fault": {"kind": "expire_tokens"}}],
        "sim": {"safety_ms": 60_000, "clients": 4},
    });
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("expired-tokens.json");
    std::fs::write(&path, plan.to_string()).unwrap();
    let (code, text) = chaos(&["replay", path.to_str().unwrap()]);
    // So few operations do not reach the goals.
    assert!(code == 0 || code == 2, "{text}");
    let servers = text.split("\"tenant\": ").nth(1).and_then(|rest| rest.split(['}', ',']).next());
    assert!(servers.is_some_and(|servers| servers.parse::<u32>().unwrap() > 0), "no tenant has booted a server: {text}");
}
