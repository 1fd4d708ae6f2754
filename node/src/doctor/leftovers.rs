//! What looks like a reservation's and belongs to none of ours: the leader removes its own within minutes, and never
//! another's.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use leasehold_ledger::model::{Reservation, ReservationId};
use uuid::Uuid;

use super::{Ledger, Report};
use crate::leader::desired;
use crate::leader::host_plan;
use crate::leader::names::{self, FLAVOR_MARK};
use crate::openstack::placement::Provider;
use crate::openstack::{Cloud, CloudError};

/// Hosts looked at at once.
const AT_ONCE: usize = 8;
/// Names that are told; the rest is counted.
const TOLD_MAX: usize = 5;

const OURS: &str = "the leader removes it within minutes, unless servers still use it; if it stays, look at the leader's log";
const FOREIGN: &str = "another cluster made it: if that cluster still runs, leave it; if not, delete it by hand";

/// What was found, by whose it is.
#[derive(Debug, Default)]
struct Found {
    ours: Vec<String>,
    foreign: Vec<String>,
}

pub(super) async fn examine(cloud: &Cloud, ledger: &Ledger, report: &mut Report) {
    tell("leftovers: flavors", flavors(cloud, ledger).await, report);
    tell("leftovers: providers", providers(cloud, ledger).await, report);
    tell("leftovers: holds", holds(cloud, ledger).await, report);
    tell("leftovers: resource classes", classes(cloud, ledger).await, report);
    tell("leftovers: server groups", groups(cloud, ledger).await, report);
}

fn tell(subject: &str, found: Result<Found, CloudError>, report: &mut Report) {
    let Found { ours, foreign } = match found {
        Ok(found) => found,
        Err(error) => return report.no_answer(subject, &error),
    };
    if ours.is_empty() && foreign.is_empty() {
        return report.ok(subject, "none");
    }
    for (whose, found, next) in [("of ours, for no lease", ours, OURS), ("of no lease of this cluster", foreign, FOREIGN)] {
        if !found.is_empty() {
            report.warn(subject, format!("{} {whose}: {}", found.len(), some_of(&found)), next);
        }
    }
}

fn some_of(names: &[String]) -> String {
    let mut told = names.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > TOLD_MAX {
        told.push_str(", …");
    }
    told
}

fn reservations(ledger: &Ledger) -> BTreeSet<ReservationId> {
    // Who adopts parked servers uses the flavor that these came with.
    ledger.leases.iter().flat_map(|lease| &lease.reservations).map(Reservation::flavor).collect()
}

async fn flavors(cloud: &Cloud, ledger: &Ledger) -> Result<Found, CloudError> {
    let all = ledger.leases.iter().flat_map(|lease| &lease.reservations);
    let wanted: BTreeSet<String> = all.filter(|one| desired::wants_flavor(one)).map(|one| one.flavor().to_string()).collect();
    let known: BTreeSet<String> = reservations(ledger).iter().map(ToString::to_string).collect();
    let mark = ledger.names().mark();
    let mut found = Found::default();
    for flavor in cloud.nova().flavors().await? {
        match flavor.extra_specs.get(FLAVOR_MARK) {
            // An ended reservation's stays while parked servers need it.
            Some(of) if *of == mark && !wanted.contains(&flavor.id) && !known.contains(&flavor.id) => {
                found.ours.push(flavor.name)
            }
            Some(of) if *of != mark => found.foreign.push(format!("{} of cluster {of}", flavor.name)),
            Some(_) | None => {}
        }
    }
    Ok(found)
}

async fn providers(cloud: &Cloud, ledger: &Ledger) -> Result<Found, CloudError> {
    let names = ledger.names();
    let hosts: BTreeSet<Uuid> = ledger.hosts.iter().map(|host| host.description.root_provider).collect();
    let all = cloud.placement().providers().await?;
    let roots: BTreeMap<Uuid, &Provider> =
        all.iter().filter(|one| one.parent_provider_uuid.is_none()).map(|one| (one.uuid, one)).collect();
    let mut found = Found::default();
    for child in &all {
        let Some(root) = child.parent_provider_uuid.and_then(|parent| roots.get(&parent)) else { continue };
        let of_ours = [names.reservation_provider(root.uuid), names.loan_provider(root.uuid)].contains(&child.uuid);
        let named = [names::reservation_provider_name(&root.name), names::loan_provider_name(&root.name)].contains(&child.name);
        if of_ours && !hosts.contains(&root.uuid) {
            found.ours.push(child.name.clone());
        } else if named && !of_ours {
            found.foreign.push(child.name.clone());
        }
    }
    Ok(found)
}

/// Holds of ours on hosts that the ledger does not know.
async fn holds(cloud: &Cloud, ledger: &Ledger) -> Result<Found, CloudError> {
    let (names, placement) = (ledger.names(), cloud.placement());
    let known: BTreeSet<Uuid> = ledger.hosts.iter().map(|host| host.description.root_provider).collect();
    let all = placement.providers().await?;
    let unknown = all.into_iter().filter(|one| one.parent_provider_uuid.is_none() && !known.contains(&one.uuid));
    let held = |root: Provider| async move {
        let users = placement.allocations_on(root.uuid).await?;
        let held = users.is_some_and(|users| !host_plan::shards_read(&names, root.uuid, &users).is_empty());
        Ok(held.then(|| format!("on {}", root.name)))
    };
    let looked: Vec<Result<Option<String>, CloudError>> =
        futures::stream::iter(unknown.map(held)).buffered(AT_ONCE).collect().await;
    let ours: Vec<Option<String>> = looked.into_iter().collect::<Result<_, _>>()?;
    Ok(Found { ours: ours.into_iter().flatten().collect(), foreign: Vec::new() })
}

async fn classes(cloud: &Cloud, ledger: &Ledger) -> Result<Found, CloudError> {
    let known = reservations(ledger);
    let all = cloud.placement().classes().await?;
    let foreign = all.into_iter().filter(|class| names::reservation_of_class(class).is_some_and(|id| !known.contains(&id)));
    Ok(Found { ours: Vec::new(), foreign: foreign.collect() })
}

async fn groups(cloud: &Cloud, ledger: &Ledger) -> Result<Found, CloudError> {
    let (names, known) = (ledger.names(), reservations(ledger));
    let all = cloud.nova().server_groups().await?;
    let orphan = |name: &str| names.reservation_of_group(name).is_some_and(|(_, id)| !known.contains(&id));
    Ok(Found { ours: all.into_iter().map(|group| group.name).filter(|name| orphan(name)).collect(), foreign: Vec::new() })
}
