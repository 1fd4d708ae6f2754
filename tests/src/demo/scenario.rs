//! What a demo will do: every lease and every kill, drawn from one seed.

use leasehold_ledger::model::PoolKind;

use crate::audit::End;
use crate::draw::Draw;

/// Seconds from the first booking to the end of every staging window.
pub const STAGING_END_S: u64 = 22;
/// Seconds booked after it for parking.
pub const PARK_MARGIN_S: u32 = 10;
/// Seconds from the first booking to the first start; windows and margins are over by then.
pub const FIRST_START_S: u64 = 34;
/// Seconds over which the starts are spread.
pub const STARTS_SPREAD_S: u64 = 30;
/// Seconds from the first booking to the first end. It comes after the last start: a new leader waits out the old one's
/// actuation lease, up to 15 s, before it deletes (architecture D6), and a start on the same host waits for that (D27).
pub const FIRST_END_S: u64 = 67;
/// Seconds over which the ends are spread.
pub const ENDS_SPREAD_S: u64 = 12;

/// A lease to be booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasePlan {
    /// `lease-01`, …
    pub name: String,
    /// Start, seconds after the first booking.
    pub start_s: u64,
    /// End, seconds after the first booking.
    pub end_s: u64,
    /// Of each instance.
    pub vcpus: u32,
    /// Of each instance.
    pub memory_mb: u32,
    /// How many instances.
    pub amount: u32,
    /// Whether its tenant boots the servers early, to have them parked until the start.
    pub staged: bool,
    /// What is to happen at the end.
    pub on_end: End,
    /// Where.
    pub pool: PoolKind,
}

/// A kill of whoever leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KillPlan {
    /// Index of the lease whose start it surrounds.
    pub lease: usize,
    /// Milliseconds after that start; negative: before it. Within 800, so that a busy machine still kills within a second.
    pub offset_ms: i64,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// By start.
    pub leases: Vec<LeasePlan>,
    /// By time.
    pub kills: Vec<KillPlan>,
}

impl Scenario {
    /// Draws so many leases and kills.
    pub fn draw(seed: u64, leases: usize, kills: usize) -> Scenario {
        let (mut sizes, mut offsets) = (Draw::new(seed, 1), Draw::new(seed, 2));
        let dedicated = |n: usize| n % 5 < 3;
        let planned = (0..leases)
            .map(|n| LeasePlan {
                name: format!("lease-{:02}", n + 1),
                start_s: FIRST_START_S + STARTS_SPREAD_S * n as u64 / leases as u64,
                end_s: FIRST_END_S + ENDS_SPREAD_S * n as u64 / leases as u64,
                vcpus: sizes.between(1, 2) as u32,
                memory_mb: 512 * sizes.between(1, 3) as u32,
                // The shared hosts also carry ordinary servers.
                amount: if dedicated(n) { sizes.between(1, 2) as u32 } else { 1 },
                staged: n % 2 == 0,
                on_end: [End::Delete, End::Shelve, End::Snapshot][n % 3],
                pool: if dedicated(n) { PoolKind::Dedicated } else { PoolKind::Shared },
            })
            .collect();
        let kills = (0..kills)
            .map(|n| KillPlan { lease: leases * (2 * n + 1) / (2 * kills), offset_ms: offsets.between(0, 1_600) as i64 - 800 })
            .collect();
        Scenario { leases: planned, kills }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_run() {
        assert_eq!(Scenario::draw(3, 24, 3), Scenario::draw(3, 24, 3));
        assert_ne!(Scenario::draw(3, 24, 3), Scenario::draw(4, 24, 3));
    }

    #[test]
    fn kills_are_within_a_second_of_a_start_and_seconds_apart() {
        let scenario = Scenario::draw(1, 24, 3);
        let times: Vec<i64> = scenario
            .kills
            .iter()
            .inspect(|kill| assert!((-800..=800).contains(&kill.offset_ms)))
            .map(|kill| scenario.leases[kill.lease].start_s as i64 * 1000 + kill.offset_ms)
            .collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 7_000), "{times:?}");
    }

    #[test]
    fn staging_and_its_margin_end_before_the_first_start() {
        const { assert!(STAGING_END_S + PARK_MARGIN_S as u64 <= FIRST_START_S) };
    }

    #[test]
    fn no_end_comes_before_a_start() {
        let scenario = Scenario::draw(1, 24, 3);
        let last_start = scenario.leases.iter().map(|lease| lease.start_s).max();
        let first_end = scenario.leases.iter().map(|lease| lease.end_s).min();
        assert!(last_start < first_end, "{last_start:?} {first_end:?}");
    }
}
