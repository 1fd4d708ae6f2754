//! Planning at scale: `make bench-plan REPORT=f.json`, or `bench_plan --help`.
//!
//! Builds a cloud of hosts and leases over two years through the real commands, and says how long planning, applying,
//! asking and restarting take, each beside its budget. A measuring tool: it reads the clock, the disk and the allocator,
//! which the ledger itself never does.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, missing_docs)]

mod archived;
mod arguments;
mod measure;
mod plot;
mod quotas;
mod report;
mod restart;
mod scarce;
mod whole_hosts;
mod world;

use cap::Cap;
use clap::Parser;
use mimalloc::MiMalloc;

/// The allocator of a node. Counts what is allocated, without a limit.
#[global_allocator]
static ALLOCATED: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

fn main() {
    let arguments = arguments::Arguments::parse();
    if let Some(file) = &arguments.restart {
        println!("{}", restart::open(file));
        return;
    }
    let mut world = world::World::new(arguments.hosts, arguments.seed);
    let mut stages = Vec::new();
    for leases in arguments.stages() {
        world.grow(leases);
        let mut rows = measure::all(&world, arguments.samples as usize);
        rows.extend(restart::measure(&world));
        rows.extend(archived::measure(leases, arguments.seed));
        let load = world.load();
        rows.extend(whole_hosts::measure(&mut world, arguments.samples as usize));
        rows.extend(quotas::all(&mut world, arguments.samples as usize));
        let stage = report::Stage { hosts: arguments.hosts, leases: world.state.leases_len(), load, rows };
        report::print(&stage);
        stages.push(stage);
    }
    report::print_growth(&stages);
    if let Some(file) = &arguments.report {
        report::write(file, &arguments, &stages);
    }
}
