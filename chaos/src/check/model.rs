//! The ledger written a second time, simple and slow: leases and hosts at one index, what is booked at one second, which
//! plans fit. It shares nothing with the ledger's own rules but the names in the JSON.

use std::collections::{BTreeMap, BTreeSet};

mod host;
mod lease;

pub use host::{Downtime, Figures, Host, Upgrade};
pub use lease::{Binding, Expiry, FROZEN_S, Lease, Precedence, Previous, Reservation, Span, Staging, Wish};

/// vCPUs, MiB, GiB, slots.
pub type Amounts = [u64; 4];

/// Where calendar seconds begin, Unix seconds: 2020-01-01T00:00:00Z.
pub const CALENDAR_UNIX_S: u64 = 1_577_836_800;

/// Unix milliseconds as calendar seconds, rounded down.
pub fn calendar(unix_ms: u64) -> u32 {
    u32::try_from((unix_ms / 1_000).saturating_sub(CALENDAR_UNIX_S)).unwrap_or(u32::MAX)
}

/// What leases take of a host at a second.
fn used(booking: &[&Lease], host: u64, second: u32) -> Amounts {
    booking.iter().fold([0; 4], |mut sum, lease| {
        let taken = lease.taken(host, second);
        (0..4).for_each(|class| sum[class] += taken[class]);
        sum
    })
}

/// All seconds of a span at which something may change, its first second too.
fn instants(booking: &[&Lease], span: Span) -> BTreeSet<u32> {
    let borders = booking.iter().flat_map(|lease| lease.borders()).filter(|second| span.holds(*second));
    borders.chain([span.start]).collect()
}

/// Slots that fit on a host at all of these seconds, beside these leases.
fn fits(host: &Host, wish: &Wish, booking: &[&Lease], instants: &BTreeSet<u32>) -> u64 {
    let need = wish.need();
    let fit = |second: &u32| {
        let room = host.left(*second);
        let used = used(booking, host.id, *second);
        (0..4).filter(|class| need[*class] > 0).map(|class| room[class].saturating_sub(used[class]) / need[class]).min()
    };
    instants.iter().filter_map(fit).min().unwrap_or(0)
}

/// The ledger at one index.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Leases that users see, by id.
    pub leases: BTreeMap<String, Lease>,
    /// Leases that take capacity unseen.
    pub hidden: BTreeMap<String, Lease>,
    /// Hosts by id.
    pub hosts: BTreeMap<u64, Host>,
}

impl Model {
    /// Everything that may take capacity at a second or later, but one lease.
    fn booking<'a>(&'a self, from: u32, except: Option<&'a str>) -> Vec<&'a Lease> {
        let all = self.leases.values().chain(self.hidden.values());
        all.filter(|lease| Some(lease.id.as_str()) != except && lease.takes_from(from)).collect()
    }

    /// All seconds of a span at which what is left of any host may change.
    fn instants(&self, booking: &[&Lease], span: Span) -> BTreeSet<u32> {
        let downtimes = self.hosts.values().flat_map(|host| &host.downtimes);
        let borders = downtimes.flat_map(|one| [one.interval.start, one.interval.end]);
        let borders = borders.chain(self.hosts.values().filter_map(|host| Some(host.upgrade.as_ref()?.start)));
        instants(booking, span).into_iter().chain(borders.filter(|second| span.holds(*second))).collect()
    }

    /// The same without some leases.
    #[must_use]
    pub fn without(&self, gone: impl Fn(&Lease) -> bool) -> Model {
        let leases = self.leases.iter().filter(|(_, lease)| !gone(lease)).map(|(id, lease)| (id.clone(), lease.clone()));
        Model { leases: leases.collect(), hidden: self.hidden.clone(), hosts: self.hosts.clone() }
    }

    /// What is booked of a host at a second, as far as it is known.
    pub fn booked(&self, host: u64, second: u32) -> Amounts {
        used(&self.booking(second, None), host, second)
    }

    /// Whether so many slots can be found all over a span. `kept` are bindings that must stay where they are.
    pub fn feasible(&self, wish: &Wish, span: Span, except: Option<&str>, kept: &[Binding]) -> bool {
        if span.start >= span.end {
            return false;
        }
        let stays = |host: u64| kept.iter().filter(|one| one.host == host).map(|one| one.slots).sum::<u64>();
        let booking = self.booking(span.start, except);
        let instants = self.instants(&booking, span);
        let mut room = Vec::new();
        for host in self.hosts.values() {
            let fits = fits(host, wish, &booking, &instants);
            let stays = stays(host.id);
            if fits < stays {
                return false;
            }
            let may_grow = host.takes_more() && host.suits(wish);
            room.push((stays, if may_grow { fits } else { stays }));
        }
        let on_one = kept.iter().map(|one| one.host).collect::<BTreeSet<_>>().len() <= 1;
        match wish.affinity {
            None => room.iter().map(|(_, fits)| fits).sum::<u64>() >= wish.amount,
            Some(false) => room.iter().filter(|(_, fits)| *fits > 0).count() as u64 >= wish.amount,
            Some(true) => {
                let candidates = room.iter().filter(|(stays, _)| kept.is_empty() || *stays > 0);
                on_one && candidates.map(|(_, fits)| *fits).max().unwrap_or(0) >= wish.amount
            }
        }
    }

    /// The most that one reservation of a wish may have, whatever amount it asks for.
    pub fn most(&self, wish: &Wish, span: Span) -> u64 {
        if span.start >= span.end {
            return 0;
        }
        let booking = self.booking(span.start, None);
        let instants = self.instants(&booking, span);
        let hosts = self.hosts.values().filter(|host| host.takes_more() && host.suits(wish));
        let fits = hosts.map(|host| fits(host, wish, &booking, &instants));
        match wish.affinity {
            None => fits.sum(),
            Some(true) => fits.max().unwrap_or(0),
            Some(false) => fits.filter(|fits| *fits > 0).count() as u64,
        }
    }

    /// Leases that are booked, at `from` or later, on hosts which are not there.
    pub fn nowhere(&self, from: u32) -> Vec<String> {
        let booking = self.booking(from, None);
        let instants = instants(&booking, Span { start: from, end: u32::MAX });
        let mut seen = Vec::new();
        for lease in booking {
            let hosts: BTreeSet<u64> = lease.reservations.iter().flat_map(Reservation::hosts).collect();
            let gone = hosts.into_iter().filter(|host| !self.hosts.contains_key(host));
            let booked = gone.filter(|host| instants.iter().any(|second| lease.taken(*host, *second) != [0; 4]));
            seen.extend(booked.map(|host| format!("lease {} is booked on host {host}, which is not there", lease.id)));
        }
        seen
    }

    /// Hosts on which more is booked, at `from` or later, than there is; each with a text, and with all that is booked there by the
    /// second from which it is so.
    pub fn double_booked(&self, from: u32) -> BTreeMap<u64, (String, BTreeMap<u32, Amounts>)> {
        let booking = self.booking(from, None);
        let instants = instants(&booking, Span { start: from, end: u32::MAX });
        let mut seen = BTreeMap::new();
        for host in self.hosts.values() {
            let is_over = |second: u32, used: &Amounts| (0..4).any(|class| used[class] > host.room_at(second)[class]);
            let mut booked = instants.iter().map(|second| (*second, used(&booking, host.id, *second)));
            if let Some((second, over)) = booked.find(|(second, used)| is_over(*second, used)) {
                let room = host.room_at(second);
                let there = booking.iter().filter(|lease| lease.taken(host.id, second) != [0; 4]);
                let who: Vec<&str> = there.map(|lease| lease.id.as_str()).collect();
                let name = &host.description.hypervisor_hostname;
                let text = format!("{name} has {room:?}, at second {second} it is booked {over:?} by {who:?}");
                let all = instants.iter().map(|second| (*second, used(&booking, host.id, *second)));
                seen.insert(host.id, (text, all.collect()));
            }
        }
        seen
    }
}

/// Whether a reservation's bindings are what its wish asks for: number, affinity, kind of host.
pub fn plan_problem(one: &Reservation, hosts: &BTreeMap<u64, Host>) -> Option<String> {
    let wish = &one.wish.instance;
    for phase in ["main", "staging"] {
        let of: Vec<&Binding> = one.bindings.iter().filter(|binding| binding.phase == phase).collect();
        if phase == "staging" && one.staging.is_none() && of.is_empty() {
            continue;
        }
        let slots: u64 = of.iter().map(|binding| binding.slots).sum();
        // Staging that has begun is not planned again when the amount changes.
        if slots != wish.amount && (phase == "main" || one.stage == "booked") {
            return Some(format!("{slots} slots in {phase}, {} wanted", wish.amount));
        }
        let different: BTreeSet<u64> = of.iter().map(|binding| binding.host).collect();
        match wish.affinity {
            Some(true) if different.len() > 1 => return Some(format!("affinity wants one host, {phase} has {different:?}")),
            Some(false) if different.len() as u64 != slots => return Some(format!("hosts of {phase} are not different")),
            _ => {}
        }
        for id in different {
            match hosts.get(&id) {
                None => return Some(format!("host {id} of {phase} is not there")),
                Some(host) if !host.suits(wish) => return Some(format!("host {id} of {phase} is not of the kind asked for")),
                Some(_) => {}
            }
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests;
