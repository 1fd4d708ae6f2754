//! The only door: one entry changes the state, or is refused and changes nothing but the clock, and what follows from that by itself: upgrades
//! that are due are dropped.
//!
//! One file per command: checks in order, then the change they allow. What several commands share: `schedule.rs` (when),
//! `limits.rs` (how large it may be), `quota.rs` (how much of it a project may have), `verify.rs` (whether a plan holds), `progress.rs`
//! (how leases, events and rows move on), `series.rs` (what leases of a series do together), `preempt.rs` (who gives way to whom),
//! `expire.rs` (what nobody uses), `keys.rs` (idempotency).

pub(crate) mod adoption;
mod advance_clock;
pub(crate) mod archive_leases;
mod claim_offer;
mod cluster;
mod create_lease;
mod create_series;
mod delete_lease;
mod delete_series;
mod downtimes;
pub(crate) mod expire;
mod hosts;
mod keys;
pub(crate) mod limits;
pub(crate) mod preempt;
mod progress;
pub(crate) mod quota;
pub(crate) mod rebind;
pub(crate) mod rebook;
mod record_outcome;
mod record_server_groups;
mod report_host;
mod review_lease;
pub(crate) mod schedule;
#[cfg(test)]
pub(crate) mod script;
pub(crate) mod series;
mod set_quota;
pub(crate) mod update_lease;
mod upgrades;
pub(crate) mod verify;
mod waitlist;
mod withdraw_lease;

use crate::command::{Command, Entry};
use crate::effect::Effect;
use crate::model::Timestamp;
use crate::reply::{Rejection, Reply};
use crate::state::{Delta, State};

pub use archive_leases::ARCHIVED_PER_ENTRY;
pub use keys::KEYS_PER_PROJECT_MAX;
pub use waitlist::{WAITING_MAX, WAITING_PER_PROJECT_MAX};

/// What one entry did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The answer.
    pub outcome: Result<Reply, Rejection>,
    /// The entry's number: +1 per command (architecture D17).
    pub ledger_index: u64,
    /// The index that makes the answer true: the entry's own, or the one of the first time when the key was known already.
    pub answered_at: u64,
    /// Row changes, to be written with the applied position.
    pub delta: Delta,
    /// Hints for the leader.
    pub effects: Vec<Effect>,
}

/// Applies one entry.
pub fn apply(state: &mut State, entry: &Entry) -> Applied {
    // What is learnt from the cloud does not read the time, so it is not stamped anew when proposed again (architecture D4).
    let reads_time =
        !matches!(entry.command, Command::RecordOutcome { .. } | Command::RecordServerGroups { .. } | Command::ReportHost { .. });
    let now = state.begin(reads_time.then_some(entry.proposed_at));
    let ledger_index = state.ledger_index();
    upgrades::drop_due_upgrades(state, now);
    let (outcome, answered_at) = match &entry.key {
        Some(key) => keys::once(state, now, key, &entry.command, |state| run(state, now, entry)),
        None => (run(state, now, entry), ledger_index),
    };
    let (delta, effects) = state.finish();
    Applied { outcome, ledger_index, answered_at, delta, effects }
}

/// Carries a command out. On a rejection the state is as before.
fn run(state: &mut State, now: Timestamp, entry: &Entry) -> Result<Reply, Rejection> {
    match &entry.command {
        Command::InitCluster { cluster_id } => cluster::init_cluster(state, *cluster_id),
        Command::CreateLease(create) => create_lease::create_lease(state, now, create, entry.key.as_ref()),
        Command::CreateSeries(create) => create_series::create_series(state, now, create, entry.key.as_ref()),
        Command::DeleteSeries { series_id } => delete_series::delete_series(state, now, *series_id),
        Command::UpdateLease(update) => update_lease::update_lease(state, now, update, entry.key.as_ref()),
        Command::PromoteLease(promote) => waitlist::promote_lease(state, now, promote),
        Command::ClaimOffer { lease_id } => claim_offer::claim_offer(state, now, *lease_id),
        Command::DeleteLease { lease_id } => delete_lease::delete_lease(state, now, *lease_id),
        Command::WithdrawLease { lease_id, reason } => withdraw_lease::withdraw_lease(state, now, *lease_id, reason),
        Command::Rebind { lease_id, moves } => rebind::rebind(state, now, *lease_id, moves),
        Command::ReviewLease { lease_id } => review_lease::review_lease(state, now, *lease_id),
        Command::RegisterHost(register) => hosts::register_host(state, now, register),
        Command::UpdateHost { host_id, properties, reservable } => {
            hosts::update_host(state, now, *host_id, properties, *reservable)
        }
        Command::RemoveHost { host_id } => hosts::remove_host(state, *host_id),
        Command::SetDowntime { host_id, downtime_id, start, end, withheld } => {
            downtimes::set_downtime(state, now, *host_id, *downtime_id, *start, *end, *withheld)
        }
        Command::DropDowntime { host_id, downtime_id } => downtimes::drop_downtime(state, now, *host_id, *downtime_id),
        Command::SetUpgrade { host_id, upgrade } => upgrades::set_upgrade(state, now, *host_id, *upgrade),
        Command::DropUpgrade { host_id } => upgrades::drop_upgrade(state, now, *host_id),
        Command::ReportHost { host_id, observation } => report_host::report_host(state, now, *host_id, observation),
        Command::AdvanceClock => Ok(advance_clock::advance_clock(state, now)),
        Command::ArchiveLeases { ended_before } => Ok(archive_leases::archive_leases(state, now, *ended_before)),
        Command::RecallLease { lease_id, row } => archive_leases::recall_lease(state, *lease_id, row),
        Command::RecordOutcome { actuation_id, revision, outcome } => {
            record_outcome::record_outcome(state, now, *actuation_id, *revision, outcome)
        }
        Command::RecordServerGroups { lease_id, groups } => {
            Ok(record_server_groups::record_server_groups(state, *lease_id, groups))
        }
        Command::HoldActuationLease { node_id, term } => Ok(cluster::hold_actuation_lease(state, *node_id, *term)),
        Command::SetQuota { project_id, set, unset } => set_quota::set_quota(state, project_id.as_ref(), set, unset),
        Command::ForgetKey => Err(Rejection::Invalid {
            field: "key".to_owned(),
            problem: "ForgetKey forgets the entry's own key, and there is none".to_owned(),
        }),
        Command::Probe { payload } => cluster::probe(payload),
    }
}
