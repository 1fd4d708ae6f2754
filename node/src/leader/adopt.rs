//! What the cloud knows of parked servers that a new reservation is to take over (architecture D23, docs/decisions/0011).
//!
//! Called on the leader before the lease is proposed; reads only. What is read here cannot turn until then: parked servers
//! of a flavor without open tokens can only be deleted.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_ledger::command::ReservationWish;
use leasehold_ledger::model::{Adoption, Anchor, ProjectId, ReservationId, SourceFlavor};
use leasehold_ledger::plan::flavor_taken;
use leasehold_ledger::reply::Rejection;
use leasehold_ledger::state::State;
use uuid::Uuid;

use super::names::{self, ANCHOR_CLASS, FLAVOR_MARK, Names};
use crate::openstack::nova::{EmbeddedFlavor, Server};
use crate::openstack::{Cloud, CloudError};
use crate::operations::OperationError;

/// Servers that a refusal names, at most.
const OTHERS_TOLD: usize = 5;

/// Why servers cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// The project has no such server, or none of a reservation; another project's is as unknown as one that is not there.
    #[error("{0}")]
    Wrong(String),
    /// They are not as they must be now.
    #[error("{0}")]
    Conflict(String),
    /// The cloud does not answer or fails.
    #[error(transparent)]
    Cloud(#[from] CloudError),
}

impl From<AdoptError> for OperationError {
    fn from(error: AdoptError) -> Self {
        match error {
            AdoptError::Wrong(problem) => Self::Rejected(Rejection::Invalid { field: "servers".to_owned(), problem }),
            AdoptError::Conflict(text) => Self::Conflict(text),
            AdoptError::Cloud(error) => Self::CloudUnavailable(error.to_string()),
        }
    }
}

/// Looks at the servers that a reservation names; `None` when it names none.
///
/// They must be all that are left of one reservation of this project, parked, and of the size asked for: then all servers
/// of that flavor are the new reservation's, whatever is booted later.
///
/// # Errors
/// See [`AdoptError`].
pub async fn adoption(
    cloud: &Cloud,
    names: &Names,
    project: &ProjectId,
    wish: &ReservationWish,
) -> Result<Option<Adoption>, AdoptError> {
    let mut found: Option<(ReservationId, Anchor)> = None;
    // All of the first one's flavor: a server that is not among them is looked at alone, to say what is wrong with it.
    let mut there: BTreeMap<String, Server> = BTreeMap::new();
    for id in &wish.servers {
        let unknown = || AdoptError::Wrong(format!("the project has no server {id}"));
        let server = match there.get(&id.to_string()) {
            Some(server) => server.clone(),
            None => cloud.nova().server(&id.to_string()).await?.ok_or_else(unknown)?,
        };
        if server.tenant_id != project.0 || server.is_gone() {
            return Err(unknown());
        }
        let flavor = flavor_of(names, &server)?;
        if found.is_some_and(|first| first != flavor) {
            return Err(AdoptError::Wrong(format!("server {id} was booted with another reservation than the others")));
        }
        check_kind(&server, wish)?;
        if !server.is_parked() {
            let text = format!("server {id} is {} and cannot be adopted; it must be SHELVED_OFFLOADED", server.status);
            return Err(AdoptError::Conflict(text));
        }
        if found.is_none() {
            let all = cloud.nova().servers_of_flavor(&flavor.0.to_string()).await?;
            there = all.into_iter().filter(|server| !server.is_gone()).map(|server| (server.id.clone(), server)).collect();
            found = Some(flavor);
        }
    }
    let Some((flavor_of, anchor)) = found else { return Ok(None) };
    check_all(flavor_of, project, &there, &wish.servers)?;
    Ok(Some(Adoption { flavor_of, anchor, servers: wish.servers.clone(), opened: false }))
}

/// Whether no reservation has the flavors now, as `apply` asks it, so that a caller hears why instead of that the plan is stale.
///
/// # Errors
/// [`AdoptError::Conflict`].
pub fn check_free<'a>(
    state: &State,
    project: &ProjectId,
    adoptions: impl IntoIterator<Item = &'a Adoption>,
) -> Result<(), AdoptError> {
    match adoptions.into_iter().find_map(|adoption| flavor_taken(state, project, adoption.flavor_of)) {
        None => Ok(()),
        Some(problem) => Err(AdoptError::Conflict(problem)),
    }
}

/// The reservation that a server was booted with, and its anchor, by the flavor that the server keeps.
fn flavor_of(names: &Names, server: &Server) -> Result<(ReservationId, Anchor), AdoptError> {
    let EmbeddedFlavor { extra_specs, .. } = &server.flavor;
    let class = extra_specs.keys().find_map(|key| names::reservation_of_class(key.strip_prefix("resources:")?));
    match class.filter(|_| extra_specs.get(FLAVOR_MARK) == Some(&names.mark())) {
        Some(id) if extra_specs.contains_key(&format!("resources:{ANCHOR_CLASS}")) => Ok((id, Anchor::Class)),
        Some(id) => Ok((id, Anchor::Memory)),
        None => Err(AdoptError::Wrong(format!("server {} was not booted with the flavor of a reservation", server.id))),
    }
}

/// Whether the reservation asks for what the server is, and where it is to be: it wakes on the hosts of the reservation.
fn check_kind(server: &Server, wish: &ReservationWish) -> Result<(), AdoptError> {
    check_size(server, wish)?;
    check_traits(server, wish)?;
    check_zone(server, wish)
}

/// What its flavor says of traits Nova asks of the host on which it wakes (docs/decisions/0018).
fn check_traits(server: &Server, wish: &ReservationWish) -> Result<(), AdoptError> {
    let wish = wish.resource.instance();
    for (key, value) in &server.flavor.extra_specs {
        let Some(name) = key.strip_prefix("trait:") else { continue };
        let asked = if value == "forbidden" { &wish.forbidden_traits } else { &wish.required_traits };
        if !asked.contains(name) {
            let text = format!(
                "server {} keeps a flavor with trait {name} {value}, and the reservation must ask for the same",
                server.id
            );
            return Err(AdoptError::Wrong(text));
        }
    }
    Ok(())
}

fn check_size(server: &Server, wish: &ReservationWish) -> Result<(), AdoptError> {
    let EmbeddedFlavor { vcpus, ram, disk, ephemeral, swap, .. } = server.flavor;
    // As a reservation counts it, and Nova asks Placement for it.
    let beside = SourceFlavor { ephemeral_gb: ephemeral, swap_mb: swap, ..SourceFlavor::default() };
    let disk = disk.saturating_add(beside.more_disk_gb());
    let wish = wish.resource.instance();
    if (vcpus, ram, disk) == (wish.vcpus, wish.memory_mb, wish.disk_gb) {
        return Ok(());
    }
    Err(AdoptError::Wrong(format!(
        "server {} has {vcpus} vcpus, {ram} MB of memory and {disk} GB of disk, and the reservation must ask for the same",
        server.id
    )))
}

/// Nova wakes a server only in the zone that it was booted for, so that its hosts must be reserved there.
fn check_zone(server: &Server, wish: &ReservationWish) -> Result<(), AdoptError> {
    match &server.pinned_availability_zone {
        Some(pinned) if wish.resource.instance().zone.as_ref() != Some(pinned) => Err(AdoptError::Wrong(format!(
            "server {} was booted for availability zone {pinned}, and the reservation must ask for it (zone)",
            server.id
        ))),
        _ => Ok(()),
    }
}

/// Whether these are all servers of the flavor. Of those that are not named only some of the project's own are told.
fn check_all(
    flavor: ReservationId,
    project: &ProjectId,
    there: &BTreeMap<String, Server>,
    named: &BTreeSet<Uuid>,
) -> Result<(), AdoptError> {
    let named: BTreeSet<String> = named.iter().map(ToString::to_string).collect();
    let others: Vec<&Server> = there.values().filter(|server| !named.contains(&server.id)).collect();
    if !others.is_empty() {
        let own = others.iter().filter(|server| server.tenant_id == project.0).map(|server| server.id.as_str());
        let told: Vec<&str> = own.take(OTHERS_TOLD).collect();
        let others = match others.len() - told.len() {
            0 => told.join(", "),
            more if told.is_empty() => more.to_string(),
            more => format!("{} and {more} more", told.join(", ")),
        };
        return Err(AdoptError::Conflict(format!(
            "reservation {flavor} left other servers too, which are adopted together or deleted before: {others}"
        )));
    }
    if there.len() < named.len() {
        // Somebody removed the flavor by hand: a new one of the same name would not be theirs.
        return Err(AdoptError::Conflict(format!("the flavor of the servers, {flavor}, is not there any more")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leasehold_ledger::model::{InstanceWish, OnEnd, ResourceWish};

    fn server(number: u128, project: &str) -> (String, Server) {
        let id = Uuid::from_u128(number).to_string();
        let server = Server {
            id: id.clone(),
            name: "s".to_owned(),
            status: "SHELVED_OFFLOADED".to_owned(),
            tenant_id: project.to_owned(),
            task_state: None,
            hypervisor_hostname: None,
            pinned_availability_zone: None,
            flavor: EmbeddedFlavor::default(),
        };
        (id, server)
    }

    fn refusal(there: &[(String, Server)]) -> String {
        let there = there.iter().cloned().collect();
        let (flavor, project) = (ReservationId(Uuid::from_u128(99)), ProjectId("p".into()));
        check_all(flavor, &project, &there, &[Uuid::from_u128(1)].into()).unwrap_err().to_string()
    }

    fn asking(instance: InstanceWish) -> ReservationWish {
        let resource = ResourceWish::Instance(instance.into());
        ReservationWish { resource, staging: None, on_end: OnEnd::Delete, servers: BTreeSet::new() }
    }

    /// A server of one vCPU, 512 MiB and 3 GiB, with more of a flavor.
    fn like(more: EmbeddedFlavor) -> Server {
        let (_, server) = server(1, "p");
        Server { flavor: EmbeddedFlavor { vcpus: 1, ram: 512, disk: 3, ..more }, ..server }
    }

    fn refused(server: &Server, instance: InstanceWish) -> String {
        match check_kind(server, &asking(instance)) {
            Err(AdoptError::Wrong(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_server_that_is_pinned_to_a_zone_is_adopted_by_a_reservation_in_it_alone() {
        let asked = |zone: Option<&str>| InstanceWish { zone: zone.map(str::to_owned), ..InstanceWish::anywhere(1, 512, 3, 1) };
        let free = like(EmbeddedFlavor::default());
        let pinned = Server { pinned_availability_zone: Some("a".to_owned()), ..free.clone() };
        assert_eq!(check_kind(&free, &asking(asked(None))), Ok(()));
        assert_eq!(check_kind(&free, &asking(asked(Some("b")))), Ok(()));
        assert_eq!(check_kind(&pinned, &asking(asked(Some("a")))), Ok(()));
        for zone in [None, Some("b")] {
            let told = refused(&pinned, asked(zone));
            assert!(told.contains("zone a"), "{told}");
        }
    }

    #[test]
    fn the_disk_of_a_server_is_all_that_it_has() {
        let server = like(EmbeddedFlavor { ephemeral: 2, swap: 1_025, ..EmbeddedFlavor::default() });
        assert_eq!(check_kind(&server, &asking(InstanceWish::anywhere(1, 512, 7, 1))), Ok(()));
        for other in [3, 5, 8] {
            let told = refused(&server, InstanceWish::anywhere(1, 512, other, 1));
            assert!(told.contains("7 GB of disk"), "{told}");
        }
    }

    #[test]
    fn the_traits_of_a_servers_flavor_are_asked_for_too() {
        let specs = [("trait:A", "required"), ("trait:B", "forbidden"), ("hw_rng:allowed", "true")];
        let extra_specs = specs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let server = like(EmbeddedFlavor { extra_specs, ..EmbeddedFlavor::default() });
        let asked = |required: &[&str], forbidden: &[&str]| {
            let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            InstanceWish {
                required_traits: set(required),
                forbidden_traits: set(forbidden),
                ..InstanceWish::anywhere(1, 512, 3, 1)
            }
        };
        assert_eq!(check_kind(&server, &asking(asked(&["A", "C"], &["B"]))), Ok(()));
        for (required, forbidden, missing) in [(&["A"][..], &[][..], "trait B forbidden"), (&["B"], &["B"], "trait A required")] {
            let told = refused(&server, asked(required, forbidden));
            assert!(told.contains(missing), "{told}");
        }
    }

    #[test]
    fn of_servers_that_are_not_named_five_of_the_project_are_told_and_the_rest_is_counted() {
        let mut all: Vec<_> = (1..=4).map(|number| server(number, "p")).collect();
        let told = refusal(&all);
        assert!((2..=4).all(|number| told.contains(&server(number, "p").0)), "{told}");
        assert!(!told.contains("more"), "{told}");
        all.extend((5..=9).map(|number| server(number, "p")));
        all.push(server(10, "q"));
        let told = refusal(&all);
        assert!((2..=6).all(|number| told.contains(&server(number, "p").0)), "{told}");
        assert!((7..=10).all(|number| !told.contains(&server(number, "p").0)), "{told}");
        assert!(told.ends_with(" and 4 more"), "{told}");
        let told = refusal(&[server(1, "p"), server(2, "q")]);
        assert!(!told.contains(&server(2, "q").0) && told.ends_with(": 1"), "{told}");
    }
}
