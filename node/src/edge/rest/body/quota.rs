//! Quotas, which Blazar does not have.

use std::collections::BTreeSet;

use leasehold_client::wire::convert::{DEFAULT_PROJECT, decode_limit, encode_limit};
use leasehold_ledger::listing::Quota;
use leasehold_ledger::model::{LimitKind, Limits};
use serde_json::{Map, Value, json};

use super::Fields;
use super::dates::lease_date;
use crate::edge::error::Problem;
use crate::edge::rest::microversion::Microversion;

/// Limits, what they come to and what is used of them.
pub fn quota(quota: &Quota) -> Value {
    let set: Map<String, Value> =
        quota.set.iter().map(|(kind, limit)| (kind.as_str().to_owned(), json!(encode_limit(*limit)))).collect();
    let in_force: Map<String, Value> = quota.in_force.iter().map(|(kind, max)| (kind.as_str().to_owned(), json!(max))).collect();
    let used = quota.used.map(|used| {
        json!({
            "now": {"slots": used.now.0, "vcpus": used.now.1},
            "peak": {
                "slots": used.slots_peak.0, "slots_at": lease_date(used.slots_peak.1),
                "vcpus": used.vcpus_peak.0, "vcpus_at": lease_date(used.vcpus_peak.1),
            },
            "period": {
                "start": lease_date(used.period.start), "end": lease_date(used.period.end), "vcpu_seconds": used.period_vcpu_s,
            },
        })
    });
    let project = quota.project_id.as_ref().map_or(DEFAULT_PROJECT.to_owned(), ToString::to_string);
    json!({"project_id": project, "set": set, "in_force": in_force, "used": used})
}

/// A change of limits: what is set, and what is left to the default.
pub fn quota_change(body: &Value, version: Microversion) -> Result<(Limits, BTreeSet<LimitKind>), Problem> {
    let fields = Fields::of_body(body)?;
    fields.refuse_others(version, &LimitKind::ALL.map(LimitKind::as_str), &[])?;
    let (mut set, mut unset) = (Limits::new(), BTreeSet::new());
    for kind in LimitKind::ALL.into_iter().filter(|kind| fields.has(kind.as_str())) {
        let key = kind.as_str();
        let Some(value) = fields.get(key) else {
            unset.insert(kind);
            continue;
        };
        let limit = value.as_i64().and_then(|limit| decode_limit(key, limit).ok());
        let right = "must be a whole number from 0 to 4294967295, -1 for no limit, or null for the default";
        set.insert(kind, limit.ok_or_else(|| fields.wrong(key, value, right))?);
    }
    Ok((set, unset))
}
