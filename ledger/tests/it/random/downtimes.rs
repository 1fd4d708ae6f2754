//! Downtimes among random commands: nothing new is booked of what they take, who is short is found, and all of it goes away.

use leasehold_ledger::plan::{Looked, ailing, still_ails};
use leasehold_ledger::state::State;

use super::*;

/// Times in minutes.
#[derive(Clone, Debug)]
pub(super) struct Downtime {
    host: u8,
    id: u8,
    start: u8,
    length: u8,
    vcpus: Option<u8>,
    memory: bool,
}

pub(super) fn downtime() -> impl Strategy<Value = Downtime> {
    let vcpus = prop_oneof![1 => Just(None), 2 => (1u8..5).prop_map(Some)];
    (0u8..6, 0u8..3, 0u8..20, 1u8..20, vcpus, prop::bool::weighted(0.2))
        .prop_map(|(host, id, start, length, vcpus, memory)| Downtime { host, id, start, length, vcpus, memory })
}

fn id_of(id: u8) -> DowntimeId {
    DowntimeId(Uuid::from_u128(u128::from(id)))
}

/// Whether downtimes take of what is booked on a host in that minute: all of it, or more than there is of a class of which there
/// is enough without them.
fn lacks(state: &State, host: &Host, second: u32) -> bool {
    let (taken, used) = (taken(state, host, second, None), used(state, host.id.0, second, None));
    let has =
        room(&Host { observation: Observation { firm: Amounts::default(), ..host.observation.clone() }, ..host.clone() }, second);
    let closed = taken.iter().all(|amount| *amount >= 1 << 40) && used != [0; 4];
    let of = |class: usize| used[class] > 0 && used[class] <= has[class] && taken[class] > has[class].max(used[class]);
    closed || (0..4).any(of)
}

impl Run {
    pub(super) fn set_downtime(&mut self, one: &Downtime) {
        let (host_id, downtime_id) = (HostId(u64::from(one.host)), id_of(one.id));
        let start = self.minute(one.start);
        let end = Seconds(start + u32::from(one.length) * 60);
        let (vcpus, memory_mb) = (one.vcpus.map(u32::from), one.memory.then_some(100));
        let withheld = Withheld { vcpus, memory_mb, disk_gb: None };
        let known = |run: &Run| {
            let host = run.world.state.host(host_id)?;
            host.downtimes.iter().find(|one| one.id == downtime_id).copied()
        };
        let before = known(self);
        let start = Some(StartWish::At(Seconds(start)));
        let set = self.world.send(None, Command::SetDowntime { host_id, downtime_id, start, end, withheld });
        match set {
            Ok(_) => {
                let now = known(self).unwrap();
                // Where no amount is given what is there takes what it did.
                let takes = before.map(|before| before.withheld).filter(|_| withheld.all()).unwrap_or(withheld);
                assert_eq!((now.interval.end, now.withheld), (end, takes));
                self.reach(if before.is_some() { "downtime replaced" } else { "downtime set" });
            }
            Err(Rejection::HostNotFound(_)) => assert!(!(1..=5).contains(&one.host)),
            Err(rejection) => panic!("{rejection}"),
        }
    }

    pub(super) fn drop_downtime(&mut self, host: u8, id: u8) {
        let host_id = HostId(u64::from(host));
        let dropped = self.world.send(None, Command::DropDowntime { host_id, downtime_id: id_of(id) });
        if dropped.is_ok() {
            self.reach("downtime dropped");
        }
        assert!(self.world.state.host(host_id).is_none_or(|host| host.downtimes.iter().all(|one| one.id != id_of(id))));
    }

    /// What was booked just now lies beside what downtimes take, minute by minute.
    pub(super) fn check_taken(&mut self, promise: &Promise) {
        if !self.on_the_minute() {
            return;
        }
        for (id, _) in &promise.main {
            let host = self.world.state.host(HostId(*id)).unwrap();
            let mut beside = false;
            for second in (promise.start..promise.end).step_by(60) {
                let (taken, used) = (taken(&self.world.state, host, second, None), used(&self.world.state, *id, second, None));
                assert!(
                    (0..4).all(|class| taken[class] <= room(host, second)[class]),
                    "host {id} at {second}: {taken:?} of {host:?}"
                );
                beside |= taken != used;
            }
            if beside {
                self.reach("booked beside a downtime");
            }
        }
    }

    /// Who lacks what a downtime takes, counted minute by minute, is who the ledger says; it moves away where there is room.
    pub(super) fn check_downtimes(&mut self) {
        if !self.on_the_minute() {
            return;
        }
        let state = &self.world.state;
        for lease in state.leases() {
            let reservation = &lease.reservations[0];
            let counted = !reservation.has_ended()
                && reservation.bindings.iter().any(|one| {
                    let (start, end) = match (one.phase, reservation.staging) {
                        (Phase::Staging, _) if reservation.stage >= Stage::Parked => return false,
                        (Phase::Staging, Some(staging)) => (staging.window.start, staging.booked().end),
                        _ => (lease.start, lease.end),
                    };
                    let first = start.0.max(self.minute(0));
                    // No lease of the small world ends later than that.
                    let last = end.0.min(self.minute(0) + 4 * u32::from(u8::MAX) * 60);
                    (first..last).step_by(60).any(|second| lacks(state, state.host(one.host).unwrap(), second))
                });
            assert_eq!(state.is_short(lease, reservation), counted, "{lease:?} at {:?}", self.world.at);
        }
        let looked_at = state.short_hosts().map(|host| (host, Looked::DOWNTIMES)).collect();
        let all = ailing(state, self.world.at, &looked_at);
        // While another lease is on the way off the same host nobody else is moved away from it.
        let is_left = state.leases().any(|lease| lease.status == LeaseStatus::Updating);
        assert!(all.iter().all(|one| is_left || still_ails(state, self.world.at, one)));
        if !all.is_empty() {
            self.reach("short because of a downtime");
        }
        let mut aside = self.world.state.clone();
        for one in all {
            let Ok(planned) = plan_rebind(&aside, &Overlay::default(), one.lease_id, &one.avoid) else { continue };
            let rebind = Command::Rebind { lease_id: one.lease_id, moves: planned.reservations };
            let entry = Entry { key: None, proposed_at: self.world.at, command: rebind };
            let applied = leasehold_ledger::apply::apply(&mut aside, &entry);
            assert!(applied.outcome.is_ok(), "{:?} of {one:?}", applied.outcome);
            self.reach("moved away from a downtime");
        }
    }
}
