//! Works off open rows: one worker per reservation, alive while it has one (see `dispatch.rs`). A worker makes one pass of
//! its row's step over the cloud, and either records how it ended or comes back later. Passes are safe to repeat, safe to
//! drop anywhere, and keep nothing that a successor would miss.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::command::{Command, Outcome};
use leasehold_ledger::effect::Effect;
use leasehold_ledger::model::{Actuation, HostId, Lease, Reason, ReasonCode, Step};
use leasehold_ledger::mutant;
use leasehold_ledger::reply::{Rejection, Reply};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::cells::Cells;
use super::dispatch::{Desk, is_urgent};
use super::permits::RowPermit;
use super::steps::{self, Job, Memory, Setback};
use super::work::Work;
use super::{desired, pause, propose_until_seen};
use crate::openstack::{CloudError, Permit, Withheld};
use crate::seams::Mono;
use crate::telemetry::metrics;

/// A burst of effects is one look at the hosts. Nobody waits for it: what somebody waits for has a row.
const HOSTS_GAP: Duration = Duration::from_millis(250);
/// First and longest pause after a failure.
const BACK_OFF_FIRST: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// How soon a leader whose lease has run out looks whether it may act again.
const WITHHELD_AGAIN: Duration = Duration::from_millis(50);
/// A reason whose text alone changed is told again after so long: one log entry per attempt would be too many.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// A start that is later than this is told as late.
const LATE_AFTER_MS: u64 = 2_000;
/// Longest text of a reason.
const REASON_CHARS_MAX: usize = 500;

/// How a pass that is not made to its end leaves its row.
const SUPERSEDED: Setback = Setback::Cloud(CloudError::Withheld(Withheld::Superseded));

/// Works off one reservation's rows.
pub async fn tend(work: Arc<Work>, desk: Desk) {
    let mut memory = Memory::default();
    let mut failures = 0_u32;
    let mut told_at = None;
    loop {
        let Some(next) = work.ledger.look(|state| desk.row(state)) else {
            if desk.leave(&work) {
                return;
            }
            continue;
        };
        // Nothing could be sent, so that whatever was read of the cloud would be read for nothing.
        if work.leader.check().is_err() {
            work.clock.sleep(WITHHELD_AGAIN).await;
            continue;
        }
        // Waited for before the row is read, so that the pass works on what stands now. Never closed.
        let seat = tokio::select! {
            biased;
            seat = work.passes.seat(next.step, steps::opens(next.step) && !memory.has_opened(&next)) => seat,
            // Another step may have another queue.
            () = desk.superseded(&work, &next) => continue,
        };
        let read = work.ledger.look(|state| {
            let row = desk.row(state).filter(|row| is_urgent(row.step) == is_urgent(next.step))?;
            Some((row, state.lease(desk.lease)?.clone()))
        });
        let Some((row, lease)) = read else { continue };
        if memory.for_row(&row) {
            failures = 0;
        }
        let permit = RowPermit::new(&work.leader, row.id, row.revision);
        // Planted bug: the outcome is recorded before the calls.
        mutant!("M15", {
            if row.step == Step::Start {
                record(&work, &row, &lease, Outcome::Done).await;
            }
        });
        let job = Job::new(&work, &row, &lease, &permit, &seat);
        if job.needs_whole_list() {
            Cells::refresh(&work);
        }
        // A call that hangs must not outlive its row: dropping a pass anywhere is what a leader's stop does too.
        let passed = tokio::select! {
            biased;
            passed = steps::pass(&job, &mut memory) => passed,
            () = desk.superseded(&work, &row) => Err(SUPERSEDED),
        };
        drop(seat);
        let wait = match passed {
            Ok(outcome) => {
                record(&work, &row, &lease, outcome).await;
                continue;
            }
            Err(Setback::NotYet { again_in, reason }) => {
                report(&work, &row, &lease, reason, &mut told_at).await;
                failures = 0;
                again_in
            }
            Err(Setback::Cloud(CloudError::Withheld(Withheld::Superseded))) => Duration::from_millis(5),
            Err(Setback::Cloud(CloudError::Withheld(_))) => WITHHELD_AGAIN,
            Err(Setback::Cloud(error)) => {
                tracing::warn!(row = %row.id, step = ?row.step, reservation = %desk.reservation, %error, "a call failed; trying again");
                report(&work, &row, &lease, Some(steps::reason_of(&error)), &mut told_at).await;
                // Planted bug: what did not succeed at once has failed.
                mutant!("C03", {
                    record(&work, &row, &lease, Outcome::Failed { reason: steps::reason_of(&error) }).await;
                });
                failures = failures.saturating_add(1);
                back_off(&work, failures, error.retry_after(), pause::asked_max(row.step))
            }
            Err(Setback::Ledger(error)) => {
                tracing::warn!(row = %row.id, %error, "the ledger did not take a command; trying again");
                Duration::from_millis(100)
            }
        };
        // Planted bug: who waits looks without a pause.
        let waited = work.clock.sleep(if mutant!("C07") { Duration::ZERO } else { wait });
        tokio::select! {
            biased;
            () = waited => {}
            () = desk.superseded(&work, &row) => {}
        }
    }
}

/// Exponential with jitter, capped; what the service asks for, if that is longer, up to `asked_max`.
fn back_off(work: &Work, failures: u32, asked: Option<Duration>, asked_max: Duration) -> Duration {
    // Planted bug (with those in pause.rs and steps/sendings.rs): none, whatever was asked for.
    if mutant!("M23") {
        return Duration::from_millis(1);
    }
    // Planted bug: whatever was asked for.
    let asked = asked.filter(|_| !mutant!("C08"));
    let full = (BACK_OFF_FIRST * 2_u32.saturating_pow(failures.saturating_sub(1).min(10))).min(BACK_OFF_MAX);
    let full_ms = u64::try_from(full.as_millis()).unwrap_or(u64::MAX);
    let spread = Duration::from_millis(full_ms / 2 + work.rng.below(full_ms / 2 + 1));
    asked.map_or(spread, |asked| asked.min(asked_max).max(spread))
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
    crate::fault_point!("leader.outcome.before");
    let recorded = propose_until_seen(&work.ledger, &work.clock, command).await;
    crate::fault_point!("leader.outcome.after");
    recorded
}

/// Shows on the lease why it waits: at once when the kind of the reason changes, every half minute when only its text does.
async fn report(work: &Work, row: &Actuation, lease: &Lease, reason: Option<Reason>, told_at: &mut Option<Mono>) {
    let Some(mut reason) = reason else { return };
    let late = work.now().0 > row.due.0.saturating_add(LATE_AFTER_MS);
    if row.step == Step::Start && late && reason.code != ReasonCode::Quota {
        reason.code = ReasonCode::Late;
    }
    metrics::actuation_delayed(label(reason.code));
    reason.text = reason.text.chars().take(REASON_CHARS_MAX).collect();
    let now = work.clock.mono();
    if let Some(shown) = lease.reason.as_ref().filter(|shown| shown.code == reason.code) {
        let told_lately = told_at.is_some_and(|at| now.since(at) < TELL_AGAIN);
        if shown.text == reason.text || told_lately {
            return;
        }
    }
    *told_at = Some(now);
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
        ReasonCode::Preempted => "preempted",
        ReasonCode::Expired => "expired",
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
        work.clock.sleep(HOSTS_GAP).await;
        loop {
            match effects.try_recv() {
                Ok(seen) => changed.extend(seen.iter().filter_map(host_of)),
                Err(TryRecvError::Lagged(_)) => work.reconcile.notify_one(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
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
            work.spawn("leader-host", settle_host(work.clone(), host));
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
            Ok(view) => return work.hosts.seek(&work, &view).await,
            Err(CloudError::Withheld(_)) => return,
            Err(error) => {
                failures += 1;
                tracing::warn!(%host, %error, "a host could not be brought to what is wanted; trying again");
                let wait = back_off(&work, failures, error.retry_after(), pause::ASKED_MAX);
                work.clock.sleep(wait).await;
            }
        }
    }
}
