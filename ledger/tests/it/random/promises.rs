//! What users were told, from replies alone, and what must hold of it.

use super::*;

/// What users were told: from replies alone.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) need: [i64; 4],
    pub(super) main: Vec<(u64, i64)>,
    pub(super) affinity: Option<bool>,
}

impl Run {
    /// A plan is found exactly when the brute force finds room, and a refusal says what the brute force says.
    pub(super) fn judge(&self, wish: &LeaseWish, planned: &Planned) {
        let state = &self.world.state;
        let one = &wish.reservations[0];
        let instance = one.resource.instance();
        let StartWish::At(start) = wish.start else { panic!("the small world has no now") };
        let (amount, length) = (i64::from(instance.amount), wish.end.0 - start.0);
        // With each kind of anchor: staged and lasting.
        let fits = ANCHORS.map(|anchor| {
            let staging = one.staging.map(|staging| {
                let (from, until) = (staging.start.unwrap().0, staging.end.unwrap().0 + staging.park_margin_s);
                largest(state, instance, anchor, from, until, None)
            });
            (staging, largest(state, instance, anchor, start.0, wish.end.0, None))
        });
        let staged = |staging: Option<i64>| staging.is_none_or(|staging| staging >= amount);
        match planned {
            Ok(planned) if !planned.victims.is_empty() => {
                assert!(
                    !fits.iter().any(|(staging, main)| *main >= amount && staged(*staging)),
                    "nobody need give way: {fits:?}"
                );
            }
            Ok(_) => {
                assert!(fits.iter().any(|(staging, main)| *main >= amount && staged(*staging)), "planned {amount}, {fits:?} fit");
            }
            Err(NoPlan::Rejected(rejection)) => assert!(
                matches!(rejection, Rejection::StartInPast | Rejection::EndInPast | Rejection::StagingOutside { .. }),
                "{rejection:?}"
            ),
            Err(NoPlan::NoRoom(no_room)) => {
                // What could be staged but does not last says more than what cannot even be staged.
                let mains = fits.iter().filter(|(staging, _)| staged(*staging)).map(|(_, main)| *main).max();
                assert_eq!(no_room.staging, mains.is_none(), "{fits:?} fit of {amount}");
                // So many can be staged and last, on hosts of one kind.
                let both = fits.iter().map(|(staging, main)| staging.map_or(*main, |staging| staging.min(*main)));
                let largest_amount = both.max().unwrap();
                assert!(largest_amount < amount, "refused {amount}, {fits:?} fit");
                assert_eq!(i64::from(no_room.largest_amount), largest_amount);
                assert_eq!(i64::from(no_room.short_by), amount - largest_amount);
                if one.staging.is_none() {
                    let next = self.minutes().filter(|minute| *minute >= start.0).find(|start| {
                        let fits = |anchor| largest(state, instance, anchor, *start, start + length, None) >= amount;
                        ANCHORS.into_iter().any(fits)
                    });
                    assert_eq!(no_room.next_start.map(|start| start.0), next, "next start after {start:?} of {wish:?}");
                }
            }
        }
    }

    /// Promises end with their lease, and an update that is over without its hold never was.
    pub(super) fn settle_promises(&mut self) {
        let state = &self.world.state;
        self.promises.retain(|id, _| {
            state.lease(*id).is_some_and(|lease| lease.reservations[0].status != ReservationStatus::Deleted && !lease.deleted)
        });
        self.next_promises.retain(|id, _| state.lease(*id).is_some_and(|lease| lease.status == LeaseStatus::Updating));
    }

    /// L1 of what users were told, from now on (what a host loses now says nothing of what was), but on hosts that lost room;
    /// affinity as promised.
    pub(super) fn check_promises(&self) {
        let now = self.world.state.clock().floor_to_second().0;
        for host in self.world.state.hosts().filter(|host| !host.overcommitted) {
            for second in std::iter::once(now).chain(self.minutes().filter(|second| *second > now)) {
                let mut sum = [0i64; 4];
                for promise in self.promises.values().filter(|one| one.start <= second && second < one.end) {
                    for (_, slots) in promise.main.iter().filter(|(on, _)| *on == host.id.0) {
                        for (sum, need) in sum.iter_mut().zip(promise.need) {
                            *sum += need * slots;
                        }
                    }
                }
                let room = room(host, second);
                assert!((0..4).all(|class| sum[class] <= room[class]), "host {} at {second}: {sum:?} of {room:?}", host.id);
            }
        }
        for promise in self.promises.values() {
            let anchored = promise.main.iter().filter(|(host, _)| *host == 5).count();
            assert!(anchored == 0 || anchored == promise.main.len(), "one flavor on hosts with different anchors");
            match promise.affinity {
                Some(true) => assert_eq!(promise.main.len(), 1),
                Some(false) => assert!(promise.main.iter().all(|(_, slots)| *slots == 1)),
                None => {}
            }
        }
        let visible = self.world.state.leases().filter(|lease| lease.visible() && lease.status == LeaseStatus::Pending);
        for lease in visible {
            assert!(self.promises.contains_key(&lease.id), "lease {} is visible, but was never promised", lease.id);
        }
    }

    /// Hosts that were bound anew are of the kind asked for; those that were bound before under the same terms may stay.
    pub(super) fn check_kind(&self, wish: &InstanceWish, bindings: &[Binding], before: Option<&Reservation>) {
        let terms = |wish: &InstanceWish| (wish.zone.clone(), wish.required_traits.clone(), wish.forbidden_traits.clone());
        for binding in bindings {
            let stays = before.is_some_and(|before| {
                let was = before.bindings.iter().any(|one| (one.host, one.phase) == (binding.host, binding.phase));
                was && terms(before.wish.instance()) == terms(wish)
            });
            let host = self.world.state.host(binding.host).unwrap();
            assert!(stays || of_the_kind(host, wish), "{wish:?} on {host:?}");
        }
    }

    /// The calendar says what counting says.
    pub(super) fn check_calendar(&self) {
        for host in self.world.state.hosts() {
            for second in self.minutes() {
                let booked = self.world.state.calendar().at(host.id, Seconds(second)).to_array().map(i64::from);
                assert_eq!(booked, used(&self.world.state, host.id.0, second, None), "host {} at {second}", host.id);
            }
        }
    }
}

pub(super) fn need_of(wish: &InstanceWish) -> [i64; 4] {
    [i64::from(wish.vcpus), i64::from(wish.memory_mb), i64::from(wish.disk_gb), 1]
}

pub(super) fn main_of(bindings: &[Binding]) -> Vec<(u64, i64)> {
    bindings.iter().filter(|one| one.phase == Phase::Main).map(|one| (one.host.0, i64::from(one.slots))).collect()
}

pub(super) fn promise_of(wish: &LeaseWish, moved_to: Option<Seconds>, bindings: &[Binding]) -> Promise {
    let (StartWish::At(asked) | StartWish::Earliest { from: Some(asked), .. }) = wish.start else {
        panic!("the small world has no now")
    };
    let instance = wish.reservations[0].resource.instance();
    let start = moved_to.unwrap_or(asked);
    Promise {
        start: start.0,
        end: start.0 + (wish.end.0 - asked.0),
        need: need_of(instance),
        main: main_of(bindings),
        affinity: instance.affinity,
    }
}
