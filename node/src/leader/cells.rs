//! Whether a list of servers has all of them. While a cell of Nova does not answer, Nova leaves its servers out of every list
//! with a filter, by default without a word. Of such a cell it tells in the list of compute services alone: those of the cell
//! are there, in a state that it does not know.
//!
//! So a list counts as whole when no cell was silent in a look that ended before it and in one that began after it, and both lie
//! close together. Nobody waits for the first: it is taken beside what a pass does anyway, and where there is none in time the next
//! pass has one.

use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::model::{Reason, ReasonCode};
use leasehold_ledger::mutant;

use super::work::Work;
use crate::openstack::CloudError;
use crate::seams::{Clock, Mono};

/// So old may the look before a list be.
const FRESH: Duration = Duration::from_secs(3);
/// From the first look's beginning to the second one's end. A cell that is silent for less than that may go unseen.
const CLOSE: Duration = Duration::from_secs(20);
/// Between the beginnings of two looks: when many leases end together, those who come in between share the next.
const APART: Duration = Duration::from_millis(100);
/// Hosts that are named to people.
const NAMED_MAX: usize = 5;

/// A look at the services of all cells.
#[derive(Clone, Debug)]
pub struct Look {
    begun: Mono,
    ended: Mono,
    /// Hosts of cells that did not answer.
    silent: Arc<[String]>,
}

/// What is known of the cells in one leader's term.
#[derive(Default)]
pub struct Cells {
    last: parking_lot::Mutex<Option<Look>>,
    /// When the last one was begun, whatever became of it.
    tried: parking_lot::Mutex<Option<Mono>>,
    /// Held while somebody looks, so that many who ask make few calls.
    looking: tokio::sync::Mutex<()>,
}

/// What a list of servers is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// It has all of them.
    Whole,
    /// Nobody knows yet: look again.
    Unknown,
    /// Cells do not answer.
    Partial(Reason),
}

impl Cells {
    /// A look that ended just now; `None`: there is none, or it is too old.
    #[must_use]
    pub fn before(&self, clock: &dyn Clock) -> Option<Look> {
        let now = clock.mono();
        self.last.lock().clone().filter(|look| now.since(look.begun) <= FRESH)
    }

    /// Has somebody look, so that there is a look before the next list; nobody waits for it.
    pub fn refresh(work: &Arc<Work>) {
        let is_long_ago = |tried: Mono| work.clock.mono().since(tried) > FRESH / 2;
        if work.cells.looking.try_lock().is_err() || !work.cells.tried.lock().is_none_or(is_long_ago) {
            return;
        }
        let own = work.clone();
        work.spawn("leader-cells", async move {
            let now = own.clock.mono();
            if let Err(error) = own.cells.look(&own, now).await {
                tracing::warn!(%error, "the cells of Nova could not be looked at");
            }
        });
    }

    /// A look for a list that is read next.
    ///
    /// # Errors
    /// When Nova gives no answer.
    pub async fn recent(&self, work: &Work) -> Result<Look, CloudError> {
        self.look(work, work.clock.mono().before(FRESH)).await
    }

    /// A look that began at this instant or later.
    ///
    /// # Errors
    /// When Nova gives no answer.
    async fn look(&self, work: &Work, since: Mono) -> Result<Look, CloudError> {
        let _one_at_a_time = self.looking.lock().await;
        if let Some(look) = self.last.lock().clone().filter(|look| look.begun >= since) {
            return Ok(look);
        }
        let tried = *self.tried.lock();
        if let Some(tried) = tried {
            work.clock.sleep_until(tried.after(APART)).await;
        }
        let begun = work.clock.mono();
        *self.tried.lock() = Some(begun);
        let services = work.cloud.nova().compute_services().await?;
        let silent = services.into_iter().filter(|service| service.is_unknown()).map(|service| service.host).collect();
        let look = Look { begun, ended: work.clock.mono(), silent };
        *self.last.lock() = Some(look.clone());
        Ok(look)
    }

    /// What a list is worth that was read after `before` and until now.
    ///
    /// # Errors
    /// When Nova gives no answer.
    pub async fn listed(&self, work: &Work, before: Option<Look>) -> Result<Listed, CloudError> {
        let after = self.look(work, work.clock.mono()).await?;
        Ok(worth(before.as_ref(), &after))
    }
}

fn worth(before: Option<&Look>, after: &Look) -> Listed {
    // Planted bug: what Nova lists is all there is.
    if mutant!("H04") {
        return Listed::Whole;
    }
    let silent = before.into_iter().chain([after]).find(|look| !look.silent.is_empty());
    if let Some(look) = silent {
        let named = look.silent.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
        let text = format!("a cell of Nova does not answer (with {named}): servers of the lease may be in it");
        return Listed::Partial(Reason { code: ReasonCode::CloudUnavailable, text });
    }
    match before {
        Some(before) if after.ended.since(before.begun) <= CLOSE => Listed::Whole,
        _ => Listed::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(begun_ms: u64, ended_ms: u64, silent: &[&str]) -> Look {
        let at = |ms| Mono(Duration::from_millis(ms));
        Look { begun: at(begun_ms), ended: at(ended_ms), silent: silent.iter().map(|&host| host.to_owned()).collect() }
    }

    #[test]
    fn a_list_is_whole_between_two_looks_that_lie_close_together_and_see_no_cell_silent() {
        let (before, after) = (look(0, 100, &[]), look(19_000, 20_000, &[]));
        assert_eq!(worth(Some(&before), &after), Listed::Whole);
        assert_eq!(worth(None, &after), Listed::Unknown, "the cell may have been silent before");
        assert_eq!(worth(Some(&before), &look(19_000, 20_001, &[])), Listed::Unknown, "and in between, too");
        for (before, after) in [(look(0, 100, &["h1"]), look(200, 300, &[])), (look(0, 100, &[]), look(200, 300, &["h1"]))] {
            let Listed::Partial(reason) = worth(Some(&before), &after) else { panic!("a cell was silent") };
            assert!(reason.text.contains("h1"), "{}", reason.text);
        }
    }
}
