//! Children and holds of ours on hosts that the ledger does not know: an offboarding that stopped half way, or an onboarding
//! whose leader died before the host was in the ledger.
//!
//! An onboarding makes its objects before the ledger knows the host, so only what was seen twice with a minute between is
//! removed, and in the poll that sends each call the ledger must still not know the host. Should an onboarding nevertheless
//! lose its children to this, the read-back makes them again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use uuid::Uuid;

use super::{AT_ONCE, collect};
use crate::leader::host_plan;
use crate::leader::onboard::{self, OnboardError};
use crate::leader::permits::Provided;
use crate::leader::work::Work;
use crate::openstack::{CloudError, Errand, Withheld};
use crate::seams::Mono;

/// Between the two sightings.
const SEEN_FOR: Duration = Duration::from_secs(60);

/// Root providers with traces of ours that the ledger does not know, and since when this leader sees them.
#[derive(Debug, Default)]
pub struct Traces {
    since: BTreeMap<Uuid, Mono>,
}

/// Looks at every root provider that the ledger does not know, and removes what was seen before.
pub async fn look(work: &Work, traces: &mut Traces) -> Result<(), CloudError> {
    // The cloud first: a host that is registered meanwhile is in the ledger by the time the ledger is asked.
    let providers = work.cloud.placement().providers().await?;
    let there: BTreeSet<Uuid> = providers.iter().map(|provider| provider.uuid).collect();
    let known: BTreeSet<Uuid> = work.ledger.look(|state| state.hosts().map(|host| host.description.root_provider).collect());
    let roots = providers.iter().filter(|provider| provider.parent_provider_uuid.is_none()).map(|provider| provider.uuid);
    let mut looks = Vec::new();
    for root in roots.filter(|root| !known.contains(root)) {
        looks.push(has_trace(work, root, &there).boxed());
    }
    let looked: Vec<Result<Option<Uuid>, CloudError>> = futures::stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
    let seen: Vec<Option<Uuid>> = looked.into_iter().collect::<Result<_, _>>()?;
    let seen: BTreeSet<Uuid> = seen.into_iter().flatten().collect();
    let now = work.clock.mono();
    traces.since.retain(|root, _| seen.contains(root));
    let mut runs = Vec::new();
    for root in seen {
        let since = *traces.since.entry(root).or_insert(now);
        if now.since(since) >= SEEN_FOR {
            runs.push(remove(work, root).boxed());
        }
    }
    collect(runs).await
}

/// The root, if it has a child or a hold of ours.
async fn has_trace(work: &Work, root: Uuid, there: &BTreeSet<Uuid>) -> Result<Option<Uuid>, CloudError> {
    let names = &work.names;
    if there.contains(&names.reservation_provider(root)) || there.contains(&names.loan_provider(root)) {
        return Ok(Some(root));
    }
    let users = work.cloud.placement().allocations_on(root).await?;
    let held = users.is_some_and(|users| !host_plan::shards_read(names, root, &users).is_empty());
    Ok(held.then_some(root))
}

/// Removes holds and children of a host, unless servers use the children's tokens: what backs those stays.
async fn remove(work: &Work, root: Uuid) -> Result<(), CloudError> {
    let names = &work.names;
    for child in [names.reservation_provider(root), names.loan_provider(root)] {
        let users = work.cloud.placement().allocations_on(child).await?;
        if users.is_some_and(|users| !users.allocations.is_empty()) {
            tracing::warn!(%root, %child, "servers use tokens on a host that the ledger does not know");
            return Ok(());
        }
    }
    let unknown = || work.ledger.look(|state| !state.hosts().any(|host| host.description.root_provider == root));
    let permit = Provided { inner: &work.leader, condition: unknown };
    let errand = Errand::new(format!("traces/{root}/{}", work.number()), work.term, &permit);
    tracing::info!(%root, "removing holds and children of ours from a host that the ledger does not know");
    match onboard::remove_traces(&work.cloud, names, &errand, root).await {
        // It was registered meanwhile.
        Ok(()) | Err(OnboardError::Cloud(CloudError::Withheld(Withheld::Superseded))) => Ok(()),
        Err(OnboardError::Cloud(error)) => Err(error),
        Err(error @ (OnboardError::NotFound(_) | OnboardError::Conflict(_))) => {
            tracing::warn!(%root, %error, "traces of ours cannot be removed yet");
            Ok(())
        }
    }
}
