//! Listings, and what listed leases reserve.

use std::collections::BTreeSet;

use leasehold_ledger::listing::{
    Element, FLAVOR_ID_CHARS_MAX, HostListing, LeaseFilter, Scope, Utilisation, UtilisationStep, UtilisationWish,
};
use leasehold_ledger::model::{HostId, Interval, LeaseId, ProjectId, Seconds, SeriesId};
use leasehold_ledger::plan::HostFilter;

use super::capacity::{decode_sums, encode_sums};
use super::enums::{Enumeration, optional};
use super::{BadValue, Result, each, end_unix_s, interval, seconds, unix_s, uuid};
use crate::wire::v1;
use crate::wire::v1::list_leases_request::{Elements, TimeWindow};

fn encode_elements(elements: BTreeSet<Element>) -> Option<Elements> {
    let mut wire = Elements::default();
    for element in elements {
        match element {
            Element::Host(host) => wire.host_ids.push(host.0),
            Element::Id(id) => wire.ids.push(id.to_string()),
            Element::Flavor(id) => wire.flavors.push(id),
        }
    }
    (wire != Elements::default()).then_some(wire)
}

fn decode_elements(field: &str, wire: Option<Elements>) -> Result<BTreeSet<Element>> {
    let Elements { host_ids, ids, flavors } = wire.unwrap_or_default();
    let hosts = host_ids.into_iter().map(|id| Ok(Element::Host(HostId(id))));
    let ids = ids.iter().enumerate().map(|(place, id)| Ok(Element::Id(uuid(&format!("{field}.ids[{place}]"), id)?)));
    let flavors = flavors.into_iter().enumerate().map(|(place, id)| {
        let fits = !id.is_empty() && id.chars().count() <= FLAVOR_ID_CHARS_MAX;
        let wrong = || BadValue::new(&format!("{field}.flavors[{place}]"), &id, "the id of a flavor, from 1 to 255 characters");
        if fits { Ok(Element::Flavor(id)) } else { Err(wrong()) }
    });
    hosts.chain(ids).chain(flavors).collect()
}

/// 0 of the wire is no limit.
fn decode_limit(limit: u32) -> Option<u32> {
    (limit > 0).then_some(limit)
}

impl From<LeaseFilter> for v1::ListLeasesRequest {
    fn from(filter: LeaseFilter) -> Self {
        let window = |(window, scope): (Interval, Scope)| TimeWindow {
            start: unix_s(window.start),
            end: end_unix_s(window.end),
            scope: scope.encode(),
        };
        v1::ListLeasesRequest {
            project_id: filter.project_id.map(|project| project.0.into()),
            after: filter.after.map(|id| id.to_string()),
            limit: filter.limit.unwrap_or(0),
            stale: false,
            statuses: filter.statuses.into_iter().map(Enumeration::encode).collect(),
            name: filter.name,
            zone: filter.zone,
            window: filter.window.map(window),
            with_any: encode_elements(filter.with_any),
            with_all: encode_elements(filter.with_all),
            without: encode_elements(filter.without),
            order: filter.order.encode(),
            descending: filter.descending,
            offers: filter.offers,
            series_id: filter.series.map(|series| series.to_string()),
        }
    }
}

impl TryFrom<v1::ListLeasesRequest> for LeaseFilter {
    type Error = BadValue;

    fn try_from(wire: v1::ListLeasesRequest) -> Result<Self> {
        let window = |wire: TimeWindow| {
            let scope = optional("window.scope", wire.scope)?.unwrap_or_default();
            Ok((interval("window.start", "window.end", wire.start, wire.end)?, scope))
        };
        let statuses = wire.statuses.into_iter().map(|status| Enumeration::decode("statuses", status));
        Ok(LeaseFilter {
            project_id: wire.project_id.map(|id| ProjectId(id.into())),
            statuses: statuses.collect::<Result<_>>()?,
            name: wire.name,
            zone: wire.zone,
            series: wire.series_id.map(|id| uuid("series_id", &id).map(SeriesId)).transpose()?,
            offers: wire.offers,
            window: wire.window.map(window).transpose()?,
            with_any: decode_elements("with_any", wire.with_any)?,
            with_all: decode_elements("with_all", wire.with_all)?,
            without: decode_elements("without", wire.without)?,
            order: optional("order", wire.order)?.unwrap_or_default(),
            descending: wire.descending,
            after: wire.after.map(|id| uuid("after", &id).map(LeaseId)).transpose()?,
            limit: decode_limit(wire.limit),
        })
    }
}

impl From<HostListing> for v1::ListHostsRequest {
    fn from(listing: HostListing) -> Self {
        v1::ListHostsRequest {
            stale: false,
            filter: Some(listing.filter.into()),
            reservable: listing.reservable,
            after: listing.after.map(|id| id.0),
            limit: listing.limit.unwrap_or(0),
            order: listing.order.encode(),
            descending: listing.descending,
        }
    }
}

impl TryFrom<v1::ListHostsRequest> for HostListing {
    type Error = BadValue;

    fn try_from(wire: v1::ListHostsRequest) -> Result<Self> {
        let filter = wire.filter.map(HostFilter::try_from).transpose().map_err(|bad| bad.inside("filter"))?;
        Ok(HostListing {
            filter: filter.unwrap_or_default(),
            reservable: wire.reservable,
            order: optional("order", wire.order)?.unwrap_or_default(),
            descending: wire.descending,
            after: wire.after.map(HostId),
            limit: decode_limit(wire.limit),
        })
    }
}

impl From<UtilisationWish> for v1::UtilisationRequest {
    fn from(wish: UtilisationWish) -> Self {
        v1::UtilisationRequest {
            filter: Some(wish.filter.into()),
            start: unix_s(wish.window.start),
            end: end_unix_s(wish.window.end),
            steps_max: wish.steps_max,
        }
    }
}

impl TryFrom<v1::UtilisationRequest> for UtilisationWish {
    type Error = BadValue;

    fn try_from(wire: v1::UtilisationRequest) -> Result<Self> {
        let filter = wire.filter.map(LeaseFilter::try_from).transpose().map_err(|bad| bad.inside("filter"))?;
        Ok(UtilisationWish {
            filter: filter.unwrap_or_default(),
            window: interval("start", "end", wire.start, wire.end)?,
            steps_max: wire.steps_max.max(1),
        })
    }
}

/// What a server answers.
pub fn utilisation_response(utilisation: Utilisation, ledger_index: u64) -> v1::UtilisationResponse {
    let step = |step: UtilisationStep| v1::UtilisationStep { start: unix_s(step.start), reserved: encode_sums(step.reserved) };
    v1::UtilisationResponse {
        start: unix_s(utilisation.window.start),
        end: end_unix_s(utilisation.window.end),
        leases: utilisation.leases,
        steps: utilisation.steps.into_iter().map(step).collect(),
        ledger_index,
    }
}

impl TryFrom<v1::UtilisationResponse> for Utilisation {
    type Error = BadValue;

    fn try_from(wire: v1::UtilisationResponse) -> Result<Self> {
        Ok(Utilisation {
            window: interval("start", "end", wire.start, wire.end)?,
            leases: wire.leases,
            steps: each("steps", wire.steps, |step| {
                let start: Seconds = seconds("start", step.start)?;
                Ok(UtilisationStep { start, reserved: decode_sums("reserved", step.reserved)? })
            })?,
        })
    }
}
