//! Class, flavor and closed inventories, made ahead of the first opening (architecture D24).

use leasehold_ledger::command::Outcome;
use leasehold_ledger::model::Stage;

use super::{Job, Setback};
use crate::leader::desired;

/// One pass.
pub async fn pass(job: &Job<'_>) -> Result<Outcome, Setback> {
    ensure(job).await?;
    let class = job.class();
    let views = job.converge(&desired::hosts_of(job.reservation)).await?;
    let there =
        views.iter().all(|view| !view.wish.tokens.contains_key(&class) || view.read.inventories.inventories.contains_key(&class));
    if there { Ok(Outcome::Done) } else { Err(Setback::poll()) }
}

/// Class and flavor are there. Steps that open need them too, if the preparation never got through.
pub async fn ensure(job: &Job<'_>) -> Result<(), Setback> {
    debug_assert!(job.reservation.stage != Stage::Booked, "a row is opened with its stage");
    job.cloud.placement().ensure_class(&job.errand, &job.class()).await?;
    let flavor = desired::flavor(&job.work.names, job.reservation, job.anchor());
    job.cloud.nova().ensure_flavor(&job.errand, &flavor).await?;
    Ok(())
}
