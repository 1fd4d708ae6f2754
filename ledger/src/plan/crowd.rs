//! A crowded cloud for tests: hosts of all kinds in several blocks, thousands of leases, made by the real commands.
#![allow(clippy::unwrap_used)]

pub(crate) mod twins;

use uuid::Uuid;

use super::{NoPlan, Overlay, plan_create};
use crate::apply::apply;
use crate::command::*;
use crate::model::*;
use crate::state::State;

/// The second at which it begins: not the first one of a day.
pub(crate) const ORIGIN_S: u32 = 216_000_000 + 7 * 3600 + 11;
pub(crate) const DAY_S: u32 = 24 * 3600;

/// A seeded generator (splitmix64).
pub(crate) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % u64::from(limit)) as u32
    }

    pub fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }

    pub fn uuid(&mut self) -> Uuid {
        Uuid::from_u128((0..4).fold(0, |sum, _| sum << 32 | u128::from(self.below(u32::MAX))))
    }
}

pub(crate) fn now() -> Timestamp {
    Seconds(ORIGIN_S).timestamp()
}

/// A cloud of `hosts` hosts with room for little more than `leases` leases.
pub(crate) fn crowded(hosts: u32, leases: u32, random: &mut Random) -> State {
    let mut state = State::default();
    let send = |state: &mut State, command: Command| {
        apply(state, &Entry { key: None, proposed_at: now(), command }).outcome.unwrap();
    };
    for number in 0..hosts {
        send(&mut state, Command::RegisterHost(Box::new(host(number, random))));
    }
    for number in 0..hosts / 20 {
        let host_id = HostId(u64::from(1 + random.below(hosts)));
        let reservable = number % 2 == 0;
        let properties = [("rack".to_owned(), "moved".to_owned())].into();
        send(&mut state, Command::UpdateHost { host_id, properties, reservable: Some(reservable) });
    }
    // Some are to have more from some time on.
    for _ in 0..hosts / 6 {
        let (host_id, start) = (HostId(u64::from(1 + random.below(hosts))), Seconds(ORIGIN_S + 1 + random.below(100 * DAY_S)));
        let (vcpus, memory_mb) = (50 + random.below(20), 300_000 + random.below(9000));
        let (vcpus, memory_mb) = random.one_of(&[(Some(vcpus), None), (Some(vcpus), Some(memory_mb))]);
        send(&mut state, Command::SetUpgrade { host_id, upgrade: Upgrade { start, vcpus, memory_mb, disk_gb: None } });
    }
    let mut overlay = Overlay::default();
    for _ in 0..leases {
        let length = 1 + random.below(60 * DAY_S);
        let instance = wish(random);
        let lease = lease(random, instance, length);
        let ids = [ReservationId(random.uuid())];
        match plan_create(&state, &overlay, &lease, &ids, now()) {
            Ok(planned) => {
                let number = overlay.add(&state, &planned.bookings);
                overlay.remove(number);
                let create = CreateLease {
                    wish: lease,
                    lease_id: LeaseId(random.uuid()),
                    event_ids: (0..6).map(|_| EventId(random.uuid())).collect(),
                    plan: planned.reservations,
                    resource_ids: vec![random.uuid()],
                    planned_at: planned.planned_at,
                    moved_to: planned.moved_to,
                    adoptions: Default::default(),
                    caller_makes_groups: false,
                    waits: false,
                    asked: None,
                    victims: Vec::new(),
                };
                send(&mut state, Command::CreateLease(Box::new(create)));
            }
            Err(NoPlan::NoRoom(_)) => {}
            Err(NoPlan::Rejected(rejection)) => panic!("{rejection}"),
        }
    }
    // Some are taken back, so that what is booked also shrinks; some hosts change under what they carry.
    let ids: Vec<LeaseId> = state.leases().map(|lease| lease.id).collect();
    for lease_id in ids.into_iter().step_by(7) {
        send(&mut state, Command::DeleteLease { lease_id });
    }
    for _ in 0..hosts / 10 {
        let host_id = HostId(u64::from(1 + random.below(hosts)));
        let mut observation = state.host(host_id).unwrap().observation.clone();
        observation.firm.vcpus = random.below(16);
        observation.firm.memory_mb = random.below(9) * 1000;
        observation.traits.insert("CUSTOM_NEW".to_owned());
        observation.up = random.below(10) > 0;
        send(&mut state, Command::ReportHost { host_id, observation });
    }
    // Some are not to be had for a time, as a whole or in part, whatever is booked there; some of that is taken back.
    for number in 0..hosts / 5 {
        let (host_id, downtime_id) = (HostId(u64::from(1 + random.below(hosts))), DowntimeId(random.uuid()));
        let start = ORIGIN_S + random.below(100 * DAY_S);
        let (length, vcpus, memory_mb) = (1 + random.below(40 * DAY_S), 1 + random.below(8), 1 + random.below(9000));
        let end = random.one_of(&[Seconds::OPEN_END, Seconds(start + length), Seconds(start + 3600)]);
        let (vcpus, memory_mb) = random.one_of(&[(None, None), (Some(vcpus), None), (Some(vcpus), Some(memory_mb))]);
        let withheld = Withheld { vcpus, memory_mb, disk_gb: None };
        let start = StartWish::At(Seconds(start));
        send(&mut state, Command::SetDowntime { host_id, downtime_id, start: Some(start), end, withheld });
        if number % 5 == 0 {
            send(&mut state, Command::DropDowntime { host_id, downtime_id });
        }
    }
    state
}

fn host(number: u32, random: &mut Random) -> RegisterHost {
    let vcpus = random.one_of(&[8, 16, 48]);
    let slots = random.one_of(&[6, 255]);
    let capacity = Amounts { vcpus, memory_mb: vcpus * 4096 - random.below(5000), disk_gb: 500 + random.below(500), slots };
    let traits = ["CUSTOM_A", "CUSTOM_B", "CUSTOM_C"].into_iter().filter(|_| random.below(2) == 0).map(str::to_owned).collect();
    let properties = [("rack", random.below(4)), ("serial", number)].into_iter().filter(|_| random.below(8) > 0);
    RegisterHost {
        properties: properties.map(|(key, value)| (key.to_owned(), format!("{value}"))).collect(),
        description: HostDescription {
            hypervisor_hostname: format!("h{number}"),
            service_name: format!("h{number}"),
            root_provider: Uuid::from_u128(u128::from(number)),
            hypervisor_type: random.one_of(&["QEMU", "ironic"]).to_owned(),
            hypervisor_version: i64::from(random.below(3)),
            cpu_info: String::new(),
            vcpus,
            memory_mb: capacity.memory_mb,
            local_gb: capacity.disk_gb,
            zone: random.one_of(&[None, Some("a"), Some("b")]).map(str::to_owned),
            pool: random.one_of(&[PoolKind::Dedicated, PoolKind::Dedicated, PoolKind::Shared]),
            anchor_budget: slots,
            memory_grain_mb: 512,
            anchor: random.one_of(&[Anchor::Memory, Anchor::Memory, Anchor::Class]),
        },
        observation: Observation { capacity, firm: Amounts::default(), max_unit: capacity, traits, up: random.below(20) > 0 },
    }
}

/// A wish of any kind.
pub(crate) fn wish(random: &mut Random) -> InstanceWish {
    let vcpus = random.one_of(&[1, 2, 4, 8, 16]);
    let trait_name = |random: &mut Random| random.one_of(&["CUSTOM_A", "CUSTOM_B", "CUSTOM_NEW", "CUSTOM_NO"]).to_owned();
    let requirements = (0..random.below(4) / 2).map(|_| requirement(random)).collect();
    InstanceWish {
        vcpus,
        memory_mb: 1 + random.below(vcpus * 6000),
        disk_gb: random.below(60),
        amount: 1 + random.one_of(&[4, 4, 40, 400]) * random.below(100) / 100,
        affinity: random.one_of(&[None, None, None, Some(true), Some(false)]),
        zone: random.one_of(&[None, None, Some("a"), Some("none")]).map(str::to_owned),
        pool: random.one_of(&[None, None, Some(PoolKind::Dedicated), Some(PoolKind::Shared)]),
        required_traits: (0..random.below(4) / 2).map(|_| trait_name(random)).collect(),
        forbidden_traits: (0..random.below(4) / 2).map(|_| trait_name(random)).collect(),
        requirements,
        resource_properties: String::new(),
        flavor: None,
    }
}

fn requirement(random: &mut Random) -> Requirement {
    use Comparison::*;
    let (key, value) = random.one_of(&[
        ("vcpus", "16"),
        ("vcpus", "many"),
        ("memory_mb", "60000"),
        ("hypervisor_type", "QEMU"),
        ("hypervisor_version", " 1"),
        ("hypervisor_hostname", "h5"),
        ("availability_zone", "a"),
        ("id", "100"),
        ("reservable", "True"),
        ("status", "x"),
        ("rack", "2"),
        ("serial", "77"),
        ("colour", "red"),
    ]);
    let comparison = random.one_of(&[Equal, NotEqual, AtLeast, AtMost, Above, Below]);
    Requirement { key: key.to_owned(), comparison, value: value.to_owned() }
}

/// A lease of one reservation; some without end.
pub(crate) fn lease(random: &mut Random, instance: InstanceWish, length: u32) -> LeaseWish {
    let start = Seconds(ORIGIN_S + 60 + random.below(120 * DAY_S));
    let reservation = ReservationWish {
        resource: ResourceWish::Instance(instance.into()),
        staging: None,
        on_end: OnEnd::Delete,
        servers: Default::default(),
    };
    LeaseWish {
        name: "crowd".to_owned(),
        project_id: ProjectId("p".into()),
        user_id: UserId("u".into()),
        start: StartWish::At(start),
        end: if random.below(50) == 0 { Seconds::OPEN_END } else { start.plus(length) },
        before_end: BeforeEndWish::Never,
        offer: None,
        wait: None,
        precedence: Default::default(),
        expiry_s: None,
        ignore_quota: false,
        reservations: vec![reservation],
    }
}
