//! Which reservations lie on which hosts.

use leasehold_ledger::listing::{AllocationFilter, HostAllocation, HostListing, ReservedInterval, ReservedName, ReservedPage};
use leasehold_ledger::model::{HostId, LeaseId, ReservationId};

use super::{BadValue, Result, decode_time, each, encode_time, end, end_unix_s, seconds, unix_s, uuid};
use crate::wire::v1;

impl From<AllocationFilter> for v1::ListAllocationsRequest {
    fn from(filter: AllocationFilter) -> Self {
        let AllocationFilter { hosts, host_id, lease_id, reservation_id, window, page } = filter;
        let (start, end) = encode_time(window);
        let v1::ListHostsRequest { stale: _, filter, reservable, after, limit, order, descending } = hosts.into();
        v1::ListAllocationsRequest {
            lease_id: lease_id.map(|id| id.to_string()),
            reservation_id: reservation_id.map(|id| id.to_string()),
            after,
            limit,
            host_id: host_id.map(|id| id.0),
            filter,
            reservable,
            order,
            descending,
            start,
            end,
            reserved_after: page.after.map(Into::into),
            reserved_limit: page.limit.unwrap_or(0),
            reserved_descending: page.descending,
        }
    }
}

impl From<ReservedName> for v1::ReservedName {
    fn from(name: ReservedName) -> Self {
        v1::ReservedName { start: unix_s(name.start), reservation_id: name.reservation_id.to_string() }
    }
}

impl TryFrom<v1::ReservedName> for ReservedName {
    type Error = BadValue;

    fn try_from(wire: v1::ReservedName) -> Result<Self> {
        let reservation_id = ReservationId(uuid("reservation_id", &wire.reservation_id)?);
        Ok(ReservedName { start: seconds("start", wire.start)?, reservation_id })
    }
}

impl TryFrom<v1::ListAllocationsRequest> for AllocationFilter {
    type Error = BadValue;

    fn try_from(wire: v1::ListAllocationsRequest) -> Result<Self> {
        let after = wire.reserved_after.map(ReservedName::try_from).transpose().map_err(|bad| bad.inside("reserved_after"))?;
        let limit = (wire.reserved_limit > 0).then_some(wire.reserved_limit);
        let page = ReservedPage { descending: wire.reserved_descending, after, limit };
        if page != ReservedPage::default() && wire.host_id.is_none() {
            return Err(BadValue::new("host_id", "", "given with reserved_after, reserved_limit and reserved_descending"));
        }
        let v1::ListAllocationsRequest { filter, reservable, after, limit, order, descending, .. } = wire;
        let hosts = v1::ListHostsRequest { stale: false, filter, reservable, after, limit, order, descending };
        Ok(AllocationFilter {
            hosts: HostListing::try_from(hosts)?,
            window: decode_time(wire.start, wire.end)?,
            page,
            host_id: wire.host_id.map(HostId),
            lease_id: wire.lease_id.map(|id| uuid("lease_id", &id).map(LeaseId)).transpose()?,
            reservation_id: wire.reservation_id.map(|id| uuid("reservation_id", &id).map(ReservationId)).transpose()?,
        })
    }
}

impl From<HostAllocation> for v1::HostAllocation {
    fn from(allocation: HostAllocation) -> Self {
        let HostAllocation { host_id, reservations } = allocation;
        let reserved = |ReservedInterval { reservation_id, lease_id, start, end }| v1::ReservedInterval {
            reservation_id: reservation_id.to_string(),
            lease_id: lease_id.to_string(),
            start: unix_s(start),
            end: end_unix_s(end),
        };
        v1::HostAllocation { host_id: host_id.0, reservations: reservations.into_iter().map(reserved).collect() }
    }
}

impl TryFrom<v1::HostAllocation> for HostAllocation {
    type Error = BadValue;

    fn try_from(wire: v1::HostAllocation) -> Result<Self> {
        let reservations = each("reservations", wire.reservations, |reserved| {
            Ok(ReservedInterval {
                reservation_id: ReservationId(uuid("reservation_id", &reserved.reservation_id)?),
                lease_id: LeaseId(uuid("lease_id", &reserved.lease_id)?),
                start: seconds("start", reserved.start)?,
                end: end("end", reserved.end)?,
            })
        })?;
        Ok(HostAllocation { host_id: HostId(wire.host_id), reservations })
    }
}
