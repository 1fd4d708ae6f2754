//! Works off open rows: one worker per reservation, alive while it has any. A worker takes its oldest row, makes one pass
//! of the row's step over the cloud, and either records how it ended or comes back later. Passes are safe to repeat and
//! keep nothing that a successor would miss.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::command::{Command, Outcome};
use leasehold_ledger::effect::Effect;
use leasehold_ledger::model::{Actuation, HostId, Lease, Reason, ReasonCode, ReservationId, Step, Timestamp};
use leasehold_ledger::reply::{Rejection, Reply};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;

use super::permits::RowPermit;
use super::steps::{self, Job, Memory, Setback};
use super::work::Work;
use super::{desired, propose_until_seen};
use crate::openstack::{CloudError, Withheld};
use crate::seams::Mono;
use crate::telemetry::metrics;

/// At least so long between two scans of the rows.
const SCAN_GAP: Duration = Duration::from_millis(4);
/// First and longest pause after a failure.
const BACK_OFF_FIRST: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// A start that is later than this is told as late.
const LATE_AFTER_MS: u64 = 2_000;
/// Longest text of a reason.
const REASON_CHARS_MAX: usize = 500;

/// Starts a worker for every reservation with an open row. Runs until its group is stopped.
pub async fn run(work: Arc<Work>) {
    let busy = Arc::new(Mutex::new(BTreeSet::<ReservationId>::new()));
    let mut applied = work.ledger.applied();
    loop {
        applied.borrow_and_update();
        let (open, oldest): (BTreeSet<ReservationId>, _) = work.ledger.look(|state| {
            (state.actuations().map(|row| row.reservation_id).collect(), state.actuations().map(|row| row.due).min())
        });
        let now = i64::try_from(work.now().0).unwrap_or(i64::MAX);
        let due_since_ms = |due: Timestamp| now.saturating_sub(i64::try_from(due.0).unwrap_or(i64::MAX));
        metrics::open_actuations(open.len(), oldest.map(due_since_ms), work.clock.mono());
        for id in open {
            if busy.lock().insert(id) {
                work.spawner.spawn("leader-worker", tend(work.clone(), id, busy.clone()));
            }
        }
        work.clock.sleep(SCAN_GAP).await;
        if applied.changed().await.is_err() {
            return;
        }
    }
}

/// The oldest open row of a reservation, with its lease.
fn oldest(work: &Work, id: ReservationId) -> Option<(Actuation, Lease)> {
    work.ledger.look(|state| {
        let row = state.actuations().find(|row| row.reservation_id == id)?;
        Some((row.clone(), state.lease(row.lease_id)?.clone()))
    })
}

/// Works off one reservation's rows.
async fn tend(work: Arc<Work>, id: ReservationId, busy: Arc<Mutex<BTreeSet<ReservationId>>>) {
    let mut memory = Memory::default();
    let mut failures = 0_u32;
    loop {
        // Waited for before the row is read, so that the pass works on what stands now. Never closed.
        let place = work.passes.acquire().await;
        let Some((row, lease)) = oldest(&work, id) else {
            let mut busy = busy.lock();
            // Looked at once more under the lock: a row opened since the look above was skipped by the scan because
            // this worker still counted as there.
            if oldest(&work, id).is_none() {
                busy.remove(&id);
                return;
            }
            continue;
        };
        memory.for_row(&row);
        let permit = RowPermit::new(&work.leader, row.id, row.revision);
        let job = Job::new(&work, &row, &lease, &permit);
        let passed = steps::pass(&job, &mut memory).await;
        drop(place);
        let wait = match passed {
            Ok(outcome) => {
                record(&work, &row, &lease, outcome).await;
                failures = 0;
                continue;
            }
            Err(Setback::NotYet { again_in, reason }) => {
                report(&work, &row, &lease, reason).await;
                failures = 0;
                again_in
            }
            Err(Setback::Cloud(CloudError::Withheld(Withheld::Superseded))) => Duration::from_millis(5),
            Err(Setback::Cloud(CloudError::Withheld(_))) => Duration::from_millis(50),
            Err(Setback::Cloud(error)) => {
                tracing::warn!(row = %row.id, step = ?row.step, reservation = %id, %error, "a call failed; trying again");
                report(&work, &row, &lease, Some(reason_of(&error))).await;
                failures = failures.saturating_add(1);
                back_off(&work, failures, error.retry_after())
            }
            Err(Setback::Ledger(error)) => {
                tracing::warn!(row = %row.id, %error, "the ledger did not take a command; trying again");
                Duration::from_millis(100)
            }
        };
        pause(&work, &row, wait).await;
    }
}

/// Waits, but not longer than the row stands as it was read.
async fn pause(work: &Work, row: &Actuation, wait: Duration) {
    let mut applied = work.ledger.applied();
    let until = work.clock.mono().after(wait);
    loop {
        applied.borrow_and_update();
        let stands = work.ledger.look(|state| state.actuation(row.id).is_some_and(|now| now.revision == row.revision));
        if !stands {
            return;
        }
        let deadline = work.clock.sleep_until(until);
        tokio::select! {
            biased;
            () = deadline => return,
            changed = applied.changed() => {
                if changed.is_err() {
                    return;
                }
                work.clock.sleep(SCAN_GAP).await;
            }
        }
    }
}

/// Exponential with jitter, capped; at least what the service asks for.
fn back_off(work: &Work, failures: u32, asked: Option<Duration>) -> Duration {
    let full = (BACK_OFF_FIRST * 2_u32.saturating_pow(failures.saturating_sub(1).min(10))).min(BACK_OFF_MAX);
    let full_ms = u64::try_from(full.as_millis()).unwrap_or(u64::MAX);
    let spread = Duration::from_millis(full_ms / 2 + work.rng.below(full_ms / 2 + 1));
    asked.map_or(spread, |asked| asked.max(spread))
}

/// What a failed call says on the lease.
fn reason_of(error: &CloudError) -> Reason {
    let quota = error.status() == Some(403) && error.to_string().to_lowercase().contains("quota");
    let code = if quota { ReasonCode::Quota } else { ReasonCode::CloudUnavailable };
    Reason { code, text: error.to_string() }
}

/// Records how a row ended.
async fn record(work: &Arc<Work>, row: &Actuation, lease: &Lease, outcome: Outcome) {
    let ended = propose_outcome(work, row, outcome.clone()).await;
    let late_ms = work.now().0.saturating_sub(row.due.0);
    if let Ok(Reply::OutcomeRecorded { changed: true }) = ended {
        metrics::event_lateness(row.step, Duration::from_millis(late_ms).as_secs_f64());
    }
    tracing::info!(row = %row.id, step = ?row.step, lease = %lease.id, reservation = %row.reservation_id, ?outcome,
        lateness_ms = late_ms, "actuation recorded");
    if let Err(rejection) = ended {
        tracing::warn!(row = %row.id, %rejection, "the ledger refused an outcome");
        work.clock.sleep(Duration::from_millis(100)).await;
    }
}

async fn propose_outcome(work: &Work, row: &Actuation, outcome: Outcome) -> Result<Reply, Rejection> {
    let command = Command::RecordOutcome { actuation_id: row.id, revision: row.revision, outcome };
    propose_until_seen(&work.ledger, &work.clock, command).await
}

/// Shows on the lease why it waits; one log entry per kind of reason, not per attempt.
async fn report(work: &Work, row: &Actuation, lease: &Lease, reason: Option<Reason>) {
    let Some(mut reason) = reason else { return };
    let late = work.now().0 > row.due.0.saturating_add(LATE_AFTER_MS);
    if row.step == Step::Start && late && reason.code != ReasonCode::Quota {
        reason.code = ReasonCode::Late;
    }
    metrics::actuation_delayed(label(reason.code));
    if lease.reason.as_ref().is_some_and(|shown| shown.code == reason.code) {
        return;
    }
    reason.text = reason.text.chars().take(REASON_CHARS_MAX).collect();
    tracing::warn!(lease = %lease.id, step = ?row.step, code = ?reason.code, text = reason.text, "a lease waits");
    if let Err(rejection) = propose_outcome(work, row, Outcome::Delayed { reason: Some(reason) }).await {
        tracing::warn!(row = %row.id, %rejection, "the ledger refused a reason");
    }
}

fn label(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::WaitingForEnd => "waiting_for_end",
        ReasonCode::Late => "late",
        ReasonCode::CloudUnavailable => "cloud_unavailable",
        ReasonCode::Quota => "quota",
        ReasonCode::ServerFailed => "server_failed",
        ReasonCode::CloudRefused => "cloud_refused",
    }
}

/// Brings hosts to what the ledger wants when that changed without a row: a lease was freed, a host registered or
/// observed anew. Runs until its group is stopped.
pub async fn keep_hosts(work: Arc<Work>) {
    let mut effects = work.ledger.effects();
    let mut last: BTreeMap<HostId, desired::HostWish> = BTreeMap::new();
    loop {
        let mut changed = BTreeSet::new();
        match effects.recv().await {
            Ok(seen) if !seen.is_empty() => changed.extend(seen.iter().filter_map(host_of)),
            Ok(_) => work.reconcile.notify_one(),
            // Missed some: the full read-back sees them all.
            Err(RecvError::Lagged(_)) => work.reconcile.notify_one(),
            Err(RecvError::Closed) => return,
        }
        // A burst touches the same hosts again and again.
        work.clock.sleep(SCAN_GAP * 10).await;
        while let Ok(seen) = effects.try_recv() {
            changed.extend(seen.iter().filter_map(host_of));
        }
        for host in changed {
            let wish = work.ledger.look(|state| desired::host_wish(state, host));
            let Some(wish) = wish else {
                last.remove(&host);
                continue;
            };
            if last.get(&host) == Some(&wish) {
                continue;
            }
            last.insert(host, wish);
            work.spawner.spawn("leader-host", settle_host(work.clone(), host));
        }
    }
}

fn host_of(effect: &Effect) -> Option<HostId> {
    match effect {
        Effect::HostChanged(host) => Some(*host),
        Effect::ActuationOpened(_) | Effect::LeaseChanged(_) | Effect::NextDue(_) => None,
    }
}

/// Converges a host, again after failures for a minute; then it is the reconciler's.
async fn settle_host(work: Arc<Work>, host: HostId) {
    let begun: Mono = work.clock.mono();
    let mut failures = 0;
    while work.clock.mono().since(begun) < Duration::from_secs(60) {
        match work.hosts.converge(&work, host).await {
            Ok(_) | Err(CloudError::Withheld(_)) => return,
            Err(error) => {
                failures += 1;
                tracing::warn!(%host, %error, "a host could not be brought to what is wanted; trying again");
                let wait = back_off(&work, failures, error.retry_after());
                work.clock.sleep(wait).await;
            }
        }
    }
}
