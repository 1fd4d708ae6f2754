//! Classes of ours that are left alone: a call that makes one may take effect when the reservation is over and class and
//! flavor have gone. What has a flavor is [`flavors`](super::flavors)'.
//!
//! A class says whose it is by its name alone, and the ledger may have forgotten the reservation, so the name must prove it:
//! the reservation's id is one that only this cluster makes (docs/decisions/0012). Nobody else's class is touched, whatever
//! its prefix.

use std::collections::BTreeSet;

use leasehold_ledger::model::{Lease, Reservation, ReservationId};
use leasehold_ledger::mutant;
use leasehold_ledger::state::State;

use crate::leader::names;
use crate::leader::permits::Provided;
use crate::leader::work::Work;
use crate::openstack::{CloudError, Errand, Withheld};

/// Whether a reservation is to have its class, or its worker is at it.
fn is_wanted(state: &State, class_of: ReservationId) -> bool {
    let of_class = |lease: &Lease, one: &Reservation| {
        one.flavor() == class_of && (!lease.is_over(one) || state.open_row(lease.id, one.id).is_some())
    };
    state.leases().any(|lease| lease.reservations.iter().any(|one| of_class(lease, one)))
}

/// Removes those that nobody wants.
pub async fn look(work: &Work) -> Result<(), CloudError> {
    // Flavors after classes, and the ledger last: whose flavor is not there by then is over, or its worker is about to make it.
    let classes = work.cloud.placement().classes().await?;
    // Planted bug (with the one in flavors.rs): whatever is named as ours are is ours.
    let is_ours = |id: &ReservationId| work.names.is_ours(*id) || mutant!("M22");
    let ours: Vec<ReservationId> =
        classes.iter().filter_map(|class| names::reservation_of_class(class)).filter(is_ours).collect();
    if ours.is_empty() {
        return Ok(());
    }
    let flavors: BTreeSet<String> = work.cloud.nova().flavors().await?.into_iter().map(|flavor| flavor.id).collect();
    let may_go = |id: ReservationId| !work.ledger.look(|state| is_wanted(state, id));
    let left: Vec<ReservationId> = ours.into_iter().filter(|id| !flavors.contains(&id.to_string()) && may_go(*id)).collect();
    if left.is_empty() {
        return Ok(());
    }
    // Parked servers need it to wake, whoever removed their flavor; by a flavor that is gone Nova finds nobody.
    let servers = work.cloud.nova().all_servers().await?;
    let used: BTreeSet<&str> = servers
        .iter()
        .flat_map(|server| server.flavor.extra_specs.keys())
        .filter_map(|key| key.strip_prefix("resources:"))
        .collect();
    for id in left.into_iter().filter(|id| !used.contains(names::class(*id).as_str())) {
        let may_go = || may_go(id);
        let permit = Provided { inner: &work.leader, condition: may_go };
        let errand = Errand::new(format!("class/{id}/{}", work.number()), work.term, &permit);
        let class = names::class(id);
        tracing::warn!(class, "removing a class of ours that was made when its reservation was over");
        match work.cloud.placement().delete_class(&errand, &class).await {
            Ok(()) | Err(CloudError::Withheld(Withheld::Superseded)) => {}
            // A host still has it in its inventory; the next round removes it there first.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
