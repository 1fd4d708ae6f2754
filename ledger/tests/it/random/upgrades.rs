//! Upgrades among random commands: what they are to bring is promised from their second on and not before, whatever of it Placement has
//! by then.

use super::*;

/// Times in minutes.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    host: u8,
    start: u8,
    vcpus: u8,
    memory: bool,
}

pub(super) fn planned() -> impl Strategy<Value = Planned> {
    (0u8..6, 1u8..20, 1u8..12, prop::bool::weighted(0.2)).prop_map(|(host, start, vcpus, memory)| Planned {
        host,
        start,
        vcpus,
        memory,
    })
}

impl Run {
    pub(super) fn set_upgrade(&mut self, one: &Planned) {
        let host_id = HostId(u64::from(one.host));
        let upgrade = Upgrade {
            start: Seconds(self.minute(one.start)),
            vcpus: Some(u32::from(one.vcpus)),
            memory_mb: one.memory.then_some(10_000),
            disk_gb: None,
        };
        let host = |run: &Run| run.world.state.host(host_id).cloned();
        let before = host(self);
        match self.world.send(None, Command::SetUpgrade { host_id, upgrade }) {
            Ok(_) => {
                assert_eq!(host(self).and_then(|host| host.upgrade), Some(upgrade));
                self.reach("upgrade set");
                let was_known = before.is_some_and(|host| host.upgrade.is_some());
                if was_known {
                    self.reach("upgrade replaced");
                }
            }
            Err(Rejection::HostNotFound(_)) => assert!(before.is_none()),
            Err(Rejection::Invalid { field, .. }) => {
                let has = before.as_ref().unwrap().observation.capacity.vcpus;
                assert!(field == "vcpus" && has >= u32::from(one.vcpus), "{one:?} of {before:?}");
                assert_eq!(host(self), before);
            }
            Err(rejection) => panic!("{rejection}"),
        }
    }

    pub(super) fn drop_upgrade(&mut self, host: u8) {
        let host_id = HostId(u64::from(host));
        let dropped = self.world.send(None, Command::DropUpgrade { host_id });
        if dropped.is_ok() {
            self.reach("upgrade dropped");
        }
        assert!(self.world.state.host(host_id).is_none_or(|host| host.upgrade.is_none()));
    }

    /// Placement has other vCPUs of a host from now on.
    pub(super) fn arrive(&mut self, host: u8, vcpus: u8) {
        let host_id = HostId(u64::from(host));
        let Some(host) = self.world.state.host(host_id) else { return };
        let mut observation = host.observation.clone();
        observation.capacity.vcpus = u32::from(vcpus);
        let (before, is_planned) = (host.growth(), host.upgrade.is_some());
        self.world.send(None, Command::ReportHost { host_id, observation }).unwrap();
        let after = self.world.state.host(host_id).unwrap();
        if is_planned && after.growth() != before {
            self.reach("upgrade came early");
        }
    }

    /// What a hold must cover is the most that is booked, minute by minute, beyond what is to come; and it has room.
    pub(super) fn check_holds(&mut self) {
        let (state, now) = (&self.world.state, self.world.state.clock().floor_to_second());
        let mut beyond = false;
        for host in state.hosts() {
            let mut most = [0i64; 4];
            for second in std::iter::once(now.0).chain(self.minutes().filter(|second| *second > now.0)) {
                let (used, here, later) = (used(state, host.id.0, second, None), room(host, now.0), room(host, second));
                for class in 0..4 {
                    most[class] = most[class].max(used[class] - (later[class] - here[class]));
                    beyond |= !host.overcommitted && used[class] > here[class];
                }
            }
            let hold = state.calendar().peak_to_hold(host, now).to_array().map(i64::from);
            assert!(host.upgrade.is_none_or(|upgrade| upgrade.start > now), "{host:?} at {now:?}");
            assert_eq!(hold, most, "{host:?} at {now:?}");
            let room = room(host, now.0);
            assert!(host.overcommitted || (0..4).all(|class| hold[class] <= room[class]), "{hold:?} of {host:?}");
        }
        if beyond {
            self.reach("promised beyond what there is yet");
        }
    }
}
