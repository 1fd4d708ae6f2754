//! An operator, who sets quotas, changes them and takes them back while clients book.

use std::collections::BTreeSet;
use std::sync::Arc;

use leasehold_ledger::model::{Limit, LimitKind, Limits, ProjectId};

use super::pace::Pace;
use super::{Project, Wanted, Workload};
use crate::plan::Draw;

/// As which client the operator counts in the record.
pub const OPERATOR: u32 = 900;
/// Between two of his operations, milliseconds.
const GAP_MS: (u64, u64) = (3_000, 25_000);

impl Workload {
    /// The operator, until everything is over. What he does is drawn as what clients do.
    pub async fn operator(self: Arc<Self>, operator: Project) {
        let mut pace = Pace::new(&self.world.plan, OPERATOR, GAP_MS);
        while let Some((turn, mut draw, _)) = self.turn(&mut pace).await {
            let asked = self.quota(&mut draw);
            self.perform(turn, &operator, asked, None).await;
        }
    }

    /// Of one project or of all; set more often than taken back, for a part of what is set holds nobody up.
    fn quota(&self, draw: &mut Draw) -> Wanted {
        let one = self.projects[draw.below(self.projects.len())].id.clone();
        let of = (draw.below(3) != 0).then(|| ProjectId(one.into()));
        match draw.below(10) {
            0..=4 => {
                let (mut set, mut unset) = (Limits::new(), BTreeSet::new());
                for _ in 0..draw.between(1, 3) {
                    let (kind, limit) = limit(draw);
                    set.insert(kind, limit);
                }
                if draw.below(3) == 0 {
                    unset.insert(kind(draw));
                }
                unset.retain(|kind| !set.contains_key(kind));
                Wanted::SetQuota { of, set, unset }
            }
            5..=7 => Wanted::SetQuota { of, set: Limits::new(), unset: LimitKind::ALL.into() },
            _ => Wanted::GetQuota { of },
        }
    }
}

fn kind(draw: &mut Draw) -> LimitKind {
    LimitKind::ALL[draw.below(LimitKind::ALL.len())]
}

/// One that is about as much as clients ask for together.
fn limit(draw: &mut Draw) -> (LimitKind, Limit) {
    use LimitKind::{DurationS, EndAheadS, PeriodS, Slots, StartAheadS, VcpuHours, Vcpus};
    // What is used together is what may be miscounted.
    let kind = if draw.below(2) == 0 { [Slots, Vcpus][draw.below(2)] } else { kind(draw) };
    let max = match kind {
        Slots => [0, 3, 6, 10, 16][draw.below(5)],
        Vcpus => [2, 8, 16, 24, 40][draw.below(5)],
        VcpuHours => [0, 1, 2, 5][draw.below(4)],
        PeriodS => [86_400, 2 * 86_400, 7 * 86_400][draw.below(3)],
        StartAheadS => [20, 40, 60][draw.below(3)],
        EndAheadS => [60, 90, 120][draw.below(3)],
        DurationS => [30, 50, 80][draw.below(3)],
    };
    let unlimited = draw.below(8) == 0 && kind != PeriodS;
    (kind, if unlimited { Limit::Unlimited } else { Limit::Max(max) })
}
