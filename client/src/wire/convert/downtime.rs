//! Downtimes as declared and answered.

use leasehold_ledger::command::{EndWish, StartWish};
use leasehold_ledger::model::{Downtime, DowntimeId, Seconds, Withheld};

use super::capacity::decode_window;
use super::wish::{decode_start, encode_end, encode_start};
use super::{BadValue, Result, end_unix_s, interval, unix_s, uuid};
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
