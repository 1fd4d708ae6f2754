//! Blazar v1 JSON ↔ ledger model: the only place that knows both (architecture D10; blazar-api §4–§9, §22).
//!
//! Answers are built by [`lease`], [`host`], [`allocation`] and those of `capacity`; requests are read by `create`, `update`,
//! `capacity`, `whole_hosts`, `listing`, `series` and [`host_request`] through [`Fields`], which names the field, its value and what would be right when it refuses.
//! Must not know HTTP beyond a status in a refusal, nor the clock: what depends on the time is the ledger's to judge.

mod answers;
mod capacity;
mod create;
mod dates;
mod downtime;
mod expression;
mod fields;
mod flavor;
mod host_request;
mod instance;
mod listing;
mod query;
mod quota;
mod series;
mod update;
mod whole_hosts;

#[cfg(test)]
mod tests;

pub use answers::{allocation, host, key_state, lease};
pub use capacity::{capacity, capacity_wish, density, density_wish, what_if};
pub use create::{asked_about, create};
pub use downtime::{downtime, downtime_wish, host_downtime, upgrade_wish};
pub use host_request::{HostUpdate, host_create, host_update};
pub use listing::{
    allocation_listing, downtime_listing, host_allocation, host_downtimes, host_listing, lease_filter, quota_listing,
    utilisation, utilisation_wish,
};
pub use quota::{quota, quota_change};
pub use series::{deleted_series, recurrence, series};
pub use update::update;
pub use whole_hosts::what_if_hosts;

pub use fields::cut;
use fields::{Fields, shown};

/// Longest name of a lease, in characters (Blazar's schema).
const NAME_CHARS_MAX: usize = 80;
