//! What the leader tells of the cloud: outcomes, server groups, hosts as they are seen.

use super::*;

impl Run {
    pub(super) fn outcome(&mut self, row: u8, how: u8, old: bool) {
        let rows: Vec<Actuation> = self.world.state.actuations().cloned().collect();
        if rows.is_empty() {
            return;
        }
        let row = &rows[usize::from(row) % rows.len()];
        let reason = Reason { code: ReasonCode::CloudUnavailable, text: how.to_string() };
        let (bits, how) = (how, how % 16);
        let outcome = if row.step == leasehold_ledger::model::Step::Expire && how > 3 {
            self.in_use(row, bits)
        } else if row.step == leasehold_ledger::model::Step::Hold && how < 14 {
            let group = Some(Uuid::from_u128(3));
            if how < 3 { Outcome::HoldRefused { reason } } else { Outcome::Held { server_group_id: group } }
        } else {
            match how {
                0..=1 => Outcome::Failed { reason },
                2..=3 => Outcome::Delayed { reason: (how == 2).then_some(reason) },
                4 => Outcome::Held { server_group_id: None },
                _ => Outcome::Done,
            }
        };
        let revision = if old { row.revision.wrapping_sub(1) } else { row.revision };
        let series_before = self.waiting_in_series(row.lease_id);
        let kind = match &outcome {
            Outcome::Done => "Done",
            Outcome::Held { .. } => "Held",
            Outcome::HoldRefused { .. } => "HoldRefused",
            Outcome::Delayed { .. } => "Delayed",
            Outcome::Failed { .. } => "Failed",
            Outcome::Used { .. } => "Used",
        };
        let before = self.world.state.lease(row.lease_id).cloned();
        let reply = self.world.send(None, Command::RecordOutcome { actuation_id: row.id, revision, outcome: outcome.clone() });
        self.check_series_settled(row.lease_id, &series_before);
        self.reach(format!("{kind} of {:?}{}", row.step, if old { " too late" } else { "" }));
        if old {
            assert_eq!(reply, Ok(Reply::OutcomeRecorded { changed: false }));
            return;
        }
        if let (Outcome::Used { tokens, parked }, Some(before), Ok(_)) = (&outcome, before, &reply) {
            self.check_given_back(&before, row, tokens, *parked);
        }
        let updating = self.world.state.lease(row.lease_id).is_some_and(|lease| lease.status == LeaseStatus::Updating);
        if matches!(outcome, Outcome::Held { .. })
            && reply.is_ok()
            && !updating
            && let Some(next) = self.next_promises.remove(&row.lease_id)
        {
            self.promises.insert(row.lease_id, next);
        }
    }

    /// Some of what a reservation has, on each of its hosts.
    fn in_use(&self, row: &Actuation, bits: u8) -> Outcome {
        let lease = self.world.state.lease(row.lease_id).unwrap();
        let bindings = &lease.reservation(row.reservation_id).unwrap().bindings;
        let main = bindings.iter().filter(|one| one.phase == Phase::Main).enumerate();
        // Of every other one nothing.
        let some = |place: usize| if bits.is_multiple_of(3) { 0 } else { u32::from(bits >> (2 * place).min(7)) & 3 };
        let tokens = main.map(|(place, one)| (one.host, some(place).min(one.slots))).collect();
        Outcome::Used { tokens, parked: u32::from(bits % 5 == 4) }
    }

    /// What is in use is kept, and no more is given back than that.
    fn check_given_back(&mut self, before: &Lease, row: &Actuation, tokens: &BTreeMap<HostId, u32>, parked: u32) {
        let lease = self.world.state.lease(row.lease_id).unwrap().clone();
        let (old, new) = (before.reservation(row.reservation_id).unwrap(), lease.reservation(row.reservation_id).unwrap());
        let slots = |one: &Reservation, host: HostId| {
            one.bindings.iter().filter(|one| (one.phase, one.host) == (Phase::Main, host)).map(|one| one.slots).sum::<u32>()
        };
        for (host, used) in tokens {
            assert!(slots(new, *host) >= *used && slots(new, *host) <= slots(old, *host), "{old:?} {tokens:?} {new:?}");
        }
        let used = tokens.values().sum::<u32>() + parked;
        let (had, has) = (old.wish.instance().amount, new.wish.instance().amount);
        if before.status != LeaseStatus::Active {
            assert_eq!(has, had);
        } else if used > 0 {
            assert_eq!(has, used.min(had));
            assert!(new.stage == Stage::Open && lease.status == LeaseStatus::Active);
        } else {
            let left = lease.reservations.iter().any(|one| one.expiry == Some(Expiry::Counting));
            assert_eq!(new.stage == Stage::Ended, !left, "{lease:?}");
        }
        self.reach(if used == 0 {
            "nothing in use"
        } else if used < had {
            "some in use"
        } else {
            "all in use"
        });
        let Some(promise) = self.promises.get_mut(&row.lease_id) else { return };
        promise.main = main_of(&new.bindings);
        promise.end = lease.end.0;
    }

    /// The first group that is recorded stays until the affinity changes, which nothing here does.
    pub(super) fn group(&mut self, lease_id: LeaseId, affinity: bool, group: u8) {
        let before = self.world.state.lease(lease_id).unwrap().reservations[0].clone();
        let made = (group > 0).then(|| Uuid::from_u128(u128::from(group)));
        let problem = made.is_none().then(|| "no".to_owned());
        let groups = [(before.id, FoundGroup { affinity, server_group_id: made, problem })].into();
        let refused = match self.world.send(None, Command::RecordServerGroups { lease_id, groups }) {
            Ok(Reply::ServerGroupsRecorded { refused }) => !refused.is_empty(),
            other => panic!("{other:?}"),
        };
        let after = self.world.state.lease(lease_id).unwrap().reservations[0].clone();
        assert!(refused || made.is_none() || after.server_group_id == made, "{before:?} {after:?}");
        if before.server_group_id.is_some() {
            assert_eq!(after.server_group_id, before.server_group_id);
        }
        if after.server_group_id != before.server_group_id {
            assert_eq!(before.wish.instance().affinity, Some(affinity));
            self.reach("group taken");
        }
        if refused {
            self.reach("group refused");
        }
    }

    pub(super) fn observe(&mut self, host: u8, firm: u8, up: bool, has: Option<u8>) {
        let host_id = HostId(u64::from(host));
        let Some(row) = self.world.state.host(host_id) else {
            let observation = Observation::default();
            let refused = self.world.send(None, Command::ReportHost { host_id, observation });
            assert_eq!(refused, Err(Rejection::HostNotFound(host_id)));
            return;
        };
        let mut observation = row.observation.clone();
        observation.firm.vcpus = u32::from(firm);
        observation.up = up;
        observation.traits = has.map_or(observation.traits, traits);
        self.world.send(None, Command::ReportHost { host_id, observation }).unwrap();
        if self.world.state.host(host_id).is_some_and(|host| host.overcommitted) {
            self.reach("overcommitted");
        }
    }
}
