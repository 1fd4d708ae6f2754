//! Downtimes as declared and answered.

use leasehold_ledger::command::{EndWish, StartWish};
use leasehold_ledger::listing::{DowntimeListing, DowntimeName, HostDowntime};
use leasehold_ledger::model::{Downtime, DowntimeId, HostId, Seconds, Withheld};

use super::capacity::decode_window;
use super::enums::{Enumeration, optional};
use super::wish::{decode_start, encode_end, encode_start};
use super::{BadValue, Result, decode_time, encode_time, end_unix_s, interval, missing, unix_s, uuid};
use crate::wire::v1;

/// A downtime to be declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewDowntime {
    /// What it is named by from now on; another one of the same id changes it.
    pub id: DowntimeId,
    /// From when on; not given it is now, and of one that is there already the begin that it has.
    pub start: Option<StartWish>,
    /// First second after, or [`Seconds::OPEN_END`].
    pub end: Seconds,
    /// How much of the host; without any amount all of it, and of one that is there already as much as it takes.
    pub withheld: Withheld,
}

impl NewDowntime {
    /// The request, still without its idempotency key and host.
    pub(crate) fn into_request(self) -> v1::SetDowntimeRequest {
        let Withheld { vcpus, memory_mb, disk_gb } = self.withheld;
        v1::SetDowntimeRequest {
            request_id: String::new(),
            valid_until_ms: 0,
            host_id: 0,
            downtime_id: self.id.to_string(),
            start: self.start.map(encode_start),
            end: Some(encode_end(EndWish::At(self.end))),
            vcpus,
            memory_mb,
            disk_gb,
        }
    }

    /// What a request asks for, without end unless it says otherwise.
    pub fn from_request(wire: v1::SetDowntimeRequest) -> Result<NewDowntime> {
        Ok(NewDowntime {
            id: DowntimeId(uuid("downtime_id", &wire.downtime_id)?),
            start: decode_start("start", wire.start)?,
            end: decode_window(None, wire.end)?.end,
            withheld: Withheld { vcpus: wire.vcpus, memory_mb: wire.memory_mb, disk_gb: wire.disk_gb },
        })
    }
}

impl From<Downtime> for v1::Downtime {
    fn from(downtime: Downtime) -> Self {
        let Downtime { id, interval, withheld: Withheld { vcpus, memory_mb, disk_gb } } = downtime;
        let (start, end) = (unix_s(interval.start), end_unix_s(interval.end));
        v1::Downtime { id: id.to_string(), start, end, vcpus, memory_mb, disk_gb }
    }
}

impl TryFrom<v1::Downtime> for Downtime {
    type Error = BadValue;

    fn try_from(wire: v1::Downtime) -> Result<Self> {
        Ok(Downtime {
            id: DowntimeId(uuid("id", &wire.id)?),
            interval: interval("start", "end", wire.start, wire.end)?,
            withheld: Withheld { vcpus: wire.vcpus, memory_mb: wire.memory_mb, disk_gb: wire.disk_gb },
        })
    }
}

impl From<DowntimeName> for v1::DowntimeName {
    fn from(name: DowntimeName) -> Self {
        v1::DowntimeName { host_id: name.host_id.0, downtime_id: name.id.to_string() }
    }
}

impl TryFrom<v1::DowntimeName> for DowntimeName {
    type Error = BadValue;

    fn try_from(wire: v1::DowntimeName) -> Result<Self> {
        Ok(DowntimeName { host_id: HostId(wire.host_id), id: DowntimeId(uuid("downtime_id", &wire.downtime_id)?) })
    }
}

impl From<DowntimeListing> for v1::ListDowntimesRequest {
    fn from(listing: DowntimeListing) -> Self {
        let DowntimeListing { hosts, host_id, window, order, descending, after, limit } = listing;
        let (start, end) = encode_time(window);
        v1::ListDowntimesRequest {
            host_ids: hosts.into_iter().map(|host| host.0).collect(),
            start,
            end,
            order: order.encode(),
            descending,
            after: after.map(Into::into),
            limit: limit.unwrap_or(0),
            stale: false,
            host_id: host_id.map(|host| host.0),
        }
    }
}

impl TryFrom<v1::ListDowntimesRequest> for DowntimeListing {
    type Error = BadValue;

    fn try_from(wire: v1::ListDowntimesRequest) -> Result<Self> {
        Ok(DowntimeListing {
            hosts: wire.host_ids.into_iter().map(HostId).collect(),
            host_id: wire.host_id.map(HostId),
            window: decode_time(wire.start, wire.end)?,
            order: optional("order", wire.order)?.unwrap_or_default(),
            descending: wire.descending,
            after: wire.after.map(DowntimeName::try_from).transpose().map_err(|bad| bad.inside("after"))?,
            limit: (wire.limit > 0).then_some(wire.limit),
        })
    }
}

impl From<HostDowntime> for v1::HostDowntime {
    fn from(one: HostDowntime) -> Self {
        let HostDowntime { host_id, hypervisor_hostname, downtime } = one;
        v1::HostDowntime { host_id: host_id.0, hypervisor_hostname, downtime: Some(downtime.into()) }
    }
}

impl TryFrom<v1::HostDowntime> for HostDowntime {
    type Error = BadValue;

    fn try_from(wire: v1::HostDowntime) -> Result<Self> {
        let v1::HostDowntime { host_id, hypervisor_hostname, downtime } = wire;
        let downtime = downtime.ok_or_else(|| missing("downtime", "in every line of a list of downtimes"))?;
        Ok(HostDowntime { host_id: HostId(host_id), hypervisor_hostname, downtime: downtime.try_into()? })
    }
}
