//! The server group that affinity true or false wants, as the leader finds or makes it when the node that took the request
//! did not (docs/decisions/0013).

use leasehold_ledger::command::FoundGroup;
use leasehold_ledger::model::{Lease, Reservation};

use super::names::Names;
use crate::openstack::nova::{GroupPolicy, Nova, ServerGroup};
use crate::openstack::{CloudError, Errand};

/// Why a group is not the tenant's where nobody said: the node ended, or the ledger could not be told.
pub const UNTOLD: &str = "the node that took the request did not say what came of the group";
/// Where the request came without a token of the tenant's.
const NO_TOKEN: &str = "the request came without a token that Nova knows";

/// Whether a group was made for this reservation as it is wished for now. An update of the affinity leaves one of the same
/// name and another policy behind.
pub fn fits(group: &ServerGroup, reservation: &Reservation) -> bool {
    reservation.wish.instance().affinity.is_some_and(|affinity| group.policy == GroupPolicy::of(affinity).name())
}

/// Takes a group of that name of those that are there, the tenant's own before one of ours, or makes one in our project. Of
/// two alike the smaller id is taken, and the reconciler removes the other.
pub async fn find_or_make(
    nova: &Nova<'_>,
    there: &[ServerGroup],
    errand: &Errand<'_>,
    names: &Names,
    (lease, reservation): (&Lease, &Reservation),
) -> Result<Option<FoundGroup>, CloudError> {
    let Some(affinity) = reservation.wish.instance().affinity else { return Ok(None) };
    let name = names.server_group(lease.id, reservation.id);
    let is_foreign = |group: &ServerGroup| group.project_id != lease.project_id.0;
    let named = there.iter().filter(|group| group.name == name && fits(group, reservation));
    let group = match named.min_by_key(|group| (is_foreign(group), group.id)) {
        Some(group) => group.clone(),
        None => nova.create_server_group(errand, &name, GroupPolicy::of(affinity)).await?,
    };
    let problem = is_foreign(&group).then(|| {
        let why = match &reservation.server_group_problem {
            Some(told) => told,
            None if reservation.group_awaited => UNTOLD,
            None => NO_TOKEN,
        };
        tracing::warn!(lease = %lease.id, reservation = %reservation.id, group = %group.id, why,
            "the server group is the service user's: Nova will refuse it as the tenant's hint");
        why.to_owned()
    });
    Ok(Some(FoundGroup { affinity, server_group_id: Some(group.id), problem }))
}
