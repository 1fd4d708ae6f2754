//! Leases as asked for: create and update.

use std::collections::BTreeSet;

use leasehold_ledger::command::{
    BeforeEndWish, EndWish, LeaseChange, LeaseWish, OfferWish, ReservationChange, ReservationWish, StagingWish, StartWish,
    WaitWish,
};
use leasehold_ledger::model::{Precedence, ProjectId, ReservationId, Seconds, UserId};

use super::enums::{Enumeration, optional};
use super::lease::{decode_priority, decode_resource};
use super::{BadValue, Result, Uuid, each, end_unix_s, seconds, unix_s, uuid};
use crate::wire::v1;

/// How long before the end `before_end_lease` is due when a request does not say; Blazar's default, in seconds.
pub const DEFAULT_BEFORE_END_S: u32 = 3600;

/// How long parking may take when a request does not say (architecture D23), in seconds.
pub const DEFAULT_PARK_MARGIN_S: u32 = 600;

/// A [`LeaseWish`] before the server has added whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLease {
    /// 1 to 255 characters; need not be unique.
    pub name: String,
    /// First second.
    pub start: StartWish,
    /// First second after, or [`Seconds::OPEN_END`].
    pub end: Seconds,
    /// When `before_end_lease` is due.
    pub before_end: BeforeEndWish,
    /// Possibly none.
    pub reservations: Vec<ReservationWish>,
    /// How long it is to stand as an offer; `None`: a lease at once.
    pub offer: Option<OfferWish>,
    /// How long it is to wait for room where there is none; `None`: not at all.
    pub wait: Option<WaitWish>,
    /// Whether it takes room from others, and others may take its.
    pub precedence: Precedence,
    /// What nobody uses so many seconds after the lease became active is given back: at least 60, or 0: never. `None`: what the
    /// operator says, and never where he says nothing.
    pub expiry_s: Option<u32>,
    /// Whatever the quota of the project says; for admins and those with the role that the configuration names.
    pub ignore_quota: bool,
}

impl NewLease {
    /// The wish of this project and user.
    pub fn owned_by(self, project_id: ProjectId, user_id: UserId) -> LeaseWish {
        LeaseWish {
            name: self.name,
            project_id,
            user_id,
            start: self.start,
            end: self.end,
            before_end: self.before_end,
            reservations: self.reservations,
            offer: self.offer,
            wait: self.wait,
            precedence: self.precedence,
            expiry_s: self.expiry_s,
            ignore_quota: self.ignore_quota,
        }
    }

    /// The request, still without its idempotency key.
    pub fn into_request(self) -> v1::CreateLeaseRequest {
        v1::CreateLeaseRequest {
            request_id: String::new(),
            valid_until_ms: 0,
            name: self.name,
            start: Some(encode_start(self.start)),
            end: Some(encode_end(EndWish::At(self.end))),
            before_end: Some(encode_before_end(self.before_end)),
            reservations: self.reservations.into_iter().map(encode_reservation).collect(),
            offer: self.offer.map(encode_offer),
            wait: self.wait.map(encode_wait),
            priority: u32::from(self.precedence.priority),
            preemptible: self.precedence.preemptible,
            preempt: self.precedence.preempt,
            expiry_s: self.expiry_s,
            recurrence: None,
            ignore_quota: self.ignore_quota,
        }
    }

    /// What a request asks for; its idempotency key is [`super::request_key`]'s, its recurrence [`super::recurrence`]'s.
    pub fn from_request(wire: v1::CreateLeaseRequest) -> Result<NewLease> {
        Ok(NewLease {
            name: wire.name,
            start: decode_start("start", wire.start)?.unwrap_or(StartWish::Now),
            end: match decode_end("end", wire.end)? {
                None => Seconds::OPEN_END,
                Some(EndWish::At(second)) => second,
                Some(EndWish::Now) => return Err(BadValue::new("end", "now", "a second, never or absent in a new lease")),
            },
            before_end: decode_before_end(wire.before_end)?.unwrap_or(BeforeEndWish::SecondsBefore(DEFAULT_BEFORE_END_S)),
            reservations: each("reservations", wire.reservations, decode_reservation)?,
            offer: wire.offer.map(decode_offer).transpose()?,
            wait: wire.wait.map(decode_wait).transpose()?,
            precedence: Precedence {
                priority: decode_priority(wire.priority)?,
                preemptible: wire.preemptible,
                preempt: wire.preempt,
            },
            expiry_s: wire.expiry_s,
            ignore_quota: wire.ignore_quota,
        })
    }
}

fn encode_offer(offer: OfferWish) -> v1::OfferWish {
    let until = match offer {
        OfferWish::Until(second) => v1::offer_wish::Until::ExpiresAt(unix_s(second)),
        OfferWish::For(seconds) => v1::offer_wish::Until::ValidS(seconds),
    };
    v1::OfferWish { until: Some(until) }
}

fn decode_offer(wire: v1::OfferWish) -> Result<OfferWish> {
    match wire.until {
        Some(v1::offer_wish::Until::ExpiresAt(second)) => Ok(OfferWish::Until(seconds("offer.expires_at", second)?)),
        Some(v1::offer_wish::Until::ValidS(seconds)) => Ok(OfferWish::For(seconds)),
        None => Err(BadValue::missing("offer", "expires_at (a second) or valid_s (so many seconds from now)")),
    }
}

fn encode_wait(wait: WaitWish) -> v1::WaitWish {
    let until = match wait {
        WaitWish::UntilStart => None,
        WaitWish::Until(second) => Some(unix_s(second)),
    };
    v1::WaitWish { until }
}

fn decode_wait(wire: v1::WaitWish) -> Result<WaitWish> {
    let until = wire.until.map(|second| seconds("wait.until", second)).transpose()?;
    Ok(until.map_or(WaitWish::UntilStart, WaitWish::Until))
}

fn encode_reservation(wish: ReservationWish) -> v1::ReservationWish {
    v1::ReservationWish {
        resource: Some(wish.resource.into()),
        staging: wish.staging.map(|staging| v1::StagingWish {
            start: staging.start.map(unix_s),
            end: staging.end.map(unix_s),
            park_margin_s: Some(staging.park_margin_s),
        }),
        on_end: wish.on_end.encode(),
        servers: wish.servers.iter().map(ToString::to_string).collect(),
    }
}

fn decode_reservation(wire: v1::ReservationWish) -> Result<ReservationWish> {
    Ok(ReservationWish {
        resource: decode_resource(wire.resource)?,
        staging: wire.staging.map(decode_staging).transpose().map_err(|bad| bad.inside("staging"))?,
        on_end: optional("on_end", wire.on_end)?.unwrap_or_default(),
        servers: decode_servers(&wire.servers)?,
    })
}

/// UUIDs of servers, each once.
pub(super) fn decode_servers(wire: &[String]) -> Result<BTreeSet<Uuid>> {
    let mut servers = BTreeSet::new();
    for id in wire {
        if !servers.insert(uuid("servers", id)?) {
            return Err(BadValue::new("servers", id, "each server once"));
        }
    }
    Ok(servers)
}

fn decode_staging(wire: v1::StagingWish) -> Result<StagingWish> {
    Ok(StagingWish {
        start: wire.start.map(|second| seconds("start", second)).transpose()?,
        end: wire.end.map(|second| seconds("end", second)).transpose()?,
        park_margin_s: wire.park_margin_s.unwrap_or(DEFAULT_PARK_MARGIN_S),
    })
}

/// The request for a change, still without lease id and idempotency key.
pub(crate) fn change_request(change: LeaseChange) -> v1::UpdateLeaseRequest {
    v1::UpdateLeaseRequest {
        request_id: String::new(),
        valid_until_ms: 0,
        lease_id: String::new(),
        name: change.name,
        start: change.start.map(encode_start),
        end: change.end.map(encode_end),
        before_end: change.before_end.map(encode_before_end),
        reservations: change
            .reservations
            .into_iter()
            .map(|change| v1::ReservationChange {
                reservation_id: change.reservation_id.to_string(),
                resource: Some(change.resource.into()),
                on_end: change.on_end.map_or(0, Enumeration::encode),
            })
            .collect(),
        ignore_quota: change.ignore_quota,
    }
}

impl TryFrom<v1::UpdateLeaseRequest> for LeaseChange {
    type Error = BadValue;

    /// What it asks to change; which lease and the idempotency key are decoded apart.
    fn try_from(wire: v1::UpdateLeaseRequest) -> Result<Self> {
        Ok(LeaseChange {
            name: wire.name,
            start: decode_start("start", wire.start)?,
            end: decode_end("end", wire.end)?,
            ignore_quota: wire.ignore_quota,
            before_end: decode_before_end(wire.before_end)?,
            reservations: each("reservations", wire.reservations, |change| {
                Ok(ReservationChange {
                    reservation_id: ReservationId(uuid("reservation_id", &change.reservation_id)?),
                    resource: decode_resource(change.resource)?,
                    on_end: optional("on_end", change.on_end)?,
                })
            })?,
        })
    }
}

pub(super) fn encode_start(start: StartWish) -> v1::When {
    let when = match start {
        StartWish::Now => v1::when::When::Now(true),
        StartWish::At(second) => v1::when::When::At(unix_s(second)),
        StartWish::Earliest { from, latest } => {
            v1::when::When::Earliest(v1::when::Earliest { from: from.map(unix_s), latest: unix_s(latest) })
        }
    };
    v1::When { when: Some(when) }
}

pub(super) fn decode_start(field: &str, wire: Option<v1::When>) -> Result<Option<StartWish>> {
    let expected = "now (true), a second or earliest";
    match wire.map(|when| when.when) {
        None => Ok(None),
        Some(Some(v1::when::When::Now(true))) => Ok(Some(StartWish::Now)),
        Some(Some(v1::when::When::Earliest(v1::when::Earliest { from, latest }))) => Ok(Some(StartWish::Earliest {
            from: from.map(|from| seconds(&format!("{field}.earliest.from"), from)).transpose()?,
            latest: seconds(&format!("{field}.earliest.latest"), latest)?,
        })),
        Some(Some(v1::when::When::At(second))) => Ok(Some(StartWish::At(seconds(field, second)?))),
        Some(Some(v1::when::When::Now(false))) => Err(BadValue::new(field, "now: false", expected)),
        Some(Some(v1::when::When::Never(_))) => Err(BadValue::new(field, "never", expected)),
        Some(None) => Err(BadValue::missing(field, expected)),
    }
}

pub(super) fn encode_end(end: EndWish) -> v1::When {
    let when = match end {
        EndWish::Now => v1::when::When::Now(true),
        EndWish::At(second) => end_unix_s(second).map_or(v1::when::When::Never(true), v1::when::When::At),
    };
    v1::When { when: Some(when) }
}

pub(super) fn decode_end(field: &str, wire: Option<v1::When>) -> Result<Option<EndWish>> {
    let expected = "now (true), a second or never (true)";
    match wire.map(|when| when.when) {
        None => Ok(None),
        Some(Some(v1::when::When::Now(true))) => Ok(Some(EndWish::Now)),
        Some(Some(v1::when::When::At(second))) => Ok(Some(EndWish::At(seconds(field, second)?))),
        Some(Some(v1::when::When::Never(true))) => Ok(Some(EndWish::At(Seconds::OPEN_END))),
        Some(Some(v1::when::When::Now(false))) => Err(BadValue::new(field, "now: false", expected)),
        Some(Some(v1::when::When::Never(false))) => Err(BadValue::new(field, "never: false", expected)),
        Some(Some(v1::when::When::Earliest(_))) => Err(BadValue::new(field, "earliest", expected)),
        Some(None) => Err(BadValue::missing(field, expected)),
    }
}

fn encode_before_end(before_end: BeforeEndWish) -> v1::BeforeEnd {
    let when = match before_end {
        BeforeEndWish::Never => v1::before_end::When::Never(true),
        BeforeEndWish::SecondsBefore(seconds) => v1::before_end::When::SecondsBefore(seconds),
        BeforeEndWish::At(second) => v1::before_end::When::At(unix_s(second)),
    };
    v1::BeforeEnd { when: Some(when) }
}

fn decode_before_end(wire: Option<v1::BeforeEnd>) -> Result<Option<BeforeEndWish>> {
    let expected = "never (true), seconds_before or at";
    match wire.map(|wire| wire.when) {
        None => Ok(None),
        Some(Some(v1::before_end::When::Never(true))) => Ok(Some(BeforeEndWish::Never)),
        Some(Some(v1::before_end::When::SecondsBefore(seconds))) => Ok(Some(BeforeEndWish::SecondsBefore(seconds))),
        Some(Some(v1::before_end::When::At(second))) => Ok(Some(BeforeEndWish::At(seconds("before_end", second)?))),
        Some(Some(v1::before_end::When::Never(false))) => Err(BadValue::new("before_end", "never: false", expected)),
        Some(None) => Err(BadValue::missing("before_end", expected)),
    }
}
