//! Reads everything back and brings it to what the ledger wants: after a takeover, again 120 s later for calls that were
//! still on their way, on signal, and on a period (architecture D6). Takes no input: the whole intent against the cloud.
//!
//! Only what is provably ours is removed: children and holds by their fixed identities ([`traces`]), flavors by their mark
//! or by their reservation, and classes by their flavor ([`flavors`]) or by the reservation that they are named after
//! ([`classes`]), server groups by the cluster in their name ([`groups`]), images by their mark, their owner and a reservation that the ledger knows
//! ([`images`]). [`servers`] undoes late state verbs.

mod classes;
mod flavors;
mod groups;
mod images;
mod servers;
mod traces;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use leasehold_ledger::model::HostId;

use super::courtesy::Courtesy;
use super::onboard;
use super::permits::Provided;
use super::work::Work;
use crate::openstack::{CloudError, Errand};
use crate::seams::Mono;
use crate::telemetry::metrics;

/// Late effects of a predecessor's calls have shown by then.
const SECOND_LOOK: Duration = Duration::from_secs(120);
/// Between two rounds that read lists which grow with the whole cloud, not with us.
const SWEEP_PERIOD: Duration = Duration::from_secs(300);
/// Objects worked on at once.
const AT_ONCE: usize = 8;

/// What one leader's reconciler keeps between rounds. Losing it costs time, never work.
struct Memory {
    /// The takeover.
    begun: Mono,
    /// Looks for late state verbs that are still owed, by their time since the takeover.
    looks: VecDeque<Duration>,
    swept: Option<Mono>,
    traces: traces::Traces,
    parked: flavors::Parked,
    wakes: servers::Wakes,
    /// A look is owed until it found everything as wanted.
    look_owed: bool,
}

/// Runs until its group is stopped.
pub async fn run(work: Arc<Work>) {
    let begun = work.clock.mono();
    let mut memory = Memory {
        begun,
        looks: [Duration::ZERO, SECOND_LOOK].into(),
        swept: None,
        traces: traces::Traces::default(),
        parked: flavors::Parked::default(),
        wakes: servers::Wakes::default(),
        look_owed: false,
    };
    loop {
        if memory.looks.front().is_some_and(|at| work.clock.mono().since(memory.begun) >= *at) {
            memory.looks.pop_front();
            memory.look_owed = true;
            // The sweep belongs to the look, once; repetitions of the look do not repeat it.
            memory.swept = None;
        }
        match read_back(&work, &mut memory).await {
            Ok(()) => metrics::reconcile_done(work.clock.mono()),
            Err(error) => tracing::warn!(%error, "the read-back stopped; it is made again"),
        }
        let mut wait = work.config.reconcile_period;
        if memory.look_owed {
            match servers::look(&work, &mut memory.wakes).await {
                Ok(Found::AsWanted) => memory.look_owed = false,
                // Whether it worked shows in another look.
                Ok(Found::LateEffects { again_in }) => wait = wait.min(again_in),
                Err(error) => tracing::warn!(%error, "the look for late effects stopped; it is made again"),
            }
        }
        let elapsed = work.clock.mono().since(begun);
        if let Some(at) = memory.looks.front().filter(|at| **at > elapsed) {
            wait = wait.min(at.saturating_sub(elapsed));
        }
        let period = work.clock.sleep(wait);
        tokio::select! {
            biased;
            () = work.reconcile.notified() => {}
            () = period => {}
        }
    }
}

/// What a look for late state verbs found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing that came late.
    AsWanted,
    /// State verbs of a predecessor that took effect late; they were answered.
    LateEffects {
        /// When to look whether that worked.
        again_in: Duration,
    },
}

/// One full read-back. Every part is tried; the first failure is told.
async fn read_back(work: &Work, memory: &mut Memory) -> Result<(), CloudError> {
    let now = work.clock.mono();
    let sweeps = memory.swept.is_none_or(|last| now.since(last) >= SWEEP_PERIOD);
    let mut parts = vec![hosts(work).await];
    // Before the classes: one that a host that was let go still has in its inventory cannot go.
    let traced = if sweeps { traces::look(work, &mut memory.traces).await } else { Ok(()) };
    parts.extend([flavors::look(work, &memory.parked).await, classes::look(work).await]);
    // The groups of all projects, though the list grows with the cloud: each counts against a tenant's quota.
    parts.extend([groups::look(work).await, groups::make_missing(work).await]);
    let imaged = if sweeps { images::look(work).await } else { Ok(()) };
    if sweeps && traced.is_ok() && imaged.is_ok() {
        memory.swept = Some(now);
    }
    parts.extend([traced, imaged]);
    parts.into_iter().collect()
}

/// Holds and inventories of every host.
async fn hosts(work: &Work) -> Result<(), CloudError> {
    let hosts: Vec<HostId> = work.ledger.look(|state| state.hosts().map(|host| host.id).collect());
    let courtesy = &Courtesy::new(work);
    let mut runs = Vec::new();
    for id in hosts {
        let run = async move {
            courtesy.wait().await;
            host(work, id).await
        };
        runs.push(run.boxed());
    }
    collect(runs).await
}

/// Hold and inventories of one host; what is not ours to mend is told.
async fn host(work: &Work, host: HostId) -> Result<(), CloudError> {
    let view = match work.hosts.converge(work, host).await {
        Err(error) if error.is_not_found() => {
            children(work, host, error).await?;
            work.hosts.converge(work, host).await?
        }
        run => run?,
    };
    if let Some(refused) = view.hold_refused.as_ref().filter(|_| !view.read.holds(&view.wish)) {
        tracing::warn!(%host, refused, "the hold cannot be raised to what is booked");
    }
    work.hosts.seek(work, &view).await;
    for (class, used) in &view.read.usage {
        if *used > 0 && !view.wish.tokens.contains_key(class) {
            tracing::warn!(%host, class, used, "tokens of a reservation that the ledger does not know are in use");
        }
    }
    Ok(())
}

/// Makes the children of a host again, if it still has a root provider: somebody removed them, or a sweep met an onboarding
/// that began after it had asked the ledger.
async fn children(work: &Work, host: HostId, gone: CloudError) -> Result<(), CloudError> {
    let there = work.ledger.look(|state| state.host(host).map(|host| host.description.clone()));
    let Some(description) = there else { return Ok(()) };
    if work.cloud.placement().provider(description.root_provider).await?.is_none() {
        return Err(gone);
    }
    tracing::warn!(%host, "a child provider of ours was gone; making it again");
    let known = || work.ledger.look(|state| state.host(host).is_some());
    let permit = Provided { inner: &work.leader, condition: known };
    let errand = Errand::new(format!("children/{host}/{}", work.number()), work.term, &permit);
    match onboard::children(&work.cloud, &work.names, &errand, &description.hypervisor_hostname, description.root_provider).await
    {
        Ok(()) => Ok(()),
        Err(onboard::OnboardError::Cloud(error)) => Err(error),
        Err(error) => {
            tracing::warn!(%host, %error, "the child providers cannot be made");
            Err(gone)
        }
    }
}

/// Carries all out, a few at once; the first failure is told after all were tried.
async fn collect(runs: Vec<BoxFuture<'_, Result<(), CloudError>>>) -> Result<(), CloudError> {
    let results: Vec<_> = futures::stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    results.into_iter().collect()
}
