//! The next write that brings a host's providers from what was read to what is wanted, without ever breaking P1:
//! what open or still used tokens back never exceeds the hold (scheduling-design §5, architecture D27). Pure.
//!
//! A write names the generations that were read, of tokens or of holds, never both: only what is settled of the one lets the other
//! sink. Order: close and drop first, open what the hold already covers, then move the hold, then open the rest. What has ended and
//! is still used counts beside what opens: the hold is raised above what is booked for it, where Placement has that.

use std::collections::BTreeMap;

use leasehold_ledger::model::Amounts;
use leasehold_ledger::mutant;
use uuid::Uuid;

use super::desired::{Gate, HostWish};
use super::names::Names;
use crate::openstack::placement::{ConsumerOnProvider, ConsumerWrite, Inventories, Inventory, ProviderAllocations, Resources};

/// Hold consumers looked for per host: more were never made.
pub const SHARDS_MAX: usize = 64;

/// One hold consumer as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// To be named by the next write; `None` when it is not there.
    pub generation: Option<u64>,
    /// What it has.
    pub amounts: Amounts,
}

/// A host's providers as they were read.
#[derive(Clone, Debug, PartialEq)]
pub struct HostRead {
    /// The root provider.
    pub root: Uuid,
    /// Inventories of the reservation provider.
    pub inventories: Inventories,
    /// Tokens in use, by class.
    pub usage: BTreeMap<String, u64>,
    /// Hold consumers, from the first to the last that is there or wanted.
    pub shards: Vec<Shard>,
    /// No earlier write of tokens may be under way still. One whose answer never came, or a dead leader's, would open tokens upon
    /// what was read here until the next write of tokens makes it too late.
    pub settled: bool,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Of the reservation provider.
    Inventories(Inventories),
    /// Of the root provider, in one transaction.
    Hold(Vec<ConsumerWrite>),
}

impl HostRead {
    /// What is held in all.
    #[must_use]
    pub fn held(&self) -> Amounts {
        self.shards.iter().fold(Amounts::default(), |sum, shard| {
            sum.checked_add(shard.amounts).expect("Placement's amounts fit 32 bits each and in all")
        })
    }

    /// Tokens of a class in use.
    #[must_use]
    pub fn used(&self, class: &str) -> u64 {
        self.usage.get(class).copied().unwrap_or(0)
    }

    /// Whether the tokens of a class can be used.
    #[must_use]
    pub fn is_open(&self, class: &str) -> bool {
        self.inventories.inventories.get(class).is_some_and(|inventory| inventory.reserved < inventory.total)
    }

    /// What the tokens of a class back: all of them while open, those in use once closed.
    fn backing(&self, wish: &HostWish, class: &str, inventory: &Inventory) -> Amounts {
        let tokens = if inventory.reserved < inventory.total { inventory.total } else { 0 };
        self.backed_by_tokens(wish, class, tokens)
    }

    /// The same with those that are closed to be counted: they are opened again, and nobody else is to have their room meanwhile.
    fn claimed(&self, wish: &HostWish, class: &str, inventory: &Inventory) -> Amounts {
        match wish.tokens.get(class).map(|token| token.gate) {
            Some(Gate::Counted) => self.backed_by_tokens(wish, class, inventory.total),
            _ => self.backing(wish, class, inventory),
        }
    }

    fn backed_by_tokens(&self, wish: &HostWish, class: &str, tokens: u64) -> Amounts {
        let tokens = u32::try_from(tokens.max(self.used(class))).unwrap_or(u32::MAX);
        wish.tokens.get(class).and_then(|wish| wish.need.checked_mul(tokens)).unwrap_or_default()
    }

    /// What all tokens back now.
    #[must_use]
    pub fn backed(&self, wish: &HostWish) -> Amounts {
        self.inventories.inventories.iter().fold(Amounts::default(), |sum, (class, inventory)| {
            sum.checked_add(self.backing(wish, class, inventory)).unwrap_or(sum)
        })
    }

    /// Classes that ended on this host and are still used: who finds no room beside them waits for them (D27).
    pub fn lingering<'a>(&'a self, wish: &'a HostWish) -> impl Iterator<Item = &'a str> + 'a {
        self.usage
            .iter()
            .filter(|(_, used)| **used > 0)
            .map(|(class, _)| class.as_str())
            .filter(|class| wish.tokens.get(*class).is_none_or(|token| token.gate == Gate::Ended))
    }

    /// Whether the host holds what the wish needs, at least.
    #[must_use]
    pub fn holds(&self, wish: &HostWish) -> bool {
        Amounts { slots: 0, ..wish.hold }.fits_in(self.held())
    }
}

/// The next write; `None` when nothing can be done now. `hold_refused`: Placement had no room for a larger hold in this
/// run, so the hold only sinks.
#[must_use]
pub fn next_write(names: &Names, wish: &HostWish, read: &HostRead, hold_refused: bool) -> Option<Write> {
    let inventories = next_inventories(wish, read);
    if inventories != read.inventories.inventories {
        let generation = read.inventories.generation;
        return Some(Write::Inventories(Inventories { generation, inventories }));
    }
    // What is under way might open what is being counted: what is there is written again first.
    if !read.settled && wish.tokens.values().any(|token| token.gate == Gate::Counted) {
        return Some(Write::Inventories(read.inventories.clone()));
    }
    let held = read.held();
    // Nothing is given up of what is sought: who let it go does not get it back.
    let least = Amounts { slots: 0, ..wish.hold.max(wish.sought.min(held)).max(read.backed(wish)) };
    // What is booked comes first: it must not be refused for the sake of more.
    let wanted = match (least.fits_in(held), hold_refused) {
        (false, true) => return None,
        (false, false) | (true, true) => least,
        (true, false) => Amounts { slots: 0, ..least.max(once_open(wish, read)) },
    };
    // What is under way may open what a lower hold does not cover: what is there is written again first.
    if !read.settled && !held.fits_in(wanted) {
        return Some(Write::Inventories(read.inventories.clone()));
    }
    (wanted != held).then(|| Write::Hold(shards_of(names, read.root, &read.shards, wanted, wish.max_unit)))
}

/// The write that holds what is sought beyond what is held; `None` when all of it is. Whoever waits for a host waits for
/// [`next_write`] alone: that this one is refused, or fails, says nothing of what must be held.
#[must_use]
pub fn more_write(names: &Names, wish: &HostWish, read: &HostRead) -> Option<Write> {
    let held = read.held();
    let more = Amounts { slots: 0, ..held.max(wish.sought) };
    (more != held).then(|| Write::Hold(shards_of(names, read.root, &read.shards, more, wish.max_unit)))
}

/// What all tokens back once everything is open that waits for nothing but the hold; nothing, where it waits for more.
fn once_open(wish: &HostWish, read: &HostRead) -> Amounts {
    if waits_for_strangers(wish, read) {
        return Amounts::default();
    }
    let opened = |(class, inventory)| match wish.tokens.get(&class) {
        Some(token) if token.gate == Gate::Open => (class, open(u64::from(token.total))),
        Some(_) | None => (class, inventory),
    };
    let next = next_inventories(wish, read).into_iter().map(opened).collect();
    claimed_by(wish, read, &next).filter(|backed| backed.slots <= wish.anchors).unwrap_or_default()
}

/// What is used and known to the ledger counts in P1, so that a start waits for it only where room is short
/// (docs/decisions/0006). What a stranger's token backs nobody can say: that is waited for.
fn waits_for_strangers(wish: &HostWish, read: &HostRead) -> bool {
    read.lingering(wish).any(|class| !wish.tokens.contains_key(class))
}

/// What these inventories would claim; `None` when it is more than can be counted.
fn claimed_by(wish: &HostWish, read: &HostRead, inventories: &BTreeMap<String, Inventory>) -> Option<Amounts> {
    inventories.iter().try_fold(Amounts::default(), |sum, (class, one)| sum.checked_add(read.claimed(wish, class, one)))
}

/// The inventories that may be written now.
fn next_inventories(wish: &HostWish, read: &HostRead) -> BTreeMap<String, Inventory> {
    let mut next = BTreeMap::new();
    // What is closed or stays as it is.
    for (class, token) in &wish.tokens {
        let total = u64::from(token.total);
        match token.gate {
            Gate::Closed | Gate::Counted => drop(next.insert(class.clone(), closed(total))),
            Gate::Ended if read.used(class) > 0 => drop(next.insert(class.clone(), closed(total))),
            Gate::Ended => {}
            Gate::Open if read.is_open(class) => drop(next.insert(class.clone(), open(total))),
            Gate::Open => drop(next.insert(class.clone(), closed(total))),
        }
    }
    // Classes that nobody wants and something still uses: closed until that is gone.
    for (class, inventory) in &read.inventories.inventories {
        if !wish.tokens.contains_key(class) && read.used(class) > 0 {
            next.insert(class.clone(), closed(inventory.total));
        }
    }
    let held = Amounts { slots: wish.anchors, ..read.held() };
    // Planted bug: tokens open whatever is held.
    let fits = |next: &BTreeMap<String, Inventory>| {
        mutant!("M19") || claimed_by(wish, read, next).is_some_and(|backed| backed.fits_in(held))
    };
    let wait_for_end = waits_for_strangers(wish, read);
    for (class, token) in wish.tokens.iter().filter(|(_, token)| token.gate == Gate::Open) {
        let before = next.insert(class.clone(), open(u64::from(token.total)));
        let is_open = read.is_open(class);
        let was = read.inventories.inventories.get(class);
        let grows = !is_open || was.is_none_or(|was| was.total < u64::from(token.total));
        if !grows || ((is_open || !wait_for_end) && fits(&next)) {
            continue;
        }
        // Not now: as it was if it was open, closed otherwise.
        let kept = if is_open { was.cloned().or(before) } else { Some(closed(u64::from(token.total))) };
        next.extend(kept.map(|kept| (class.clone(), kept)));
    }
    next
}

fn open(total: u64) -> Inventory {
    Inventory { total, reserved: 0, min_unit: 1, max_unit: 1, step_size: 1, allocation_ratio: 1.0 }
}

fn closed(total: u64) -> Inventory {
    Inventory { reserved: total, ..open(total) }
}

/// The writes that split a hold over consumers of at most `max_unit` each, and empty those that are not needed any more.
#[must_use]
pub fn shards_of(names: &Names, root: Uuid, shards: &[Shard], wanted: Amounts, max_unit: Amounts) -> Vec<ConsumerWrite> {
    let unit = Amounts::from_array(max_unit.to_array().map(|most| most.max(1)));
    let mut rest = wanted;
    let mut writes = Vec::new();
    for number in 0.. {
        let there = shards.get(number);
        let part = Amounts::from_array(std::array::from_fn(|i| rest.to_array()[i].min(unit.to_array()[i])));
        if part == Amounts::default() && there.is_none() {
            break;
        }
        rest = rest.saturating_sub(part);
        let shard = there.cloned().unwrap_or_default();
        // A consumer that is not there and is to have nothing needs no write.
        if shard.amounts != part {
            let consumer = names.hold(root, number);
            writes.push(ConsumerWrite { consumer, generation: shard.generation, provider: root, resources: resources(part) });
        }
    }
    writes
}

/// Our hold consumers among those of a root provider, by number, to the last that is there.
#[must_use]
pub fn holds_of<'a>(names: &Names, root: Uuid, users: &'a ProviderAllocations) -> Vec<Option<(Uuid, &'a ConsumerOnProvider)>> {
    let mut holds = Vec::new();
    // A name costs a hash, so none is made when nobody is left who could have it: our names are UUIDs of version 5.
    let mut others = users.allocations.keys().filter(|consumer| consumer.get_version_num() == 5).count();
    for number in 0..SHARDS_MAX {
        if others == 0 {
            break;
        }
        let consumer = names.hold(root, number);
        let there = users.allocations.get(&consumer).map(|there| (consumer, there));
        others -= usize::from(there.is_some());
        holds.push(there);
    }
    while holds.last().is_some_and(Option::is_none) {
        holds.pop();
    }
    holds
}

/// The same as shards: from the first to the last that is there.
#[must_use]
pub fn shards_read(names: &Names, root: Uuid, users: &ProviderAllocations) -> Vec<Shard> {
    let shard = |there: &ConsumerOnProvider| Shard { generation: there.consumer_generation, amounts: amounts(&there.resources) };
    let holds = holds_of(names, root, users).into_iter();
    holds.map(|there| there.map(|(_, there)| shard(there)).unwrap_or_default()).collect()
}

/// Amounts as Placement names them.
#[must_use]
pub fn resources(amounts: Amounts) -> Resources {
    [("VCPU", amounts.vcpus), ("MEMORY_MB", amounts.memory_mb), ("DISK_GB", amounts.disk_gb)]
        .into_iter()
        .map(|(class, amount)| (class.to_owned(), u64::from(amount)))
        .collect()
}

/// Amounts from Placement's names; other classes do not count, amounts beyond 32 bits saturate.
#[must_use]
pub fn amounts(resources: &Resources) -> Amounts {
    let of = |class: &str| resources.get(class).map_or(0, |n| u32::try_from(*n).unwrap_or(u32::MAX));
    Amounts { vcpus: of("VCPU"), memory_mb: of("MEMORY_MB"), disk_gb: of("DISK_GB"), slots: 0 }
}

#[cfg(test)]
#[path = "host_plan_tests.rs"]
mod tests;
