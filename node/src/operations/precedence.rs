//! Who may ask for a lease that takes room from others or gives way to them (docs/decisions/0021), or for one beyond the quota, and what
//! is told of it.

use leasehold_ledger::command::LeaseWish;
use leasehold_ledger::model::{LeaseId, Victim};
use leasehold_ledger::reply::Rejection;

use super::{Actor, Operations, Result};
use crate::telemetry::metrics;

impl Operations {
    /// Checks the right to leases beyond the quota of their project, where that is asked for.
    pub(super) fn may_ignore_quota(&self, actor: &Actor, ignore_quota: bool) -> Result<()> {
        actor.may_ignore_quota(ignore_quota, self.inner.bounds.quota_exempt_role.as_deref())?;
        Ok(())
    }

    /// Checks the right to the priority that a wish asks for, and that there are any here.
    pub(super) fn may_rank(&self, actor: &Actor, wish: &LeaseWish) -> Result<()> {
        self.check_may_rank(wish)?;
        actor.may_prioritise(wish.precedence.priority, self.inner.bounds.priority_role.as_deref())?;
        Ok(())
    }

    /// Refuses all of it where that is switched off, also under a key that is known: members of an older release do not know the
    /// fields, so nothing with them may get into the log.
    pub(super) fn check_may_rank(&self, wish: &LeaseWish) -> Result<()> {
        let precedence = wish.precedence;
        if self.inner.bounds.priorities || precedence.ordinary() {
            return Ok(());
        }
        let field = match (precedence.priority > 0, precedence.preempt) {
            (true, _) => "priority",
            (false, true) => "preempt",
            (false, false) => "preemptible",
        };
        let problem = "no lease has a priority or gives way to another here (priorities is false)".to_owned();
        Err(Rejection::Invalid { field: field.to_owned(), problem }.into())
    }
}

/// Which leases gave way to one: who lost something is not told to whom, so operators find it here.
pub(super) fn told_victims(lease_id: LeaseId, victims: &[Victim]) {
    for Victim { lease_id: victim, .. } in victims {
        metrics::lease_preempted();
        tracing::info!(lease = %victim, by = %lease_id, "a lease gave way to one of a higher priority");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use leasehold_ledger::command::{Recurrence, SeriesWish};
    use leasehold_ledger::model::{Precedence, SeriesMode};

    use super::*;
    use crate::operations::Bounds;
    use crate::operations::tests::{Lone, actor, wish};

    fn ranked(priority: u8, preemptible: bool, preempt: bool) -> LeaseWish {
        LeaseWish { precedence: Precedence { priority, preemptible, preempt }, ..wish(1) }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_priorities_are_switched_off_nothing_of_them_is_proposed() {
        let lone = Lone::with(Bounds { priorities: false, ..Bounds::default() }).await;
        let (operations, admin) = (lone.operations.clone(), actor("admin"));
        let index = || operations.inner.raft.state().ledger_index();
        let before = index();
        for (asked, field) in [
            (ranked(1, false, false), "priority"),
            (ranked(2, true, true), "priority"),
            (ranked(0, false, true), "preempt:"),
            (ranked(0, true, false), "preemptible"),
        ] {
            let recurrence =
                Recurrence { rule: "FREQ=DAILY;COUNT=2".to_owned(), time_zone: "UTC".to_owned(), mode: SeriesMode::AllOrNothing };
            let series = SeriesWish { lease: asked.clone(), recurrence };
            for refused in [
                operations.create_lease(&admin, None, asked.clone()).await.unwrap_err(),
                operations.create_here(None, asked.clone(), None, false).await.map(|_| ()).unwrap_err(),
                operations.what_if(&admin, asked).await.unwrap_err(),
                operations.create_series(&admin, None, series).await.unwrap_err(),
            ] {
                let text = refused.to_string();
                assert!(text.contains("priorities is false") && text.contains(field), "{text}");
            }
        }
        assert_eq!(index(), before);
        operations.create_lease(&admin, None, wish(1)).await.unwrap();
        lone.end().await;
    }
}
