//! Idempotency (architecture D18): the same key with the same wish is answered with what was answered first.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use crate::command::Command;
use crate::model::{LeaseId, LeaseStatus, LeftOut, LeftOutReason, Reason, RequestKey, Timestamp};
use crate::mutant;
use crate::reply::{Rejection, Reply};
use crate::state::{KeyFate, KeyRow, State};
use crate::storage::codec::encode;

/// Live keys a project may have: nothing is evicted, so this bounds what one project can make every replica store.
pub const KEYS_PER_PROJECT_MAX: usize = 100_000;
/// How far ahead a key may be valid, ms: a day. A key that never ran out would count against its project for ever.
const VALID_MS_MAX: u64 = 24 * 3_600 * 1_000;
/// Longest project id that may own a key; Keystone's are 32 characters.
const PROJECT_ID_BYTES_MAX: usize = 255;

/// Carries `run` out unless the key was answered before; stores the answer. Gives the answer and the index that makes it true.
///
/// Rejections of its own, in this order, none of them stored: `Invalid`, `KeyExpired`, `KeyForgotten`, `RequestIdReused`,
/// `TooManyKeys`. `PlanStale` is not stored either: the leader plans again under the same key; nor are `QuotaExceeded` and
/// `TooManyWaiting`.
pub(super) fn once(
    state: &mut State,
    now: Timestamp,
    key: &RequestKey,
    command: &Command,
    run: impl FnOnce(&mut State) -> Result<Reply, Rejection>,
) -> (Result<Reply, Rejection>, u64) {
    let index = state.ledger_index();
    if key.project_id.0.len() > PROJECT_ID_BYTES_MAX {
        let problem = format!("a project id has at most {PROJECT_ID_BYTES_MAX} bytes");
        return (Err(Rejection::Invalid { field: "key".to_owned(), problem }), index);
    }
    if key.valid_until <= now {
        return (Err(Rejection::KeyExpired), index);
    }
    let forget = matches!(command, Command::ForgetKey);
    let content = content(key, command);
    if let Some(row) = state.key_row(&key.project_id, key.id) {
        if row.valid_until <= now {
            return (Err(Rejection::KeyExpired), index);
        }
        return match &row.fate {
            KeyFate::Forgotten if forget => (Ok(Reply::KeyForgotten), index),
            KeyFate::Forgotten => (Err(Rejection::KeyForgotten), index),
            // A lookup does not know the content: it gets what was answered.
            KeyFate::Answered { .. } | KeyFate::Pending { .. } if !forget && row.content != content => {
                (Err(Rejection::RequestIdReused), index)
            }
            KeyFate::Answered { outcome, ledger_index } => (outcome.clone(), *ledger_index),
            KeyFate::Pending { reply, .. } => (Ok(reply.clone()), index),
        };
    }
    if key.valid_until > now.plus_ms(VALID_MS_MAX) {
        let problem = "a key may be valid for 24 hours from now at most".to_owned();
        return (Err(Rejection::Invalid { field: "key".to_owned(), problem }), index);
    }
    if state.keys_stored(&key.project_id) >= KEYS_PER_PROJECT_MAX {
        return (Err(Rejection::TooManyKeys(key.project_id.clone())), index);
    }
    let outcome = if forget { Ok(Reply::KeyForgotten) } else { run(state) };
    let fate = match &outcome {
        // Planted bug: stored as the answer.
        Err(Rejection::PlanStale { .. }) if !mutant!("N03") => return (outcome, index),
        // As with a lack of room: what is refused now may be granted to the same key later.
        Err(Rejection::QuotaExceeded(_) | Rejection::TooManyWaiting { .. }) => return (outcome, index),
        Ok(Reply::KeyForgotten) => KeyFate::Forgotten,
        Ok(reply @ (Reply::LeaseCreated { lease_id, prepared: false } | Reply::LeaseUpdated { lease_id, prepared: false })) => {
            KeyFate::Pending { lease_id: *lease_id, reply: reply.clone() }
        }
        Ok(reply @ Reply::SeriesCreated { leases, prepared: false, .. }) => {
            KeyFate::Pending { lease_id: leases.first().expect("it waits for one").lease_id, reply: reply.clone() }
        }
        _ => KeyFate::Answered { outcome: outcome.clone(), ledger_index: index },
    };
    state.put_key(&key.project_id, key.id, KeyRow { valid_until: key.valid_until, content, fate });
    (outcome, index)
}

/// The command that waited for the cloud is through: its key is answered now, with this entry's index.
pub(super) fn answer(state: &mut State, key: &RequestKey, reply: Reply) {
    if let Some(row) = pending(state, key) {
        let fate = KeyFate::Answered { outcome: Ok(reply), ledger_index: state.ledger_index() };
        state.put_key(&key.project_id, key.id, KeyRow { fate, ..row });
    }
}

/// The series that waited for the cloud is through; what is left of it is answered now, with this entry's index.
pub(super) fn answer_series(state: &mut State, key: &RequestKey) {
    let Some(KeyRow { fate: KeyFate::Pending { reply, .. }, .. }) = pending(state, key) else { return };
    if let Reply::SeriesCreated { series_id, leases, left_out, prepared: _ } = reply {
        answer(state, key, Reply::SeriesCreated { series_id, leases, left_out, prepared: true });
    }
}

/// A lease was withdrawn from the series that waits: it will be answered as left out.
pub(super) fn leave_out(state: &mut State, key: &RequestKey, gone: LeaseId, reason: &Reason) {
    let Some(row) = pending(state, key) else { return };
    let KeyFate::Pending { reply: Reply::SeriesCreated { series_id, mut leases, mut left_out, prepared }, .. } = row.fate else {
        return;
    };
    let Some(place) = leases.iter().position(|lease| lease.lease_id == gone) else { return };
    let occurrence = leases.remove(place).occurrence;
    left_out.push(LeftOut { occurrence, reason: LeftOutReason::Withdrawn(reason.clone()) });
    left_out.sort_by_key(|one| one.occurrence.number);
    let Some(first) = leases.first() else { return clear(state, key) };
    let lease_id = first.lease_id;
    let fate = KeyFate::Pending { lease_id, reply: Reply::SeriesCreated { series_id, leases, left_out, prepared } };
    state.put_key(&key.project_id, key.id, KeyRow { fate, ..row });
}

/// The command that waited was withdrawn: its key is free again, as if it had never come.
pub(super) fn clear(state: &mut State, key: &RequestKey) {
    if pending(state, key).is_some() {
        state.remove_key(&key.project_id, key.id);
    }
}

/// The key under which a lease that waits for its hold was asked for.
pub(super) fn waiting_key(state: &State, lease_id: LeaseId) -> Option<RequestKey> {
    let lease = state.lease(lease_id)?;
    match lease.status {
        LeaseStatus::Creating => lease.key.clone(),
        LeaseStatus::Updating => lease.update_key.as_deref().cloned(),
        _ => None,
    }
}

fn pending(state: &State, key: &RequestKey) -> Option<KeyRow> {
    // The row may have expired meanwhile.
    state.key_row(&key.project_id, key.id).filter(|row| matches!(row.fate, KeyFate::Pending { .. })).cloned()
}

/// Hash of what the user asked for: the wish and the key's validity, never the plan or ids made for it.
fn content(key: &RequestKey, command: &Command) -> u128 {
    fn of(kind: &str, key: &RequestKey, wish: impl Serialize) -> u128 {
        xxh3_128(&encode(&(kind, key.valid_until, wish)))
    }
    match command {
        Command::CreateLease(create) => of("create_lease", key, create.asked.as_deref().unwrap_or(&create.wish)),
        Command::CreateSeries(create) => match &create.asked {
            Some(asked) => of("create_series", key, (asked, &create.wish.recurrence)),
            None => of("create_series", key, &create.wish),
        },
        Command::DeleteSeries { series_id } => of("delete_series", key, series_id),
        Command::UpdateLease(update) => of("update_lease", key, (update.lease_id, &update.change)),
        Command::PromoteLease(promote) => of("promote_lease", key, promote.lease_id),
        Command::ClaimOffer { lease_id } => of("claim_offer", key, lease_id),
        Command::DeleteLease { lease_id } => of("delete_lease", key, lease_id),
        Command::WithdrawLease { lease_id, .. } => of("withdraw_lease", key, lease_id),
        Command::Rebind { lease_id, .. } => of("rebind", key, lease_id),
        Command::ReviewLease { lease_id } => of("review_lease", key, lease_id),
        // What was observed at onboarding differs from retry to retry; what was asked for does not.
        Command::RegisterHost(register) => {
            let host = &register.description;
            of("register_host", key, (&host.hypervisor_hostname, &host.service_name, host.pool, &register.properties))
        }
        Command::UpdateHost { host_id, properties, reservable } => of("update_host", key, (host_id, properties, reservable)),
        Command::RemoveHost { host_id } => of("remove_host", key, host_id),
        Command::SetDowntime { host_id, downtime_id, start, end, withheld } => {
            of("set_downtime", key, (host_id, downtime_id, start, end, withheld))
        }
        Command::DropDowntime { host_id, downtime_id } => of("drop_downtime", key, (host_id, downtime_id)),
        Command::SetUpgrade { host_id, upgrade } => of("set_upgrade", key, (host_id, upgrade)),
        Command::DropUpgrade { host_id } => of("drop_upgrade", key, host_id),
        Command::ReportHost { host_id, .. } => of("report_host", key, host_id),
        Command::RecordOutcome { actuation_id, revision, .. } => of("record_outcome", key, (actuation_id, revision)),
        Command::RecordServerGroups { lease_id, groups } => of("record_server_groups", key, (lease_id, groups)),
        Command::HoldActuationLease { node_id, term } => of("hold_actuation_lease", key, (node_id, term)),
        Command::InitCluster { cluster_id } => of("init_cluster", key, cluster_id),
        Command::Probe { payload } => of("probe", key, payload),
        Command::SetQuota { project_id, set, unset } => of("set_quota", key, (project_id, set, unset)),
        Command::ArchiveLeases { ended_before } => of("archive_leases", key, ended_before),
        Command::RecallLease { lease_id, .. } => of("recall_lease", key, lease_id),
        Command::AdvanceClock => of("advance_clock", key, ()),
        Command::ForgetKey => of("forget_key", key, ()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::KEYS_PER_PROJECT_MAX;
    use crate::apply::apply;
    use crate::apply::script::check;
    use crate::command::{Command, Entry};
    use crate::model::{ProjectId, RequestKey, Timestamp};
    use crate::reply::{Rejection, Reply};
    use crate::state::State;
    use uuid::Uuid;

    #[test]
    fn the_same_key_with_the_same_wish_is_answered_once() {
        check(
            "10:00 hosts h1
               10:00 lease A 12:00..14:00 n=2 key=1 until=11:00 -> PENDING h1*2
               10:01 lease A 12:00..14:00 n=2 key=1 until=11:00 -> PENDING h1*2
               10:01 booked h1 12:00 -> 2 vcpus 2 slots
               10:01 key 1 until=11:00 -> answered at 2
               10:01 lease A 12:00..14:00 n=2 key=1 until=11:00 plan=h1*1,h1*1 -> PENDING h1*2
               10:01 lease B 12:00..14:00 n=3 key=1 until=11:00 -> refused RequestIdReused
               10:01 lease A 12:00..14:00 n=2 key=1 until=11:01 -> refused RequestIdReused
               10:01 delete A key=1 until=11:00 -> refused RequestIdReused
               10:01 delete A key=2 until=11:00 -> free, row gone
               10:01 delete A key=2 until=11:00 -> free, row gone
               11:00 lease A 12:00..14:00 n=2 key=1 until=11:00 -> refused KeyExpired
               11:00 key 1 until=11:00 -> expired
               11:00 clock -> nothing
               11:00 key 1 until=12:00 -> unknown
               11:00 delete B key=3 until=35:01 -> refused Invalid key
               11:00 delete B key=3 until=35:00 -> refused LeaseNotFound",
        );
    }

    #[test]
    fn rejections_are_stored_but_a_stale_plan_is_no_answer() {
        check(
            "10:00 hosts h1
               10:00 lease A 12:00..14:00 before=15:00 plan=h1*1 key=1 -> refused BeforeEndOutside
               10:00 key 1 until=24:00 -> refused BeforeEndOutside
               10:00 lease B 12:00..14:00 n=2 plan=h1*1 key=2 -> refused PlanStale
               10:00 key 2 until=24:00 -> unknown
               10:00 lease B 12:00..14:00 n=2 key=2 -> PENDING h1*2",
        );
    }

    #[test]
    fn a_forgotten_key_never_applies() {
        check(
            "10:00 hosts h1
               10:00 forget key=1 until=11:00 -> KeyForgotten
               10:00 forget key=1 until=11:00 -> KeyForgotten
               10:00 key 1 until=11:00 -> forgotten
               10:00 lease A 12:00..14:00 key=1 until=11:00 -> refused KeyForgotten
               10:00 probe key=2 until=11:00 -> done
               10:00 forget key=2 until=11:00 -> Done
               10:00 key 2 until=11:00 -> answered at 5
               11:00 forget key=3 until=11:00 -> refused KeyExpired
               11:00 forget -> refused Invalid key",
        );
    }

    #[test]
    fn keys_of_different_projects_never_meet() {
        check(
            "10:00 probe key=1 project=p bytes=1 -> done
               10:00 probe key=1 project=q bytes=2 -> done
               10:00 probe key=1 project=p bytes=2 -> refused RequestIdReused",
        );
    }

    #[test]
    fn a_project_keeps_a_bounded_number_of_keys() {
        let mut state = State::default();
        let mut probe = |number: usize, at: u64| {
            let key = RequestKey {
                project_id: ProjectId("p".into()),
                id: Uuid::from_u128(number as u128),
                valid_until: Timestamp(1000),
            };
            let command = if at == 0 { Command::Probe { payload: vec![] } } else { Command::AdvanceClock };
            let key = (at == 0).then_some(key);
            apply(&mut state, &Entry { key, proposed_at: Timestamp(at), command }).outcome
        };
        for number in 0..KEYS_PER_PROJECT_MAX {
            assert_eq!(probe(number, 0), Ok(Reply::Done));
        }
        assert_eq!(probe(KEYS_PER_PROJECT_MAX, 0), Err(Rejection::TooManyKeys(ProjectId("p".into()))));
        assert_eq!(probe(5, 0), Ok(Reply::Done), "known keys are answered still");
        for _ in 0..KEYS_PER_PROJECT_MAX / 1000 {
            probe(0, 2000).unwrap();
        }
        assert_eq!(state.keys_stored(&ProjectId("p".into())), 0);
    }
}
