//! Takes a host in and lets it go, for the operations: what the ledger must know of it, its two permanent children in
//! Placement, its first hold (architecture D20, D21).
//!
//! Called on the leader, under its permit. What is made here is made the same way again, so a lost answer costs nothing;
//! when the ledger then refuses the host, call [`offboard`].

use leasehold_ledger::command::RegisterHost;
use leasehold_ledger::model::{Amounts, Anchor, HostDescription, PoolKind};
use leasehold_ledger::mutant;
use uuid::Uuid;

use super::desired;
use super::grain::{self, GRAIN_MIN_MB};
use super::host_monitor;
use super::host_plan;
use super::names::{self, ANCHOR_CLASS, HOLD_TYPE, Names};
use super::permits::{LeaderPermit, Provided};
use crate::openstack::nova::{Hypervisor, ServiceState};
use crate::openstack::placement::ConsumerWrite;
use crate::openstack::{Cloud, CloudError, CloudUser, Errand, Withheld};
use crate::operations::{HostRequest, OperationError};

/// Most anchors, and so lease servers, of one host.
pub const ANCHORS_MAX: u32 = 255;
/// Generations lost to concurrent writers before giving up.
const ATTEMPTS_MAX: usize = 10;

/// Why a host was not taken in, or not let go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnboardError {
    /// Nova knows no compute host of this name.
    #[error("Host '{0}' not found!")]
    NotFound(String),
    /// The cloud's state does not allow it; Blazar's texts where it has one. Nothing is left behind.
    #[error("{0}")]
    Conflict(String),
    /// The cloud does not answer or fails.
    #[error(transparent)]
    Cloud(#[from] CloudError),
}

impl From<OnboardError> for OperationError {
    fn from(error: OnboardError) -> Self {
        match error {
            OnboardError::NotFound(name) => Self::ComputeHostNotFound(name),
            OnboardError::Conflict(text) => Self::Conflict(text),
            OnboardError::Cloud(error) => Self::CloudUnavailable(error.to_string()),
        }
    }
}

/// Whether the ledger has a host with this root provider: then its hold and its children are the leader's tasks' alone.
pub type IsKnown<'a> = &'a (dyn Fn(Uuid) -> bool + Send + Sync);

/// One host's coming or going.
pub struct Visit<'a> {
    /// Asked before every mutating call.
    pub permit: &'a LeaderPermit,
    /// What tells its calls from those of another for the same host.
    pub number: Uuid,
    /// See there.
    pub is_known: IsKnown<'a>,
}

/// Reads a host, makes its children, and raises its first hold; writes nothing for a host that the ledger knows.
///
/// # Errors
/// See [`OnboardError`].
pub async fn onboard(
    cloud: &Cloud,
    cluster_id: Uuid,
    visit: &Visit<'_>,
    request: &HostRequest,
) -> Result<RegisterHost, OnboardError> {
    let (names, name, pool) = (&Names::new(cluster_id), request.name.as_str(), request.pool);
    let not_found = || OnboardError::NotFound(name.to_owned());
    let hypervisor = find(cloud, name).await?.ok_or_else(not_found)?;
    let host = hypervisor.hypervisor_hostname.clone();
    let root = cloud.placement().provider_named(&host).await?.ok_or_else(not_found)?.uuid;
    let service = cloud.nova().compute_service(&hypervisor.service.host).await?;
    if service.as_ref().is_some_and(ServiceState::is_unknown) {
        // Nova does not even say in which zone it is.
        return Err(OnboardError::Conflict(format!("the cell of host {host} does not answer Nova; try again")));
    }
    let up = service.as_ref().is_some_and(ServiceState::usable);
    let budget = budget(cloud, names, pool, root, &host).await?;
    let gone = || OnboardError::Conflict(format!("Placement has no inventory of host {host} yet; try again"));
    let observation = host_monitor::read(cloud, names, &root, budget.anchor, budget.anchors).await?.ok_or_else(gone)?;
    if observation.capacity == (Amounts { slots: observation.capacity.slots, ..Amounts::default() }) {
        return Err(gone());
    }
    if pool == PoolKind::Dedicated && observation.firm != Amounts::default() {
        let on_it = cloud.nova().servers_on(&hypervisor.service.host).await?;
        let ids: Vec<String> = on_it.iter().map(|server| format!("'{}'", server.id)).collect();
        return Err(OnboardError::Conflict(format!("Servers [{}] found for host {host}", ids.join(", "))));
    }
    let permit = Provided { inner: visit.permit, condition: || !(visit.is_known)(root) };
    let errand = &Errand::new(format!("onboard/{name}/{}", visit.number), visit.permit.term(), &permit);
    // The hold of a host without reservations, raised before it is promised to anyone: all of a dedicated one, on a shared
    // one the remainder that keeps ordinary servers out of the anchors' memory (D21).
    let hold = desired::hold_of(pool, budget.grain_mb, &observation, Amounts::default());
    let made = match children(cloud, names, errand, &host, root).await {
        Ok(()) => hold_all(cloud, names, errand, root, Hold::AtLeast(hold), observation.max_unit).await,
        failed => failed,
    };
    // A repeated request, or another one that was faster: the ledger answers it.
    unless_known(made)?;
    let zone = service.map(|service| service.zone).filter(|zone| !zone.is_empty());
    let description = describe(&hypervisor, root, zone, pool, &budget);
    let observation = leasehold_ledger::model::Observation { up, ..observation };
    Ok(RegisterHost { description, observation, properties: request.properties.clone() })
}

/// Lowers every hold and removes both children. The ledger must have let the host go, or refused it. `number` as of [`onboard`].
///
/// # Errors
/// See [`OnboardError`]; what was removed already is not there any more when it is called again.
pub async fn offboard(cloud: &Cloud, cluster_id: Uuid, visit: &Visit<'_>, root: Uuid) -> Result<(), OnboardError> {
    let names = &Names::new(cluster_id);
    let permit = Provided { inner: visit.permit, condition: || !(visit.is_known)(root) };
    let errand = &Errand::new(format!("offboard/{root}/{}", visit.number), visit.permit.term(), &permit);
    unless_known(remove_traces(cloud, names, errand, root).await)
}

/// What was withheld because the ledger knows the host (again) is nobody's failure.
fn unless_known(result: Result<(), OnboardError>) -> Result<(), OnboardError> {
    match result {
        Err(OnboardError::Cloud(CloudError::Withheld(Withheld::Superseded))) => Ok(()),
        other => other,
    }
}

/// As [`offboard`], on an errand of the caller's.
///
/// # Errors
/// As [`offboard`].
pub(super) async fn remove_traces(cloud: &Cloud, names: &Names, errand: &Errand<'_>, root: Uuid) -> Result<(), OnboardError> {
    // Planted bug: what was made for a host stays when it goes.
    if mutant!("H02") {
        return Ok(());
    }
    hold_all(cloud, names, errand, root, Hold::Nothing, Amounts::default()).await?;
    let placement = cloud.placement();
    for child in [names.reservation_provider(root), names.loan_provider(root)] {
        match placement.delete_provider(errand, child).await {
            Ok(()) => {}
            Err(error) if error.is_conflict() => {
                return Err(OnboardError::Conflict(format!("servers of reservations are still on the host: {error}")));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The hypervisor of this name, or of the compute service of this name.
async fn find(cloud: &Cloud, name: &str) -> Result<Option<Hypervisor>, CloudError> {
    // All others are read only if there is none whose name has this one in it: a hypervisor is mostly named like its service, or
    // that with a domain, and a cloud may have thousands.
    if is_pattern(name)
        && let Some(near) = pick(cloud.nova().hypervisors_like(name).await?, name)
    {
        return Ok(Some(near));
    }
    Ok(pick(cloud.nova().hypervisors().await?, name))
}

/// Whether Nova finds few by it: it takes a part of a name, and what its database takes for a wildcard, for all of them.
fn is_pattern(name: &str) -> bool {
    name.len() > 1 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte))
}

/// A hypervisor's own name goes before that of a service.
fn pick(mut hypervisors: Vec<Hypervisor>, name: &str) -> Option<Hypervisor> {
    let by_name = hypervisors.iter().position(|hypervisor| hypervisor.hypervisor_hostname == name);
    let found = by_name.or_else(|| hypervisors.iter().position(|hypervisor| hypervisor.service.host == name))?;
    Some(hypervisors.swap_remove(found))
}

/// How many servers of ours a host can anchor, by what, and the grain that keeps their memory safe.
struct Budget {
    anchor: Anchor,
    /// K.
    anchors: u32,
    /// G; 0 where it does not matter.
    grain_mb: u32,
}

/// K and G (architecture D21). On dedicated hosts no ordinary server competes, so G does not matter. A shared host whose
/// root has anchors of their own class uses those, whatever G: who put them there wants them used (docs/decisions/0010).
async fn budget(cloud: &Cloud, names: &Names, pool: PoolKind, root: Uuid, host: &str) -> Result<Budget, OnboardError> {
    if pool == PoolKind::Dedicated {
        return Ok(Budget { anchor: Anchor::Memory, anchors: ANCHORS_MAX, grain_mb: 0 });
    }
    let inventories = cloud.placement().inventories(root).await?;
    let own = inventories.map_or(0, |inventories| host_monitor::anchors(&inventories));
    if own > 0 {
        return Ok(Budget { anchor: Anchor::Class, anchors: own.min(ANCHORS_MAX), grain_mb: 0 });
    }
    let flavors = &cloud.nova().flavors().await?;
    let grain = grain::read(cloud, names, root, flavors).await?;
    if grain != 0 && grain < GRAIN_MIN_MB {
        return Err(OnboardError::Conflict(format!(
            "host {host} cannot be shared: the memory of the ordinary flavors has a common grain of {grain} MB, and {GRAIN_MIN_MB} are \
             needed ({}). Remove those, or give the compute node an inventory of {ANCHOR_CLASS} in a provider.yaml of \
             nova-compute, one for each server of reservations that it may carry",
            grain::culprits(flavors, GRAIN_MIN_MB)
        )));
    }
    // Without any ordinary flavor every amount is a multiple of the grain; the least one is the safe one.
    let grain = if grain == 0 { GRAIN_MIN_MB } else { grain };
    Ok(Budget { anchor: Anchor::Memory, anchors: ANCHORS_MAX.min(grain - 1), grain_mb: grain })
}

/// The two permanent children of a host (architecture D20); those that are there are done.
///
/// # Errors
/// `Conflict` when something else has their names.
pub(super) async fn children(
    cloud: &Cloud,
    names: &Names,
    errand: &Errand<'_>,
    host: &str,
    root: Uuid,
) -> Result<(), OnboardError> {
    child(cloud, errand, &names::reservation_provider_name(host), names.reservation_provider(root), root).await?;
    child(cloud, errand, &names::loan_provider_name(host), names.loan_provider(root), root).await
}

/// A permanent child; one that is there is done.
async fn child(cloud: &Cloud, errand: &Errand<'_>, name: &str, uuid: Uuid, root: Uuid) -> Result<(), OnboardError> {
    match cloud.placement().create_provider(errand, name, uuid, root).await {
        Ok(()) => Ok(()),
        Err(error) if error.is_conflict() => match cloud.placement().provider(uuid).await? {
            Some(_) => Ok(()),
            None => Err(OnboardError::Conflict(format!("Conflict on creating resource provider {name} "))),
        },
        Err(error) => Err(error.into()),
    }
}

/// Where a hold is to be brought.
#[derive(Clone, Copy)]
enum Hold {
    /// Onboarding only ever raises: what is held already may be promised.
    AtLeast(Amounts),
    /// The host is let go.
    Nothing,
}

/// Brings the hold of a host that the ledger does not know (yet, or any more) there.
async fn hold_all(
    cloud: &Cloud,
    names: &Names,
    errand: &Errand<'_>,
    root: Uuid,
    wanted: Hold,
    max_unit: Amounts,
) -> Result<(), OnboardError> {
    let owner = CloudUser { project_id: names.holds_project(), ..cloud.user().await? };
    for _ in 0..ATTEMPTS_MAX {
        let Some(users) = cloud.placement().allocations_on(root).await? else { return Ok(()) };
        let shards = host_plan::shards_read(names, root, &users);
        let wanted = match wanted {
            Hold::AtLeast(least) => {
                let sum = |sum: Amounts, one: &host_plan::Shard| sum.checked_add(one.amounts).unwrap_or(sum);
                shards.iter().fold(Amounts::default(), sum).max(least)
            }
            Hold::Nothing => Amounts::default(),
        };
        let writes: Vec<ConsumerWrite> = host_plan::shards_of(names, root, &shards, wanted, max_unit);
        if writes.is_empty() {
            return Ok(());
        }
        match cloud.placement().write_consumers(errand, &owner, HOLD_TYPE, &writes).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_concurrent_update() => {}
            Err(error) if error.is_conflict() => return Err(OnboardError::Conflict(format!("the host cannot be held: {error}"))),
            Err(error) => return Err(error.into()),
        }
    }
    Err(OnboardError::Conflict("the host changes faster than it can be held; try again".to_owned()))
}

fn describe(hypervisor: &Hypervisor, root: Uuid, zone: Option<String>, pool: PoolKind, budget: &Budget) -> HostDescription {
    let cpu_info = match &hypervisor.cpu_info {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    HostDescription {
        hypervisor_hostname: hypervisor.hypervisor_hostname.clone(),
        service_name: hypervisor.service.host.clone(),
        root_provider: root,
        hypervisor_type: hypervisor.hypervisor_type.clone(),
        hypervisor_version: hypervisor.hypervisor_version,
        cpu_info,
        vcpus: hypervisor.vcpus,
        memory_mb: hypervisor.memory_mb,
        local_gb: hypervisor.local_gb,
        zone,
        pool,
        anchor_budget: budget.anchors,
        memory_grain_mb: budget.grain_mb,
        anchor: budget.anchor,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_part_of_few_names_is_asked_for_as_one() {
        for (name, may) in [("cmp1", true), ("cmp1.example.org", true), ("", false), ("c", false), ("cm_1", false), ("%%", false)]
        {
            assert_eq!(is_pattern(name), may, "{name:?}");
        }
    }

    #[test]
    fn a_hypervisor_is_picked_by_its_own_name_before_that_of_its_service() {
        let hypervisor = |name: &str, service: &str| -> Hypervisor {
            serde_json::from_value(json!({
                "id": name, "hypervisor_hostname": name, "hypervisor_type": "QEMU", "hypervisor_version": 1,
                "service": {"host": service},
            }))
            .unwrap()
        };
        let all = || vec![hypervisor("cmp1.example.org", "cmp1"), hypervisor("cmp10", "cmp10"), hypervisor("ten", "cmp10")];
        let picked = |name: &str| pick(all(), name).map(|hypervisor| hypervisor.id);
        assert_eq!(picked("cmp1"), Some("cmp1.example.org".to_owned()), "by its service");
        assert_eq!(picked("cmp1.example.org"), Some("cmp1.example.org".to_owned()));
        assert_eq!(picked("cmp10"), Some("cmp10".to_owned()));
        assert_eq!(picked("ten"), Some("ten".to_owned()));
        assert_eq!(picked("cmp"), None, "a part of a name is no name");
    }
}
