//! Which hosts are of the kind a wish asks for, a bit each (scheduling-design T4). Derived, never stored or hashed.
//!
//! Of a block of 64 hosts one word says which of them have a zone, a trait, a value of a column. What is not kept here is
//! asked of the hosts that are left, by the rule itself.

use std::collections::{BTreeMap, BTreeSet};

use super::calendar::block_of;
use super::wide::HOSTS;
use crate::model::{
    Amounts, Anchor, ColumnValue, Comparison, Host, InstanceWish, PoolKind, Requirement, column_values, value_meets,
};
use crate::mutant;

/// Values of one column that one term may match before it is asked of the hosts one by one.
const VALUES_MAX: usize = 32;

/// Bits of hosts by block.
pub(crate) type Bits = BTreeMap<u64, u64>;

/// The bits of all hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostIndex {
    blocks: BTreeMap<u64, Block>,
    zones: BTreeMap<String, Bits>,
    traits: BTreeMap<String, Bits>,
    /// By name of a column or an extra capability, then by value.
    columns: BTreeMap<String, BTreeMap<ColumnValue, Bits>>,
}

/// What every search asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// C − F of each host; nothing where there is none.
    pub rooms: Box<[Amounts; HOSTS]>,
    /// Those that accept bookings.
    open: u64,
    dedicated: u64,
    shared: u64,
    by_memory: u64,
    by_class: u64,
}

/// A wish, looked up once: what its hosts have in common.
pub(crate) struct Kind<'a> {
    index: &'a HostIndex,
    anchor: Anchor,
    pool: Option<PoolKind>,
    /// Hosts must be in all of them; `None`: there is no such host.
    within: Vec<Option<&'a Bits>>,
    /// Hosts must be in one of each.
    within_one: Vec<Vec<&'a Bits>>,
    without: Vec<&'a Bits>,
    /// To be asked of the hosts that are left.
    pub asked: Vec<&'a Requirement>,
}

impl HostIndex {
    /// Brings the bits of one host from its old to its new value.
    pub fn reindex(&mut self, old: Option<&Host>, new: Option<&Host>) {
        let Some(host) = new.or(old) else { return };
        let (number, lane) = block_of(host.id);
        let bit = 1 << lane;
        let block = self.blocks.entry(number).or_insert_with(Block::empty);
        block.put(lane, new);
        if block.dedicated | block.shared == 0 {
            self.blocks.remove(&number);
        }
        let zone = |host: Option<&Host>| host.and_then(|host| host.description.zone.clone());
        if zone(old) != zone(new) {
            drop_bit(&mut self.zones, zone(old).as_ref(), number, bit);
            put_bit(&mut self.zones, zone(new), number, bit);
        }
        let none = BTreeSet::new();
        let traits = |host: Option<&'_ Host>| host.map(|host| host.observation.traits.clone()).unwrap_or_default();
        if old.map_or(&none, |host| &host.observation.traits) != new.map_or(&none, |host| &host.observation.traits) {
            let (before, after) = (traits(old), traits(new));
            before.difference(&after).for_each(|name| drop_bit(&mut self.traits, Some(name), number, bit));
            after.difference(&before).for_each(|name| put_bit(&mut self.traits, Some(name.clone()), number, bit));
        }
        let (before, after) = (old.map(column_values).unwrap_or_default(), new.map(column_values).unwrap_or_default());
        for (key, value) in before.iter().filter(|(key, value)| after.get(*key) != Some(*value)) {
            if let Some(values) = self.columns.get_mut(key) {
                drop_bit(values, Some(value), number, bit);
                if values.is_empty() {
                    self.columns.remove(key);
                }
            }
        }
        for (key, value) in after.into_iter().filter(|(key, value)| before.get(key) != Some(value)) {
            put_bit(self.columns.entry(key).or_default(), Some(value), number, bit);
        }
    }

    /// Whether there is a host with this kind of anchor.
    pub fn has(&self, anchor: Anchor) -> bool {
        self.blocks.values().any(|block| block.with(anchor) != 0)
    }

    /// The blocks that have hosts, in order.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, &Block)> + '_ {
        self.blocks.iter().map(|(number, block)| (*number, block))
    }

    /// The blocks from one on.
    pub fn blocks_from(&self, first: u64) -> impl Iterator<Item = (u64, &Block)> + '_ {
        self.blocks.range(first..).map(|(number, block)| (*number, block))
    }

    /// Looks a wish up, for hosts with one kind of anchor.
    pub fn kind<'a>(&'a self, wish: &'a InstanceWish, anchor: Anchor) -> Kind<'a> {
        let bare = Kind {
            index: self,
            anchor,
            pool: wish.pool,
            within: Vec::new(),
            within_one: Vec::new(),
            without: Vec::new(),
            asked: Vec::new(),
        };
        // Planted bug: neither zone nor traits nor properties count.
        if mutant!("N02") {
            return bare;
        }
        let mut within: Vec<Option<&Bits>> = wish.zone.iter().map(|zone| self.zones.get(zone)).collect();
        within.extend(wish.required_traits.iter().map(|name| self.traits.get(name)));
        let without = wish.forbidden_traits.iter().filter_map(|name| self.traits.get(name)).collect();
        let mut kind = Kind { within, without, ..bare };
        wish.requirements.iter().for_each(|term| kind.require(term));
        kind
    }
}

impl<'a> Kind<'a> {
    fn require(&mut self, term: &'a Requirement) {
        if !ColumnValue::is_kept(&term.key) {
            self.asked.push(term);
            return;
        }
        // A column that no host has.
        let Some(values) = self.index.columns.get(&term.key) else { return self.within.push(None) };
        let is_text = values.keys().next().is_some_and(|value| matches!(value, ColumnValue::Text(_)));
        if term.comparison == Comparison::Equal && is_text {
            return self.within.push(values.get(&ColumnValue::Text(term.value.clone())));
        }
        let meeting = values.iter().filter(|(value, _)| value_meets(value, term)).map(|(_, bits)| bits);
        let first: Vec<&Bits> = meeting.take(VALUES_MAX + 1).collect();
        if first.len() > VALUES_MAX { self.asked.push(term) } else { self.within_one.push(first) }
    }

    /// The hosts of a block that are of this kind and accept bookings, but for what is to be asked of each.
    pub fn hosts(&self, number: u64, block: &Block) -> u64 {
        let mut hosts = block.open
            & block.with(self.anchor)
            & match self.pool {
                None => u64::MAX,
                Some(pool) => block.of_pool(pool),
            };
        let at = |bits: &Bits| bits.get(&number).copied().unwrap_or(0);
        for bits in &self.within {
            hosts &= bits.map_or(0, at);
        }
        for any in &self.within_one {
            hosts &= any.iter().fold(0, |hosts, bits| hosts | at(bits));
        }
        for bits in &self.without {
            hosts &= !at(bits);
        }
        hosts
    }
}

impl Block {
    fn empty() -> Block {
        let rooms = Box::new([Amounts::default(); HOSTS]);
        Block { rooms, open: 0, dedicated: 0, shared: 0, by_memory: 0, by_class: 0 }
    }

    fn put(&mut self, lane: usize, host: Option<&Host>) {
        let bit = 1 << lane;
        self.rooms[lane] = host.map_or(Amounts::default(), Host::room_upgraded);
        let set = |word: &mut u64, on: bool| if on { *word |= bit } else { *word &= !bit };
        set(&mut self.open, host.is_some_and(Host::accepts_bookings));
        set(&mut self.dedicated, host.is_some_and(|host| host.description.pool == PoolKind::Dedicated));
        set(&mut self.shared, host.is_some_and(|host| host.description.pool == PoolKind::Shared));
        set(&mut self.by_memory, host.is_some_and(|host| host.description.anchor == Anchor::Memory));
        set(&mut self.by_class, host.is_some_and(|host| host.description.anchor == Anchor::Class));
    }

    /// Its hosts with one kind of anchor.
    fn with(&self, anchor: Anchor) -> u64 {
        match anchor {
            Anchor::Memory => self.by_memory,
            Anchor::Class => self.by_class,
        }
    }

    /// Its hosts of a pool.
    pub fn of_pool(&self, pool: PoolKind) -> u64 {
        match pool {
            PoolKind::Dedicated => self.dedicated,
            PoolKind::Shared => self.shared,
        }
    }
}

fn put_bit<K: Ord>(table: &mut BTreeMap<K, Bits>, key: Option<K>, block: u64, bit: u64) {
    if let Some(key) = key {
        *table.entry(key).or_default().entry(block).or_default() |= bit;
    }
}

fn drop_bit<K: Ord>(table: &mut BTreeMap<K, Bits>, key: Option<&K>, block: u64, bit: u64) {
    let Some(key) = key else { return };
    let Some(bits) = table.get_mut(key) else { return };
    if let Some(word) = bits.get_mut(&block) {
        *word &= !bit;
        if *word == 0 {
            bits.remove(&block);
        }
    }
    if bits.is_empty() {
        table.remove(key);
    }
}
