//! The compute hosts as their operators know them: which of them somebody is busy with, and when one was let go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::model::{Host, HostId, ReservationStatus};
use leasehold_ledger::state::State;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use super::world::World;

/// A compute remembers a child provider that was deleted for five minutes, in which builds on it fail: so long a host that was
/// let go is not taken in again.
const RESTS: Duration = Duration::from_secs(310);

/// See the module.
#[derive(Debug, Default)]
pub struct Hosts {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    busy: BTreeSet<String>,
    gone: BTreeMap<String, Instant>,
    /// vCPUs that hosts were declared to get, and have not got.
    owed: BTreeMap<String, u32>,
}

/// One host that nobody else does anything with, until dropped.
pub struct Claim {
    world: Arc<World>,
    /// Its name.
    pub name: String,
}

impl Claim {
    /// A host that nobody is busy with; `None`: somebody is.
    pub fn new(world: &Arc<World>, name: &str) -> Option<Claim> {
        let is_free = world.hosts.inner.lock().busy.insert(name.to_owned());
        is_free.then(|| Claim { world: world.clone(), name: name.to_owned() })
    }

    /// It was let go.
    pub fn is_gone(&self) {
        self.world.hosts.inner.lock().gone.insert(self.name.clone(), Instant::now());
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.world.hosts.inner.lock().busy.remove(&self.name);
    }
}

/// The state that is furthest on, and the hosts in it.
pub fn known(world: &World) -> Vec<Host> {
    with_state(world, |state| state.hosts().cloned().collect()).unwrap_or_default()
}

/// Looks at the state that is furthest on; `None`: nobody runs.
pub fn with_state<T>(world: &World, look: impl FnOnce(&State) -> T) -> Option<T> {
    let lives = world.machines.iter().filter_map(|machine| machine.life());
    let first = lives.max_by_key(|life| life.raft.state().ledger_index())?;
    let state = first.raft.state();
    Some(look(&state))
}

/// Whether anything is bound to a host, or was and is not yet confirmed to be over: counted lease by lease.
pub fn is_in_use(state: &State, host: HostId) -> bool {
    let all = state.leases().flat_map(|lease| lease.reservations.iter().map(move |one| (lease, one)));
    // Of a lease that is being deleted the cloud has not said yet that nothing is left.
    let mut there = all.filter(|(lease, one)| lease.deleted || one.status != ReservationStatus::Deleted);
    there.any(|(_, one)| {
        let before = one.previous.iter().flat_map(|previous| &previous.bindings);
        one.bindings.iter().chain(&one.releasing).chain(before).any(|binding| binding.host == host)
    })
}

/// A host of the cloud that the ledger does not know, claimed. The ones that were never taken in come first.
pub fn claim_spare(world: &Arc<World>) -> Option<Claim> {
    let known: BTreeSet<String> = known(world).into_iter().map(|host| host.description.hypervisor_hostname).collect();
    let gone = |name: &str| world.hosts.inner.lock().gone.get(name).copied();
    let mut spares: Vec<(Option<Instant>, String)> =
        world.cloud.with(|cloud| cloud.hosts()).into_iter().map(|name| (gone(&name), name)).collect();
    spares.retain(|(gone, name)| !known.contains(name) && gone.is_none_or(|at| at.elapsed() >= RESTS));
    spares.sort();
    spares.iter().find_map(|(_, name)| Claim::new(world, name))
}

/// A host of the ledger that is to take no more bookings, claimed; `None`: too few would be left that do.
pub fn claim_known(world: &Arc<World>, pick: u64, least_left: usize) -> Option<(Claim, Host)> {
    let mut free = known(world);
    free.retain(|host| host.reservable && !world.hosts.inner.lock().busy.contains(&host.description.hypervisor_hostname));
    if free.len() <= least_left {
        return None;
    }
    let host = free.swap_remove(usize::try_from(pick % free.len() as u64).unwrap_or(0));
    Claim::new(world, &host.description.hypervisor_hostname).map(|claim| (claim, host))
}

/// A host is declared to get so many vCPUs, and shall have them in the end. What it was owed before.
pub fn owes(world: &World, host: &str, vcpus: u32) -> Option<u32> {
    let mut inner = world.hosts.inner.lock();
    let before = inner.owed.get(host).copied();
    inner.owed.insert(host.to_owned(), before.map_or(vcpus, |before| before.max(vcpus)));
    before
}

/// That was refused: it is owed what it was before.
pub fn owes_as_before(world: &World, host: &str, before: Option<u32>) {
    let mut inner = world.hosts.inner.lock();
    match before {
        Some(vcpus) => inner.owed.insert(host.to_owned(), vcpus),
        None => inner.owed.remove(host),
    };
}

/// A host gets what it was declared to get.
pub fn pay(world: &World, host: &str) {
    if let Some(vcpus) = world.hosts.inner.lock().owed.remove(host) {
        world.cloud.with(|cloud| cloud.set_host_vcpus(host, vcpus.into()));
    }
}

/// All hosts do.
pub fn pay_all(world: &World) {
    let owed: Vec<String> = world.hosts.inner.lock().owed.keys().cloned().collect();
    owed.iter().for_each(|host| pay(world, host));
}

/// Holds and child providers of ours on hosts that the ledger does not know.
pub fn traces(world: &World) -> Vec<String> {
    let roots: BTreeSet<String> = known(world).into_iter().map(|host| host.description.root_provider.to_string()).collect();
    let placement = world.cloud.with(|cloud| cloud.state())["placement"].take();
    let each = |of: &str| placement[of].as_object().cloned().unwrap_or_default();
    let is_foreign = |root: &Value| root.as_str().is_some_and(|root| !roots.contains(root));
    let children = each("providers").into_iter().filter(|(_, one)| one["parent"].is_string() && is_foreign(&one["root"]));
    let holds = each("allocations").into_iter().filter(|(_, one)| {
        let on = one["allocations"].as_object().into_iter().flat_map(serde_json::Map::keys);
        one["consumer_type"] == "LEASEHOLD_HOLD" && on.map(|root| Value::from(root.as_str())).any(|root| is_foreign(&root))
    });
    children.chain(holds).map(|(id, _)| id).collect()
}
