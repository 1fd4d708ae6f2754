//! Questions about capacity, and what a lease would come to.

use std::collections::BTreeSet;

use leasehold_ledger::command::{EndWish, StartWish};
use leasehold_ledger::model::{Class, HostId, InstanceWish, LeaseId, Seconds};
use leasehold_ledger::plan::{
    Capacity, CapacityWish, Density, DensityWish, HostCount, HostFilter, NoRoom, Piece, Preempts, Sums, WhatFits, WhatIf,
    WindowWish,
};

use super::enums::{Enumeration, optional};
use super::lease::{decode_requirement, encode_requirement};
use super::series::{decode_left_out, decode_occurrence, encode_left_out, encode_occurrence};
use super::wish::{decode_end, decode_start, encode_end, encode_start};
use super::{BadValue, Result, each, end_unix_s, interval, seconds, unix_s, uuid};
use crate::wire::v1;
use crate::wire::v1::what_if_response::{Fits, Outcome};

/// A window; without a word it is from now on, without end.
pub(super) fn decode_window(start: Option<v1::When>, end: Option<v1::When>) -> Result<WindowWish> {
    let start = decode_start("start", start)?.unwrap_or(StartWish::Now);
    let end = match decode_end("end", end)? {
        None => Seconds::OPEN_END,
        Some(EndWish::At(second)) => second,
        Some(EndWish::Now) => return Err(BadValue::new("end", "now", "a second, never or absent")),
    };
    Ok(WindowWish { start, end })
}

/// No host named means all, and 0 alone none: no host has that number.
fn decode_hosts(host_ids: &[u64]) -> Option<BTreeSet<HostId>> {
    match host_ids {
        [] => None,
        [0] => Some(BTreeSet::new()),
        named => Some(named.iter().copied().map(HostId).collect()),
    }
}

fn encode_hosts(hosts: Option<BTreeSet<HostId>>) -> Vec<u64> {
    match hosts {
        Some(none) if none.is_empty() => vec![0],
        hosts => hosts.into_iter().flatten().map(|id| id.0).collect(),
    }
}

impl From<HostFilter> for v1::HostFilter {
    fn from(filter: HostFilter) -> Self {
        v1::HostFilter {
            zone: filter.zone,
            pool: filter.pool.map_or(0, Enumeration::encode),
            host_ids: encode_hosts(filter.hosts),
            required_traits: filter.required_traits.into_iter().collect(),
            forbidden_traits: filter.forbidden_traits.into_iter().collect(),
            requirements: filter.requirements.into_iter().map(encode_requirement).collect(),
        }
    }
}

impl TryFrom<v1::HostFilter> for HostFilter {
    type Error = BadValue;

    fn try_from(wire: v1::HostFilter) -> Result<Self> {
        Ok(HostFilter {
            zone: wire.zone,
            pool: optional("pool", wire.pool)?,
            hosts: decode_hosts(&wire.host_ids),
            required_traits: BTreeSet::from_iter(wire.required_traits),
            forbidden_traits: BTreeSet::from_iter(wire.forbidden_traits),
            requirements: each("requirements", wire.requirements, decode_requirement)?,
        })
    }
}

impl From<CapacityWish> for v1::ShowCapacityRequest {
    fn from(wish: CapacityWish) -> Self {
        v1::ShowCapacityRequest {
            start: Some(encode_start(wish.window.start)),
            end: Some(encode_end(EndWish::At(wish.window.end))),
            filter: Some(wish.filter.into()),
            steps_max: wish.steps_max,
        }
    }
}

impl TryFrom<v1::ShowCapacityRequest> for CapacityWish {
    type Error = BadValue;

    fn try_from(wire: v1::ShowCapacityRequest) -> Result<Self> {
        let filter = wire.filter.map(HostFilter::try_from).transpose().map_err(|bad| bad.inside("filter"))?;
        Ok(CapacityWish {
            filter: filter.unwrap_or_default(),
            window: decode_window(wire.start, wire.end)?,
            steps_max: wire.steps_max.max(1),
        })
    }
}

pub(super) fn encode_sums([vcpus, memory_mb, disk_gb, slots]: Sums) -> Option<v1::Sums> {
    Some(v1::Sums { vcpus, memory_mb, disk_gb, slots })
}

pub(super) fn decode_sums(field: &str, wire: Option<v1::Sums>) -> Result<Sums> {
    let v1::Sums { vcpus, memory_mb, disk_gb, slots } =
        wire.ok_or_else(|| BadValue::missing(field, "in every answer about capacity"))?;
    Ok([vcpus, memory_mb, disk_gb, slots])
}

/// What a server answers.
pub fn capacity_response(capacity: Capacity, ledger_index: u64) -> v1::ShowCapacityResponse {
    let step = |piece: Piece| v1::CapacityStep {
        start: unix_s(piece.start),
        reserved: encode_sums(piece.reserved),
        available: encode_sums(piece.available),
        withheld: encode_sums(piece.withheld),
        added: encode_sums(piece.added),
    };
    v1::ShowCapacityResponse {
        start: unix_s(capacity.window.start),
        end: end_unix_s(capacity.window.end),
        hosts: capacity.hosts,
        open_hosts: capacity.open_hosts,
        total: encode_sums(capacity.total),
        used: encode_sums(capacity.firm),
        steps: capacity.pieces.into_iter().map(step).collect(),
        ledger_index,
    }
}

impl TryFrom<v1::ShowCapacityResponse> for Capacity {
    type Error = BadValue;

    fn try_from(wire: v1::ShowCapacityResponse) -> Result<Self> {
        Ok(Capacity {
            hosts: wire.hosts,
            open_hosts: wire.open_hosts,
            total: decode_sums("total", wire.total)?,
            firm: decode_sums("used", wire.used)?,
            window: interval("start", "end", wire.start, wire.end)?,
            pieces: each("steps", wire.steps, |step| {
                Ok(Piece {
                    start: seconds("start", step.start)?,
                    reserved: decode_sums("reserved", step.reserved)?,
                    available: decode_sums("available", step.available)?,
                    withheld: step.withheld.map_or(Ok(Sums::default()), |sums| decode_sums("withheld", Some(sums)))?,
                    added: step.added.map_or(Ok(Sums::default()), |sums| decode_sums("added", Some(sums)))?,
                })
            })?,
        })
    }
}

impl From<DensityWish> for v1::DensityRequest {
    fn from(wish: DensityWish) -> Self {
        let mut instance = v1::Instance::from(wish.instance);
        if !wish.seek {
            instance.amount = 0;
        }
        v1::DensityRequest {
            instance: Some(instance),
            start: Some(encode_start(wish.window.start)),
            end: Some(encode_end(EndWish::At(wish.window.end))),
            host_ids: encode_hosts(wish.among),
            whole_hosts: wish.whole_hosts,
        }
    }
}

impl TryFrom<v1::DensityRequest> for DensityWish {
    type Error = BadValue;

    fn try_from(wire: v1::DensityRequest) -> Result<Self> {
        let instance = wire.instance.ok_or_else(|| BadValue::missing("instance", "the kind of instance that is counted"))?;
        let mut instance = InstanceWish::try_from(instance).map_err(|bad| bad.inside("instance"))?;
        let seek = instance.amount > 0;
        instance.amount = instance.amount.max(1);
        let window = decode_window(wire.start, wire.end)?;
        Ok(DensityWish { instance, whole_hosts: wire.whole_hosts, seek, among: decode_hosts(&wire.host_ids), window })
    }
}

fn encode_class(class: Option<Class>) -> i32 {
    class.map_or(0, Enumeration::encode)
}

/// What a server answers.
pub fn density_response(density: Density, ledger_index: u64) -> v1::DensityResponse {
    v1::DensityResponse {
        start: unix_s(density.window.start),
        end: end_unix_s(density.window.end),
        largest_amount: density.fits.largest_amount,
        tightest: encode_class(density.fits.tightest),
        earliest_start: density.earliest_start.map(unix_s),
        ledger_index,
    }
}

impl TryFrom<v1::DensityResponse> for Density {
    type Error = BadValue;

    fn try_from(wire: v1::DensityResponse) -> Result<Self> {
        Ok(Density {
            window: interval("start", "end", wire.start, wire.end)?,
            fits: WhatFits { largest_amount: wire.largest_amount, tightest: optional("tightest", wire.tightest)? },
            earliest_start: wire.earliest_start.map(|start| seconds("earliest_start", start)).transpose()?,
        })
    }
}

fn encode_preempts(preempts: &Preempts) -> (u32, Vec<String>) {
    (preempts.count, preempts.leases.iter().map(LeaseId::to_string).collect())
}

fn decode_preempts(field: &str, count: u32, leases: &[String]) -> Result<Preempts> {
    Ok(Preempts { count, leases: leases.iter().map(|id| uuid(field, id).map(LeaseId)).collect::<Result<_>>()? })
}

pub(super) fn encode_no_room(no_room: NoRoom) -> v1::what_if_response::NoRoom {
    v1::what_if_response::NoRoom {
        reservation: u32::try_from(no_room.reservation).unwrap_or(u32::MAX),
        short_by: no_room.short_by,
        tightest: encode_class(no_room.tightest),
        largest_amount: no_room.largest_amount,
        next_start: no_room.next_start.map(unix_s),
        next_end: no_room.next_end.map(unix_s),
        staging: no_room.staging,
        occurrence: no_room.occurrence,
        preempts: no_room.preempts.count,
        preempts_leases: encode_preempts(&no_room.preempts).1,
    }
}

pub(super) fn decode_no_room(no_room: v1::what_if_response::NoRoom) -> Result<NoRoom> {
    Ok(NoRoom {
        reservation: usize::try_from(no_room.reservation).unwrap_or(usize::MAX),
        short_by: no_room.short_by,
        tightest: optional("no_room.tightest", no_room.tightest)?,
        largest_amount: no_room.largest_amount,
        next_start: no_room.next_start.map(|start| seconds("no_room.next_start", start)).transpose()?,
        next_end: no_room.next_end.map(|end| seconds("no_room.next_end", end)).transpose()?,
        occurrence: no_room.occurrence,
        preempts: decode_preempts("no_room.preempts_leases", no_room.preempts, &no_room.preempts_leases)?,
        staging: no_room.staging,
        ..NoRoom::default()
    })
}

/// What a server answers.
pub fn what_if_response(what_if: WhatIf, ledger_index: u64) -> v1::WhatIfResponse {
    let outcome = match what_if {
        WhatIf::Fits { moved_to, preempts, reservations } => {
            let count = |HostCount { main, staging }| v1::what_if_response::HostCount { main, staging };
            let reservations = reservations.into_iter().map(count).collect();
            let (preempts, preempts_leases) = encode_preempts(&preempts);
            Outcome::Fits(Fits { reservations, moved_to: moved_to.map(unix_s), preempts, preempts_leases })
        }
        WhatIf::NoRoom(no_room) => Outcome::NoRoom(encode_no_room(no_room)),
        WhatIf::SeriesFits { occurrences, left_out } => Outcome::Series(v1::what_if_response::SeriesFits {
            occurrences: occurrences.into_iter().map(encode_occurrence).collect(),
            left_out: left_out.into_iter().map(encode_left_out).collect(),
        }),
    };
    v1::WhatIfResponse { outcome: Some(outcome), ledger_index }
}

impl TryFrom<v1::WhatIfResponse> for WhatIf {
    type Error = BadValue;

    fn try_from(wire: v1::WhatIfResponse) -> Result<Self> {
        match wire.outcome {
            Some(Outcome::Fits(fits)) => {
                let count = |v1::what_if_response::HostCount { main, staging }| HostCount { main, staging };
                let moved_to = fits.moved_to.map(|second| seconds("fits.moved_to", second)).transpose()?;
                let preempts = decode_preempts("fits.preempts_leases", fits.preempts, &fits.preempts_leases)?;
                Ok(WhatIf::Fits { moved_to, preempts, reservations: fits.reservations.into_iter().map(count).collect() })
            }
            Some(Outcome::NoRoom(no_room)) => Ok(WhatIf::NoRoom(decode_no_room(no_room)?)),
            Some(Outcome::Series(fits)) => Ok(WhatIf::SeriesFits {
                occurrences: each("series.occurrences", fits.occurrences, decode_occurrence)?,
                left_out: each("series.left_out", fits.left_out, decode_left_out)?,
            }),
            Some(Outcome::Hosts(_) | Outcome::HostsSeries(_)) => {
                Err(BadValue::new("outcome", "about whole hosts", "about instances, which were asked for"))
            }
            None => Err(BadValue::missing("outcome", "fits, series or no_room (is the server newer?)")),
        }
    }
}
