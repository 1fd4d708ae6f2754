//! Quotas.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_ledger::listing::{Quota, QuotaListing, QuotaUse};
use leasehold_ledger::model::{Interval, Limit, LimitKind, Limits, ProjectId};

use super::{BadValue, Result, missing, seconds, unix_s};
use crate::wire::v1;

/// Stands for the limits of projects that have none of their own.
pub const DEFAULT_PROJECT: &str = "default";

/// A project by its id; `None`: the defaults.
pub fn quota_project(id: &str) -> Option<ProjectId> {
    (id != DEFAULT_PROJECT).then(|| ProjectId(id.into()))
}

fn kind(field: &str, name: &str) -> Result<LimitKind> {
    LimitKind::named(name).ok_or_else(|| {
        BadValue::new(field, name, "one of slots, vcpus, vcpu_hours, period_s, start_ahead_s, end_ahead_s, duration_s")
    })
}

/// A limit as a number: -1 is none.
pub fn encode_limit(limit: Limit) -> i64 {
    match limit {
        Limit::Max(max) => i64::from(max),
        Limit::Unlimited => -1,
    }
}

/// The inverse of [`encode_limit`].
pub fn decode_limit(field: &str, limit: i64) -> Result<Limit> {
    match u32::try_from(limit) {
        Ok(max) => Ok(Limit::Max(max)),
        Err(_) if limit == -1 => Ok(Limit::Unlimited),
        Err(_) => Err(BadValue::new(field, &limit.to_string(), "a whole number from 0 to 4294967295, or -1 for no limit")),
    }
}

/// Limits by name.
pub fn encode_limits(limits: &Limits) -> BTreeMap<String, i64> {
    limits.iter().map(|(kind, limit)| (kind.as_str().to_owned(), encode_limit(*limit))).collect()
}

/// The inverse of [`encode_limits`].
pub fn decode_limits(wire: BTreeMap<String, i64>) -> Result<Limits> {
    wire.into_iter().map(|(name, limit)| Ok((kind("set", &name)?, decode_limit(&name, limit)?))).collect()
}

/// Kinds of limits by name.
pub(crate) fn encode_kinds(kinds: BTreeSet<LimitKind>) -> Vec<String> {
    kinds.into_iter().map(|kind| kind.as_str().to_owned()).collect()
}

/// The inverse of [`encode_kinds`]; `field` is where they stand.
pub fn decode_kinds(field: &str, wire: &[String]) -> Result<BTreeSet<LimitKind>> {
    wire.iter().map(|name| kind(field, name)).collect()
}

impl From<Quota> for v1::Quota {
    fn from(quota: Quota) -> Self {
        let Quota { project_id, set, in_force, used } = quota;
        v1::Quota {
            project_id: project_id.map_or(DEFAULT_PROJECT.to_owned(), |id| id.to_string()),
            set: encode_limits(&set),
            in_force: in_force.into_iter().map(|(kind, max)| (kind.as_str().to_owned(), i64::from(max))).collect(),
            r#use: used.map(|used| v1::QuotaUse {
                slots_now: used.now.0,
                vcpus_now: used.now.1,
                slots_peak: used.slots_peak.0,
                slots_peak_at: unix_s(used.slots_peak.1),
                vcpus_peak: used.vcpus_peak.0,
                vcpus_peak_at: unix_s(used.vcpus_peak.1),
                period_start: unix_s(used.period.start),
                period_end: unix_s(used.period.end),
                period_vcpu_s: used.period_vcpu_s,
            }),
        }
    }
}

impl TryFrom<v1::Quota> for Quota {
    type Error = BadValue;

    fn try_from(wire: v1::Quota) -> Result<Self> {
        let in_force = decode_limits(wire.in_force)?.into_iter();
        let used = |wire: v1::QuotaUse| -> Result<QuotaUse> {
            let (start, end) = (seconds("period_start", wire.period_start)?, seconds("period_end", wire.period_end)?);
            Ok(QuotaUse {
                now: (wire.slots_now, wire.vcpus_now),
                slots_peak: (wire.slots_peak, seconds("slots_peak_at", wire.slots_peak_at)?),
                vcpus_peak: (wire.vcpus_peak, seconds("vcpus_peak_at", wire.vcpus_peak_at)?),
                period: Interval { start, end },
                period_vcpu_s: wire.period_vcpu_s,
            })
        };
        Ok(Quota {
            project_id: quota_project(&wire.project_id),
            set: decode_limits(wire.set)?,
            in_force: in_force
                .filter_map(|(kind, limit)| if let Limit::Max(max) = limit { Some((kind, max)) } else { None })
                .collect(),
            used: wire.r#use.map(used).transpose()?,
        })
    }
}

impl From<QuotaListing> for v1::ListQuotasRequest {
    fn from(listing: QuotaListing) -> Self {
        let QuotaListing { set, descending, after, limit } = listing;
        let (after, set) = (after.map(|id| id.to_string()), encode_kinds(set));
        v1::ListQuotasRequest { after, limit: limit.unwrap_or(0), set, descending }
    }
}

impl TryFrom<v1::ListQuotasRequest> for QuotaListing {
    type Error = BadValue;

    fn try_from(wire: v1::ListQuotasRequest) -> Result<Self> {
        Ok(QuotaListing {
            set: decode_kinds("set", &wire.set)?,
            descending: wire.descending,
            after: wire.after.map(|id| ProjectId(id.into())),
            limit: (wire.limit > 0).then_some(wire.limit),
        })
    }
}

/// The quota of an answer, which always has one.
pub(crate) fn quota_of(wire: Option<v1::Quota>) -> Result<Quota> {
    wire.ok_or_else(|| missing("quota", "in every answer about a quota"))?.try_into()
}
