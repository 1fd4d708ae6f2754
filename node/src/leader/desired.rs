//! What the ledger wants of the cloud, host by host and reservation by reservation. Pure: from the State alone.
//!
//! [`host_wish`] says what a host should hold and which tokens it should show; how to get there from what was read
//! without ever breaking P1 is [`host_plan`](super::host_plan)'s. [`flavor`] is the reservation's flavor.

use std::collections::BTreeMap;

use leasehold_ledger::model::{
    Amounts, Anchor, Binding, Host, HostId, Lease, Observation, Phase, PoolKind, Reservation, ReservationId, Seconds,
    SourceFlavor, Stage,
};
use leasehold_ledger::mutant;
use leasehold_ledger::state::State;

use super::names::{self, ANCHOR_CLASS, FLAVOR_MARK, Names};
use crate::openstack::nova::{NewFlavor, Server};

/// What the tokens of one reservation on one host are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// There, and closed: nothing can use them.
    Closed,
    /// Closed, and known to be: no write that is under way may open them, so that what is in use can only become less.
    Counted,
    /// There, and open.
    Open,
    /// Closed, and gone as soon as nothing uses them. What opens meanwhile must fit beside what is used (D27).
    Ended,
}

/// Tokens of one reservation on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenWish {
    /// Whose.
    pub reservation: ReservationId,
    /// What each token backs.
    pub need: Amounts,
    /// How many.
    pub total: u32,
    /// Open or not.
    pub gate: Gate,
}

/// What the ledger wants of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostWish {
    /// The host.
    pub host: HostId,
    /// The least hold: the most that is booked at any instant from now on, but for what an upgrade is to bring (docs/decisions/0028),
    /// memory rounded up (scheduling-design §5);
    /// everything but K and firm usage on dedicated hosts.
    pub hold: Amounts,
    /// The hold that is sought beside that: of all that is booked, also behind an upgrade, as much as the host was seen to have room for. If
    /// the upgrade does not come, or room was lost, that much is not ordinary servers'. It is `hold` where neither is so.
    pub sought: Amounts,
    /// The most that one hold consumer may have of each class.
    pub max_unit: Amounts,
    /// How many servers of ours the host can anchor (architecture D21); no hold covers anchors, so tokens are counted.
    pub anchors: u32,
    /// By class. Classes that are not named here should not be there.
    pub tokens: BTreeMap<String, TokenWish>,
}

/// What the ledger wants of a host; `None` when it knows no such host.
#[must_use]
pub fn host_wish(state: &State, id: HostId) -> Option<HostWish> {
    let host = state.host(id)?;
    let (from, calendar) = (state.clock().floor_to_second(), state.calendar());
    let booked = Booked { to_hold: calendar.peak_to_hold(host, from), peak: calendar.peak_from(id, from) };
    Some(wish_of(host, booked, state.leases_begun_on(id)))
}

/// What is booked on a host from now on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Booked {
    /// What the hold must cover of it.
    pub to_hold: Amounts,
    /// The most of it at any instant.
    pub peak: Amounts,
}

/// What the ledger wants of a host on which so much is booked, of which these leases may have servers on it.
pub fn wish_of<'a>(host: &Host, booked: Booked, leases: impl IntoIterator<Item = &'a Lease>) -> HostWish {
    let mut tokens = BTreeMap::new();
    for lease in leases {
        for reservation in &lease.reservations {
            if let Some(wish) = token_wish(reservation, host.id) {
                let class = names::class(reservation.flavor());
                // Of those that share a flavor only one is not over, and what is over wants nothing that is used.
                if lease.is_over(reservation) {
                    tokens.entry(class).or_insert(wish);
                } else {
                    tokens.insert(class, wish);
                }
            }
        }
    }
    let anchors = host.description.anchor_budget;
    let (least, sought) = (hold(host, booked.to_hold), hold(host, booked.peak.min(host.room())));
    HostWish { host: host.id, hold: least, sought, max_unit: host.observation.max_unit, anchors, tokens }
}

/// The hold of a host where it must cover `peak`.
fn hold(host: &Host, peak: Amounts) -> Amounts {
    hold_of(host.description.pool, host.description.memory_grain_mb, &host.observation, peak)
}

/// The hold of a host as it was observed, whether the ledger knows it already or not.
#[must_use]
pub fn hold_of(pool: PoolKind, memory_grain_mb: u32, observation: &Observation, peak: Amounts) -> Amounts {
    let capacity = observation.capacity;
    let room = capacity.saturating_sub(observation.firm);
    let mut hold = match pool {
        PoolKind::Dedicated => capacity,
        PoolKind::Shared => {
            let grain = memory_grain_mb.max(1);
            // C − hold = q·G with the largest q: firm usage moves in steps of G and so never enters the last K MB.
            let free = capacity.memory_mb.saturating_sub(peak.memory_mb) / grain * grain;
            Amounts { memory_mb: capacity.memory_mb.saturating_sub(free), ..peak }
        }
    };
    // Firm usage that does not fit the rule (an odd flavor, a server that was there before) must not make the whole
    // write fail; what is booked is held in any case.
    hold = Amounts::from_array(std::array::from_fn(|i| hold.to_array()[i].min(room.to_array()[i])));
    Amounts { slots: 0, ..hold.max(peak) }
}

/// What a reservation wants of a host's tokens now.
fn token_wish(reservation: &Reservation, host: HostId) -> Option<TokenWish> {
    // While an update waits for its hold the cloud stays where it was.
    let bindings = reservation.previous.as_ref().map_or(&reservation.bindings, |previous| &previous.bindings);
    let slots = |phase: Phase| slots_on(bindings, phase, host);
    let (staging, main) = (slots(Phase::Staging), slots(Phase::Main));
    // Slots that an update took off: closed here, and gone when unused.
    let releasing = slots_on(&reservation.releasing, Phase::Main, host);
    let (total, gate) = match reservation.stage {
        Stage::Booked => return None,
        Stage::Prepared if reservation.staging.is_some() => (staging?, Gate::Closed),
        Stage::Prepared => (main?, Gate::Closed),
        Stage::Staging => (staging?, Gate::Open),
        // Where both phases share a host, the closed tokens of the staging become those of the lease.
        Stage::Parking | Stage::Parked => match (staging, main) {
            (_, Some(main)) => (main, Gate::Closed),
            (Some(staging), None) => (staging, Gate::Ended),
            (None, None) => return None,
        },
        Stage::Open => match main {
            // Planted bug: see steps/expire.rs.
            Some(main) if reservation.is_expiring() && !mutant!("Z01") => (main, Gate::Counted),
            Some(main) => (main, Gate::Open),
            None => (releasing.or(staging)?, Gate::Ended),
        },
        Stage::Ended => (main.or(releasing).or(staging)?, Gate::Ended),
    };
    let need = reservation.wish.instance().need();
    Some(TokenWish { reservation: reservation.id, need, total, gate })
}

/// Slots bound on a host in a phase.
fn slots_on(bindings: &[Binding], phase: Phase, host: HostId) -> Option<u32> {
    bindings.iter().find(|binding| binding.phase == phase && binding.host == host).map(|binding| binding.slots)
}

/// Every host that a reservation touches in any phase, before and after a pending update, without repeats.
#[must_use]
pub fn hosts_of(reservation: &Reservation) -> Vec<HostId> {
    let previous = reservation.previous.iter().flat_map(|previous| &previous.bindings);
    let bindings = reservation.bindings.iter().chain(previous).chain(&reservation.releasing);
    let mut hosts: Vec<HostId> = bindings.map(|binding| binding.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// The hosts of one phase.
#[must_use]
pub fn hosts_in(reservation: &Reservation, phase: Phase) -> Vec<HostId> {
    reservation.bindings.iter().filter(|binding| binding.phase == phase).map(|binding| binding.host).collect()
}

/// How many of a reservation's slots none of its servers has: so many of those that are parked have room to wake. It can be
/// fewer than are parked: a tenant may make a lease smaller between the staging and the start.
#[must_use]
pub fn slots_free(reservation: &Reservation, servers: &[Server]) -> usize {
    let main = reservation.bindings.iter().filter(|binding| binding.phase == Phase::Main);
    let slots: usize = main.map(|binding| binding.slots as usize).sum();
    slots.saturating_sub(servers.iter().filter(|server| server.has_place()).count())
}

/// What the servers of a reservation are anchored by. Whoever has no host any more has no flavor either.
#[must_use]
pub fn anchor(state: &State, reservation: &Reservation) -> Anchor {
    if let Some(adoption) = &reservation.adoption {
        return adoption.anchor;
    }
    // While an update waits for its hold the cloud stays where it was.
    let bindings = reservation.previous.as_ref().map_or(&reservation.bindings, |previous| &previous.bindings);
    state.anchor_of(bindings).unwrap_or_default()
}

/// A reservation's flavor (architecture D21).
#[must_use]
pub fn flavor(names: &Names, reservation: &Reservation, anchor: Anchor) -> NewFlavor {
    let wish = reservation.wish.instance();
    let token = format!("resources:{}", names::class(reservation.flavor()));
    // Nova only uses compute nodes whose own provider is part of the allocation.
    let (anchor_mb, of_class) = match anchor {
        Anchor::Memory => ("1", None),
        Anchor::Class => ("0", Some((format!("resources:{ANCHOR_CLASS}"), "1".to_owned()))),
    };
    let extra_specs = [
        ("resources:VCPU".to_owned(), "0".to_owned()),
        ("resources:MEMORY_MB".to_owned(), anchor_mb.to_owned()),
        ("resources:DISK_GB".to_owned(), "0".to_owned()),
        (token, "1".to_owned()),
        ("hw:cpu_policy".to_owned(), "shared".to_owned()),
        (FLAVOR_MARK.to_owned(), names.mark()),
    ];
    // Ours stand where both have one.
    let source = wish.flavor.as_deref();
    let of_source = source.into_iter().flat_map(|source| source.extra_specs.clone());
    NewFlavor {
        id: reservation.flavor().to_string(),
        name: names::flavor(reservation.flavor()),
        vcpus: wish.vcpus,
        ram: wish.memory_mb,
        disk: wish.disk_gb.saturating_sub(source.map_or(0, SourceFlavor::more_disk_gb)),
        ephemeral: source.map_or(0, |source| source.ephemeral_gb),
        swap: source.map_or(0, |source| source.swap_mb),
        extra_specs: of_source.chain(extra_specs).chain(of_class).collect(),
    }
}

/// Whether class and flavor of a reservation are to exist.
#[must_use]
pub fn wants_flavor(reservation: &Reservation) -> bool {
    match reservation.stage {
        Stage::Booked | Stage::Ended => false,
        Stage::Prepared | Stage::Staging | Stage::Parking | Stage::Parked | Stage::Open => true,
    }
}

/// Whether the tenant is to have the flavor.
#[must_use]
pub fn wants_access(reservation: &Reservation) -> bool {
    matches!(reservation.stage, Stage::Staging | Stage::Open)
}

/// The second after which a staging reservation's servers must be off their hosts.
#[must_use]
pub fn parked_by(lease: &Lease, reservation: &Reservation) -> Seconds {
    reservation.staging.map_or(lease.start, |staging| staging.booked().end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use leasehold_ledger::model::{HostDescription, Timestamp};
    use uuid::Uuid;

    use super::*;

    fn host(pool: PoolKind, memory_mb: u32, grain: u32, firm_mb: u32) -> Host {
        let amounts = |memory_mb| Amounts { vcpus: 16, memory_mb, disk_gb: 100, slots: 255 };
        Host {
            id: HostId(1),
            description: HostDescription {
                hypervisor_hostname: "h1".into(),
                service_name: "h1".into(),
                root_provider: Uuid::from_u128(1),
                hypervisor_type: "QEMU".into(),
                hypervisor_version: 1,
                cpu_info: String::new(),
                vcpus: 16,
                memory_mb,
                local_gb: 100,
                zone: None,
                pool,
                anchor_budget: 255,
                memory_grain_mb: grain,
                anchor: Anchor::Memory,
            },
            observation: Observation {
                capacity: amounts(memory_mb),
                firm: Amounts { memory_mb: firm_mb, ..Amounts::default() },
                max_unit: amounts(memory_mb),
                traits: BTreeSet::new(),
                up: true,
            },
            properties: BTreeMap::new(),
            reservable: true,
            overcommitted: false,
            downtimes: Vec::new(),
            upgrade: None,
            created_at: Timestamp(0),
            updated_at: None,
        }
    }

    #[test]
    fn a_dedicated_host_is_held_whole_and_a_shared_one_to_a_grain_below_its_capacity() {
        let none = Amounts::default();
        assert_eq!(hold(&host(PoolKind::Dedicated, 7937, 0, 0), none).memory_mb, 7937);
        // C mod G on an unreserved shared host.
        assert_eq!(hold(&host(PoolKind::Shared, 7937, 256, 0), none).memory_mb, 1);
        let peak = Amounts { vcpus: 2, memory_mb: 1000, disk_gb: 10, slots: 2 };
        let held = hold(&host(PoolKind::Shared, 7937, 256, 0), peak);
        assert_eq!((7937 - held.memory_mb) % 256, 0);
        assert!(held.memory_mb >= 1000 && held.memory_mb < 1000 + 256);
        assert_eq!((held.vcpus, held.disk_gb, held.slots), (2, 10, 0));
    }

    #[test]
    fn a_shared_host_with_anchors_of_their_own_is_held_to_what_is_booked_and_no_more() {
        let none = Amounts::default();
        let anchored = host(PoolKind::Shared, 7937, 0, 0);
        assert_eq!(hold(&anchored, none), none);
        let peak = Amounts { vcpus: 2, memory_mb: 1000, disk_gb: 10, slots: 2 };
        assert_eq!(hold(&anchored, peak), Amounts { slots: 0, ..peak });
    }

    #[test]
    fn firm_usage_that_breaks_the_grain_lowers_the_rounding_but_never_what_is_booked() {
        let peak = Amounts { memory_mb: 1000, ..Amounts::default() };
        let odd = host(PoolKind::Shared, 7937, 256, 6920);
        assert_eq!(hold(&odd, peak).memory_mb, 1017);
        let full = host(PoolKind::Shared, 7937, 256, 7900);
        assert_eq!(hold(&full, peak).memory_mb, 1000);
        assert_eq!(hold(&host(PoolKind::Dedicated, 7937, 0, 512), Amounts::default()).memory_mb, 7937 - 512);
    }
}
