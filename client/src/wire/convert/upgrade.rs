//! Upgrades of hosts as declared and answered.

use leasehold_ledger::model::Upgrade;

use super::{BadValue, Result, seconds, unix_s};
use crate::wire::v1;

/// The request, still without its idempotency key and host.
pub(crate) fn upgrade_request(upgrade: Upgrade) -> v1::SetUpgradeRequest {
    let Upgrade { start, vcpus, memory_mb, disk_gb } = upgrade;
    v1::SetUpgradeRequest {
        request_id: String::new(),
        valid_until_ms: 0,
        host_id: 0,
        start: unix_s(start),
        vcpus,
        memory_mb,
        disk_gb,
    }
}

/// What a request asks for.
///
/// # Errors
/// A start outside the calendar.
pub fn upgrade_asked(wire: &v1::SetUpgradeRequest) -> Result<Upgrade> {
    let v1::SetUpgradeRequest { start, vcpus, memory_mb, disk_gb, .. } = *wire;
    Ok(Upgrade { start: seconds("start", start)?, vcpus, memory_mb, disk_gb })
}

impl From<Upgrade> for v1::Upgrade {
    fn from(upgrade: Upgrade) -> Self {
        let Upgrade { start, vcpus, memory_mb, disk_gb } = upgrade;
        v1::Upgrade { start: unix_s(start), vcpus, memory_mb, disk_gb }
    }
}

impl TryFrom<v1::Upgrade> for Upgrade {
    type Error = BadValue;

    fn try_from(wire: v1::Upgrade) -> Result<Self> {
        let v1::Upgrade { start, vcpus, memory_mb, disk_gb } = wire;
        Ok(Upgrade { start: seconds("start", start)?, vcpus, memory_mb, disk_gb })
    }
}
