//! Series: a client books leases that come again, looks at each of them, and lists or deletes them, often around the instant at
//! which one of them starts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::DateTime;
use leasehold_ledger::command::{Recurrence, SeriesWish, StartWish};
use leasehold_ledger::model::{Lease, LeaseId, Seconds, SeriesId, SeriesMode};
use serde_json::Value;

use super::{Project, Turn, Wanted, Workload};
use crate::plan::Draw;

/// Of so many operations one is about a series.
pub(super) const ONE_IN: usize = 10;
/// Of so many of those one is about a series that was booked before.
const OLD_ONE_IN: usize = 4;
/// Occurrences of one series at most; all of them are over soon after the run's faults.
const COUNT_MAX: u64 = 4;
/// What happens at a start happens at most so long before or after it.
const BORDER_MS: u64 = 400;
/// A client does not wait longer for that.
const WAIT_MS: u64 = 45_000;
/// Zones with what their clocks are ahead by, minutes: none of them changes its clocks.
const ZONES: [(&str, u64); 3] = [("UTC", 0), ("Asia/Kolkata", 330), ("Asia/Kathmandu", 345)];

/// A series that a client booked.
#[derive(Clone, Debug)]
pub(super) struct KnownSeries {
    made_by: u64,
    project: String,
    id: SeriesId,
    leases: Vec<LeaseId>,
    starts: Vec<Seconds>,
}

impl KnownSeries {
    /// Out of an answer as the record has it.
    pub fn told(made_by: u64, project: &str, reply: &Value) -> Option<KnownSeries> {
        let id = serde_json::from_value(reply["series_id"].clone()).ok()?;
        let all = reply["leases"].as_array()?.iter();
        let known = all.map(|one| {
            let start = serde_json::from_value(one["occurrence"]["start"].clone()).ok()?;
            Some((serde_json::from_value(one["lease_id"].clone()).ok()?, start))
        });
        let (leases, starts) = known.collect::<Option<Vec<(LeaseId, Seconds)>>>()?.into_iter().unzip();
        Some(KnownSeries { made_by, project: project.to_owned(), id, leases, starts })
    }

    /// Whether it has this id.
    pub fn is(&self, id: SeriesId) -> bool {
        self.id == id
    }
}

impl Workload {
    /// Books a series or goes on with one that is there.
    pub(super) async fn about_series(self: &Arc<Self>, turn: Turn, draw: &mut Draw, project: &Project) {
        if draw.below(OLD_ONE_IN) == 0 {
            self.old_series(turn, draw, project).await;
        } else {
            self.new_series(turn, draw, project).await;
        }
    }

    /// Deletes or lists a series that is there.
    pub(super) async fn old_series(self: &Arc<Self>, turn: Turn, draw: &mut Draw, project: &Project) {
        let old = {
            let known = self.series.lock();
            let own = known.iter().rev().filter(|one| one.project == project.id).take(6);
            self.pick(turn, "series", own, |one| one.made_by).cloned()
        };
        // What an operation is hangs on its number alone: it does not book instead because there is no series yet.
        let Some(KnownSeries { id: series_id, .. }) = old else { return };
        let wanted = if draw.below(2) == 0 { Wanted::DeleteSeries { series_id } } else { Wanted::ListSeries { series_id } };
        self.perform(turn, project, wanted, None).await;
    }

    /// Books a series, and does with it what was drawn.
    pub(super) async fn new_series(self: &Arc<Self>, turn: Turn, draw: &mut Draw, project: &Project) {
        let wish = self.series_wish(draw, project);
        let (fate, which, at_border) = (draw.below(10), draw.below(64), draw.below(2) == 0);
        let (off_ms, pause_ms) = (draw.between(0, 2 * BORDER_MS), draw.between(0, 10_000));
        self.perform(turn, project, Wanted::CreateSeries(Box::new(wish)), None).await;
        let made_by = turn.stream("operation");
        let made = self.series.lock().iter().find(|one| one.made_by == made_by).cloned();
        let Some(KnownSeries { id: series_id, leases, starts, .. }) = made else { return };
        // Of the first one everything was told with the answer.
        let mut turn = Turn { part: 1, ..turn };
        for lease_id in leases.into_iter().skip(1) {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            if let Some(lease) = self.perform(turn, project, Wanted::Get { lease_id }, None).await.1 {
                self.joins(turn, project, &lease);
            }
            turn.part += 1;
        }
        let wanted = match fate {
            0..=4 => Wanted::DeleteSeries { series_id },
            5..=7 => Wanted::ListSeries { series_id },
            _ => return,
        };
        let now_ms = self.world.trace.now_ms();
        let border_ms = starts.get(which % starts.len().max(1)).map_or(now_ms, |start| start.unix_s() * 1_000);
        let wait_ms = if at_border { (border_ms + off_ms).saturating_sub(now_ms + BORDER_MS) } else { pause_ms };
        tokio::time::sleep(Duration::from_millis(wait_ms.min(WAIT_MS))).await;
        if !self.over.load(Ordering::SeqCst) {
            self.perform(turn, project, wanted, None).await;
        }
    }

    /// A lease of a series is known like any other, and its tenant goes to work.
    fn joins(&self, turn: Turn, project: &Project, lease: &Lease) {
        let mut known = self.known.lock();
        if known.iter().all(|held| held.lease.id != lease.id) {
            known.push(super::Known { made_by: turn.stream("operation"), lease: lease.clone() });
            self.live(project, lease);
        }
    }

    /// What is drawn for a lease, without what a series cannot have, and a rule whose times are soon over.
    fn series_wish(&self, draw: &mut Draw, project: &Project) -> SeriesWish {
        let mut lease = self.wish(draw, project);
        let start = match lease.start {
            StartWish::At(start) => start,
            StartWish::Now | StartWish::Earliest { .. } => {
                Seconds::from_unix_s(i64::try_from(self.now_s() / 10 * 10 + 10).unwrap_or(0)).unwrap_or_default()
            }
        };
        lease.start = StartWish::At(start);
        lease.end = lease.end.max(start.plus(10));
        for one in &mut lease.reservations {
            one.staging = None;
            one.resource.instance_mut().affinity = None;
        }
        let (zone, ahead_min) = ZONES[draw.below(ZONES.len())];
        let count = draw.between(2, COUNT_MAX + 1);
        let rule = match draw.below(4) {
            0 => format!("FREQ=MINUTELY;COUNT={count}"),
            1 => format!("FREQ=MINUTELY;INTERVAL=2;COUNT={count}"),
            2 => {
                let until = i64::try_from(start.unix_s() + 60 * (count - 1) + draw.between(0, 60)).unwrap_or(0);
                let until = DateTime::from_timestamp(until, 0).expect("clients ask for times of this century");
                format!("FREQ=MINUTELY;UNTIL={}", until.format("%Y%m%dT%H%M%SZ"))
            }
            _ => {
                let first = (start.unix_s() / 60 + ahead_min) % 60;
                let second = first + draw.between(1, 4);
                let (minutes, count) = if second < 60 { (format!("{first},{second}"), 2) } else { (first.to_string(), 1) };
                format!("FREQ=HOURLY;BYMINUTE={minutes};COUNT={count}")
            }
        };
        let mode = if draw.below(2) == 0 { SeriesMode::AllOrNothing } else { SeriesMode::BestEffort };
        SeriesWish { lease, recurrence: Recurrence { rule, time_zone: zone.to_owned(), mode } }
    }
}
