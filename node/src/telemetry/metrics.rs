//! Every metric, with its name and help. Labels are small closed sets, never ids.
//!
//! Watch first: `leasehold_log_sync_seconds`, `leasehold_apply_batch_seconds`, `leasehold_actuations_oldest_age_seconds`, `leasehold_event_lateness_seconds`,
//! `leasehold_reconcile_age_seconds`.

use std::sync::LazyLock;

use leasehold_ledger::model::Step;
use leasehold_ledger::reply::Rejection;
use parking_lot::Mutex;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::seams::Mono;

/// Seconds, from 50 µs to a minute.
const SHORT: &[f64] = &[0.000_05, 0.000_2, 0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

struct Metrics {
    registry: Registry,
    requests: HistogramVec,
    proposals: IntCounterVec,
    plan_stale: IntCounter,
    refused_no_room: IntCounter,
    log_sync: Histogram,
    apply_batch: Histogram,
    ledger_index: IntGauge,
    leading: IntGauge,
    leader_changes: IntCounter,
    open_actuations: IntGauge,
    oldest_actuation: Gauge,
    lateness: HistogramVec,
    delayed: IntCounterVec,
    reconciled: Gauge,
    cloud_calls: HistogramVec,
    grain_too_small: IntGauge,
    anchors_missing: IntGauge,
    leases_degraded: IntGauge,
    leases_moved: IntCounter,
    leases_tightened: IntCounter,
    leases_waiting: IntGauge,
    leases_archived: IntGauge,
    leases_promoted: IntCounter,
    leases_preempted: IntCounter,
    last_reconcile: Mutex<Option<Mono>>,
    oldest: Mutex<Option<Oldest>>,
}

/// The oldest open row: for how long it had been due (before: not yet), and when that was seen. Its age is told as of the
/// moment it is asked for: when nothing happens any more there is no scan, and the age would stand still.
#[derive(Clone, Copy)]
struct Oldest {
    due_since_ms: i64,
    seen_at: Mono,
}

impl Oldest {
    fn age_s(self, now: Mono) -> f64 {
        let since_ms = i64::try_from(now.since(self.seen_at).as_millis()).unwrap_or(i64::MAX);
        let age_ms = u64::try_from(self.due_since_ms.saturating_add(since_ms)).unwrap_or(0);
        std::time::Duration::from_millis(age_ms).as_secs_f64()
    }
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new().expect("the names of metrics are different and well formed"));

impl Metrics {
    fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        macro_rules! register {
            ($metric:expr) => {{
                let metric = $metric?;
                registry.register(Box::new(metric.clone()))?;
                metric
            }};
        }
        let short = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(SHORT.to_vec());
        Ok(Metrics {
            requests: register!(HistogramVec::new(
                short("leasehold_request_duration_seconds", "Requests by edge, operation and class of the answer."),
                &["edge", "operation", "answer"]
            )),
            proposals: register!(IntCounterVec::new(
                Opts::new("leasehold_proposals_total", "Commands proposed here, by how that ended."),
                &["ending"]
            )),
            plan_stale: register!(IntCounter::new(
                "leasehold_plans_stale_total",
                "Plans that did not hold at apply and were made again."
            )),
            refused_no_room: register!(IntCounter::new("leasehold_refused_no_room_total", "Requests refused for lack of room.")),
            log_sync: register!(Histogram::with_opts(short(
                "leasehold_log_sync_seconds",
                "Writing and syncing one batch of the Raft log; every answer to a write waits for it."
            ))),
            apply_batch: register!(Histogram::with_opts(short(
                "leasehold_apply_batch_seconds",
                "Applying one batch of log entries in memory and writing its rows, unsynced."
            ))),
            ledger_index: register!(IntGauge::new("leasehold_ledger_index", "Commands applied here.")),
            leading: register!(IntGauge::new("leasehold_leader", "1 while this node leads.")),
            leader_changes: register!(IntCounter::new("leasehold_leader_changes_total", "How often this node began to lead.")),
            open_actuations: register!(IntGauge::new("leasehold_actuations_open", "Open actuation rows.")),
            oldest_actuation: register!(Gauge::new(
                "leasehold_actuations_oldest_age_seconds",
                "Since the oldest open actuation row was due."
            )),
            lateness: register!(HistogramVec::new(
                short("leasehold_event_lateness_seconds", "From the time a step was due to the outcome recorded for it."),
                &["step"]
            )),
            delayed: register!(IntCounterVec::new(
                Opts::new("leasehold_actuations_delayed_total", "Outcomes that could not be reached yet, by reason."),
                &["reason"]
            )),
            reconciled: register!(Gauge::new(
                "leasehold_reconcile_age_seconds",
                "Since the cloud was last compared in full; -1: never by this node."
            )),
            cloud_calls: register!(HistogramVec::new(
                short("leasehold_cloud_call_duration_seconds", "Calls to the cloud by service, method and class of the answer."),
                &["service", "method", "answer"]
            )),
            grain_too_small: register!(IntGauge::new(
                "leasehold_hosts_grain_too_small",
                "Shared hosts where ordinary flavors leave no room for the anchors of lease servers."
            )),
            anchors_missing: register!(IntGauge::new(
                "leasehold_hosts_anchors_missing",
                "Hosts that show fewer anchors for lease servers than they were taken in with."
            )),
            leases_degraded: register!(IntGauge::new(
                "leasehold_leases_degraded",
                "Leases that lack a host, as the leader last saw."
            )),
            leases_moved: register!(IntCounter::new(
                "leasehold_leases_moved_total",
                "Leases moved away from hosts that are down, or promise more than they have or, in a downtime, are to have."
            )),
            leases_tightened: register!(IntCounter::new(
                "leasehold_leases_tightened_total",
                "Leases moved before they begin, so that hosts become free as a whole."
            )),
            leases_waiting: register!(IntGauge::new(
                "leasehold_leases_waiting",
                "Leases that wait for room, as the leader last saw."
            )),
            leases_archived: register!(IntGauge::new(
                "leasehold_leases_archived",
                "Leases that ended long ago and are on the disk alone, as the leader last saw."
            )),
            leases_promoted: register!(IntCounter::new(
                "leasehold_leases_promoted_total",
                "Leases that had waited for room and have it; where the cloud had to agree, once it has."
            )),
            leases_preempted: register!(IntCounter::new(
                "leasehold_leases_preempted_total",
                "Leases that gave way to one of a higher priority."
            )),
            last_reconcile: Mutex::new(None),
            oldest: Mutex::new(None),
            registry,
        })
    }
}

/// A request was answered. `answer` is `ok`, `refused`, `unavailable`, `unknown` or `internal`.
pub fn request(edge: &'static str, operation: &'static str, answer: &'static str, seconds: f64) {
    METRICS.requests.with_label_values(&[edge, operation, answer]).observe(seconds);
}

/// A proposal ended: `applied`, `rejected`, `not_leader`, `no_quorum`, `unknown`, `clock`, `stopping`.
pub fn proposal(ending: &'static str) {
    METRICS.proposals.with_label_values(&[ending]).inc();
}

/// A plan did not hold at apply.
pub fn plan_stale() {
    METRICS.plan_stale.inc();
}

/// A plan was refused at apply, if so because it did not hold.
pub fn plan_refused(rejection: &Rejection) {
    if matches!(rejection, Rejection::PlanStale { .. }) {
        plan_stale();
    }
}

/// A request was refused for lack of room.
pub fn refused_no_room() {
    METRICS.refused_no_room.inc();
}

/// A batch of the log was written and synced.
pub fn synced_log(seconds: f64) {
    METRICS.log_sync.observe(seconds);
}

/// A batch of log entries was applied and its rows were written.
pub fn applied_batch(seconds: f64) {
    METRICS.apply_batch.observe(seconds);
}

/// So many commands are applied here.
pub fn ledger_index(ledger_index: u64) {
    METRICS.ledger_index.set(i64::try_from(ledger_index).unwrap_or(i64::MAX));
}

/// This node began (true) or ceased to lead. The rows and the cloud are the leader's to watch: another node tells of them
/// now, and what this one last saw would only mislead.
pub fn leading(leads: bool) {
    METRICS.leading.set(i64::from(leads));
    if leads {
        METRICS.leader_changes.inc();
    } else {
        METRICS.open_actuations.set(0);
        METRICS.grain_too_small.set(0);
        METRICS.anchors_missing.set(0);
        METRICS.leases_degraded.set(0);
        METRICS.leases_waiting.set(0);
        METRICS.leases_archived.set(0);
        *METRICS.oldest.lock() = None;
        *METRICS.last_reconcile.lock() = None;
    }
}

/// How many rows are open, and for how many milliseconds the oldest has been due at `seen_at` (negative: it will be);
/// `None`: none is open.
pub fn open_actuations(count: usize, oldest_due_since_ms: Option<i64>, seen_at: Mono) {
    METRICS.open_actuations.set(i64::try_from(count).unwrap_or(i64::MAX));
    *METRICS.oldest.lock() = oldest_due_since_ms.map(|due_since_ms| Oldest { due_since_ms, seen_at });
}

/// The ledger took the outcome of a step this many seconds after it was due.
pub fn event_lateness(step: Step, seconds: f64) {
    METRICS.lateness.with_label_values(&[label(step)]).observe(seconds);
}

fn label(step: Step) -> &'static str {
    match step {
        Step::Hold => "hold",
        Step::Prepare => "prepare",
        Step::StagingOpen => "staging_open",
        Step::StagingClose => "staging_close",
        Step::Start => "start",
        Step::Adjust => "adjust",
        Step::Expire => "expire",
        Step::BeforeEnd => "before_end",
        Step::End => "end",
    }
}

/// An outcome could not be reached yet, for this reason.
pub fn actuation_delayed(reason: &'static str) {
    METRICS.delayed.with_label_values(&[reason]).inc();
}

/// So many leases lack a host.
pub fn leases_degraded(leases: usize) {
    METRICS.leases_degraded.set(i64::try_from(leases).unwrap_or(i64::MAX));
}

/// A lease was moved away from hosts that cannot serve it.
pub fn lease_moved() {
    METRICS.leases_moved.inc();
}

/// A lease was moved so that a host is free.
pub fn lease_tightened() {
    METRICS.leases_tightened.inc();
}

/// So many leases wait for room.
pub fn leases_waiting(leases: usize) {
    METRICS.leases_waiting.set(i64::try_from(leases).unwrap_or(i64::MAX));
}

/// So many leases are on the disk alone.
pub fn leases_archived(leases: usize) {
    METRICS.leases_archived.set(i64::try_from(leases).unwrap_or(i64::MAX));
}

/// A lease that had waited for room was booked.
pub fn lease_promoted() {
    METRICS.leases_promoted.inc();
}

/// A lease gave way to one of a higher priority.
pub fn lease_preempted() {
    METRICS.leases_preempted.inc();
}

/// The cloud was compared in full at `at`.
pub fn reconcile_done(at: Mono) {
    *METRICS.last_reconcile.lock() = Some(at);
}

/// On so many shared hosts the grain of ordinary memory is not above the anchor budget.
pub fn grain_too_small(hosts: usize) {
    METRICS.grain_too_small.set(i64::try_from(hosts).unwrap_or(i64::MAX));
}

/// On so many hosts there are fewer anchors than at onboarding.
pub fn anchors_missing(hosts: usize) {
    METRICS.anchors_missing.set(i64::try_from(hosts).unwrap_or(i64::MAX));
}

/// A call to the cloud ended: `2xx`, `4xx`, `409`, `5xx`, `lost` or `withheld`.
pub fn observe_cloud_call(service: &'static str, method: &'static str, answer: &'static str, seconds: f64) {
    METRICS.cloud_calls.with_label_values(&[service, method, answer]).observe(seconds);
}

/// All of them in Prometheus' text format.
pub fn render(now: Mono) -> Result<Vec<u8>, prometheus::Error> {
    let age = METRICS.last_reconcile.lock().map_or(-1.0, |at| now.since(at).as_secs_f64());
    METRICS.reconciled.set(age);
    METRICS.oldest_actuation.set(METRICS.oldest.lock().map_or(0.0, |oldest| oldest.age_s(now)));
    let mut text = Vec::new();
    TextEncoder::new().encode(&METRICS.registry.gather(), &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_oldest_row_ages_though_nobody_scans() {
        let at = |s: u64| Mono(std::time::Duration::from_secs(s));
        let late = Oldest { due_since_ms: 1500, seen_at: at(10) };
        assert_eq!((late.age_s(at(10)), late.age_s(at(12))), (1.5, 3.5));
        let early = Oldest { due_since_ms: -2000, seen_at: at(10) };
        assert_eq!((early.age_s(at(11)), early.age_s(at(13))), (0.0, 1.0));
    }

    #[test]
    fn what_only_a_leader_knows_is_forgotten_with_leadership() {
        let shown = |name: &str| {
            let text = String::from_utf8(render(Mono::default()).unwrap()).unwrap();
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).unwrap()
        };
        open_actuations(3, Some(5000), Mono::default());
        reconcile_done(Mono::default());
        grain_too_small(2);
        anchors_missing(4);
        leases_degraded(6);
        leases_waiting(7);
        let all = |open, oldest, reconciled, small, missing, degraded, waiting| {
            assert_eq!(shown("leasehold_leases_degraded "), degraded);
            assert_eq!(shown("leasehold_leases_waiting "), waiting);
            assert_eq!(shown("leasehold_hosts_anchors_missing "), missing);
            assert_eq!(shown("leasehold_actuations_open "), open);
            assert_eq!(shown("leasehold_actuations_oldest_age_seconds "), oldest);
            assert_eq!(shown("leasehold_reconcile_age_seconds "), reconciled);
            assert_eq!(shown("leasehold_hosts_grain_too_small "), small);
        };
        all(3.0, 5.0, 0.0, 2.0, 4.0, 6.0, 7.0);
        leading(false);
        all(0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0);
    }

    #[test]
    fn every_metric_is_named_after_the_product_and_explained() {
        request("rest", "lease_create", "ok", 0.01);
        proposal("applied");
        actuation_delayed("LATE");
        event_lateness(Step::Start, 0.1);
        observe_cloud_call("nova", "GET", "2xx", 0.1);
        let text = String::from_utf8(render(Mono::default()).unwrap()).unwrap();
        let helps = text.lines().filter(|line| line.starts_with("# HELP ")).count();
        assert!(helps >= 14, "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("leasehold_"), "{line}");
        }
    }
}
