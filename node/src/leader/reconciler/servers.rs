//! A shelve that a deposed leader sent while it parked servers can take effect after the start, when its successor has long
//! woken them: nothing fences a state verb but the server's state (architecture D6). Such a server is woken again.
//!
//! Whose the shelve was is told by Nova's list of the server's actions. It keeps no id that a caller can choose: its
//! `request_id` is Nova's own, and the id we send goes only to the logs. It does keep the user, and the service user shelves
//! servers of our flavors for nothing but parking. A tenant's own shelve is his, and respected.

use futures::FutureExt;
use futures::future::join_all;
use leasehold_ledger::model::{Lease, LeaseId, ReservationId, Stage};
use leasehold_ledger::state::State;

use super::Found;
use crate::leader::permits::Provided;
use crate::leader::work::Work;
use crate::openstack::nova::{InstanceAction, Verb};
use crate::openstack::{CloudError, Errand, Withheld};

/// Wakes what was parked late.
pub async fn look(work: &Work) -> Result<Found, CloudError> {
    let started: Vec<(LeaseId, ReservationId)> = work.ledger.look(|state| {
        let ids = |lease: &Lease| lease.reservations.iter().map(|one| (lease.id, one.id)).collect::<Vec<_>>();
        state.leases().flat_map(ids).filter(|(lease, id)| is_started(state, *lease, *id)).collect()
    });
    let mut found = Found::AsWanted;
    for (lease, id) in started {
        let mut wakes = Vec::new();
        for server in work.cloud.nova().servers_of_flavor(&id.to_string()).await? {
            if matches!(server.status.as_str(), "SHELVED" | "SHELVED_OFFLOADED") {
                wakes.push(wake(work, lease, id, server.id).boxed());
            }
        }
        for woken in join_all(wakes).await {
            if woken? {
                found = Found::LateEffects;
            }
        }
    }
    Ok(found)
}

/// Open, once parked, and no worker at it.
fn is_started(state: &State, lease: LeaseId, id: ReservationId) -> bool {
    let reservation = state.lease(lease).and_then(|lease| lease.reservation(id));
    reservation.is_some_and(|one| one.stage == Stage::Open && one.staging.is_some()) && state.open_row(lease, id).is_none()
}

/// Wakes one server, if its last shelve was ours. `true`: look again, whether or not it was sent.
async fn wake(work: &Work, lease: LeaseId, id: ReservationId, server_id: String) -> Result<bool, CloudError> {
    let nova = work.cloud.nova();
    let user = work.cloud.user().await?;
    let actions = nova.instance_actions(&server_id).await?;
    if last_shelve(&actions).and_then(|action| action.user_id.as_ref()) != Some(&user.user_id) {
        return Ok(false);
    }
    let permit = Provided { inner: &work.leader, condition: || work.ledger.look(|state| is_started(state, lease, id)) };
    let errand = Errand::new(format!("late/{server_id}/{}", work.number()), work.term, &permit);
    tracing::warn!(server = server_id, reservation = %id, "a shelve of ours took effect after the start; waking the server again");
    match nova.act(&errand, &server_id, Verb::Unshelve).await {
        // Not shelved through yet, on its way back, or gone: the next look tells.
        Ok(()) => Ok(true),
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(true),
        // The lease ended meanwhile, or its worker is at it.
        Err(CloudError::Withheld(Withheld::Superseded)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The youngest shelve. Offloading is a consequence of it, whoever asks for that.
fn last_shelve(actions: &[InstanceAction]) -> Option<&InstanceAction> {
    // Nova gives the youngest first; of two in one instant that one stands.
    actions.iter().rev().filter(|action| action.action == "shelve").max_by_key(|action| &action.start_time)
}
