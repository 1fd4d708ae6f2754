//! Leases as the second ledger has them, and what each takes of a host.

// Fields are named as in the product's JSON, and mean what they mean there.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::{Amounts, calendar};

/// A lease, as far as rules need it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Lease {
    pub id: String,
    pub name: String,
    pub project_id: String,
    pub start: u32,
    pub end: u32,
    pub status: String,
    pub revision: u32,
    #[serde(default)]
    pub deleted: bool,
    #[serde(default)]
    pub key: Option<Key>,
    pub reservations: Vec<Reservation>,
    #[serde(default)]
    pub events: Vec<Event>,
    #[serde(default)]
    pub created_at: u64,
    #[serde(default)]
    pub updated_at: Option<u64>,
    #[serde(default)]
    pub offer: Option<Offer>,
    #[serde(default)]
    pub series: Option<Member>,
    #[serde(default)]
    pub wait: Option<Wait>,
    #[serde(default)]
    pub precedence: Precedence,
    #[serde(default)]
    pub preempted: Option<Preempted>,
    #[serde(default)]
    pub expiry_s: Option<u32>,
}

/// Who gives way to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Precedence {
    #[serde(default)]
    pub priority: u64,
    #[serde(default)]
    pub preemptible: bool,
    #[serde(default)]
    pub preempt: bool,
}

/// That a lease gave way.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Preempted {
    pub by: String,
}

/// A lease gives way until so many seconds before it begins.
pub const FROZEN_S: u32 = 10;

/// What makes a lease one of a series.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Member {
    pub id: String,
    pub number: u64,
}

/// What makes a lease an offer.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Offer {
    pub expires_at: u32,
    #[serde(default)]
    pub claimed_at: Option<u64>,
}

/// What makes a lease one that waits for room, or whose promotion waits for the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Wait {
    pub until: u32,
}

/// An idempotency key.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Key {
    pub id: String,
}

/// Something due.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Event {
    pub kind: String,
    pub time: u32,
    pub status: String,
    #[serde(default)]
    pub created_at: u64,
}

/// A reservation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Reservation {
    pub id: String,
    pub wish: Resource,
    #[serde(default)]
    pub staging: Option<Staging>,
    #[serde(default)]
    pub on_end: String,
    pub status: String,
    pub stage: String,
    pub bindings: Vec<Binding>,
    #[serde(default)]
    pub previous: Option<Box<Previous>>,
    #[serde(default)]
    pub booked_end: Option<u32>,
    #[serde(default)]
    pub releasing: Vec<Binding>,
    #[serde(default)]
    pub expiry: Option<Expiry>,
}

/// How far the expiry of a reservation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// Its tokens are closed, and what is in use is counted.
    Counting,
    /// Nothing was, and others of the lease are still counted.
    Unused,
    /// It was counted, and so much was given back.
    Counted { released: u64 },
}

impl Reservation {
    /// Slots that it has in its main time, by host.
    pub fn slots(&self) -> BTreeMap<u64, u64> {
        let mut slots = BTreeMap::new();
        for binding in self.bindings.iter().filter(|binding| binding.phase == "main") {
            *slots.entry(binding.host).or_default() += binding.slots;
        }
        slots
    }

    /// Slots that it gave up, and that the cloud has not yet given back, on a host.
    pub fn leaving(&self, host: u64) -> u64 {
        self.releasing.iter().filter(|binding| binding.host == host).map(|binding| binding.slots).sum()
    }

    /// Whether its tokens are closed for the expiry.
    pub fn is_expiring(&self) -> bool {
        matches!(self.expiry, Some(Expiry::Counting | Expiry::Unused))
    }

    /// Every host that it is bound to, before and after an unfinished update.
    pub(super) fn hosts(&self) -> impl Iterator<Item = u64> + '_ {
        let before = self.previous.iter().flat_map(|previous| &previous.bindings);
        self.bindings.iter().chain(&self.releasing).chain(before).map(|binding| binding.host)
    }
}

/// What an unfinished update may return to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Previous {
    pub interval: Span,
    pub wish: Resource,
    pub staging: Option<Staging>,
    pub bindings: Vec<Binding>,
}

/// `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// Whether a second is inside.
    pub fn holds(self, second: u32) -> bool {
        self.start <= second && second < self.end
    }
}

/// A staging window with what is booked behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Staging {
    pub window: Span,
    pub park_margin_s: u32,
}

impl Staging {
    /// Window and margin.
    pub fn booked(self) -> Span {
        Span { start: self.window.start, end: self.window.end.saturating_add(self.park_margin_s) }
    }
}

/// Slots on a host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Binding {
    pub phase: String,
    pub host: u64,
    pub slots: u64,
}

/// By resource type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Resource {
    pub instance: Wish,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Wish {
    pub vcpus: u64,
    pub memory_mb: u64,
    pub disk_gb: u64,
    pub amount: u64,
    pub affinity: Option<bool>,
    #[serde(default)]
    pub zone: Option<String>,
    #[serde(default)]
    pub pool: Option<String>,
    #[serde(default)]
    pub required_traits: BTreeSet<String>,
    #[serde(default)]
    pub forbidden_traits: BTreeSet<String>,
    #[serde(default)]
    pub requirements: Vec<Value>,
}

impl Wish {
    /// What one slot takes.
    pub fn need(&self) -> Amounts {
        [self.vcpus, self.memory_mb, self.disk_gb, 1]
    }
}

fn add(to: &mut Amounts, slots: u64, need: Amounts) {
    (0..4).for_each(|class| to[class] += slots * need[class]);
}

/// What bindings take of a host at a second.
fn bound(bindings: &[Binding], wish: &Wish, main: Span, staging: Option<Staging>, host: u64, second: u32) -> Amounts {
    let mut sum = [0; 4];
    for binding in bindings.iter().filter(|binding| binding.host == host) {
        let span = if binding.phase == "main" { Some(main) } else { staging.map(Staging::booked) };
        if span.is_some_and(|span| span.holds(second)) {
            add(&mut sum, binding.slots, wish.need());
        }
    }
    sum
}

impl Lease {
    /// Whether it is an offer that nobody has claimed: it takes its room, and nothing is done for it.
    pub fn is_offer(&self) -> bool {
        self.offer.is_some_and(|offer| offer.claimed_at.is_none())
    }

    /// Whether it waits for room: nothing is booked for it, and nothing is done.
    pub fn waits(&self) -> bool {
        self.status == "WAITING"
    }

    /// The first second at which it uses what it has.
    pub fn begins(&self) -> u32 {
        let staged = self.reservations.iter().filter_map(|one| one.staging).map(|staging| staging.window.start);
        staged.chain([self.start]).min().unwrap_or(self.start)
    }

    /// Whether it gives way to one of a priority at a second.
    pub fn gives_way(&self, priority: u64, now: u32) -> bool {
        let untouched = |one: &Reservation| matches!(one.stage.as_str(), "booked" | "prepared") && one.status == "pending";
        self.precedence.preemptible
            && self.precedence.priority < priority
            && self.status == "PENDING"
            && self.begins() > now.saturating_add(FROZEN_S)
            && self.reservations.iter().all(untouched)
    }

    /// When it is counted. As long as the ledger's clock has not looked at it, that stands at the second in which it became active.
    pub fn expiry(&self) -> Option<u32> {
        let event = self.events.iter().find(|event| event.kind == "expiry")?;
        (event.time > calendar(event.created_at)).then_some(event.time)
    }

    /// Whether its users see it.
    pub fn visible(&self) -> bool {
        !self.deleted && self.status != "CREATING"
    }

    /// What it takes of a host at a second: of an unfinished update the larger of old and new, and what is being given back.
    pub fn taken(&self, host: u64, second: u32) -> Amounts {
        let mut sum = [0; 4];
        for one in self.reservations.iter().filter(|one| one.status != "deleted") {
            let main = Span { start: self.start, end: one.booked_end.unwrap_or(0).max(self.end) };
            let wish = &one.wish.instance;
            let new = bound(&one.bindings, wish, main, one.staging, host, second);
            let leaving = bound(&one.releasing, wish, main, None, host, second);
            let old = one
                .previous
                .as_ref()
                .map_or([0; 4], |old| bound(&old.bindings, &old.wish.instance, old.interval, old.staging, host, second));
            (0..4).for_each(|class| sum[class] += new[class].max(old[class]) + leaving[class]);
        }
        sum
    }

    /// Every second at which what it takes may change; some stand there twice.
    pub fn borders(&self) -> impl Iterator<Item = u32> + '_ {
        let of_reservation = |one: &'_ Reservation| {
            let old = one.previous.as_ref().map(|old| [Some(old.interval), old.staging.map(Staging::booked)]);
            let spans = old.into_iter().flatten().chain([one.staging.map(Staging::booked)]).flatten();
            spans.flat_map(|span| [span.start, span.end]).chain(one.booked_end)
        };
        [self.start, self.end].into_iter().chain(self.reservations.iter().flat_map(of_reservation))
    }

    /// Whether it may take something at a second or later.
    pub(super) fn takes_from(&self, second: u32) -> bool {
        self.borders().any(|border| border > second)
    }
}
