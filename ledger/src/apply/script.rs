//! Scripts: how the rules are tested. One line is a time, a command and what it must bring about.
//!
//! After every line the invariants are checked, and the rows on the disk give the same state again.
#![allow(clippy::unwrap_used)]

mod commands;
mod downtimes;
mod series;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::executor::block_on;
use uuid::Uuid;

use super::{Applied, apply};
use crate::command::*;
use crate::model::*;
use crate::plan::{NoPlan, Overlay, Tell, plan_adopting, plan_promotion, plan_rebind, plan_update, waiting};
use crate::reply::{Rejection, Reply};
use crate::state::{State, invariants};
use crate::storage::Store;
use crate::storage::memory::MemoryDisk;
use words::*;

/// Midnight of the day on which scripts play: 2026-11-23.
const MIDNIGHT_UNIX_S: u64 = 1_795_392_000;

pub(crate) struct World {
    pub state: State,
    store: Store,
    leases: BTreeMap<String, LeaseId>,
    series: BTreeMap<String, SeriesId>,
    hosts: BTreeMap<String, HostId>,
    /// Flavors of leases by name, also of those that are gone.
    flavors: BTreeMap<String, ReservationId>,
    at: Timestamp,
    ids: u128,
}

/// Plays a script. A line that goes on after `->` on the next lines is not possible: keep them short.
pub(crate) fn check(script: &str) {
    after(script);
}

/// The same, and what it left.
pub(crate) fn after(script: &str) -> State {
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
    world.state
}

impl World {
    pub fn new() -> World {
        World {
            state: State::default(),
            store: Store::new(Arc::new(MemoryDisk::default())),
            leases: BTreeMap::new(),
            series: BTreeMap::new(),
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
            "series" => self.create_series(words[1], &words[2..]),
            "listed" => Ok(self.listed(words[1])),
            "deleteseries" => self.delete_series(words[1], &words[2..]),
            "promote" => self.promote(words[1], &words[2..]),
            "waitlist" => Ok(self.waitlist()),
            "claim" => self.claim(words[1], &words[2..]),
            "withdraw" => {
                let lease_id = self.leases[words[1]];
                self.tell(None, Command::WithdrawLease { lease_id, reason: reason("refused") })
                    .map(|_| self.status_text(words[1]))
            }
            "quota" => self.set_quota(&words[1..]),
            "spent" => Ok(self.spent(words)),
            "clock" => Ok(self.clock()),
            "archive" => Ok(self.archive(words[1])),
            "done" | "held" | "refused" | "failed" | "delayed" | "used" => self.outcome(words),
            "made" => self.made(words),
            "group" => Ok(self.group_text(words[1])),
            "review" => self.review(words[1]),
            "scattered" => Ok(self.scattered(words)),
            "tighten" => self.tighten(words),
            "ailing" => Ok(self.ailing(words)),
            "short" => Ok(self.short()),
            "misjudged" => Ok(self.misjudged()),
            "observe" => self.observe(words),
            "sethost" => self.set_host(words),
            "downtime" => self.set_downtime(&words[1..]),
            "upgrade" => self.set_upgrade(&words[1..]),
            "dropupgrade" => self.drop_upgrade(&words[1..]),
            "dropdowntime" => self.drop_downtime(&words[1..]),
            "upgrades" => Ok(self.upgrade_text(self.hosts[words[1]])),
            "downtimes" => Ok(self.downtimes_text(self.hosts[words[1]])),
            "free" => Ok(self.free(words)),
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
            "offer" => Ok(self.offer_text(words[1])),
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
            "tohold" => {
                let host = self.state.host(self.hosts[words[1]]).unwrap();
                Ok(format!("{} vcpus", self.state.calendar().peak_to_hold(host, self.state.clock().floor_to_second()).vcpus))
            }
            "booked" => {
                let used = self.state.calendar().at(self.hosts[words[1]], second(words[2]));
                Ok(format!("{} vcpus {} slots", used.vcpus, used.slots))
            }
            "next" => Ok(self.state.next_due().map_or("never".to_owned(), |at| clock_text(at.floor_to_second()))),
            other => panic!("no command {other}"),
        };
        result.unwrap_or_else(|refused| refused)
    }
}
