//! How fast planning, applying and loading are: `cargo run --release -p leasehold-ledger --example speed [hosts] [leases]`.
//!
//! A measuring tool, so it reads the clock and prints, which the ledger itself never does.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Instant;

use futures::executor::block_on;
use leasehold_ledger::apply::apply;
use leasehold_ledger::command::{
    BeforeEndWish, Command, CreateLease, Entry, LeaseWish, RegisterHost, ReservationWish, StartWish,
};
use leasehold_ledger::model::*;
use leasehold_ledger::plan::{NoPlan, Overlay, plan_create};
use leasehold_ledger::state::State;
use leasehold_ledger::storage::Store;
use leasehold_ledger::storage::memory::MemoryDisk;
use uuid::Uuid;

const ORIGIN_S: u32 = 216_000_000;
const YEAR_S: u64 = 365 * 24 * 3600;

/// A seeded generator (splitmix64), so that every run does the same.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn host(number: u64) -> RegisterHost {
    let capacity = Amounts { vcpus: 128, memory_mb: 512 * 1024, disk_gb: 4000, slots: 255 };
    let description = HostDescription {
        hypervisor_hostname: format!("host-{number}"),
        service_name: format!("host-{number}"),
        root_provider: Uuid::from_u128(u128::from(number)),
        hypervisor_type: "QEMU".to_owned(),
        hypervisor_version: 8,
        cpu_info: "{}".to_owned(),
        vcpus: 64,
        memory_mb: 512 * 1024,
        local_gb: 4000,
        zone: Some("nova".to_owned()),
        pool: PoolKind::Dedicated,
        anchor_budget: 255,
        memory_grain_mb: 0,
        anchor: Anchor::Memory,
    };
    let observation =
        Observation { capacity, firm: Amounts::default(), max_unit: capacity, traits: Default::default(), up: true };
    RegisterHost { description, observation, properties: Default::default() }
}

fn wish(random: &mut Random, amount: u32) -> LeaseWish {
    let start = ORIGIN_S + 3600 + random.below(2 * YEAR_S) as u32;
    let instance = InstanceWish {
        vcpus: 1 << random.below(4),
        memory_mb: 4096,
        disk_gb: 20,
        amount,
        affinity: None,
        zone: None,
        pool: None,
        required_traits: Default::default(),
        forbidden_traits: Default::default(),
        requirements: Vec::new(),
        resource_properties: String::new(),
    };
    LeaseWish {
        name: "bench".to_owned(),
        project_id: ProjectId(format!("project-{}", random.below(100))),
        user_id: UserId("u".to_owned()),
        start: StartWish::At(Seconds(start)),
        end: Seconds(start + 3600 + random.below(60 * 24 * 3600) as u32),
        before_end: BeforeEndWish::SecondsBefore(3600),
        reservations: vec![ReservationWish {
            resource: ResourceWish::Instance(instance),
            staging: None,
            on_end: OnEnd::Delete,
            servers: Default::default(),
        }],
    }
}

fn percentiles(name: &str, mut ns: Vec<u128>) {
    ns.sort_unstable();
    let at = |share: f64| ns[((ns.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    let mean = ns.iter().sum::<u128>() as f64 / ns.len() as f64 / 1000.0;
    println!("{name}: n={} mean={mean:.1} us p50={:.1} p99={:.1} max={:.1}", ns.len(), at(0.5), at(0.99), at(1.0));
}

fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).map(|one| one.parse().unwrap()).collect();
    let (hosts, leases) = (arguments.first().copied().unwrap_or(1_000), arguments.get(1).copied().unwrap_or(100_000));
    let now = Seconds(ORIGIN_S).timestamp();
    let (mut state, mut random) = (State::default(), Random(1));
    let store = Store::new(Arc::new(MemoryDisk::default()));
    let send = |state: &mut State, command: Command, key: Option<RequestKey>| {
        let entry = Entry { key, proposed_at: now, command };
        let begin = Instant::now();
        let applied = apply(state, &entry);
        let took = begin.elapsed().as_nanos();
        applied.outcome.as_ref().unwrap();
        block_on(store.commit(vec![applied.delta], b"", false)).unwrap();
        took
    };
    for number in 0..hosts {
        send(&mut state, Command::RegisterHost(Box::new(host(number))), None);
    }
    let (mut plans, mut applies, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    let mut overlay = Overlay::default();
    let mut id = 1u128;
    let mut uuid = move || {
        id += 1;
        Uuid::from_u128(id << 64 | id)
    };
    let total = Instant::now();
    for number in 0..leases {
        let amount = 1 + random.below(6) as u32;
        let wish = wish(&mut random, amount);
        let ids = [ReservationId(uuid())];
        let begin = Instant::now();
        let planned = plan_create(&state, &overlay, &wish, &ids, now);
        let took = begin.elapsed().as_nanos();
        let planned = match planned {
            Ok(planned) => planned,
            Err(NoPlan::NoRoom(_)) => {
                refusals.push(took);
                continue;
            }
            Err(NoPlan::Rejected(rejection)) => panic!("{rejection}"),
        };
        let booked = overlay.add(&state, &planned);
        overlay.remove(booked);
        let key = RequestKey { project_id: wish.project_id.clone(), id: uuid(), valid_until: now.plus_ms(1000) };
        let create = CreateLease {
            lease_id: LeaseId(uuid()),
            event_ids: (0..6).map(|_| EventId(uuid())).collect(),
            plan: planned.reservations,
            resource_ids: vec![uuid()],
            planned_at: 0,
            adoptions: Default::default(),
            caller_makes_groups: false,
            wish,
        };
        let took_apply =
            send(&mut state, Command::CreateLease(Box::new(create)), (number % 2 == 0 && number < 1000).then_some(key));
        if number + 20_000 >= leases {
            plans.push(took);
            applies.push(took_apply);
        }
    }
    println!("{} leases on {hosts} hosts in {:.1} s", state.leases_len(), total.elapsed().as_secs_f64());
    percentiles("plan (the last 20,000)", plans);
    percentiles("apply (the last 20,000)", applies);
    if !refusals.is_empty() {
        percentiles("refuse", refusals);
    }
    let mut refused = Vec::new();
    for _ in 0..100 {
        let wish = wish(&mut random, 200_000);
        let begin = Instant::now();
        let planned = plan_create(&state, &overlay, &wish, &[ReservationId(Uuid::nil())], now);
        refused.push(begin.elapsed().as_nanos());
        assert!(planned.is_err());
    }
    percentiles("refuse what no window takes", refused);
    let begin = Instant::now();
    let opened = store.open().unwrap();
    println!("open: {:.2} s, {} leases", begin.elapsed().as_secs_f64(), opened.state.leases_len());
    assert_eq!(opened.state.hash(), state.hash());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default());
}
