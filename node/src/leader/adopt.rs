//! What the cloud knows of parked servers that a new reservation is to take over (architecture D23, docs/decisions/0011).
//!
//! Called on the leader before the lease is proposed; reads only. What is read here cannot turn until then: parked servers
//! of a flavor without open tokens can only be deleted.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_ledger::command::ReservationWish;
use leasehold_ledger::model::{Adoption, Anchor, ProjectId, ReservationId};
use leasehold_ledger::reply::Rejection;
use uuid::Uuid;

use super::names::{self, ANCHOR_CLASS, FLAVOR_MARK, Names};
use crate::openstack::nova::{EmbeddedFlavor, Server};
use crate::openstack::{Cloud, CloudError};
use crate::operations::OperationError;

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
        check_size(&server, wish)?;
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
    check_all(flavor_of, &there, &wish.servers)?;
    Ok(Some(Adoption { flavor_of, anchor, servers: wish.servers.clone() }))
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

fn check_size(server: &Server, wish: &ReservationWish) -> Result<(), AdoptError> {
    let EmbeddedFlavor { vcpus, ram, disk, .. } = server.flavor;
    let wish = wish.resource.instance();
    if (vcpus, ram, disk) == (wish.vcpus, wish.memory_mb, wish.disk_gb) {
        return Ok(());
    }
    Err(AdoptError::Wrong(format!(
        "server {} has {vcpus} vcpus, {ram} MB of memory and {disk} GB of disk, and the reservation must ask for the same",
        server.id
    )))
}

/// Whether these are all servers of the flavor.
fn check_all(flavor: ReservationId, there: &BTreeMap<String, Server>, named: &BTreeSet<Uuid>) -> Result<(), AdoptError> {
    let named: BTreeSet<String> = named.iter().map(ToString::to_string).collect();
    let others: Vec<&str> = there.keys().filter(|id| !named.contains(*id)).map(String::as_str).collect();
    if !others.is_empty() {
        let others = others.join(", ");
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
