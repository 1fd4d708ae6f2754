//! Flavors of ours, their classes and who may use them.
//!
//! A class goes before its flavor: whatever stops the removal in between, the next round still finds the flavor and with it
//! the class. Classes that come when their flavor has gone are [`classes`](super::classes)'.
//!
//! A flavor without a mark is ours by its reservation's id alone ([`Names::owns_flavor`]): it was made late, when the calls
//! that mark it had been made or given up. Where it is wanted it is made whole, otherwise it goes.
//!
//! [`Names::owns_flavor`]: crate::leader::names::Names::owns_flavor

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::FutureExt;
use leasehold_ledger::model::{Actuation, Lease, ProjectId, Reservation, ReservationId, Stage};
use leasehold_ledger::mutant;
use leasehold_ledger::state::State;
use parking_lot::Mutex;

use super::collect;
use crate::leader::cells::Listed;
use crate::leader::desired;
use crate::leader::names::{self, FLAVOR_MARK};
use crate::leader::permits::{Provided, Unfenced};
use crate::leader::work::Work;
use crate::openstack::nova::{Flavor, Server};
use crate::openstack::{CloudError, Errand};
use crate::seams::Mono;

/// Parked servers of a flavor that nobody wants are looked for again after this: by every second round, with the usual period.
/// The round after its last lease was deleted does not wait for that: who cleans up does so at once, servers and lease.
const PARKED_AGAIN: Duration = Duration::from_secs(110);

/// What the ledger says of a reservation's flavor.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    project: ProjectId,
    flavor: bool,
    access: bool,
    /// It stays if it is there: a reservation that is booked adopts servers of it.
    kept: bool,
    /// A row is open: its worker is at it, and knows the order.
    busy: bool,
}

impl Wanted {
    /// Nobody needs it, now or later.
    fn may_go(&self) -> bool {
        !self.flavor && !self.kept && !self.busy
    }
}

fn wanted(state: &State) -> BTreeMap<ReservationId, Wanted> {
    let of_row = |row: &Actuation| Some(state.lease(row.lease_id)?.reservation(row.reservation_id)?.flavor());
    let busy: BTreeSet<ReservationId> = state.actuations().filter_map(of_row).collect();
    let mut wanted = BTreeMap::new();
    for lease in state.leases() {
        // Where a row is open its worker may be about to make it.
        let has_flavor =
            |one: &&Reservation| one.stage != Stage::Booked || one.adoption.is_some() || busy.contains(&one.flavor());
        for reservation in lease.reservations.iter().filter(has_flavor) {
            // Of those that share a flavor only one is not over.
            if lease.is_over(reservation) && wanted.contains_key(&reservation.flavor()) {
                continue;
            }
            wanted.insert(
                reservation.flavor(),
                Wanted {
                    project: lease.project_id.clone(),
                    flavor: desired::wants_flavor(reservation),
                    access: desired::wants_access(reservation),
                    kept: reservation.stage == Stage::Booked,
                    busy: busy.contains(&reservation.flavor()),
                },
            );
        }
    }
    wanted
}

/// Flavors that nobody wants and that stay, because parked servers of them are left: a tenant may leave his there for years,
/// and Nova reads a list of its own for each.
#[derive(Default)]
pub struct Parked(Mutex<BTreeMap<ReservationId, Sighting>>);

/// When parked servers of a flavor were seen last.
#[derive(Clone, Copy)]
struct Sighting {
    at: Mono,
    /// The ledger still had a lease with this flavor.
    has_lease: bool,
}

impl Parked {
    /// Whether they were seen so lately, and with the ledger as it is now, that they need not be looked for again.
    fn lately(&self, id: ReservationId, now: Sighting) -> bool {
        let seen = self.0.lock().get(&id).copied();
        seen.is_some_and(|seen| seen.has_lease == now.has_lease && now.at.since(seen.at) < PARKED_AGAIN)
    }

    /// What was seen now: parked servers, or something else.
    fn note(&self, id: ReservationId, parked: bool, now: Sighting) {
        let mut seen = self.0.lock();
        seen.remove(&id);
        if parked {
            seen.insert(id, now);
        }
    }

    /// Forgets flavors that have gone.
    fn keep(&self, there: &BTreeMap<ReservationId, Flavor>) {
        self.0.lock().retain(|id, _| there.contains_key(id));
    }
}

/// Flavors of ours that nobody wants go with their classes, missing and unmarked ones are made, access is as the stage wants it.
pub async fn look(work: &Work, parked: &Parked) -> Result<(), CloudError> {
    // The cloud first: what appears in the ledger afterwards has a worker of its own.
    let there = work.cloud.nova().flavors().await?;
    // Planted bug: who may use a flavor of another cluster's is tidied up, too.
    mutant!("C05", {
        for flavor in
            there.iter().filter(|flavor| flavor.extra_specs.contains_key(FLAVOR_MARK) && !work.names.owns_flavor(flavor))
        {
            let errand = Errand::new(format!("access/{}/{}", flavor.id, work.number()), work.term, &work.leader);
            for project in work.cloud.nova().flavor_access(&flavor.id).await?.unwrap_or_default() {
                work.cloud.nova().remove_flavor_access(&errand, &flavor.id, &project).await?;
            }
        }
    });
    let ours: BTreeMap<ReservationId, Flavor> = there
        .into_iter()
        // Planted bug: whatever is named as ours are is ours.
        .filter(|flavor| work.names.owns_flavor(flavor) || (mutant!("M22") && flavor.name.starts_with("reservation:")))
        .filter_map(|flavor| Some((flavor.id.parse().ok()?, flavor)))
        .collect();
    parked.keep(&ours);
    let wanted = work.ledger.look(wanted);
    let mut runs = Vec::new();
    let at = work.clock.mono();
    for id in ours.keys() {
        let now = Sighting { at, has_lease: wanted.contains_key(id) };
        if wanted.get(id).is_none_or(Wanted::may_go) && !parked.lately(*id, now) {
            runs.push(remove(work, *id, parked, now).boxed());
        }
    }
    for (id, wanted) in &wanted {
        if wanted.flavor && !wanted.busy {
            let is_whole = ours.get(id).is_some_and(|flavor| flavor.extra_specs.contains_key(FLAVOR_MARK));
            runs.push(set_access(work, *id, wanted, is_whole).boxed());
        }
    }
    collect(runs).await
}

/// Whether the ledger still has nothing for this reservation to want.
fn unwanted_now(work: &Work, id: ReservationId) -> bool {
    work.ledger.look(|state| wanted(state).get(&id).is_none_or(Wanted::may_go))
}

/// Removes a flavor that nobody wants, unless servers of it are left: those were parked by `on_end: shelve`.
async fn remove(work: &Work, id: ReservationId, parked: &Parked, now: Sighting) -> Result<(), CloudError> {
    let flavor_id = id.to_string();
    let before = work.cells.recent(work).await?;
    let servers = work.cloud.nova().servers_of_flavor(&flavor_id).await?;
    // What is not parked is on its way, and perhaps gone by the next round.
    parked.note(id, !servers.is_empty() && servers.iter().all(Server::is_parked), now);
    if !servers.is_empty() || work.cells.listed(work, Some(before)).await? != Listed::Whole {
        return Ok(());
    }
    let permit = Provided { inner: &work.leader, condition: || unwanted_now(work, id) };
    let errand = Errand::new(format!("orphan/{id}/{}", work.number()), work.term, &permit);
    tracing::info!(flavor = flavor_id, "removing a flavor of ours that no reservation wants");
    match work.cloud.placement().delete_class(&errand, &names::class(id)).await {
        Ok(()) => work.cloud.nova().delete_flavor(&errand, &flavor_id).await,
        // A host still has it in its inventory; the next round removes it there first, and finds it by the flavor.
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Flavor and access of a reservation that is at rest.
async fn set_access(work: &Work, id: ReservationId, wish: &Wanted, is_whole: bool) -> Result<(), CloudError> {
    let flavor_id = id.to_string();
    let nova = work.cloud.nova();
    let as_read = || work.ledger.look(|state| wanted(state).get(&id) == Some(wish));
    let permit = Provided { inner: &work.leader, condition: as_read };
    let errand = Errand::new(format!("access/{id}/{}", work.number()), work.term, &permit);
    if !is_whole {
        let flavor = work.ledger.look(|state| {
            let alive = |lease: &Lease| lease.reservations.iter().filter(|one| !lease.is_over(one)).cloned().collect::<Vec<_>>();
            let all = state.leases().flat_map(alive).filter(|one| one.flavor() == id);
            all.map(|found| desired::flavor(&work.names, &found, desired::anchor(state, &found))).next()
        });
        let Some(flavor) = flavor else { return Ok(()) };
        tracing::warn!(flavor = flavor_id, "a flavor of ours was gone, or without its mark; making it again");
        // The flavor first: it alone shows whose the class is.
        nova.ensure_flavor(&errand, &flavor).await?;
        work.cloud.placement().ensure_class(&errand, &names::class(id)).await?;
    }
    let Some(has) = nova.flavor_access(&flavor_id).await? else { return Ok(()) };
    let strangers: Vec<&String> = has.iter().filter(|project| **project != wish.project.0 || !wish.access).collect();
    let missing = wish.access && !has.iter().any(|project| *project == wish.project.0);
    if strangers.is_empty() && !missing {
        return Ok(());
    }
    match work.unfenced.acquire().await {
        Ok(None) => {}
        // The next round comes soon enough.
        Ok(Some(_)) | Err(_) => {
            work.reconcile_in(Duration::from_secs(5));
            return Ok(());
        }
    }
    let right = Unfenced { inner: &permit, right: &work.unfenced };
    let errand = errand.under(&right);
    for project in strangers {
        tracing::warn!(flavor = flavor_id, project, "taking access away that no reservation grants");
        nova.remove_flavor_access(&errand, &flavor_id, project).await?;
    }
    if missing {
        tracing::warn!(flavor = flavor_id, project = %wish.project, "giving access back");
        nova.add_flavor_access(&errand, &flavor_id, &wish.project.0).await?;
    }
    Ok(())
}
