//! What looks like a reservation's and belongs to none of ours: the leader removes its own within minutes, and never
//! another's. What is found is looked for again with the ledger read anew: a lease may have been made or have ended between
//! the two readings.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use leasehold_ledger::model::{Reservation, ReservationId};
use uuid::Uuid;

use super::{Ledger, Report, Rows};
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
#[derive(Clone, Debug, Default)]
struct Found {
    ours: Vec<String>,
    foreign: Vec<String>,
    /// Of ours, and needed: not left over.
    kept: Vec<String>,
}

impl Found {
    /// Nothing that could be left over.
    fn is_clean(&self) -> bool {
        self.ours.is_empty() && self.foreign.is_empty()
    }

    /// What was there both times.
    fn and_again(mut self, again: &Found) -> Found {
        self.ours.retain(|name| again.ours.contains(name));
        self.foreign.retain(|name| again.foreign.contains(name));
        self.kept.clone_from(&again.kept);
        self
    }
}

type Looked = [(&'static str, Result<Found, CloudError>); 5];

pub(super) async fn examine(cloud: &Cloud, rows: &dyn Rows, ledger: &Ledger, report: &mut Report) {
    let mut looked = look(cloud, ledger).await;
    let is_clean = |(_, found): &(&str, Result<Found, CloudError>)| found.as_ref().is_ok_and(Found::is_clean);
    // What was seen stays where the rows cannot be read again.
    if !looked.iter().all(is_clean)
        && let Some(ledger) = super::read(rows, report).await
    {
        let again = look(cloud, &ledger).await;
        for ((_, first), (_, again)) in looked.iter_mut().zip(again) {
            *first = match (std::mem::replace(first, Ok(Found::default())), again) {
                (Ok(first), Ok(again)) => Ok(first.and_again(&again)),
                (Err(_), again) => again,
                (Ok(_), Err(error)) => Err(error),
            };
        }
    }
    for (subject, found) in looked {
        tell(subject, found, report);
    }
}

async fn look(cloud: &Cloud, ledger: &Ledger) -> Looked {
    [
        ("leftovers: flavors", flavors(cloud, ledger).await),
        ("leftovers: providers", providers(cloud, ledger).await),
        ("leftovers: holds", holds(cloud, ledger).await),
        ("leftovers: resource classes", classes(cloud, ledger).await),
        ("leftovers: server groups", groups(cloud, ledger).await),
    ]
}

fn tell(subject: &str, found: Result<Found, CloudError>, report: &mut Report) {
    let Found { ours, foreign, kept } = match found {
        Ok(found) => found,
        Err(error) => return report.no_answer(subject, &error),
    };
    if !kept.is_empty() {
        report.ok(subject, format!("of leases that are forgotten: {}", some_of(&kept)));
    } else if ours.is_empty() && foreign.is_empty() {
        report.ok(subject, "none");
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
    let names = ledger.names();
    let mut found = Found::default();
    let mut forgotten = Vec::new();
    for flavor in cloud.nova().flavors().await? {
        if names.owns_flavor(&flavor) {
            // An ended reservation's stays while parked servers need it.
            if !wanted.contains(&flavor.id) && !known.contains(&flavor.id) {
                forgotten.push(flavor);
            }
        } else if let Some(of) = flavor.extra_specs.get(FLAVOR_MARK) {
            found.foreign.push(format!("{} of cluster {of}", flavor.name));
        }
    }
    let of_each = forgotten.into_iter().map(|flavor| async move {
        let servers = cloud.nova().servers_of_flavor(&flavor.id).await?;
        let parked = servers.iter().filter(|server| server.is_parked()).count();
        let others = servers.iter().filter(|server| !server.is_gone()).count() - parked;
        Ok((flavor.name, parked, others))
    });
    let of_each: Vec<Result<(String, usize, usize), CloudError>> =
        futures::stream::iter(of_each).buffered(AT_ONCE).collect().await;
    for one in of_each {
        match one? {
            (name, 0, 0) => found.ours.push(name),
            // The owner may have them adopted, also when the lease they came from is forgotten.
            (name, parked, 0) => found.kept.push(format!("{name} is kept for {parked} parked servers")),
            (name, _, others) => found.ours.push(format!("{name} with {others} servers that are not parked")),
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
    Ok(Found { ours: ours.into_iter().flatten().collect(), ..Found::default() })
}

async fn classes(cloud: &Cloud, ledger: &Ledger) -> Result<Found, CloudError> {
    let mut known = reservations(ledger);
    // Whose a class is tells the flavor beside it, or the id that it is named after. It goes first, and the flavor is told as
    // what it is. Classes are read first: whose flavor is not there then was not made meanwhile.
    let all = cloud.placement().classes().await?;
    let names = ledger.names();
    for flavor in cloud.nova().flavors().await? {
        if names.owns_flavor(&flavor)
            && let Ok(id) = flavor.id.parse()
        {
            known.insert(id);
        }
    }
    let mut found = Found::default();
    for class in all {
        match names::reservation_of_class(&class) {
            Some(id) if known.contains(&id) => {}
            Some(id) if names.is_ours(id) => found.ours.push(class),
            Some(_) => found.foreign.push(class),
            None => {}
        }
    }
    Ok(found)
}

async fn groups(cloud: &Cloud, ledger: &Ledger) -> Result<Found, CloudError> {
    let (names, known) = (ledger.names(), reservations(ledger));
    // Of all projects: most were made with tenants' tokens.
    let all = cloud.nova().server_groups().await?;
    let orphan = |name: &str| names.reservation_of_group(name).is_some_and(|(_, id)| !known.contains(&id));
    Ok(Found { ours: all.into_iter().map(|group| group.name).filter(|name| orphan(name)).collect(), ..Found::default() })
}
