//! Onboards, changes and forgets hosts.

use std::collections::{BTreeMap, BTreeSet};

use super::limits::{check_capabilities, check_capabilities_together, check_host_name};
use crate::command::RegisterHost;
use crate::model::{Host, HostId, ReservationStatus, Timestamp};
use crate::mutant;
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// Onboards a host and numbers it.
///
/// Rejections, in this order: `Invalid` (name, properties), `HostExists`. Source: `POST /v1/os-hosts`, blazar-api §9.
pub(super) fn register_host(state: &mut State, now: Timestamp, register: &RegisterHost) -> Result<Reply, Rejection> {
    let name = &register.description.hypervisor_hostname;
    check_host_name(name)?;
    check_capabilities(&register.properties)?;
    if state.host_by_name(name).is_some() {
        return Err(Rejection::HostExists(name.clone()));
    }

    let mut meta = state.meta().clone();
    meta.last_host += 1;
    let host_id = HostId(meta.last_host);
    state.put_meta(meta);
    state.put_host(Host {
        id: host_id,
        description: register.description.clone(),
        observation: register.observation.clone(),
        properties: register.properties.clone(),
        reservable: true,
        overcommitted: false,
        downtimes: Vec::new(),
        upgrade: None,
        created_at: now,
        updated_at: None,
    });
    Ok(Reply::HostRegistered { host_id })
}

/// Adds or replaces extra capabilities; lets new reservations use the host, or not.
///
/// Rejections, in this order: `HostNotFound`, `Invalid` (properties), `PropertyInUse`. Source: `PUT /v1/os-hosts/{id}`, blazar-api §9.
pub(super) fn update_host(
    state: &mut State,
    now: Timestamp,
    id: HostId,
    properties: &BTreeMap<String, String>,
    reservable: Option<bool>,
) -> Result<Reply, Rejection> {
    let mut host = state.host(id).cloned().ok_or(Rejection::HostNotFound(id))?;
    check_capabilities(properties)?;
    check_capabilities_together(&host.properties, properties)?;
    let named: BTreeSet<&str> = state
        .leases_on(id)
        .flat_map(|lease| &lease.reservations)
        .filter(|reservation| reservation.status != ReservationStatus::Deleted)
        .flat_map(|reservation| &reservation.wish.instance().requirements)
        .map(|term| term.key.as_str())
        .collect();
    let in_use: Vec<&str> = properties
        .iter()
        .filter(|(key, value)| host.properties.get(*key).is_some_and(|old| old != *value) && named.contains(key.as_str()))
        .map(|(key, _)| key.as_str())
        .collect();
    if !in_use.is_empty() {
        return Err(Rejection::PropertyInUse { host_id: id, keys: in_use.join(", ") });
    }

    host.properties.extend(properties.iter().map(|(key, value)| (key.clone(), value.clone())));
    host.reservable = reservable.unwrap_or(host.reservable);
    host.updated_at = Some(now);
    state.put_host(host);
    Ok(Reply::Done)
}

/// Forgets a host on which nothing is bound. Its number is never given again.
///
/// Rejections, in this order: `HostNotFound`, `HostInUse`. Source: `DELETE /v1/os-hosts/{id}`, blazar-api §9.
pub(super) fn remove_host(state: &mut State, id: HostId) -> Result<Reply, Rejection> {
    if state.host(id).is_none() {
        return Err(Rejection::HostNotFound(id));
    }
    // Planted bug: a host goes though it is booked.
    if state.leases_on(id).next().is_some() && !mutant!("H03") {
        return Err(Rejection::HostInUse(id));
    }

    state.remove_host(id);
    Ok(Reply::Done)
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn hosts_are_numbered_once_and_named_uniquely() {
        check(
            "10:00 hosts h1 h2 -> 1 2
               10:00 hosts h1 -> refused HostExists
               10:00 hosts  -> 
               10:00 removehost h2 -> removed
               10:00 removehost h2 -> refused HostNotFound
               10:00 hosts h2 -> 3
               10:00 lease A 12:00..14:00 n=1 plan=h2*1 -> PENDING h2*1
               10:00 removehost h2 -> refused HostInUse",
        );
    }

    #[test]
    fn a_capability_that_a_reservation_names_does_not_change() {
        check(
            "10:00 hosts h1 prop=rack:r1
               10:00 sethost h9 prop=a:b -> refused HostNotFound
               10:00 lease A now..14:00 need=rack:eq:r1 -> PENDING h1*1
               10:00 sethost h1 prop=rack:r2 -> refused PropertyInUse
               10:00 sethost h1 prop=rack:r1 -> changed
               10:00 sethost h1 prop=room:x -> changed
               10:00 delete A -> free, row gone
               10:00 sethost h1 prop=rack:r2 reservable=false -> changed
               10:00 lease A 12:00..14:00 plan=h1*1 -> refused PlanStale",
        );
    }

    #[test]
    fn columns_compare_as_numbers_and_capabilities_as_text() {
        check(
            "10:00 hosts h1 vcpus=16 prop=size:9 zone=a
               10:00 lease A 12:00..14:00 need=vcpus:ge:9 -> PENDING h1*1
               10:00 lease B 12:00..14:00 need=vcpus:lt:9 -> no room short=1 largest=0 tightest=- next=-
               10:00 lease C 12:00..14:00 need=size:gt:10 -> PENDING h1*1
               10:00 lease D 12:00..14:00 need=other:ne:10 -> no room short=1 largest=0 tightest=- next=-
               10:00 lease E 12:00..14:00 need=availability_zone:ne:b -> PENDING h1*1
               10:00 lease F 12:00..14:00 need=vcpus:eq:many -> no room short=1 largest=0 tightest=- next=-",
        );
    }
}
