//! Queries of URLs, read as a body is: every value is a text, lists are separated by commas.

use std::collections::BTreeSet;

use leasehold_ledger::model::{HostId, InstanceWish};
use leasehold_ledger::plan::{HostFilter, NAMED_HOSTS_MAX};
use serde_json::{Map, Value, json};

use super::fields::cut;
use super::{Fields, instance};
use crate::edge::error::Problem;

/// Keys that say which hosts.
pub const HOST_KEYS: [&str; 6] = ["hosts", "zone", "pool", "required_traits", "forbidden_traits", "resource_properties"];
/// Keys of a query whose values are lists.
const LISTS: [&str; 8] = ["hosts", "required_traits", "forbidden_traits", "status", "with_any", "with_all", "without", "set"];

/// A query as a JSON object.
pub fn object(query: Vec<(String, String)>) -> Result<Map<String, Value>, Problem> {
    let mut object = Map::new();
    for (key, text) in query {
        let value = match LISTS.contains(&key.as_str()) {
            true => text.split(',').map(|item| json!(item.trim())).collect(),
            false => Value::String(text),
        };
        let shown = cut(&key);
        if object.insert(key, value).is_some() {
            return Err(Problem::malformed(format!("{shown} is given twice; it must be given once, lists separated by commas")));
        }
    }
    Ok(object)
}

/// The items of a list, each as `read` takes it, at most `len_max`; `None` when the key is missing.
pub fn items<T: Ord>(
    fields: &Fields<'_>,
    key: &str,
    len_max: usize,
    right: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<BTreeSet<T>>, Problem> {
    let Some(value) = fields.get(key) else { return Ok(None) };
    let wrong = || fields.wrong(key, value, right);
    let items = value.as_array().filter(|items| items.len() <= len_max).ok_or_else(wrong)?;
    items.iter().map(|item| item.as_str().and_then(&read).ok_or_else(wrong)).collect::<Result<_, _>>().map(Some)
}

/// `hosts`; `None` when missing.
pub fn hosts(fields: &Fields<'_>) -> Result<Option<BTreeSet<HostId>>, Problem> {
    let right = format!("must be at most {NAMED_HOSTS_MAX} numbers of hosts separated by commas, as in hosts=1,2");
    items(fields, "hosts", NAMED_HOSTS_MAX, &right, |item| item.parse().ok().map(HostId))
}

/// Which hosts, by [`HOST_KEYS`].
pub fn host_filter(fields: &Fields<'_>) -> Result<HostFilter, Problem> {
    let hosts = hosts(fields)?;
    let InstanceWish { zone, pool, required_traits, forbidden_traits, requirements, .. } =
        instance::read(fields)?.onto(&instance::nothing())?;
    Ok(HostFilter { zone, pool, hosts, required_traits, forbidden_traits, requirements })
}
