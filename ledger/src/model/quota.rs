//! Quota in time: what the leases of one project may take together, and how far and how long one may reach.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Seconds;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Instances that are reserved at one instant.
    Slots,
    /// Virtual CPUs that are reserved at one instant.
    Vcpus,
    /// Virtual CPUs times hours that are reserved within one period.
    VcpuHours,
    /// Length of the periods of [`LimitKind::VcpuHours`], in seconds. They follow one another from 2020-01-01T00:00:00Z on.
    PeriodS,
    /// Seconds from now to the start of a lease.
    StartAheadS,
    /// Seconds from now to the end of a lease.
    EndAheadS,
    /// Seconds from the start of a lease to its end.
    DurationS,
}

impl LimitKind {
    /// Every kind.
    pub const ALL: [LimitKind; 7] = [
        LimitKind::Slots,
        LimitKind::Vcpus,
        LimitKind::VcpuHours,
        LimitKind::PeriodS,
        LimitKind::StartAheadS,
        LimitKind::EndAheadS,
        LimitKind::DurationS,
    ];

    /// Its name at the edges.
    pub fn as_str(self) -> &'static str {
        match self {
            LimitKind::Slots => "slots",
            LimitKind::Vcpus => "vcpus",
            LimitKind::VcpuHours => "vcpu_hours",
            LimitKind::PeriodS => "period_s",
            LimitKind::StartAheadS => "start_ahead_s",
            LimitKind::EndAheadS => "end_ahead_s",
            LimitKind::DurationS => "duration_s",
        }
    }

    /// The inverse of [`LimitKind::as_str`].
    pub fn named(name: &str) -> Option<LimitKind> {
        LimitKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether it limits what leases take together, so that they must be counted.
    pub fn counts_use(self) -> bool {
        matches!(self, LimitKind::Slots | LimitKind::Vcpus | LimitKind::VcpuHours)
    }
}

/// How much of something there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// So much and no more; 0 allows nothing.
    Max(u32),
    /// As much as there is room for, whatever the default says.
    Unlimited,
}

/// Limits that were set. What is not named is left to the defaults, and where those say nothing there is no limit.
pub type Limits = BTreeMap<LimitKind, Limit>;

/// Length of a period where none is set: 30 days.
pub const PERIOD_DEFAULT_S: u32 = 30 * 86_400;
/// Shortest period: a day.
pub const PERIOD_MIN_S: u32 = 86_400;
/// Longest period: a year.
pub const PERIOD_MAX_S: u32 = 366 * 86_400;

/// The limits that hold for a project: what is set for it, else the defaults for all; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InForce([Option<u32>; LimitKind::ALL.len()]);

impl InForce {
    /// Of a project's own limits and the defaults.
    pub fn of(own: Option<&Limits>, defaults: Option<&Limits>) -> InForce {
        InForce(LimitKind::ALL.map(|kind| {
            let set = |limits: Option<&Limits>| limits.and_then(|limits| limits.get(&kind)).copied();
            match set(own).or_else(|| set(defaults)) {
                Some(Limit::Max(max)) => Some(max),
                Some(Limit::Unlimited) | None => None,
            }
        }))
    }

    /// One of them.
    pub fn get(&self, kind: LimitKind) -> Option<u32> {
        self.0[kind as usize]
    }

    /// Length of a period.
    pub fn period_s(&self) -> u32 {
        self.get(LimitKind::PeriodS).unwrap_or(PERIOD_DEFAULT_S)
    }

    /// Whether use must be counted.
    pub fn count_use(&self) -> bool {
        LimitKind::ALL.into_iter().any(|kind| kind.counts_use() && self.get(kind).is_some())
    }

    /// Whether there is no limit at all.
    pub fn none(&self) -> bool {
        LimitKind::ALL.into_iter().all(|kind| kind == LimitKind::PeriodS || self.get(kind).is_none())
    }
}

/// What bookings that are there no more have used of a period: it stays used when a lease is ended early or deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// First second of the period.
    pub period_start: Seconds,
    /// Its length.
    pub period_s: u32,
    /// vCPU-seconds to add to what the leases that are there say of the time up to now; below 0 where a lease grew after it
    /// had begun, as it did not use more before.
    pub vcpu_s: i64,
}

/// What is stored of the quota of one project, or of the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaRow {
    /// What was set.
    #[serde(default)]
    pub limits: Limits,
    /// Never of the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
}

/// What a wish goes beyond. All but the times in the unit of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excess {
    /// Which limit.
    pub kind: LimitKind,
    /// How much is allowed.
    pub limit: u32,
    /// How much of it the other leases of the project take, at the tightest moment.
    pub used: u64,
    /// How much the lease would take then; `None`: it would last without end.
    pub wanted: Option<u64>,
    /// The tightest moment; for a budget the first second of its period; `None` for the limits of single leases.
    pub at: Option<Seconds>,
    /// How much would fit.
    pub fits: u64,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Excess { kind, limit, used, wanted, at, fits } = *self;
        let wanted = wanted.map_or("without end".to_owned(), |wanted| wanted.to_string());
        let at = at.map_or_else(String::new, |at| at.to_string());
        match kind {
            LimitKind::Slots => write!(
                f,
                "quota of instances at a time exceeded: {wanted} wanted at {at}, when {used} of {limit} are taken; {fits} would fit"
            ),
            LimitKind::Vcpus => write!(
                f,
                "quota of vCPUs at a time exceeded: {wanted} wanted at {at}, when {used} of {limit} are taken; {fits} would fit"
            ),
            LimitKind::VcpuHours | LimitKind::PeriodS => write!(
                f,
                "quota of vCPU-hours exceeded: {wanted} wanted in the period that begins at {at}, of which {used} of {limit} \
                 are taken; {fits} would fit"
            ),
            LimitKind::StartAheadS => {
                write!(f, "Lease start lies {wanted} seconds ahead, and must be at most {limit} seconds ahead.")
            }
            LimitKind::EndAheadS if self.wanted.is_none() => {
                write!(f, "The lease has no end, and it must be at most {limit} seconds ahead.")
            }
            LimitKind::EndAheadS => {
                write!(f, "Lease end lies {wanted} seconds ahead, and must be at most {limit} seconds ahead.")
            }
            LimitKind::DurationS if self.wanted.is_none() => {
                write!(f, "The lease has no end, and its duration must be at most {limit} seconds.")
            }
            // Blazar's text.
            LimitKind::DurationS => write!(
                f,
                "Lease duration of {wanted} seconds must be less than or equal to the maximum lease duration of {limit} seconds."
            ),
        }
    }
}
