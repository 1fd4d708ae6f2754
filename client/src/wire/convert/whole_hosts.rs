//! A lease of whole hosts that is asked about, and what it would come to.

use leasehold_ledger::model::HostId;
use leasehold_ledger::plan::{HostAmount, HostFilter, HostReservation, OccurrenceHosts, WhatIfHosts};

use super::capacity::{decode_no_room, encode_no_room};
use super::series::{decode_left_out, decode_occurrence, encode_left_out, encode_occurrence};
use super::{BadValue, Result, each, seconds, unix_s};
use crate::wire::v1;
use crate::wire::v1::resource::Kind;
use crate::wire::v1::what_if_response::{self, HostsFit, HostsSeriesFit, Outcome};

/// Whether a resource is of whole hosts: then nothing but a question can have it.
pub fn of_whole_hosts(resource: Option<&v1::Resource>) -> bool {
    matches!(resource.and_then(|resource| resource.kind.as_ref()), Some(Kind::Hosts(_)))
}

/// Takes the reservations of whole hosts out of a request.
pub fn take_host_reservations(request: &mut v1::CreateLeaseRequest) -> Result<Vec<HostReservation>> {
    let (mut taken, mut kept) = (Vec::new(), Vec::new());
    for (place, reservation) in std::mem::take(&mut request.reservations).into_iter().enumerate() {
        if of_whole_hosts(reservation.resource.as_ref()) {
            let decoded = decode_host_reservation(reservation);
            taken.push(decoded.map_err(|bad| bad.inside(&format!("reservations[{place}]")))?);
        } else {
            kept.push(reservation);
        }
    }
    request.reservations = kept;
    Ok(taken)
}

fn decode_host_reservation(wire: v1::ReservationWish) -> Result<HostReservation> {
    if wire.staging.is_some() {
        return Err(BadValue::new("staging", "there", "absent: nobody boots servers on whole hosts before they begin"));
    }
    if wire.on_end != 0 {
        return Err(BadValue::new(
            "on_end",
            &wire.on_end.to_string(),
            "unspecified: what is on whole hosts at the end is not settled",
        ));
    }
    if let Some(server) = wire.servers.first() {
        return Err(BadValue::new("servers", server, "empty: whole hosts take no servers over"));
    }
    let Some(v1::Resource { kind: Some(Kind::Hosts(hosts)) }) = wire.resource else {
        return Err(BadValue::missing("resource", "hosts"));
    };
    let filter = hosts.filter.map(HostFilter::try_from).transpose().map_err(|bad| bad.inside("resource.hosts.filter"))?;
    Ok(HostReservation { min: hosts.min, max: hosts.max, filter: filter.unwrap_or_default() })
}

pub(crate) fn encode_host_reservation(reservation: HostReservation) -> v1::ReservationWish {
    let HostReservation { min, max, filter } = reservation;
    let hosts = v1::WholeHosts { min, max, filter: Some(filter.into()) };
    v1::ReservationWish { resource: Some(v1::Resource { kind: Some(Kind::Hosts(hosts)) }), ..Default::default() }
}

fn encode_amounts(amounts: Vec<HostAmount>) -> Vec<what_if_response::HostAmount> {
    let amount = |one: HostAmount| what_if_response::HostAmount {
        count: one.count,
        host_ids: one.hosts.into_iter().map(|id| id.0).collect(),
    };
    amounts.into_iter().map(amount).collect()
}

fn decode_amounts(wire: Vec<what_if_response::HostAmount>) -> Vec<HostAmount> {
    let amount = |one: what_if_response::HostAmount| HostAmount {
        count: one.count,
        hosts: one.host_ids.into_iter().map(HostId).collect(),
    };
    wire.into_iter().map(amount).collect()
}

/// What a server answers.
pub fn what_if_hosts_response(what_if: WhatIfHosts, ledger_index: u64) -> v1::WhatIfResponse {
    let outcome = match what_if {
        WhatIfHosts::Fits { moved_to, reservations } => {
            Outcome::Hosts(HostsFit { reservations: encode_amounts(reservations), moved_to: moved_to.map(unix_s) })
        }
        WhatIfHosts::SeriesFits { occurrences, left_out } => {
            let occurrence = |one: OccurrenceHosts| what_if_response::OccurrenceHosts {
                occurrence: Some(encode_occurrence(one.occurrence)),
                reservations: encode_amounts(one.reservations),
            };
            Outcome::HostsSeries(HostsSeriesFit {
                occurrences: occurrences.into_iter().map(occurrence).collect(),
                left_out: left_out.into_iter().map(encode_left_out).collect(),
            })
        }
        WhatIfHosts::NoRoom(no_room) => Outcome::NoRoom(encode_no_room(no_room)),
    };
    v1::WhatIfResponse { outcome: Some(outcome), ledger_index }
}

impl TryFrom<v1::WhatIfResponse> for WhatIfHosts {
    type Error = BadValue;

    fn try_from(wire: v1::WhatIfResponse) -> Result<Self> {
        match wire.outcome {
            Some(Outcome::Hosts(fits)) => {
                let moved_to = fits.moved_to.map(|second| seconds("hosts.moved_to", second)).transpose()?;
                Ok(WhatIfHosts::Fits { moved_to, reservations: decode_amounts(fits.reservations) })
            }
            Some(Outcome::HostsSeries(fits)) => Ok(WhatIfHosts::SeriesFits {
                occurrences: each("hosts_series.occurrences", fits.occurrences, |one| {
                    let missing = || BadValue::missing("occurrence", "in every lease of a series");
                    let occurrence = decode_occurrence(one.occurrence.ok_or_else(missing)?)?;
                    Ok(OccurrenceHosts { occurrence, reservations: decode_amounts(one.reservations) })
                })?,
                left_out: each("hosts_series.left_out", fits.left_out, decode_left_out)?,
            }),
            Some(Outcome::NoRoom(no_room)) => Ok(WhatIfHosts::NoRoom(decode_no_room(no_room)?)),
            Some(Outcome::Fits(_) | Outcome::Series(_)) => {
                Err(BadValue::new("outcome", "about instances", "about whole hosts, which were asked for"))
            }
            None => Err(BadValue::missing("outcome", "hosts, hosts_series or no_room (is the server newer?)")),
        }
    }
}
