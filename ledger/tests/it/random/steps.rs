//! What is drawn: one random step, and how often which.

use super::archive::{OfArchive, archive};
use super::downtimes::{Downtime, downtime};
use super::upgrades::{Planned, planned};
use super::*;

/// One random step. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Create(Create),
    CreateByHand(Create, Vec<(u8, u8)>),
    Update(Update),
    Rebind { lease: u8, avoid: u8 },
    Delete { lease: u8 },
    Series(Series),
    DeleteSeries { lease: u8 },
    Claim { lease: u8 },
    Withdraw { lease: u8 },
    Group { lease: u8, affinity: bool, group: u8 },
    Clock { minutes: u8, seconds: u8 },
    Outcome { row: u8, how: u8, old: bool },
    Observe { host: u8, firm: u8, up: bool, traits: Option<u8> },
    Forget { key: u8 },
    Downtime(Downtime),
    DropDowntime { host: u8, id: u8 },
    Upgrade(Planned),
    DropUpgrade { host: u8 },
    Arrive { host: u8, vcpus: u8 },
    Follow,
    Archive(OfArchive),
}

#[derive(Clone, Debug)]
pub(super) struct Create {
    pub(super) start: u8,
    pub(super) length: u8,
    pub(super) amount: u8,
    pub(super) vcpus: u8,
    pub(super) affinity: Option<bool>,
    pub(super) pool: Option<PoolKind>,
    pub(super) staging: Option<(u8, u8, u8)>,
    pub(super) on_end: bool,
    pub(super) key: Option<u8>,
    pub(super) at_least: Option<u8>,
    pub(super) terms: Terms,
    pub(super) offer: Option<u8>,
    pub(super) precedence: Precedence,
    pub(super) expiry_s: Option<u32>,
}

/// Times in minutes.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) first: Create,
    pub(super) every: u8,
    pub(super) times: u8,
    pub(super) mode: SeriesMode,
}

#[derive(Clone, Debug)]
pub(super) struct Update {
    pub(super) lease: u8,
    pub(super) start: Option<u8>,
    pub(super) end: Option<u8>,
    pub(super) amount: Option<u8>,
    pub(super) vcpus: Option<u8>,
    pub(super) terms: Option<Terms>,
    pub(super) now: bool,
}

/// Where the hosts must be and what they must and must not have.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    zone: Option<&'static str>,
    required: u8,
    forbidden: u8,
}

impl Terms {
    pub(super) fn put_on(&self, wish: &mut InstanceWish) {
        wish.zone = self.zone.map(str::to_owned);
        wish.required_traits = traits(self.required);
        wish.forbidden_traits = traits(self.forbidden);
    }
}

/// The traits whose bits are set.
pub(super) fn traits(bits: u8) -> BTreeSet<String> {
    TRAITS.into_iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| name.to_owned()).collect()
}

/// Mostly none; one zone has no host.
pub(super) fn terms() -> impl Strategy<Value = Terms> {
    let bits = || prop_oneof![4 => Just(0u8), 1 => Just(1u8), 1 => Just(2u8)];
    let zone = prop_oneof![6 => Just(None), 2 => Just(Some("a")), 2 => Just(Some("b")), 1 => Just(Some("nowhere"))];
    (zone, bits(), bits()).prop_map(|(zone, required, forbidden)| Terms { zone, required, forbidden })
}

pub(super) fn create() -> impl Strategy<Value = Create> {
    let place = (0u8..20, 1u8..20, 1u8..7, 1u8..4);
    let kind = (
        prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)],
        prop_oneof![
            2 => Just(None),
            3 => Just(Some(PoolKind::Dedicated)),
            1 => Just(Some(PoolKind::Shared))
        ],
        prop_oneof![3 => Just(None), 1 => (0u8..8, 1u8..5, 0u8..3).prop_map(Some)],
        any::<bool>(),
        prop_oneof![1 => Just(None), 1 => (0u8..4).prop_map(Some)],
        prop_oneof![4 => Just(None), 1 => (2u8..6).prop_map(Some)],
    );
    let offer = prop_oneof![4 => Just(None), 1 => any::<u8>().prop_map(Some)];
    let expiry = prop_oneof![2 => Just(None), 1 => (1u32..6).prop_map(|minutes| Some(60 * minutes))];
    (place, kind, terms(), offer, expiry).prop_map(
        |((start, length, amount, vcpus), (affinity, pool, staging, on_end, key, at_least), terms, offer, expiry_s)| Create {
            start,
            length,
            amount,
            vcpus,
            affinity,
            pool,
            staging,
            on_end,
            key,
            at_least,
            terms,
            offer,
            precedence: Precedence::default(),
            expiry_s,
        },
    )
}

/// Starts are mostly further apart than the leases are long.
pub(super) fn series() -> impl Strategy<Value = Series> {
    let mode = prop_oneof![Just(SeriesMode::AllOrNothing), Just(SeriesMode::BestEffort)];
    (create(), 1u8..12, 1u8..10, 1u8..5, mode).prop_map(|(first, length, every, times, mode)| Series {
        first: Create { length, affinity: None, staging: None, offer: None, ..first },
        every,
        times,
        mode,
    })
}

/// Of what any host may serve, soon and not for long; about half are staged.
pub(super) fn plain_create() -> impl Strategy<Value = Create> {
    let staging = prop_oneof![1 => Just(None), 1 => (0u8..6, 1u8..3, 0u8..2).prop_map(Some)];
    (create(), staging, 8u8..16, 1u8..8).prop_map(|(create, staging, start, length)| {
        let terms = Terms { zone: None, required: 0, forbidden: 0 };
        Create { start, length, affinity: None, staging, key: None, at_least: None, terms, offer: None, ..create }
    })
}

/// A plan that no planner made: often wrong, sometimes right.
pub(super) fn by_hand() -> impl Strategy<Value = Step> {
    (create(), prop::collection::vec((0u8..6, 0u8..4), 0..3)).prop_map(|(create, plan)| {
        let create = Create { affinity: None, pool: None, at_least: None, staging: None, key: None, ..create };
        Step::CreateByHand(create, plan)
    })
}

pub(super) fn update() -> impl Strategy<Value = Update> {
    let small = |top: u8| prop_oneof![1 => Just(None), 1 => (0..top).prop_map(Some)];
    let seldom_vcpus = prop_oneof![4 => Just(None), 1 => (1u8..4).prop_map(Some)];
    let seldom_terms = prop_oneof![6 => Just(None), 1 => terms().prop_map(Some)];
    (any::<u8>(), small(30), small(50), small(8), seldom_vcpus, seldom_terms, any::<bool>())
        .prop_map(|(lease, start, end, amount, vcpus, terms, now)| Update { lease, start, end, amount, vcpus, terms, now })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => create().prop_map(Step::Create),
        3 => by_hand(),
        4 => update().prop_map(Step::Update),
        1 => (any::<u8>(), 0u8..6).prop_map(|(lease, avoid)| Step::Rebind { lease, avoid }),
        2 => any::<u8>().prop_map(|lease| Step::Delete { lease }),
        3 => series().prop_map(Step::Series),
        1 => any::<u8>().prop_map(|lease| Step::DeleteSeries { lease }),
        2 => any::<u8>().prop_map(|lease| Step::Claim { lease }),
        1 => any::<u8>().prop_map(|lease| Step::Withdraw { lease }),
        4 => (any::<u8>(), any::<bool>(), 0..4u8).prop_map(|(lease, affinity, group)| Step::Group { lease, affinity, group }),
        6 => (0u8..8, prop_oneof![2 => Just(0u8), 1 => 0u8..60]).prop_map(|(minutes, seconds)| Step::Clock { minutes, seconds }),
        10 => (any::<u8>(), any::<u8>(), prop::bool::weighted(0.1)).prop_map(|(row, how, old)| Step::Outcome { row, how, old }),
        1 => (0u8..6, 0u8..5, prop::bool::weighted(0.8), prop_oneof![2 => Just(None), 1 => (0u8..4).prop_map(Some)])
            .prop_map(|(host, firm, up, traits)| Step::Observe { host, firm, up, traits }),
        1 => (0u8..4).prop_map(|key| Step::Forget { key }),
        2 => downtime().prop_map(Step::Downtime),
        1 => (0u8..6, 0u8..3).prop_map(|(host, id)| Step::DropDowntime { host, id }),
        1 => planned().prop_map(Step::Upgrade),
        1 => (0u8..6).prop_map(|host| Step::DropUpgrade { host }),
        1 => (0u8..6, 4u8..12).prop_map(|(host, vcpus)| Step::Arrive { host, vcpus }),
        1 => Just(Step::Follow),
        3 => archive().prop_map(Step::Archive),
    ]
}
