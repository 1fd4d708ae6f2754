//! Scripts: how the rules are tested. One line is a time, a command and what it must bring about.
//!
//! After every line the invariants are checked, and the rows on the disk give the same state again.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::executor::block_on;
use uuid::Uuid;

use super::{Applied, apply};
use crate::command::*;
use crate::model::*;
use crate::plan::{NoPlan, Overlay, plan_adopting, plan_rebind, plan_update};
use crate::reply::{Rejection, Reply};
use crate::state::{State, invariants};
use crate::storage::Store;
use crate::storage::memory::MemoryDisk;

/// Midnight of the day on which scripts play: 2026-11-23.
const MIDNIGHT_UNIX_S: u64 = 1_795_392_000;

pub(crate) struct World {
    pub state: State,
    store: Store,
    leases: BTreeMap<String, LeaseId>,
    hosts: BTreeMap<String, HostId>,
    /// Flavors of leases by name, also of those that are gone.
    flavors: BTreeMap<String, ReservationId>,
    at: Timestamp,
    ids: u128,
}

/// Plays a script. A line that goes on after `->` on the next lines is not possible: keep them short.
pub(crate) fn check(script: &str) {
    let mut world = World::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (left, expected) = line.split_once("->").map_or((line, None), |(left, right)| (left, Some(right)));
        let words: Vec<&str> = left.split_whitespace().collect();
        world.at = instant(words[0]);
        let found = world.play(&words[1..]);
        if let Some(expected) = expected {
            let expected = expected.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(found, expected, "\nin line: {line}\nof script: {script}");
        } else {
            assert!(!found.starts_with("refused"), "{found}\nin line: {line}\nof script: {script}");
        }
    }
}

/// `12:00` or `12:00:05`, after midnight.
fn second(text: &str) -> Seconds {
    if text == "open" {
        return Seconds::OPEN_END;
    }
    let mut parts = text.split(':').map(|part| part.parse::<u64>().unwrap());
    let (hours, minutes, seconds) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or(0));
    let unix_s = MIDNIGHT_UNIX_S + hours * 3600 + minutes * 60 + seconds;
    Seconds(u32::try_from(unix_s - LEDGER_EPOCH_UNIX_S).unwrap())
}

fn instant(text: &str) -> Timestamp {
    second(text).timestamp()
}

fn clock_text(at: Seconds) -> String {
    if at == Seconds::OPEN_END {
        return "open".to_owned();
    }
    let rest = at.unix_s() - MIDNIGHT_UNIX_S;
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    if seconds == 0 { format!("{hours:02}:{minutes:02}") } else { format!("{hours:02}:{minutes:02}:{seconds:02}") }
}

/// `key=value` among the words.
fn option<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// A text of a script: `x*300` is 300 times x, and backslash t a tab, which no word can hold.
fn text(word: &str) -> String {
    match word.rsplit_once('*').and_then(|(text, times)| Some((text, times.parse::<usize>().ok()?))) {
        Some((text, times)) => text.repeat(times),
        None => word.replace("\\t", "\t").replace("\\a", "\u{7}"),
    }
}

fn number(words: &[&str], key: &str, default: u32) -> u32 {
    option(words, key).map_or(default, |value| value.parse().unwrap())
}

fn flag(words: &[&str], key: &str) -> Option<bool> {
    option(words, key).map(|value| value == "true")
}

fn set(words: &[&str], key: &str) -> BTreeSet<String> {
    let Some(value) = option(words, key) else { return BTreeSet::new() };
    match value.parse::<usize>() {
        // So many different ones.
        Ok(count) => (0..count).map(|number| format!("T_{number}")).collect(),
        Err(_) => value.split(',').map(text).collect(),
    }
}

fn requirement(term: &str) -> Requirement {
    // vcpus>=4 style is hard to split inside key=value words, so a script writes need=key:op:value.
    let parts: Vec<&str> = term.split(':').collect();
    let comparison = match parts[1] {
        "eq" => Comparison::Equal,
        "ne" => Comparison::NotEqual,
        "ge" => Comparison::AtLeast,
        "le" => Comparison::AtMost,
        "gt" => Comparison::Above,
        _ => Comparison::Below,
    };
    Requirement { key: text(parts[0]), comparison, value: text(parts[2]) }
}

/// `prop=key:value`, and `props=300` for so many different ones.
fn properties(words: &[&str]) -> BTreeMap<String, String> {
    let one = option(words, "prop").and_then(|prop| prop.split_once(':')).map(|(key, value)| (text(key), text(value)));
    one.into_iter().chain((0..number(words, "props", 0)).map(|number| (format!("key{number}"), "v".to_owned()))).collect()
}

/// `need=key:op:value`, and `terms=70` for so many that every host meets.
fn requirements(words: &[&str]) -> Vec<Requirement> {
    let many = (0..number(words, "terms", 0)).map(|_| requirement("vcpus:ge:0"));
    option(words, "need").map(requirement).into_iter().chain(many).collect()
}

fn step_named(text: &str) -> Step {
    match text {
        "hold" => Step::Hold,
        "prepare" => Step::Prepare,
        "open" => Step::StagingOpen,
        "close" => Step::StagingClose,
        "start" => Step::Start,
        "adjust" => Step::Adjust,
        "end" => Step::End,
        other => panic!("no step {other}"),
    }
}

fn step_text(step: Step) -> &'static str {
    match step {
        Step::Hold => "hold",
        Step::Prepare => "prepare",
        Step::StagingOpen => "open",
        Step::StagingClose => "close",
        Step::Start => "start",
        Step::Adjust => "adjust",
        Step::BeforeEnd => "before_end",
        Step::End => "end",
    }
}

/// The variant's name: scripts care which rejection it is; its texts are tested where they are made.
fn rejection_text(rejection: &Rejection) -> String {
    let debug = format!("{rejection:?}");
    let name: String = debug.chars().take_while(char::is_ascii_alphanumeric).collect();
    match rejection {
        Rejection::Invalid { field, .. } | Rejection::CannotUpdate { field, .. } => format!("refused {name} {field}"),
        Rejection::WrongStatus { status } => format!("refused {name} {}", status.as_str()),
        _ => format!("refused {name}"),
    }
}

fn reason(text: &str) -> Reason {
    Reason { code: ReasonCode::CloudRefused, text: text.to_owned() }
}

impl World {
    pub fn new() -> World {
        World {
            state: State::default(),
            store: Store::new(Arc::new(MemoryDisk::default())),
            leases: BTreeMap::new(),
            hosts: BTreeMap::new(),
            flavors: BTreeMap::new(),
            at: Timestamp(0),
            ids: 0,
        }
    }

    fn uuid(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    fn send(&mut self, key: Option<RequestKey>, command: Command) -> Applied {
        let hash_before = self.state.hash();
        let entry = Entry { key, proposed_at: self.at, command };
        let bytes = crate::storage::codec::encode_entry(&entry);
        assert_eq!(crate::storage::codec::decode_entry(&bytes).unwrap(), entry);
        let applied = apply(&mut self.state, &entry);
        assert_ne!(self.state.hash(), hash_before, "every entry counts");
        let violations = invariants::check(&self.state);
        assert!(violations.is_empty(), "{violations:?} after {entry:?}");
        let mut keys: Vec<_> = applied.delta.rows.iter().map(|row| &row.key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), applied.delta.rows.len(), "a row is named at most once");
        block_on(self.store.commit(vec![applied.delta.clone()], b"position", true)).unwrap();
        let opened = self.store.open().unwrap();
        assert_eq!(opened.state.hash(), self.state.hash());
        assert_eq!(opened.position.as_deref(), Some(&b"position"[..]));
        assert_eq!(opened.state.next_due(), self.state.next_due());
        assert_eq!(opened.state.calendar(), self.state.calendar());
        applied
    }

    fn tell(&mut self, key: Option<RequestKey>, command: Command) -> Result<Reply, String> {
        self.send(key, command).outcome.map_err(|rejection| rejection_text(&rejection))
    }

    fn lease(&self, name: &str) -> Option<&Lease> {
        self.state.lease(*self.leases.get(name)?)
    }

    fn host_name(&self, id: HostId) -> &str {
        self.hosts.iter().find(|(_, host)| **host == id).map_or("?", |(name, _)| name)
    }

    fn lease_name(&self, id: LeaseId) -> &str {
        self.leases.iter().find(|(_, lease)| **lease == id).map_or("?", |(name, _)| name)
    }

    fn bindings_text(&self, lease: &Lease) -> String {
        let text = |binding: &Binding| {
            let phase = if binding.phase == Phase::Staging { "staging:" } else { "" };
            format!(" {phase}{}*{}", self.host_name(binding.host), binding.slots)
        };
        lease.reservations.iter().flat_map(|one| &one.bindings).map(text).collect()
    }

    fn status_text(&self, name: &str) -> String {
        match self.lease(name) {
            None => format!("{name} gone"),
            Some(lease) => {
                let reservations: String =
                    lease.reservations.iter().map(|one| format!(" {}:{:?}", one.status.as_str(), one.stage)).collect();
                format!("{name} {}{reservations}", lease.status.as_str())
            }
        }
    }

    fn play(&mut self, words: &[&str]) -> String {
        let result = match words[0] {
            "hosts" => Ok(self.register(&words[1..])),
            "lease" => self.create(words[1], &words[2..]),
            "update" => self.update(words[1], &words[2..]),
            "rebind" => self.rebind(words[1], &words[2..]),
            "delete" => self.delete(words[1], &words[2..]),
            "withdraw" => {
                let lease_id = self.leases[words[1]];
                self.tell(None, Command::WithdrawLease { lease_id, reason: reason("refused") })
                    .map(|_| self.status_text(words[1]))
            }
            "clock" => Ok(self.clock()),
            "done" | "held" | "refused" | "failed" | "delayed" => self.outcome(words),
            "observe" => self.observe(words),
            "sethost" => self.set_host(words),
            "removehost" => {
                let host_id = self.hosts.get(words[1]).copied().unwrap_or(HostId(99));
                self.tell(None, Command::RemoveHost { host_id }).map(|_| "removed".to_owned())
            }
            "init" => self.tell(None, Command::InitCluster { cluster_id: Uuid::from_u128(1) }).map(|_| "named".to_owned()),
            "probe" => {
                let payload = vec![7; number(words, "bytes", 1) as usize];
                let key = key(words);
                self.tell(key, Command::Probe { payload }).map(|_| "done".to_owned())
            }
            "forget" => self.tell(key(words), Command::ForgetKey).map(|reply| format!("{reply:?}")),
            "key" => Ok(self.look_up(&key(&[&format!("key={}", words[1]), words[2]]).unwrap())),
            "lead" => self
                .tell(None, Command::HoldActuationLease { node_id: NodeId(3), term: 7 })
                .map(|_| format!("{:?}", self.state.actuation_lease().map(|lease| (lease.node_id.0, lease.term)))),
            "status" => Ok(self.status_text(words[1])),
            "reason" => Ok(self.lease(words[1]).and_then(|lease| lease.reason.clone()).map_or("none".to_owned(), |one| one.text)),
            "show" => Ok(self.lease(words[1]).map_or("gone".to_owned(), |lease| {
                format!("{} {}..{}{}", lease.name, clock_text(lease.start), clock_text(lease.end), self.bindings_text(lease))
            })),
            "at_end" => Ok(self.lease(words[1]).map_or("gone".to_owned(), |lease| format!("{:?}", lease.reservations[0].on_end))),
            "flavor" => {
                let flavor = self.lease(words[1]).map(|lease| lease.reservations[0].flavor());
                let of = self.flavors.iter().find(|(_, of)| Some(**of) == flavor);
                Ok(of.map_or("none".to_owned(), |(name, _)| name.clone()))
            }
            "events" => Ok(self.events(words[1])),
            "rows" => Ok(self.rows()),
            "booked" => {
                let used = self.state.calendar().at(self.hosts[words[1]], second(words[2]));
                Ok(format!("{} vcpus {} slots", used.vcpus, used.slots))
            }
            "next" => Ok(self.state.next_due().map_or("never".to_owned(), |at| clock_text(at.floor_to_second()))),
            other => panic!("no command {other}"),
        };
        result.unwrap_or_else(|refused| refused)
    }

    /// `hosts h1 h2 shared anchored vcpus=8 slots=8 zone=z traits=T1,T2 prop=k:v`
    fn register(&mut self, words: &[&str]) -> String {
        let shared = words.contains(&"shared");
        let anchor = if words.contains(&"anchored") { Anchor::Class } else { Anchor::Memory };
        let capacity = Amounts {
            vcpus: number(words, "vcpus", 8),
            memory_mb: number(words, "memory", 8192),
            disk_gb: number(words, "disk", 100),
            slots: number(words, "slots", 16),
        };
        let mut found = Vec::new();
        for name in words.iter().filter(|word| !word.contains('=') && **word != "shared" && **word != "anchored") {
            let description = HostDescription {
                hypervisor_hostname: text(name),
                service_name: (*name).to_owned(),
                root_provider: Uuid::from_u128(77),
                hypervisor_type: "QEMU".to_owned(),
                hypervisor_version: 8_000_000,
                cpu_info: "{}".to_owned(),
                vcpus: capacity.vcpus,
                memory_mb: capacity.memory_mb,
                local_gb: capacity.disk_gb,
                zone: option(words, "zone").map(str::to_owned),
                pool: if shared { PoolKind::Shared } else { PoolKind::Dedicated },
                anchor_budget: capacity.slots,
                memory_grain_mb: 256,
                anchor,
            };
            let observation =
                Observation { capacity, firm: Amounts::default(), max_unit: capacity, traits: set(words, "traits"), up: true };
            let properties = properties(words);
            let register = Command::RegisterHost(Box::new(RegisterHost { description, observation, properties }));
            found.push(match self.tell(None, register) {
                Ok(Reply::HostRegistered { host_id }) => {
                    self.hosts.insert((*name).to_owned(), host_id);
                    host_id.to_string()
                }
                Ok(other) => panic!("{other:?}"),
                Err(refused) => refused,
            });
        }
        found.join(" ")
    }

    fn instance(words: &[&str]) -> InstanceWish {
        InstanceWish {
            vcpus: number(words, "vcpus", 1),
            memory_mb: number(words, "memory", 128),
            disk_gb: number(words, "disk", 1),
            amount: number(words, "n", 1),
            affinity: flag(words, "affinity"),
            zone: option(words, "zone").map(text),
            pool: option(words, "pool").map(|pool| if pool == "shared" { PoolKind::Shared } else { PoolKind::Dedicated }),
            required_traits: set(words, "traits"),
            forbidden_traits: set(words, "without"),
            requirements: requirements(words),
            resource_properties: option(words, "properties").map(text).unwrap_or_default(),
        }
    }

    fn wish(name: &str, words: &[&str]) -> LeaseWish {
        let (start, end) = words[0].split_once("..").unwrap();
        let staging = option(words, "staging").map(|window| {
            let (from, until) = window.split_once("..").unwrap();
            let bound = |text: &str| (!text.is_empty()).then(|| second(text));
            StagingWish { start: bound(from), end: bound(until), park_margin_s: number(words, "margin", 600) }
        });
        let on_end = if words.contains(&"shelve") { OnEnd::Shelve } else { OnEnd::Delete };
        let servers = (0..number(words, "servers", 0)).map(|number| Uuid::from_u128(u128::from(number))).collect();
        let one = ReservationWish { resource: ResourceWish::Instance(Self::instance(words)), staging, on_end, servers };
        LeaseWish {
            name: text(option(words, "name").unwrap_or(name)),
            project_id: ProjectId(option(words, "project").unwrap_or("p").to_owned()),
            user_id: UserId("u".to_owned()),
            start: if start == "now" { StartWish::Now } else { StartWish::At(second(start)) },
            end: second(end),
            before_end: before_end(words).unwrap_or(BeforeEndWish::Never),
            reservations: vec![one; number(words, "reservations", 1) as usize],
        }
    }

    /// `lease A 12:00..14:00 n=2 affinity=true staging=.. key=1`; `plan=h1*2` instead of the planner's.
    fn create(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let wish = Self::wish(name, words);
        let ids: Vec<ReservationId> = wish.reservations.iter().map(|_| ReservationId(self.uuid())).collect();
        // `of=A`: servers of the flavor that A has or had; `anchored`: as if it were made for those hosts.
        let anchor = if words.contains(&"anchored") { Anchor::Class } else { Anchor::Memory };
        let flavor = option(words, "of").map(|of| self.flavors[of]);
        let adoption =
            flavor.map(|flavor_of| Adoption { flavor_of, anchor, servers: wish.reservations[0].servers.clone(), opened: false });
        let adoptions: BTreeMap<_, _> = ids.iter().filter_map(|id| Some((*id, adoption.clone()?))).collect();
        let plan = match option(words, "plan") {
            Some(plan) => ids.iter().map(|id| self.by_hand(*id, plan)).collect(),
            None => match plan_adopting(&self.state, &Overlay::default(), &wish, &ids, &adoptions, self.at) {
                Ok(planned) => planned.reservations,
                Err(refused) => return Err(self.no_plan(refused)),
            },
        };
        let create = CreateLease {
            lease_id: LeaseId(self.uuid()),
            event_ids: (0..6).map(|_| EventId(self.uuid())).collect(),
            resource_ids: wish.reservations.iter().map(|_| self.uuid()).collect(),
            plan,
            wish,
            planned_at: self.state.ledger_index(),
            adoptions,
        };
        match self.tell(key(words), Command::CreateLease(Box::new(create)))? {
            Reply::LeaseCreated { lease_id, prepared } => {
                // A name is given again when its lease is gone.
                if self.lease(name).is_none() {
                    self.leases.insert(name.to_owned(), lease_id);
                }
                let lease = self.state.lease(lease_id).unwrap();
                if lease.reservations.len() == 1 {
                    self.flavors.entry(name.to_owned()).or_insert(lease.reservations[0].flavor());
                }
                let text = format!("{}{}", lease.status.as_str(), self.bindings_text(lease));
                assert_eq!(prepared, lease.status != LeaseStatus::Creating);
                Ok(text)
            }
            other => panic!("{other:?}"),
        }
    }

    fn by_hand(&self, reservation_id: ReservationId, plan: &str) -> PlannedReservation {
        let bindings = plan
            .split(',')
            .filter(|one| !one.is_empty())
            .map(|one| {
                let (phase, one) = one.strip_prefix("staging:").map_or((Phase::Main, one), |one| (Phase::Staging, one));
                let (host, slots) = one.split_once('*').unwrap();
                Binding { phase, host: self.hosts.get(host).copied().unwrap_or(HostId(99)), slots: slots.parse().unwrap() }
            })
            .collect();
        PlannedReservation { reservation_id, bindings }
    }

    fn no_plan(&self, refused: NoPlan) -> String {
        match refused {
            NoPlan::Rejected(rejection) => rejection_text(&rejection),
            NoPlan::NoRoom(no_room) => format!(
                "no room short={} largest={} tightest={} next={}{}",
                no_room.short_by,
                no_room.largest_amount,
                no_room.tightest.map_or("-", Class::name),
                no_room.next_start.map_or("-".to_owned(), clock_text),
                if no_room.staging { " staging" } else { "" },
            ),
        }
    }

    /// `update A start=13:00 end=15:00 n=3 name=B before=30 on_end=shelve`
    fn update(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let lease_id = self.leases.get(name).copied().unwrap_or(LeaseId(Uuid::from_u128(9999)));
        let mut change = LeaseChange {
            name: option(words, "name").map(text),
            start: option(words, "start").map(|start| if start == "now" { StartWish::Now } else { StartWish::At(second(start)) }),
            end: option(words, "end").map(|end| if end == "now" { EndWish::Now } else { EndWish::At(second(end)) }),
            before_end: before_end(words),
            reservations: Vec::new(),
        };
        let resized = ["n", "vcpus", "affinity", "zone", "traits", "memory"].iter().any(|key| option(words, key).is_some());
        let on_end = option(words, "on_end").map(|on_end| if on_end == "shelve" { OnEnd::Shelve } else { OnEnd::Delete });
        if (resized || on_end.is_some())
            && let Some(one) = self.state.lease(lease_id).and_then(|lease| lease.reservations.first())
        {
            let mut resource = one.wish.clone();
            let instance = resource.instance_mut();
            instance.amount = number(words, "n", instance.amount);
            instance.vcpus = number(words, "vcpus", instance.vcpus);
            instance.memory_mb = number(words, "memory", instance.memory_mb);
            instance.affinity = flag(words, "affinity").or(instance.affinity);
            instance.zone = option(words, "zone").map(text).or(instance.zone.take());
            instance.required_traits.extend(set(words, "traits"));
            let reservation_id = if words.contains(&"foreign") { ReservationId(Uuid::nil()) } else { one.id };
            change.reservations.push(ReservationChange { reservation_id, resource, on_end });
        }
        let plan = match option(words, "plan") {
            Some(plan) => {
                let id = self.state.lease(lease_id).unwrap().reservations[0].id;
                if plan.is_empty() { Vec::new() } else { vec![self.by_hand(id, plan)] }
            }
            None => match plan_update(&self.state, &Overlay::default(), lease_id, &change, self.at) {
                Ok(planned) => planned.map(|planned| planned.reservations).unwrap_or_default(),
                Err(refused) => return Err(self.no_plan(refused)),
            },
        };
        let planned_at = self.state.ledger_index();
        let update = UpdateLease { lease_id, change, plan, planned_at };
        match self.tell(key(words), Command::UpdateLease(Box::new(update)))? {
            Reply::LeaseUpdated { lease_id, prepared } => {
                let lease = self.state.lease(lease_id).unwrap();
                assert_eq!(prepared, lease.status != LeaseStatus::Updating);
                Ok(format!("{}{}", lease.status.as_str(), self.bindings_text(lease)))
            }
            other => panic!("{other:?}"),
        }
    }

    /// `rebind A h1 h2`: away from these hosts; `plan=h3*1` by hand.
    fn rebind(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let lease_id = self.leases.get(name).copied().unwrap_or(LeaseId(Uuid::from_u128(9999)));
        let avoid: Vec<HostId> = words.iter().filter_map(|word| self.hosts.get(*word).copied()).collect();
        let moves = match option(words, "plan") {
            Some(plan) => vec![
                self.by_hand(self.state.lease(lease_id).map_or(ReservationId(Uuid::nil()), |one| one.reservations[0].id), plan),
            ],
            None => match plan_rebind(&self.state, &Overlay::default(), lease_id, &avoid) {
                Ok(planned) => planned.reservations,
                Err(refused) => return Err(self.no_plan(refused)),
            },
        };
        self.tell(None, Command::Rebind { lease_id, moves })?;
        let lease = self.state.lease(lease_id).unwrap();
        Ok(format!("{}{}", lease.status.as_str(), self.bindings_text(lease)))
    }

    fn delete(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let lease_id = self.leases.get(name).copied().unwrap_or(LeaseId(Uuid::from_u128(9999)));
        match self.tell(key(words), Command::DeleteLease { lease_id })? {
            Reply::LeaseDeleted { freed, .. } => {
                let row = if self.state.lease(lease_id).is_some() { "row stays" } else { "row gone" };
                Ok(format!("{}, {row}", if freed { "free" } else { "booked" }))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Rows opened, in order.
    fn clock(&mut self) -> String {
        let before = self.state.meta().last_actuation;
        self.tell(None, Command::AdvanceClock).unwrap();
        let opened: Vec<String> = self.state.actuations().filter(|row| row.id.0 > before).map(|row| self.row_text(row)).collect();
        if opened.is_empty() { "nothing".to_owned() } else { opened.join(", ") }
    }

    fn row_text(&self, row: &Actuation) -> String {
        format!("{} {}", step_text(row.step), self.lease_name(row.lease_id))
    }

    fn rows(&self) -> String {
        let rows: Vec<String> = self.state.actuations().map(|row| self.row_text(row)).collect();
        if rows.is_empty() { "none".to_owned() } else { rows.join(", ") }
    }

    fn events(&self, name: &str) -> String {
        let Some(lease) = self.lease(name) else { return "gone".to_owned() };
        let text = |event: &Event| {
            let kind = match event.kind {
                EventKind::StartLease => "start",
                EventKind::EndLease => "end",
                EventKind::BeforeEndLease => "before_end",
                EventKind::Prepare => "prepare",
                EventKind::StagingOpen => "open",
                EventKind::StagingClose => "close",
            };
            format!("{kind}={}:{}", clock_text(event.time), event.status.as_str())
        };
        lease.events.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    /// `done start A`, `held A group`, `refused A`, `failed start A`, `delayed start A`; `old` for an old revision. The row
    /// is the oldest of the lease's rows of that step.
    fn outcome(&mut self, words: &[&str]) -> Result<String, String> {
        let (step, name) = match words[0] {
            "held" | "refused" => (Step::Hold, words[1]),
            _ => (step_named(words[1]), words[2]),
        };
        let lease_id = self.leases[name];
        let row = self.state.actuations().find(|row| row.lease_id == lease_id && row.step == step);
        let (actuation_id, revision) = row.map_or((ActuationId(9999), 0), |row| (row.id, row.revision));
        let outcome = match words[0] {
            "done" => Outcome::Done,
            "held" => Outcome::Held { server_group_id: words.contains(&"group").then(|| Uuid::from_u128(5)) },
            "refused" => Outcome::HoldRefused { reason: reason("no room in placement") },
            "failed" => Outcome::Failed { reason: reason("broken") },
            _ => Outcome::Delayed { reason: Some(reason("slow")) },
        };
        let outcome = if words.contains(&"as-held") { Outcome::Held { server_group_id: None } } else { outcome };
        let revision = if words.contains(&"old") { revision.saturating_sub(1) } else { revision };
        match self.tell(None, Command::RecordOutcome { actuation_id, revision, outcome })? {
            Reply::OutcomeRecorded { changed: false } => Ok("unchanged".to_owned()),
            Reply::OutcomeRecorded { changed: true } => Ok(self.status_text(name)),
            other => panic!("{other:?}"),
        }
    }

    /// `observe h1 vcpus=8 firm=2 down traits=T`
    fn observe(&mut self, words: &[&str]) -> Result<String, String> {
        let host_id = self.hosts.get(words[1]).copied().unwrap_or(HostId(99));
        let mut observation = self.state.host(host_id).map(|host| host.observation.clone()).unwrap_or_default();
        observation.capacity.vcpus = number(words, "vcpus", observation.capacity.vcpus);
        observation.firm.vcpus = number(words, "firm", observation.firm.vcpus);
        observation.up = !words.contains(&"down");
        if option(words, "traits").is_some() {
            observation.traits = set(words, "traits");
        }
        self.tell(None, Command::ReportHost { host_id, observation })?;
        let host = self.state.host(host_id).unwrap();
        Ok(if host.overcommitted {
            "overcommitted"
        } else if host.accepts_bookings() {
            "fine"
        } else {
            "closed"
        }
        .to_owned())
    }

    /// `sethost h1 prop=k:v reservable=false`
    fn set_host(&mut self, words: &[&str]) -> Result<String, String> {
        let host_id = self.hosts.get(words[1]).copied().unwrap_or(HostId(99));
        let properties = properties(words);
        let reservable = flag(words, "reservable");
        self.tell(None, Command::UpdateHost { host_id, properties, reservable }).map(|_| "changed".to_owned())
    }

    fn look_up(&self, key: &RequestKey) -> String {
        use crate::state::KeyLookup;
        match self.state.key(key) {
            KeyLookup::Answered { outcome: Ok(_), ledger_index } => format!("answered at {ledger_index}"),
            KeyLookup::Answered { outcome: Err(rejection), .. } => rejection_text(&rejection),
            KeyLookup::Pending { .. } => "pending".to_owned(),
            KeyLookup::Forgotten => "forgotten".to_owned(),
            KeyLookup::Unknown => "unknown".to_owned(),
            KeyLookup::Expired => "expired".to_owned(),
        }
    }
}

/// `key=1 until=12:10`
fn key(words: &[&str]) -> Option<RequestKey> {
    let id = option(words, "key")?.parse::<u128>().unwrap();
    let valid_until = option(words, "until").map_or_else(|| instant("33:00"), instant);
    let project_id = ProjectId(option(words, "project").unwrap_or("p").to_owned());
    Some(RequestKey { project_id, id: Uuid::from_u128(id), valid_until })
}

fn before_end(words: &[&str]) -> Option<BeforeEndWish> {
    option(words, "before").map(|before| match before {
        "never" => BeforeEndWish::Never,
        at if at.contains(':') => BeforeEndWish::At(second(at)),
        minutes => BeforeEndWish::SecondsBefore(minutes.parse::<u32>().unwrap() * 60),
    })
}
