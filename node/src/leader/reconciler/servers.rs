//! A shelve that a deposed leader sent while it parked servers can take effect after the start, when its successor has long
//! woken them: nothing fences a state verb but the server's state (architecture D6). Such a server is woken again, if
//! the lease has a slot for it: a start leaves servers parked whose lease was made smaller than its tenant had parked.
//!
//! Whose the shelve was is told by Nova's list of the server's actions. It keeps no id that a caller can choose: its
//! `request_id` is Nova's own, and the id we send goes only to the logs. It does keep the user, and the service user shelves
//! servers of our flavors for nothing but parking. A tenant's own shelve is his, and respected.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use leasehold_ledger::model::{Lease, LeaseId, ReservationId, Stage};
use leasehold_ledger::state::State;

use super::Found;
use crate::leader::desired;
use crate::leader::pause::ASKED_MAX;
use crate::leader::permits::Provided;
use crate::leader::work::Work;
use crate::openstack::nova::{InstanceAction, Verb};
use crate::openstack::{CloudError, Errand, Withheld};
use crate::seams::Mono;

/// Pause before a server is woken again, doubled each time up to the reconciler's period.
const AGAIN_FIRST: Duration = Duration::from_secs(5);
/// One that does not wake by then is left to the operator and the next leader.
const ATTEMPTS_MAX: u32 = 5;

/// How often this leader tried to wake each server, and when it may again.
#[derive(Debug, Default)]
pub struct Wakes {
    tried: BTreeMap<String, (u32, Mono)>,
}

impl Wakes {
    /// Time left until a server may be tried; `None` when it was tried often enough.
    fn wait(&self, server: &str, now: Mono) -> Option<Duration> {
        match self.tried.get(server) {
            None => Some(Duration::ZERO),
            Some((times, _)) if *times >= ATTEMPTS_MAX => None,
            Some((_, next)) => Some(next.since(now)),
        }
    }

    /// Notes an attempt, and answers the pause after it: at least what Nova asked for.
    fn note(&mut self, server: String, now: Mono, longest: Duration, asked: Option<Duration>) -> Duration {
        let (times, next) = self.tried.entry(server).or_insert((0, now));
        let pause = (AGAIN_FIRST * 2_u32.pow((*times).min(ATTEMPTS_MAX))).min(longest);
        let pause = pause.max(asked.unwrap_or_default().min(ASKED_MAX));
        (*times, *next) = (*times + 1, now.after(pause));
        pause
    }
}

/// Wakes what was parked late.
pub async fn look(work: &Work, tried: &mut Wakes) -> Result<Found, CloudError> {
    let started: Vec<(LeaseId, ReservationId, ReservationId)> = work.ledger.look(|state| {
        let ids = |lease: &Lease| lease.reservations.iter().map(|one| (lease.id, one.id, one.flavor())).collect::<Vec<_>>();
        state.leases().flat_map(ids).filter(|(lease, id, _)| is_started(state, *lease, *id)).collect()
    });
    let now = work.clock.mono();
    let mut again_in: Option<Duration> = None;
    let mut failed = Ok(());
    let soonest = |so_far: Option<Duration>, pause: Duration| Some(so_far.map_or(pause, |so_far| so_far.min(pause)));
    for (lease, id, flavor) in started {
        let (mut ids, mut wakes) = (Vec::new(), Vec::new());
        let servers = work.cloud.nova().servers_of_flavor(&flavor.to_string()).await?;
        let of_lease = |state: &State| state.lease(lease)?.reservation(id).map(|one| desired::slots_free(one, &servers));
        let mut free = work.ledger.look(of_lease).unwrap_or_default();
        for server in servers.into_iter().filter(|one| matches!(one.status.as_str(), "SHELVED" | "SHELVED_OFFLOADED")) {
            // More are parked than the lease has slots left: they wait until there is room.
            if server.is_parked() && free == 0 {
                continue;
            }
            match tried.wait(&server.id, now) {
                None => {
                    tracing::warn!(server = server.id, reservation = %id, "a server shelved late does not wake; it is left so")
                }
                Some(Duration::ZERO) => {
                    free -= usize::from(server.is_parked());
                    ids.push(server.id.clone());
                    wakes.push(wake(work, lease, id, server.id).boxed());
                }
                Some(left) => again_in = soonest(again_in, left),
            }
        }
        for (server, woken) in ids.into_iter().zip(join_all(wakes).await) {
            if !matches!(woken, Ok(false)) {
                let asked = woken.as_ref().err().and_then(CloudError::retry_after);
                again_in = soonest(again_in, tried.note(server, work.clock.mono(), work.config.reconcile_period, asked));
            }
            failed = failed.and(woken.map(drop));
        }
    }
    failed?;
    Ok(again_in.map_or(Found::AsWanted, |again_in| Found::LateEffects { again_in }))
}

/// Open, once parked, and no worker at it.
fn is_started(state: &State, lease: LeaseId, id: ReservationId) -> bool {
    let reservation = state.lease(lease).and_then(|lease| lease.reservation(id));
    reservation.is_some_and(|one| one.stage == Stage::Open && (one.staging.is_some() || one.adoption.is_some()))
        && state.open_row(lease, id).is_none()
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
    tracing::warn!(server = server_id, reservation = %id, "a server that we shelved is parked though its lease has room for it; waking it");
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
