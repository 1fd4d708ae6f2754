//! Every metric, with its name and help. Labels are small closed sets, never ids.
//!
//! Watch first: `leasehold_apply_batch_seconds`, `leasehold_actuations_oldest_age_seconds`, `leasehold_event_lateness_seconds`,
//! `leasehold_reconcile_age_seconds`.

use std::sync::LazyLock;

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
    apply_batch: Histogram,
    ledger_index: IntGauge,
    leading: IntGauge,
    leader_changes: IntCounter,
    open_actuations: IntGauge,
    oldest_actuation: Gauge,
    lateness: Histogram,
    delayed: IntCounterVec,
    reconciled: Gauge,
    cloud_calls: HistogramVec,
    grain_too_small: IntGauge,
    last_reconcile: Mutex<Option<Mono>>,
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
            apply_batch: register!(Histogram::with_opts(short(
                "leasehold_apply_batch_seconds",
                "Applying and writing one batch of log entries."
            ))),
            ledger_index: register!(IntGauge::new("leasehold_ledger_index", "Commands applied here.")),
            leading: register!(IntGauge::new("leasehold_leader", "1 while this node leads.")),
            leader_changes: register!(IntCounter::new("leasehold_leader_changes_total", "How often this node began to lead.")),
            open_actuations: register!(IntGauge::new("leasehold_actuations_open", "Open actuation rows.")),
            oldest_actuation: register!(Gauge::new(
                "leasehold_actuations_oldest_age_seconds",
                "Since the oldest open actuation row was due."
            )),
            lateness: register!(Histogram::with_opts(short(
                "leasehold_event_lateness_seconds",
                "From the time an event was due to the outcome recorded for it."
            ))),
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
            last_reconcile: Mutex::new(None),
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

/// A request was refused for lack of room.
pub fn refused_no_room() {
    METRICS.refused_no_room.inc();
}

/// A batch of log entries was applied and written.
pub fn applied_batch(seconds: f64, ledger_index: u64) {
    METRICS.apply_batch.observe(seconds);
    METRICS.ledger_index.set(i64::try_from(ledger_index).unwrap_or(i64::MAX));
}

/// This node began (true) or ceased to lead.
pub fn leading(leads: bool) {
    METRICS.leading.set(i64::from(leads));
    if leads {
        METRICS.leader_changes.inc();
    }
}

/// How many rows are open, and for how long the oldest has been due, in seconds.
pub fn open_actuations(count: usize, oldest_age_s: f64) {
    METRICS.open_actuations.set(i64::try_from(count).unwrap_or(i64::MAX));
    METRICS.oldest_actuation.set(oldest_age_s);
}

/// An event's outcome was recorded this many seconds after it was due.
pub fn event_lateness(seconds: f64) {
    METRICS.lateness.observe(seconds);
}

/// An outcome could not be reached yet, for this reason.
pub fn actuation_delayed(reason: &'static str) {
    METRICS.delayed.with_label_values(&[reason]).inc();
}

/// The cloud was compared in full at `at`.
pub fn reconcile_done(at: Mono) {
    *METRICS.last_reconcile.lock() = Some(at);
}

/// On so many shared hosts the grain of ordinary memory is not above the anchor budget.
pub fn grain_too_small(hosts: usize) {
    METRICS.grain_too_small.set(i64::try_from(hosts).unwrap_or(i64::MAX));
}

/// A call to the cloud ended: `2xx`, `4xx`, `409`, `5xx`, `lost` or `withheld`.
pub fn observe_cloud_call(service: &'static str, method: &'static str, answer: &'static str, seconds: f64) {
    METRICS.cloud_calls.with_label_values(&[service, method, answer]).observe(seconds);
}

/// All of them in Prometheus' text format.
pub fn render(now: Mono) -> Result<Vec<u8>, prometheus::Error> {
    let age = METRICS.last_reconcile.lock().map_or(-1.0, |at| now.since(at).as_secs_f64());
    METRICS.reconciled.set(age);
    let mut text = Vec::new();
    TextEncoder::new().encode(&METRICS.registry.gather(), &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_metric_is_named_after_the_product_and_explained() {
        request("rest", "lease_create", "ok", 0.01);
        proposal("applied");
        actuation_delayed("LATE");
        observe_cloud_call("nova", "GET", "2xx", 0.1);
        let text = String::from_utf8(render(Mono::default()).unwrap()).unwrap();
        let helps = text.lines().filter(|line| line.starts_with("# HELP ")).count();
        assert!(helps >= 14, "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("leasehold_"), "{line}");
        }
    }
}
