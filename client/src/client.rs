//! One method per operation: leases, keys, capacity and hosts here, the cluster in `cluster.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::command::{LeaseChange, Recurrence};
use leasehold_ledger::listing::{
    AllocationFilter, DowntimeListing, HostAllocation, HostDowntime, HostListing, LeaseFilter, Quota, QuotaListing, Utilisation,
    UtilisationWish,
};
use leasehold_ledger::model::{DowntimeId, Host, HostId, Lease, LeaseId, LimitKind, Limits, SeriesId, Upgrade};
use leasehold_ledger::plan::{Capacity, CapacityWish, Density, DensityWish, HostReservation, WhatIf, WhatIfHosts};
use uuid::Uuid;

use crate::answer::{Answer, BookedSeries, DeletedSeries, Key, KeyState};
use crate::connect::Builder;
use crate::error::{Error, Refusal, RefusalKind};
use crate::retry::{Caller, Patience, Repeat};
use crate::watch::Watch;
use crate::wire::convert::{self, HostChange, NewDowntime, NewHost, NewLease};
use crate::wire::v1;
use crate::wire::v1::capacity_service_client::CapacityServiceClient;
use crate::wire::v1::host_service_client::HostServiceClient;
use crate::wire::v1::lease_service_client::LeaseServiceClient;
use crate::wire::v1::quota_service_client::QuotaServiceClient;

/// Largest answer that is taken, bytes: a listing of some 100,000 leases.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Deletes answer when the capacity is free, after at most 60 s (architecture D19).
const DELETE_TIME: Duration = Duration::from_secs(75);

/// A client of a cluster. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) caller: Arc<Caller>,
    pub(crate) patience: Patience,
    key_validity_ms: u64,
}

macro_rules! send {
    ($service:ident, $method:ident) => {
        |channel, request| async move {
            $service::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).$method(request).await
        }
    };
}
pub(crate) use send;

impl Client {
    /// A client of the cluster with these members (`host:port` of their gRPC edge; any of them finds the others).
    pub fn builder<A: Into<String>>(members: impl IntoIterator<Item = A>) -> Builder {
        Builder::new(members.into_iter().map(Into::into).collect())
    }

    pub(crate) fn new(caller: Caller, patience: Patience, key_validity_ms: u64) -> Client {
        Client { caller: Arc::new(caller), patience, key_validity_ms }
    }

    /// A key for one request. Its outcome is remembered for ten minutes, or as [`Builder::key_validity`] says.
    pub fn new_key(&self) -> Key {
        let id = uuid::Builder::from_random_bytes(self.caller.system.random().to_be_bytes()).into_uuid();
        Key { id, valid_until: self.caller.system.now().plus_ms(self.key_validity_ms) }
    }

    /// Books a lease. The answer is final: a committed entry of the ledger.
    ///
    /// Errors: [`Error::Refused`] with an [`Offer`](crate::Offer) when there is no room; [`Error::OutcomeUnknown`] when it
    /// may have been booked.
    pub async fn create_lease(&self, key: Key, wish: NewLease) -> Result<Answer<Lease>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let request = v1::CreateLeaseRequest { request_id, valid_until_ms, ..wish.into_request() };
        let send = send!(LeaseServiceClient, create_lease);
        let wire = self.caller.call(Repeat::Keyed(key), self.patience, request, send).await?;
        lease(wire.lease, wire.ledger_index)
    }

    /// Books the leases of a series: `wish` is the first of them. Answers when it is final for all of them.
    ///
    /// Errors: as [`Client::create_lease`]; with best effort it is refused for lack of room only when nothing fits.
    pub async fn create_series(&self, key: Key, wish: NewLease, recurrence: Recurrence) -> Result<Answer<BookedSeries>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let recurrence = Some(convert::encode_recurrence(recurrence));
        let request = v1::CreateLeaseRequest { request_id, valid_until_ms, recurrence, ..wish.into_request() };
        let send = send!(LeaseServiceClient, create_lease);
        let wire = self.caller.call(Repeat::Keyed(key), self.patience, request, send).await?;
        Ok(wire.try_into()?)
    }

    /// What [`Client::create_series`] would come to now; as [`Client::what_if`].
    pub async fn what_if_series(&self, wish: NewLease, recurrence: Recurrence) -> Result<Answer<WhatIf>, Error> {
        let recurrence = Some(convert::encode_recurrence(recurrence));
        let request = v1::WhatIfRequest { lease: Some(v1::CreateLeaseRequest { recurrence, ..wish.into_request() }) };
        let send = send!(LeaseServiceClient, what_if);
        let wire = self.caller.call(Repeat::Read, self.patience, request, send).await?;
        Ok(Answer { ledger_index: wire.ledger_index, value: wire.try_into()? })
    }

    /// What [`Client::create_lease`] would come to now: on how many hosts it would lie, or what is missing and what would fit.
    /// Nothing is booked, and no room is kept.
    ///
    /// Errors: [`Error::Refused`] for what a create would be refused for, but for lack of room.
    pub async fn what_if(&self, wish: NewLease) -> Result<Answer<WhatIf>, Error> {
        let request = v1::WhatIfRequest { lease: Some(wish.into_request()) };
        let send = send!(LeaseServiceClient, what_if);
        let wire = self.caller.call(Repeat::Read, self.patience, request, send).await?;
        Ok(Answer { ledger_index: wire.ledger_index, value: wire.try_into()? })
    }

    /// What a lease of whole hosts would come to now, and which hosts it would have (for admins). They cannot be booked yet. `wish`
    /// says when, and has no reservations of its own; with `recurrence` it is the first lease of a series.
    ///
    /// Errors: as [`Client::what_if`]; without reservations it is refused before anything is sent.
    pub async fn what_if_hosts(
        &self,
        wish: NewLease,
        reservations: Vec<HostReservation>,
        recurrence: Option<Recurrence>,
    ) -> Result<Answer<WhatIfHosts>, Error> {
        if reservations.is_empty() {
            // Without any the server would take it for a lease of instances.
            let message = "reservations is empty; a lease of whole hosts must have at least one".to_owned();
            let (kind, code) = (RefusalKind::Invalid, "malformed".to_owned());
            return Err(Error::Refused(Refusal { kind, code, message, offer: None }));
        }
        let mut lease = v1::CreateLeaseRequest { recurrence: recurrence.map(convert::encode_recurrence), ..wish.into_request() };
        lease.reservations.extend(reservations.into_iter().map(convert::encode_host_reservation));
        let send = send!(LeaseServiceClient, what_if);
        let wire = self.caller.call(Repeat::Read, self.patience, v1::WhatIfRequest { lease: Some(lease) }, send).await?;
        Ok(Answer { ledger_index: wire.ledger_index, value: wire.try_into()? })
    }

    /// What hosts have, and what of it is reserved and available over a window.
    pub async fn capacity(&self, wish: CapacityWish) -> Result<Answer<Capacity>, Error> {
        let send = send!(CapacityServiceClient, show);
        let wire = self.caller.call(Repeat::Read, self.patience, v1::ShowCapacityRequest::from(wish), send).await?;
        Ok(Answer { ledger_index: wire.ledger_index, value: wire.try_into()? })
    }

    /// How many instances of one kind fit into a window, and when so many do.
    pub async fn density(&self, wish: DensityWish) -> Result<Answer<Density>, Error> {
        let send = send!(CapacityServiceClient, density);
        let wire = self.caller.call(Repeat::Read, self.patience, v1::DensityRequest::from(wish), send).await?;
        Ok(Answer { ledger_index: wire.ledger_index, value: wire.try_into()? })
    }

    /// One lease, as it is.
    pub async fn get_lease(&self, lease_id: LeaseId) -> Result<Answer<Lease>, Error> {
        self.read_lease(lease_id, false).await
    }

    /// One lease as the asked member knows it, which may be old.
    pub async fn get_lease_stale(&self, lease_id: LeaseId) -> Result<Answer<Lease>, Error> {
        self.read_lease(lease_id, true).await
    }

    async fn read_lease(&self, lease_id: LeaseId, stale: bool) -> Result<Answer<Lease>, Error> {
        let request = v1::GetLeaseRequest { lease_id: lease_id.to_string(), stale };
        let send = send!(LeaseServiceClient, get_lease);
        let wire = self.caller.call(Repeat::Read, self.patience, request, send).await?;
        lease(wire.lease, wire.ledger_index)
    }

    /// Leases of a filter: the project's, or of all projects for an admin. A page that is shorter than its limit is the last.
    ///
    /// A page by id for which very many ended leases have to be read takes several calls; the index is the first one's, so that a watch
    /// from there misses nothing.
    pub async fn list_leases(&self, mut filter: LeaseFilter) -> Result<Answer<Vec<Lease>>, Error> {
        let (mut leases, mut index) = (Vec::new(), None);
        loop {
            let send = send!(LeaseServiceClient, list_leases);
            let wire = self.caller.call(Repeat::Read, self.patience, v1::ListLeasesRequest::from(filter.clone()), send).await?;
            let page = wire.leases.into_iter().map(Lease::try_from).collect::<convert::Result<Vec<_>>>()?;
            filter.limit = filter.limit.map(|limit| limit.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX)));
            leases.extend(page);
            let ledger_index = *index.get_or_insert(wire.ledger_index);
            // No limit is zero on the wire: a page that is full has no next one, whoever says so.
            match wire.next.filter(|_| filter.limit.is_some_and(|limit| limit > 0)) {
                Some(next) => filter.after = Some(LeaseId(convert::uuid("next", &next)?)),
                None => return Ok(Answer { value: leases, ledger_index }),
            }
        }
    }

    /// What the leases of a filter reserve over time, also in the past.
    pub async fn utilisation(&self, wish: UtilisationWish) -> Result<Answer<Utilisation>, Error> {
        let send = send!(LeaseServiceClient, utilisation);
        let wire = self.caller.call(Repeat::Read, self.patience, v1::UtilisationRequest::from(wish), send).await?;
        Ok(Answer { ledger_index: wire.ledger_index, value: wire.try_into()? })
    }

    /// Changes a lease, all or nothing.
    pub async fn update_lease(&self, key: Key, lease_id: LeaseId, change: LeaseChange) -> Result<Answer<Lease>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let lease_id = lease_id.to_string();
        let request = v1::UpdateLeaseRequest { request_id, valid_until_ms, lease_id, ..convert::change_request(change) };
        let send = send!(LeaseServiceClient, update_lease);
        let wire = self.caller.call(Repeat::Keyed(key), self.patience, request, send).await?;
        lease(wire.lease, wire.ledger_index)
    }

    /// Makes an offer a lease like any other; harmless when repeated.
    ///
    /// Errors: [`Error::Refused`] when it has expired, was dropped, or never was an offer.
    pub async fn claim_offer(&self, key: Key, lease_id: LeaseId) -> Result<Answer<Lease>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let request = v1::ClaimOfferRequest { request_id, valid_until_ms, lease_id: lease_id.to_string() };
        let send = send!(LeaseServiceClient, claim_offer);
        let wire = self.caller.call(Repeat::Keyed(key), self.patience, request, send).await?;
        lease(wire.lease, wire.ledger_index)
    }

    /// Deletes a lease in any status, an offer too; answers when its capacity is free, or after 60 s.
    pub async fn delete_lease(&self, key: Key, lease_id: LeaseId) -> Result<Answer<()>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let request = v1::DeleteLeaseRequest { request_id, valid_until_ms, lease_id: lease_id.to_string() };
        let send = send!(LeaseServiceClient, delete_lease);
        let wire = self.caller.call(Repeat::Keyed(key), self.long(), request, send).await?;
        Ok(Answer { value: (), ledger_index: wire.ledger_index })
    }

    /// Deletes the leases of a series that have not started; those that have stay.
    ///
    /// Errors: [`Error::Refused`] when no lease of it is left.
    pub async fn delete_series(&self, key: Key, series_id: SeriesId) -> Result<Answer<DeletedSeries>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let request = v1::DeleteSeriesRequest { request_id, valid_until_ms, series_id: series_id.to_string() };
        let send = send!(LeaseServiceClient, delete_series);
        let wire = self.caller.call(Repeat::Keyed(key), self.long(), request, send).await?;
        Ok(wire.try_into()?)
    }

    /// What became of a key. When nothing is known of it, it will never apply from now on.
    pub async fn look_up_key(&self, key: Key) -> Result<Answer<KeyState>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let request = v1::LookUpKeyRequest { request_id, valid_until_ms };
        let send = send!(LeaseServiceClient, look_up_key);
        // To state twice that it will never apply is the same as once.
        let wire = self.caller.call(Repeat::Read, self.patience, request, send).await?;
        Ok(wire.try_into()?)
    }

    /// What is known of a key, linearizable; `None` when nothing is. States nothing: the key can still be used.
    pub async fn peek_key(&self, key: Key) -> Result<Answer<Option<KeyState>>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let request = v1::PeekKeyRequest { request_id, valid_until_ms };
        let send = send!(LeaseServiceClient, peek_key);
        let wire = self.caller.call(Repeat::Read, self.patience, request, send).await?;
        let known = wire.known.map(Answer::<KeyState>::try_from).transpose()?;
        Ok(Answer { value: known.map(|known| known.value), ledger_index: wire.ledger_index })
    }

    /// Everything that happens after `ledger_index`, in order and without gaps; see [`Watch`].
    pub fn watch(&self, ledger_index: u64) -> Watch {
        Watch::new(self.clone(), ledger_index)
    }

    /// Onboards a compute host.
    pub async fn register_host(&self, key: Key, new: NewHost) -> Result<Answer<Host>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let request = v1::RegisterHostRequest { request_id, valid_until_ms, ..new.into_request() };
        let send = send!(HostServiceClient, register_host);
        let wire = self.caller.call(Repeat::Keyed(key), self.long(), request, send).await?;
        host(wire.host, wire.ledger_index)
    }

    /// One host.
    pub async fn get_host(&self, host_id: HostId) -> Result<Answer<Host>, Error> {
        let request = v1::GetHostRequest { host_id: host_id.0, stale: false };
        let send = send!(HostServiceClient, get_host);
        let wire = self.caller.call(Repeat::Read, self.patience, request, send).await?;
        host(wire.host, wire.ledger_index)
    }

    /// Hosts of a listing.
    pub async fn list_hosts(&self, listing: HostListing) -> Result<Answer<Vec<Host>>, Error> {
        let send = send!(HostServiceClient, list_hosts);
        let wire = self.caller.call(Repeat::Read, self.patience, v1::ListHostsRequest::from(listing), send).await?;
        let hosts = wire.hosts.into_iter().map(Host::try_from).collect::<convert::Result<_>>()?;
        Ok(Answer { value: hosts, ledger_index: wire.ledger_index })
    }

    /// Adds or replaces extra capabilities; sets whether new reservations may use it.
    pub async fn update_host(&self, key: Key, host_id: HostId, change: HostChange) -> Result<Answer<Host>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let HostChange { properties, reservable } = change;
        let host_id = host_id.0;
        let request = v1::UpdateHostRequest { request_id, valid_until_ms, host_id, properties, reservable };
        let send = send!(HostServiceClient, update_host);
        let wire = self.caller.call(Repeat::Keyed(key), self.patience, request, send).await?;
        host(wire.host, wire.ledger_index)
    }

    /// Declares that a host, or some of it, is not to be had for a time, or changes what was declared under the id.
    pub async fn set_downtime(&self, key: Key, host_id: HostId, downtime: NewDowntime) -> Result<Answer<Host>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let host_id = host_id.0;
        let request = v1::SetDowntimeRequest { request_id, valid_until_ms, host_id, ..downtime.into_request() };
        let send = send!(HostServiceClient, set_downtime);
        let wire = self.caller.call(Repeat::Keyed(key), self.patience, request, send).await?;
        host(wire.host, wire.ledger_index)
    }

    /// Downtimes of a listing, with their hosts.
    pub async fn list_downtimes(&self, listing: DowntimeListing) -> Result<Answer<Vec<HostDowntime>>, Error> {
        let send = send!(HostServiceClient, list_downtimes);
        let wire = self.caller.call(Repeat::Read, self.patience, v1::ListDowntimesRequest::from(listing), send).await?;
        let downtimes = wire.downtimes.into_iter().map(HostDowntime::try_from).collect::<convert::Result<_>>()?;
        Ok(Answer { value: downtimes, ledger_index: wire.ledger_index })
    }

    /// Takes a downtime back; gives the host with those that are left.
    pub async fn drop_downtime(&self, key: Key, host_id: HostId, downtime_id: DowntimeId) -> Result<Answer<Host>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let (host_id, downtime_id) = (host_id.0, downtime_id.to_string());
        let request = v1::DropDowntimeRequest { request_id, valid_until_ms, host_id, downtime_id };
        let send = send!(HostServiceClient, drop_downtime);
        let wire = self.caller.call(Repeat::Keyed(key), self.patience, request, send).await?;
        host(wire.host, wire.ledger_index)
    }

    /// Declares what a host is to have at least from a second on, instead of what was declared before.
    pub async fn set_upgrade(&self, key: Key, host_id: HostId, upgrade: Upgrade) -> Result<Answer<Host>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let host_id = host_id.0;
        let request = v1::SetUpgradeRequest { request_id, valid_until_ms, host_id, ..convert::upgrade_request(upgrade) };
        let send = send!(HostServiceClient, set_upgrade);
        let wire = self.caller.call(Repeat::Keyed(key), self.patience, request, send).await?;
        host(wire.host, wire.ledger_index)
    }

    /// Takes back what a host was declared to have from a second on that is still to come.
    pub async fn drop_upgrade(&self, key: Key, host_id: HostId) -> Result<Answer<Host>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let request = v1::DropUpgradeRequest { request_id, valid_until_ms, host_id: host_id.0 };
        let send = send!(HostServiceClient, drop_upgrade);
        let wire = self.caller.call(Repeat::Keyed(key), self.patience, request, send).await?;
        host(wire.host, wire.ledger_index)
    }

    /// Removes a host without reservations and servers, and what was made for it in the cloud.
    pub async fn delete_host(&self, key: Key, host_id: HostId) -> Result<Answer<()>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let request = v1::DeleteHostRequest { request_id, valid_until_ms, host_id: host_id.0 };
        let send = send!(HostServiceClient, delete_host);
        let wire = self.caller.call(Repeat::Keyed(key), self.long(), request, send).await?;
        Ok(Answer { value: (), ledger_index: wire.ledger_index })
    }

    /// Every host of a filter with its reservations; without a lease or reservation only those of leases that end now or later.
    pub async fn host_allocations(&self, filter: AllocationFilter) -> Result<Answer<Vec<HostAllocation>>, Error> {
        let send = send!(HostServiceClient, list_allocations);
        let wire = self.caller.call(Repeat::Read, self.patience, v1::ListAllocationsRequest::from(filter), send).await?;
        let allocations = wire.allocations.into_iter().map(HostAllocation::try_from).collect::<convert::Result<_>>()?;
        Ok(Answer { value: allocations, ledger_index: wire.ledger_index })
    }

    /// The limits of a project and what it has of them; `None`: the caller's own, `default`: of projects without their own.
    pub async fn quota(&self, project_id: Option<String>) -> Result<Answer<Quota>, Error> {
        let send = send!(QuotaServiceClient, show_quota);
        let wire = self.caller.call(Repeat::Read, self.patience, v1::ShowQuotaRequest { project_id }, send).await?;
        Ok(Answer { value: convert::quota_of(wire.quota)?, ledger_index: wire.ledger_index })
    }

    /// Projects that have limits of their own, without what they use. For admins.
    pub async fn list_quotas(&self, listing: QuotaListing) -> Result<Answer<Vec<Quota>>, Error> {
        let send = send!(QuotaServiceClient, list_quotas);
        let wire = self.caller.call(Repeat::Read, self.patience, v1::ListQuotasRequest::from(listing), send).await?;
        let quotas = wire.quotas.into_iter().map(Quota::try_from).collect::<convert::Result<_>>()?;
        Ok(Answer { value: quotas, ledger_index: wire.ledger_index })
    }

    /// Sets limits of a project (`default`: of those without their own) and leaves others to the default; what is booked stays.
    pub async fn set_quota(
        &self,
        key: Key,
        project_id: String,
        set: Limits,
        unset: BTreeSet<LimitKind>,
    ) -> Result<Answer<Quota>, Error> {
        let (request_id, valid_until_ms) = on_wire(key);
        let (set, unset) = (convert::encode_limits(&set), convert::encode_kinds(unset));
        let request = v1::SetQuotaRequest { request_id, valid_until_ms, project_id, set, unset };
        let send = send!(QuotaServiceClient, set_quota);
        let wire = self.caller.call(Repeat::Keyed(key), self.patience, request, send).await?;
        Ok(Answer { value: convert::quota_of(wire.quota)?, ledger_index: wire.ledger_index })
    }

    /// For calls that wait for the cloud.
    pub(crate) fn long(&self) -> Patience {
        Patience { overall: self.patience.overall.max(2 * DELETE_TIME), attempt: self.patience.attempt.max(DELETE_TIME) }
    }
}

fn on_wire(key: Key) -> (String, u64) {
    (Uuid::to_string(&key.id), key.valid_until.0)
}

fn lease(wire: Option<v1::Lease>, ledger_index: u64) -> Result<Answer<Lease>, Error> {
    let wire = wire.ok_or_else(|| convert::missing("lease", "in every answer about one lease"))?;
    Ok(Answer { value: wire.try_into()?, ledger_index })
}

fn host(wire: Option<v1::Host>, ledger_index: u64) -> Result<Answer<Host>, Error> {
    let wire = wire.ok_or_else(|| convert::missing("host", "in every answer about one host"))?;
    Ok(Answer { value: wire.try_into()?, ledger_index })
}
