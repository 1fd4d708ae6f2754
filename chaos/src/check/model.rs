//! The ledger written a second time, simple and slow: leases and hosts at one index, what is booked at one second, which
//! plans fit. It shares nothing with the ledger's own rules but the names in the JSON.

// Fields are named as in the product's JSON, and mean what they mean there.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

/// vCPUs, MiB, GiB, slots.
pub type Amounts = [u64; 4];

/// Where calendar seconds begin, Unix seconds: 2020-01-01T00:00:00Z.
pub const CALENDAR_UNIX_S: u64 = 1_577_836_800;

/// Unix milliseconds as calendar seconds, rounded down.
pub fn calendar(unix_ms: u64) -> u32 {
    u32::try_from((unix_ms / 1_000).saturating_sub(CALENDAR_UNIX_S)).unwrap_or(u32::MAX)
}

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
}

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
}

impl Reservation {
    /// Every host that it is bound to, before and after an unfinished update.
    fn hosts(&self) -> impl Iterator<Item = u64> + '_ {
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

/// A host.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Host {
    pub id: u64,
    pub description: Description,
    pub observation: Observation,
    pub reservable: bool,
    pub overcommitted: bool,
    #[serde(default)]
    pub downtimes: Vec<Downtime>,
}

/// What is declared not to be had of a host for a time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Downtime {
    pub id: String,
    pub interval: Span,
    #[serde(default)]
    pub withheld: Withheld,
}

/// So much of it; without any amount all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Withheld {
    #[serde(default)]
    pub vcpus: Option<u64>,
    #[serde(default)]
    pub memory_mb: Option<u64>,
    #[serde(default)]
    pub disk_gb: Option<u64>,
}

impl Withheld {
    /// Whether nothing at all is left of the host.
    pub fn everything(self) -> bool {
        self.vcpus.or(self.memory_mb).or(self.disk_gb).is_none()
    }
}

/// What a host is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Description {
    pub hypervisor_hostname: String,
    pub pool: String,
    #[serde(default)]
    pub zone: Option<String>,
    #[serde(default)]
    pub root_provider: String,
}

/// What a host has.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Observation {
    pub capacity: Figures,
    pub firm: Figures,
    #[serde(default)]
    pub traits: BTreeSet<String>,
    pub up: bool,
}

/// Amounts by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Figures {
    pub vcpus: u64,
    pub memory_mb: u64,
    pub disk_gb: u64,
    pub slots: u64,
}

impl Figures {
    fn amounts(self) -> Amounts {
        [self.vcpus, self.memory_mb, self.disk_gb, self.slots]
    }
}

impl Host {
    /// What reservations may use.
    pub fn room(&self) -> Amounts {
        let (capacity, firm) = (self.observation.capacity.amounts(), self.observation.firm.amounts());
        std::array::from_fn(|class| capacity[class].saturating_sub(firm[class]))
    }

    /// What is left of it for reservations in one second, whatever is booked there.
    pub fn left(&self, second: u32) -> Amounts {
        let mut left = self.room();
        for one in self.downtimes.iter().filter(|one| one.interval.holds(second)) {
            if one.withheld.everything() {
                return [0; 4];
            }
            let Withheld { vcpus, memory_mb, disk_gb } = one.withheld;
            for (class, amount) in [vcpus, memory_mb, disk_gb].into_iter().enumerate() {
                left[class] = left[class].saturating_sub(amount.unwrap_or(0));
            }
        }
        left
    }

    /// Whether something new may come here.
    pub fn takes_more(&self) -> bool {
        self.reservable && self.observation.up && !self.overcommitted
    }

    /// Whether it is of the kind asked for. Property expressions are not judged here.
    pub fn suits(&self, wish: &Wish) -> bool {
        wish.pool.as_ref().is_none_or(|pool| *pool == self.description.pool)
            && (wish.zone.is_none() || wish.zone == self.description.zone)
            && wish.required_traits.is_subset(&self.observation.traits)
            && wish.forbidden_traits.is_disjoint(&self.observation.traits)
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
    fn takes_from(&self, second: u32) -> bool {
        self.borders().any(|border| border > second)
    }
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
        instants(booking, span).into_iter().chain(borders.filter(|second| span.holds(*second))).collect()
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
            let room = host.room();
            let mut booked = instants.iter().map(|second| (*second, used(&booking, host.id, *second)));
            if let Some((second, over)) = booked.find(|(_, used)| (0..4).any(|class| used[class] > room[class])) {
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
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A dedicated host with so many vCPUs, and plenty of the rest.
    pub fn host(id: u64, vcpus: u64) -> Value {
        json!({"id": id, "reservable": true, "overcommitted": false,
            "description": {"hypervisor_hostname": format!("cmp{id}"), "pool": "dedicated", "zone": "nova", "root_provider": format!("root{id}")},
            "observation": {"up": true, "traits": [], "firm": {"vcpus": 0, "memory_mb": 0, "disk_gb": 0, "slots": 0},
                "capacity": {"vcpus": vcpus, "memory_mb": 100_000, "disk_gb": 1_000, "slots": 255}}})
    }

    /// What a tenant may ask for: slots of one vCPU.
    pub fn wish(amount: u64) -> Value {
        json!({"instance": {"vcpus": 1, "memory_mb": 512, "disk_gb": 1, "amount": amount, "affinity": null, "pool": null,
            "zone": null, "required_traits": [], "forbidden_traits": [], "requirements": [], "resource_properties": ""}})
    }

    /// A lease over `[start, end)` with slots on hosts.
    pub fn lease(id: &str, start: u32, end: u32, on: &[(u64, u64)]) -> Value {
        let bindings: Vec<Value> =
            on.iter().map(|(host, slots)| json!({"phase": "main", "host": host, "slots": slots})).collect();
        json!({"id": id, "name": id, "project_id": "p", "start": start, "end": end, "status": "PENDING", "revision": 1,
            "deleted": false, "key": {"id": format!("key-{id}")}, "created_at": 0,
            "reservations": [{"id": format!("r-{id}"), "wish": wish(on.iter().map(|(_, slots)| slots).sum()), "staging": null,
                "on_end": "delete", "status": "pending", "stage": "booked", "bindings": bindings, "releasing": []}],
            "events": [{"kind": "start_lease", "time": start, "status": "UNDONE"},
                {"kind": "end_lease", "time": end, "status": "UNDONE"}]})
    }

    fn model(leases: &[Value]) -> Model {
        let mut model = Model::default();
        for id in 1..=2 {
            model.hosts.insert(id, serde_json::from_value(host(id, 4)).expect("it reads"));
        }
        for lease in leases {
            let lease: Lease = serde_json::from_value(lease.clone()).expect("it reads");
            model.leases.insert(lease.id.clone(), lease);
        }
        model
    }

    fn asked(amount: u64, affinity: Option<bool>) -> Wish {
        let resource: Resource = serde_json::from_value(wish(amount)).expect("it reads");
        Wish { affinity, ..resource.instance }
    }

    #[test]
    fn room_is_counted_second_by_second_and_ends_meet_starts() {
        let model = model(&[lease("a", 100, 200, &[(1, 4)]), lease("b", 150, 300, &[(2, 3)])]);
        let span = |start, end| Span { start, end };
        assert!(model.feasible(&asked(8, None), span(0, 100), None, &[]));
        assert!(!model.feasible(&asked(8, None), span(0, 101), None, &[]));
        assert!(model.feasible(&asked(1, None), span(100, 300), None, &[]));
        assert!(!model.feasible(&asked(2, None), span(100, 300), None, &[]));
        assert!(model.feasible(&asked(5, None), span(200, 250), None, &[]));
        assert!(!model.feasible(&asked(5, Some(true)), span(200, 250), None, &[]));
        assert!(model.feasible(&asked(4, Some(true)), span(200, 250), None, &[]));
        assert!(!model.feasible(&asked(3, Some(false)), span(0, 10), None, &[]));
        assert!(model.feasible(&asked(8, None), span(120, 150), Some("a"), &[]));
    }

    #[test]
    fn what_is_declared_not_to_be_had_is_not_there_and_only_then() {
        let mut model = model(&[lease("a", 100, 200, &[(1, 1)])]);
        let downtime = |start: u32, end: u32, withheld: Value| -> Downtime {
            let one = json!({"id": "d", "interval": {"start": start, "end": end}, "withheld": withheld});
            serde_json::from_value(one).expect("it reads")
        };
        let mut declare = |host: u64, one: Downtime| model.hosts.get_mut(&host).expect("it is there").downtimes.push(one);
        declare(1, downtime(150, 160, json!({"vcpus": 2})));
        declare(2, downtime(155, 300, json!({})));
        let span = |start, end| Span { start, end };
        assert_eq!(model.most(&asked(1, None), span(100, 150)), 7);
        assert_eq!(model.most(&asked(1, None), span(149, 151)), 5);
        assert_eq!(model.most(&asked(1, None), span(154, 156)), 1);
        assert_eq!(model.most(&asked(1, None), span(160, 200)), 3);
        assert!(model.feasible(&asked(4, None), span(200, 400), None, &[]));
        assert!(!model.feasible(&asked(5, None), span(200, 301), None, &[]));
        assert_eq!(model.hosts[&1].left(155), [2, 100_000, 1_000, 255]);
        assert_eq!(model.hosts[&2].left(155), [0; 4]);
    }

    #[test]
    fn what_must_stay_stays() {
        let model = model(&[lease("a", 100, 200, &[(1, 2)]), lease("b", 200, 300, &[(1, 3)])]);
        let kept = [Binding { phase: "main".to_owned(), host: 1, slots: 2 }];
        let span = |end| Span { start: 100, end };
        assert!(model.feasible(&asked(2, None), span(200), Some("a"), &kept));
        assert!(!model.feasible(&asked(2, None), span(201), Some("a"), &kept));
        assert!(model.feasible(&asked(2, None), span(201), Some("a"), &[]));
    }

    #[test]
    fn a_double_booking_is_seen_and_an_unfinished_update_counts_as_the_larger() {
        let mut other = lease("b", 199, 300, &[(1, 1)]);
        assert_eq!(model(&[lease("a", 100, 200, &[(1, 4)]), lease("b", 200, 300, &[(1, 1)])]).double_booked(0), BTreeMap::new());
        let both = [lease("a", 100, 200, &[(1, 4)]), other.clone()];
        let (text, booked) = &model(&both).double_booked(0)[&1];
        assert!(text.contains("second 199"));
        assert_eq!((booked[&100][0], booked[&199][0], booked[&200][0], booked[&300][0]), (4, 5, 1, 0));
        assert!(model(&both).double_booked(200).is_empty(), "what is over is over");
        other["reservations"][0]["previous"] = json!({"interval": {"start": 100, "end": 120}, "wish": wish(2), "staging": null,
            "bindings": [{"phase": "main", "host": 1, "slots": 2}]});
        let model = model(&[other]);
        let used = |second| used(&model.booking(0, None), 1, second)[0];
        assert_eq!((used(110), used(250)), (2, 1));
    }

    #[test]
    fn a_plan_is_held_against_its_wish() {
        let hosts = model(&[]).hosts;
        let one = |value: Value| -> Reservation { serde_json::from_value(value["reservations"][0].clone()).expect("it reads") };
        assert_eq!(plan_problem(&one(lease("a", 1, 2, &[(1, 2), (2, 1)])), &hosts), None);
        let changed = |path: &str, to: Value| {
            let mut lease = lease("a", 1, 2, &[(1, 2), (2, 1)]);
            lease["reservations"][0]["wish"]["instance"][path] = to;
            plan_problem(&one(lease), &hosts).unwrap_or_default()
        };
        assert!(changed("amount", json!(4)).contains("3 slots"));
        assert!(changed("affinity", json!(true)).contains("one host"));
        assert!(changed("affinity", json!(false)).contains("not different"));
        assert!(changed("pool", json!("shared")).contains("kind"));
        assert!(changed("required_traits", json!(["T"])).contains("kind"));
        assert!(plan_problem(&one(lease("a", 1, 2, &[(9, 1)])), &hosts).expect("it reads").contains("not there"));
    }
}
