//! What nobody waits for gives way to what is due. A round of reading all hosts takes a large cloud's APIs, and ours, for
//! seconds; a start that falls into it would come late (architecture §6: first call within 250 ms).

use std::time::Duration;

use super::host_writer::AHEAD;
use super::work::Work;
use crate::seams::Mono;

/// Longest wait of one round, so that a cloud on which something is always due is read back all the same.
const PER_ROUND: Duration = Duration::from_secs(5);
/// Between two looks whether the way is free.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The waits of one round.
pub struct Courtesy<'a> {
    work: &'a Work,
    until: Mono,
}

impl<'a> Courtesy<'a> {
    /// For a round that begins now.
    pub fn new(work: &'a Work) -> Self {
        Self { work, until: work.clock.mono().after(PER_ROUND) }
    }

    /// Returns once nothing is due soon and nothing that is due waits, or when this round has waited long enough.
    pub async fn wait(&self) {
        let clock = &self.work.clock;
        while self.until.since(clock.mono()) > Duration::ZERO && (self.work.passes.is_busy() || self.is_due_soon()) {
            clock.sleep(LOOK_EVERY).await;
        }
    }

    /// Within [`AHEAD`], when hosts are read for it.
    fn is_due_soon(&self) -> bool {
        let until = self.work.now().plus_ms(u64::try_from(AHEAD.as_millis()).unwrap_or(u64::MAX));
        self.work.ledger.look(|state| state.due_leases(until).next().is_some())
    }
}
