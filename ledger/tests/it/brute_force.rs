//! An independent model: what is booked, minute by minute, counted the slowest way there is. Shares no code with `apply`,
//! the calendar or the planner; reads only rows.

use leasehold_ledger::model::{Anchor, Comparison, Host, InstanceWish, Lease, Phase, PoolKind, Requirement};
use leasehold_ledger::state::State;

/// Used amounts per class of one host in one minute.
pub type Used = [i64; 4];

/// Everything booked on a host in the minute that begins at `second`, but for what `except` books.
pub fn used(state: &State, host: u64, second: u32, except: Option<&Lease>) -> Used {
    let mut sum = [0i64; 4];
    for lease in state.leases() {
        if except.is_some_and(|one| one.id == lease.id) {
            continue;
        }
        let mine = used_by(lease, host, second);
        for class in 0..4 {
            sum[class] += mine[class];
        }
    }
    sum
}

/// The same and what downtimes of the host take in that minute: of a host as a whole more than any has.
pub fn taken(state: &State, host: &Host, second: u32, except: Option<&Lease>) -> Used {
    let mut sum = used(state, host.id.0, second, except);
    for one in host.downtimes.iter().filter(|one| one.interval.start.0 <= second && second < one.interval.end.0) {
        let amounts = [one.withheld.vcpus, one.withheld.memory_mb, one.withheld.disk_gb];
        if amounts == [None; 3] {
            return [1 << 40; 4];
        }
        for (class, amount) in amounts.into_iter().enumerate() {
            sum[class] += amount.map_or(0, i64::from);
        }
    }
    sum
}

fn used_by(lease: &Lease, host: u64, second: u32) -> Used {
    let mut sum = [0i64; 4];
    for reservation in &lease.reservations {
        if reservation.status.as_str() == "deleted" {
            continue;
        }
        let end = reservation.booked_end.map_or(lease.end.0, |end| if end.0 > lease.end.0 { end.0 } else { lease.end.0 });
        let main = lease.start.0 <= second && second < end;
        let staged =
            reservation.staging.is_some_and(|one| one.window.start.0 <= second && second < one.window.end.0 + one.park_margin_s);
        let mut slots = 0;
        for binding in &reservation.bindings {
            let inside = if binding.phase == Phase::Main { main } else { staged };
            if binding.host.0 == host && inside {
                slots += i64::from(binding.slots);
            }
        }
        let mut amounts = times(reservation.wish.instance(), slots);
        if let Some(previous) = &reservation.previous {
            let main = previous.interval.start.0 <= second && second < previous.interval.end.0;
            let staged =
                previous.staging.is_some_and(|one| one.window.start.0 <= second && second < one.window.end.0 + one.park_margin_s);
            let mut slots = 0;
            for binding in &previous.bindings {
                let inside = if binding.phase == Phase::Main { main } else { staged };
                if binding.host.0 == host && inside {
                    slots += i64::from(binding.slots);
                }
            }
            let old = times(previous.wish.instance(), slots);
            for class in 0..4 {
                amounts[class] = if old[class] > amounts[class] { old[class] } else { amounts[class] };
            }
        }
        for binding in &reservation.releasing {
            if binding.host.0 == host && main {
                let released = times(reservation.wish.instance(), i64::from(binding.slots));
                for class in 0..4 {
                    amounts[class] += released[class];
                }
            }
        }
        for class in 0..4 {
            sum[class] += amounts[class];
        }
    }
    sum
}

fn times(wish: &InstanceWish, slots: i64) -> Used {
    [i64::from(wish.vcpus) * slots, i64::from(wish.memory_mb) * slots, i64::from(wish.disk_gb) * slots, slots]
}

/// What a host has for reservations in a second, by which its upgrade may have come.
pub fn room(host: &Host, second: u32) -> Used {
    let (mut have, firm) = (host.observation.capacity, &host.observation.firm);
    if let Some(upgrade) = host.upgrade.filter(|upgrade| upgrade.start.0 <= second) {
        have.vcpus = have.vcpus.max(upgrade.vcpus.unwrap_or(0));
        have.memory_mb = have.memory_mb.max(upgrade.memory_mb.unwrap_or(0));
        have.disk_gb = have.disk_gb.max(upgrade.disk_gb.unwrap_or(0));
    }
    [
        (i64::from(have.vcpus) - i64::from(firm.vcpus)).max(0),
        (i64::from(have.memory_mb) - i64::from(firm.memory_mb)).max(0),
        (i64::from(have.disk_gb) - i64::from(firm.disk_gb)).max(0),
        (i64::from(have.slots) - i64::from(firm.slots)).max(0),
    ]
}

/// Whether a host is where a wish wants it, and has what it must and nothing that it must not.
pub fn of_the_kind(host: &Host, wish: &InstanceWish) -> bool {
    let there = match (&wish.zone, &host.description.zone) {
        (None, _) => true,
        (Some(wanted), Some(zone)) => wanted == zone,
        (Some(_), None) => false,
    };
    let traits = &host.observation.traits;
    there && traits.is_superset(&wish.required_traits) && traits.is_disjoint(&wish.forbidden_traits)
}

/// Whether a new slot may go to a host at all. The small world uses the pool, zone, traits and one numeric term.
pub fn suits(host: &Host, wish: &InstanceWish) -> bool {
    let pool = match (wish.pool, host.description.pool) {
        (None, _) => true,
        (Some(PoolKind::Dedicated), PoolKind::Dedicated) | (Some(PoolKind::Shared), PoolKind::Shared) => true,
        (Some(PoolKind::Dedicated), PoolKind::Shared) | (Some(PoolKind::Shared), PoolKind::Dedicated) => false,
    };
    let terms = wish.requirements.iter().all(|Requirement { key, comparison, value }| {
        assert_eq!((key.as_str(), *comparison), ("vcpus", Comparison::AtLeast));
        i64::from(host.description.vcpus) >= value.parse::<i64>().unwrap()
    });
    host.reservable && host.observation.up && !host.overcommitted && pool && terms && of_the_kind(host, wish)
}

/// All hosts of one reservation have one of these.
pub const ANCHORS: [Anchor; 2] = [Anchor::Memory, Anchor::Class];

/// The largest amount of a wish that fits into `[start, end)`, seconds that begin a minute, on hosts with this anchor.
pub fn largest(state: &State, wish: &InstanceWish, anchor: Anchor, start: u32, end: u32, except: Option<&Lease>) -> i64 {
    let (mut sum, mut best, mut hosts) = (0, 0, 0);
    for host in state.hosts().filter(|host| suits(host, wish) && host.description.anchor == anchor) {
        let mut fit = i64::MAX;
        let mut second = start;
        while second < end {
            let (have, used) = (room(host, second), taken(state, host, second, except));
            let mut slots = 0;
            while (0..4).all(|class| used[class] + times(wish, slots + 1)[class] <= have[class]) {
                slots += 1;
            }
            fit = fit.min(slots);
            second += 60;
        }
        sum += fit;
        best = best.max(fit);
        hosts += i64::from(fit > 0);
    }
    match wish.affinity {
        None => sum,
        Some(true) => best,
        Some(false) => hosts,
    }
}

/// Slots that are to be placed: of which reservation, of what kind, in which of some windows.
pub struct Slots<'a> {
    pub reservation: usize,
    pub wish: &'a InstanceWish,
    pub window: usize,
}

/// Whether all of these slots fit at once, in windows `[start, end)` of whole minutes that do not overlap: every way to spread them over
/// the hosts is tried.
pub fn fits_together(state: &State, windows: &[(u32, u32)], slots: &[Slots<'_>]) -> bool {
    let free = |host: &Host, (start, end): (u32, u32)| {
        let mut least = [i64::MAX; 4];
        for second in (start..end).step_by(60) {
            let (have, used) = (room(host, second), taken(state, host, second, None));
            for class in 0..4 {
                least[class] = least[class].min(have[class] - used[class]);
            }
        }
        least
    };
    let hosts: Vec<&Host> = state.hosts().collect();
    let mut left: Vec<Vec<Used>> = hosts.iter().map(|host| windows.iter().map(|window| free(host, *window)).collect()).collect();
    let mut anchors = vec![None; slots.len()];
    spread(&hosts, slots, &mut left, &mut anchors)
}

fn spread(hosts: &[&Host], slots: &[Slots<'_>], left: &mut [Vec<Used>], anchors: &mut [Option<Anchor>]) -> bool {
    let Some((one, rest)) = slots.split_first() else { return true };
    let possible = anchors[one.reservation].map_or(ANCHORS.to_vec(), |anchor| vec![anchor]);
    let before = anchors[one.reservation];
    for anchor in possible {
        anchors[one.reservation] = Some(anchor);
        if spread_one(hosts, one, rest, 0, i64::from(one.wish.amount), left, anchors) {
            return true;
        }
    }
    anchors[one.reservation] = before;
    false
}

fn spread_one(
    hosts: &[&Host],
    one: &Slots<'_>,
    rest: &[Slots<'_>],
    at: usize,
    amount: i64,
    left: &mut [Vec<Used>],
    anchors: &mut [Option<Anchor>],
) -> bool {
    if amount == 0 {
        return spread(hosts, rest, left, anchors);
    }
    if at == hosts.len() {
        return false;
    }
    let usable = suits(hosts[at], one.wish) && Some(hosts[at].description.anchor) == anchors[one.reservation];
    for many in 0..=amount {
        let as_asked = match one.wish.affinity {
            None => true,
            Some(true) => many == 0 || many == i64::from(one.wish.amount),
            Some(false) => many <= 1,
        };
        let (has, need) = (left[at][one.window], times(one.wish, many));
        let fits = many == 0 || (usable && (0..4).all(|class| need[class] <= has[class]));
        if as_asked && fits {
            left[at][one.window] = std::array::from_fn(|class| has[class] - need[class]);
            if spread_one(hosts, one, rest, at + 1, amount - many, left, anchors) {
                return true;
            }
            left[at][one.window] = has;
        }
    }
    false
}
