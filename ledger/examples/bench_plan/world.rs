//! A cloud and its leases, made by the commands that a node would have in its log.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Instant;

use futures::executor::block_on;
use leasehold_ledger::apply::apply;
use leasehold_ledger::command::{
    BeforeEndWish, Command, CreateLease, Entry, LeaseWish, RegisterHost, ReservationWish, StartWish,
};
use leasehold_ledger::listing;
use leasehold_ledger::model::*;
use leasehold_ledger::plan::{NoPlan, Overlay, Planned, plan_create};
use leasehold_ledger::state::State;
use leasehold_ledger::storage::Store;
use leasehold_ledger::storage::memory::MemoryDisk;
use uuid::Uuid;

const ORIGIN_S: u32 = 216_000_000;
pub const DAY_S: u32 = 24 * 3600;
/// Leases start within this time.
const CALENDAR_S: u32 = 2 * 365 * DAY_S;
/// Nothing starts before: all leases stand as they were booked.
const FIRST_START_S: u32 = 3 * DAY_S;
/// The clock goes on by so much with every lease.
const STEP_MS: u64 = 50;
/// Keys are dropped by the clock so often.
const TICK: u64 = 256;

/// Of so many leases one lets others have its room before it begins.
const PREEMPTIBLE_ONE_IN: usize = 8;

/// A seeded generator (splitmix64), so that every run does the same.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    pub fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// As Nova and Keystone make them.
    pub fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(
            (u128::from(self.below(u64::MAX)) << 64 | u128::from(self.below(u64::MAX))).to_be_bytes(),
        )
        .into_uuid()
    }

    fn hex(&mut self) -> String {
        self.uuid().simple().to_string()
    }
}

/// The state and the disk below it.
pub struct World {
    pub state: State,
    pub store: Store,
    pub random: Random,
    overlay: Overlay,
    hosts: u64,
    projects: Vec<(ProjectId, UserId)>,
    at: Timestamp,
    /// How long each create took to apply, in nanoseconds, with its slots; of the last stage.
    pub applied: Vec<(u64, u32)>,
    /// How long each plan of a create took, in nanoseconds; of the last stage.
    pub planned: Vec<u64>,
    pub refused: u64,
}

impl World {
    pub fn new(hosts: u64, seed: u64) -> World {
        let mut random = Random(seed);
        let projects = (0..200).map(|_| (ProjectId(random.hex().into()), UserId(random.hex().into()))).collect();
        let mut world = World {
            state: State::default(),
            store: Store::new(Arc::new(MemoryDisk::default())),
            random,
            overlay: Overlay::default(),
            hosts,
            projects,
            at: Seconds(ORIGIN_S).timestamp(),
            applied: Vec::new(),
            planned: Vec::new(),
            refused: 0,
        };
        for number in 0..hosts {
            let register = host(number, &mut world.random);
            world.send(None, Command::RegisterHost(Box::new(register)));
        }
        world
    }

    pub fn now(&self) -> Timestamp {
        self.at
    }

    /// Hosts beside the others, on which nothing is ever booked.
    pub fn aside(&self) -> u64 {
        self.hosts.div_ceil(50).max(24)
    }

    /// Opens the hosts set aside, or closes them again.
    pub fn set_aside(&mut self, open: bool) {
        for number in self.hosts..self.hosts + self.aside() {
            let host_id = HostId(number + 1);
            if self.state.host(host_id).is_none() {
                let register = host(number, &mut Random(number));
                self.send(None, Command::RegisterHost(Box::new(register)));
            }
            self.send(None, Command::UpdateHost { host_id, properties: Default::default(), reservable: Some(open) });
        }
    }

    /// Creates leases until there are so many.
    pub fn grow(&mut self, leases: u64) {
        self.applied.clear();
        self.planned.clear();
        let mut progress = Progress::new("leases", leases);
        while (self.state.leases_len() as u64) < leases {
            self.at = self.at.plus_ms(STEP_MS);
            let wish = self.wish();
            if self.create(&wish).is_none() {
                self.refused += 1;
                assert!(self.refused < leases, "this cloud is too small for so many leases");
            }
            if (self.state.leases_len() as u64).is_multiple_of(TICK) {
                self.send(None, Command::AdvanceClock);
            }
            progress.at(self.state.leases_len() as u64);
        }
        progress.done();
    }

    fn create(&mut self, wish: &LeaseWish) -> Option<Timestamp> {
        let reservation = ReservationId(self.random.uuid());
        let begin = Instant::now();
        let planned = plan_create(&self.state, &self.overlay, wish, &[reservation], self.at);
        let took = begin.elapsed();
        let planned = match planned {
            Ok(planned) => planned,
            Err(NoPlan::NoRoom(_)) => return None,
            Err(NoPlan::Rejected(rejection)) => panic!("{rejection}"),
        };
        let number = self.overlay.add(&self.state, &planned.bookings);
        self.overlay.remove(number);
        self.planned.push(took.as_nanos() as u64);
        let (entry, slots) = self.entry(wish.clone(), planned);
        let begin = Instant::now();
        let applied = apply(&mut self.state, &entry);
        self.applied.push((begin.elapsed().as_nanos() as u64, slots));
        applied.outcome.unwrap();
        block_on(self.store.commit(vec![applied.delta], b"p", false)).unwrap();
        Some(self.at)
    }

    fn entry(&mut self, wish: LeaseWish, planned: Planned) -> (Entry, u32) {
        let slots = planned.reservations.iter().flat_map(|one| &one.bindings).map(|binding| binding.slots).sum();
        let key =
            RequestKey { project_id: wish.project_id.clone(), id: self.random.uuid(), valid_until: self.at.plus_ms(600_000) };
        let create = CreateLease {
            lease_id: LeaseId(self.random.uuid()),
            event_ids: (0..6).map(|_| EventId(self.random.uuid())).collect(),
            plan: planned.reservations,
            resource_ids: vec![self.random.uuid()],
            planned_at: planned.planned_at,
            moved_to: planned.moved_to,
            adoptions: Default::default(),
            caller_makes_groups: false,
            waits: false,
            asked: None,
            victims: Vec::new(),
            wish,
        };
        (Entry { key: Some(key), proposed_at: self.at, command: Command::CreateLease(Box::new(create)) }, slots)
    }

    fn send(&mut self, key: Option<RequestKey>, command: Command) {
        let applied = apply(&mut self.state, &Entry { key, proposed_at: self.at, command });
        applied.outcome.unwrap();
        block_on(self.store.commit(vec![applied.delta], b"p", false)).unwrap();
    }

    /// Sets limits for all projects; answers how long that took to apply, in nanoseconds.
    pub fn set_quota(&mut self, set: Limits) -> u64 {
        let command = Command::SetQuota { project_id: None, set, unset: Default::default() };
        let begin = Instant::now();
        self.send(None, command);
        begin.elapsed().as_nanos() as u64
    }

    /// The most vCPUs that one of the projects has at a time from now on.
    pub fn vcpus_peak(&self) -> u32 {
        listing::quota(&self.state, self.projects.first().map(|(project, _)| project), self.at)
            .used
            .map_or(0, |used| used.vcpus_peak.0)
    }

    /// A lease as tenants ask for it: 1 to 6 instances, an hour to 60 days.
    pub fn wish(&mut self) -> LeaseWish {
        let start = ORIGIN_S + FIRST_START_S + self.random.below(u64::from(CALENDAR_S)) as u32;
        let length = 3600 + self.random.below(60 * u64::from(DAY_S)) as u32;
        let amount = 1 + self.random.below(6) as u32;
        let instance = instance(&mut self.random, amount);
        self.lease(instance, start, length)
    }

    /// A lease of one reservation.
    fn lease(&mut self, instance: InstanceWish, start: u32, length: u32) -> LeaseWish {
        let mut random = Random(self.random.below(u64::MAX));
        let (project_id, user_id) = self.owner(&mut random);
        let name = format!("lease-{}", random.below(1_000_000));
        let wish = World::lease_of(name, project_id, user_id, instance, Seconds(start), length);
        let preemptible = self.state.leases_len().is_multiple_of(PREEMPTIBLE_ONE_IN);
        LeaseWish { precedence: Precedence { preemptible, ..Precedence::default() }, ..wish }
    }

    /// Somebody who owns leases.
    pub fn owner(&self, random: &mut Random) -> (ProjectId, UserId) {
        self.projects[random.below(self.projects.len() as u64) as usize].clone()
    }

    /// A lease of one reservation.
    pub fn lease_of(
        name: String,
        project_id: ProjectId,
        user_id: UserId,
        instance: InstanceWish,
        start: Seconds,
        length: u32,
    ) -> LeaseWish {
        LeaseWish {
            name,
            project_id,
            user_id,
            start: StartWish::At(start),
            end: start.plus(length),
            before_end: BeforeEndWish::SecondsBefore(3600),
            offer: None,
            wait: None,
            precedence: Default::default(),
            expiry_s: None,
            ignore_quota: false,
            reservations: vec![ReservationWish {
                resource: ResourceWish::Instance(instance.into()),
                staging: None,
                on_end: OnEnd::Delete,
                servers: Default::default(),
            }],
        }
    }

    /// A start in the calendar.
    pub fn start(random: &mut Random) -> u32 {
        ORIGIN_S + FIRST_START_S + random.below(u64::from(CALENDAR_S - 200 * DAY_S)) as u32
    }

    /// Share of the vcpus of two years that is booked, in percent.
    pub fn load(&self) -> u64 {
        let (from, until) = (u64::from(ORIGIN_S), u64::from(ORIGIN_S + CALENDAR_S));
        let (mut booked, mut total) = (0u64, 0u64);
        for host in self.state.hosts() {
            total += u64::from(host.room().vcpus) * (until - from);
            let steps: Vec<(Seconds, Amounts)> = self.state.calendar().steps(host.id).collect();
            for (place, (at, used)) in steps.iter().enumerate() {
                let next = steps.get(place + 1).map_or(until, |next| u64::from(next.0.0).min(until));
                booked += u64::from(used.vcpus) * next.saturating_sub(u64::from(at.0));
            }
        }
        booked * 100 / total
    }
}

/// Instances of common sizes; some name a zone or need a trait or a property.
pub fn instance(random: &mut Random, amount: u32) -> InstanceWish {
    let vcpus = random.one_of(&[1u32, 2, 4, 8, 16]);
    let kind = random.below(100);
    let requirement =
        |value: u64| Requirement { key: "rack".to_owned(), comparison: Comparison::Equal, value: format!("r{value}") };
    InstanceWish {
        vcpus,
        memory_mb: vcpus * random.one_of(&[2048, 4096]),
        disk_gb: 20,
        amount,
        affinity: None,
        zone: (kind < 30).then(|| format!("az{}", random.below(3))),
        pool: None,
        required_traits: if (30..35).contains(&kind) { ["HW_CPU_X86_AVX512F".to_owned()].into() } else { Default::default() },
        forbidden_traits: Default::default(),
        requirements: if (35..38).contains(&kind) { vec![requirement(random.below(100))] } else { Vec::new() },
        resource_properties: String::new(),
        flavor: None,
    }
}

fn host(number: u64, random: &mut Random) -> RegisterHost {
    let capacity = Amounts { vcpus: 128, memory_mb: 512 * 1024, disk_gb: 4000, slots: 255 };
    let name = format!("compute-{number:05}.example.org");
    let description = HostDescription {
        hypervisor_hostname: name.clone(),
        service_name: name,
        root_provider: random.uuid(),
        hypervisor_type: "QEMU".to_owned(),
        hypervisor_version: 8_002_000,
        cpu_info: "{\"arch\": \"x86_64\", \"model\": \"EPYC\"}".to_owned(),
        vcpus: 64,
        memory_mb: 512 * 1024,
        local_gb: 4000,
        zone: Some(format!("az{}", number % 3)),
        pool: PoolKind::Dedicated,
        anchor_budget: 255,
        memory_grain_mb: 0,
        anchor: Anchor::Memory,
    };
    let traits = number.is_multiple_of(10).then(|| "HW_CPU_X86_AVX512F".to_owned()).into_iter().collect();
    let observation = Observation { capacity, firm: Amounts::default(), max_unit: capacity, traits, up: true };
    RegisterHost { description, observation, properties: [("rack".to_owned(), format!("r{}", number / 100))].into() }
}

/// What a person sees while it works: one line that changes on a terminal, a few lines elsewhere.
pub struct Progress {
    what: &'static str,
    total: u64,
    begin: Instant,
    told: u64,
    terminal: bool,
}

impl Progress {
    pub fn new(what: &'static str, total: u64) -> Progress {
        Progress { what, total, begin: Instant::now(), told: 0, terminal: std::io::stderr().is_terminal() }
    }

    pub fn at(&mut self, done: u64) {
        let step = (self.total / if self.terminal { 200 } else { 5 }).max(1);
        if done >= self.told + step {
            self.told = done;
            let line = format!("{done} of {} {} after {:.0} s", self.total, self.what, self.begin.elapsed().as_secs_f64());
            if self.terminal {
                eprint!("\r{line}\x1b[K");
            } else {
                eprintln!("{line}");
            }
            // Progress that cannot be shown is no reason to stop.
            std::io::stderr().flush().ok();
        }
    }

    pub fn done(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
