//! Leases and keys.

use leasehold_client::wire::convert::{self, NewLease};
use leasehold_client::wire::v1;
use leasehold_client::wire::v1::lease_service_server::LeaseService;
use leasehold_client::wire::v1::look_up_key_response::{Applied, Pending, State};
use leasehold_ledger::command::{LeaseChange, SeriesWish};
use leasehold_ledger::listing::LeaseFilter;
use leasehold_ledger::model::{LeaseId, ProjectId, RequestKey, SeriesId};
use tonic::{Request, Response, Status};

use super::status::{malformed, of};
use super::{Admitted, Edge};
use crate::edge::error::Problem;
use crate::operations::{Consistency, KeyState};

/// What a field `stale` asks for.
pub(super) fn consistency(stale: bool) -> Consistency {
    if stale { Consistency::Stale } else { Consistency::Linearizable }
}

fn lease_id(text: &str) -> Result<LeaseId, Status> {
    convert::uuid("lease_id", text).map(LeaseId).map_err(malformed)
}

#[tonic::async_trait]
impl LeaseService for Edge {
    async fn create_lease(&self, request: Request<v1::CreateLeaseRequest>) -> Result<Response<v1::CreateLeaseResponse>, Status> {
        let token = self.cloud_token(&request);
        let Admitted { actor, mut message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        refuse_whole_hosts(message.reservations.iter().map(|one| one.resource.as_ref()))?;
        let recurrence = message.recurrence.take().map(convert::recurrence).transpose().map_err(malformed)?;
        let wish = NewLease::from_request(message).map_err(malformed)?;
        let wish = wish.owned_by(actor.project_id.clone(), actor.user_id.clone());
        if let Some(recurrence) = recurrence {
            let wish = SeriesWish { lease: wish, recurrence };
            let answer = self.operations.create_series(&actor, key, wish).await.map_err(of)?;
            return Ok(Response::new(convert::series_response(answer.value, answer.ledger_index)));
        }
        let answer = self.operations.create_lease_with(&actor, token.as_ref(), key, wish).await.map_err(of)?;
        let (lease, ledger_index) = (Some(answer.value.into()), answer.ledger_index);
        Ok(Response::new(v1::CreateLeaseResponse { lease, ledger_index, series: None }))
    }

    async fn what_if(&self, request: Request<v1::WhatIfRequest>) -> Result<Response<v1::WhatIfResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let mut lease = message.lease.ok_or_else(|| malformed(convert::missing("lease", "the lease that is asked about")))?;
        let recurrence = lease.recurrence.take().map(convert::recurrence).transpose().map_err(malformed)?;
        let hosts = convert::take_host_reservations(&mut lease).map_err(malformed)?;
        let wish = NewLease::from_request(lease).map_err(malformed)?;
        let wish = wish.owned_by(actor.project_id.clone(), actor.user_id.clone());
        if !hosts.is_empty() {
            let answer = match recurrence {
                Some(recurrence) => {
                    self.operations.what_if_hosts_series(&actor, SeriesWish { lease: wish, recurrence }, hosts).await
                }
                None => self.operations.what_if_hosts(&actor, wish, hosts).await,
            };
            let answer = answer.map_err(of)?;
            return Ok(Response::new(convert::what_if_hosts_response(answer.value, answer.ledger_index)));
        }
        let answer = match recurrence {
            Some(recurrence) => self.operations.what_if_series(&actor, SeriesWish { lease: wish, recurrence }).await,
            None => self.operations.what_if(&actor, wish).await,
        };
        let answer = answer.map_err(of)?;
        Ok(Response::new(convert::what_if_response(answer.value, answer.ledger_index)))
    }

    async fn get_lease(&self, request: Request<v1::GetLeaseRequest>) -> Result<Response<v1::GetLeaseResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let id = lease_id(&message.lease_id)?;
        let answer = self.operations.get_lease(&actor, id, consistency(message.stale)).await.map_err(of)?;
        Ok(Response::new(v1::GetLeaseResponse { lease: Some(answer.value.into()), ledger_index: answer.ledger_index }))
    }

    async fn list_leases(&self, request: Request<v1::ListLeasesRequest>) -> Result<Response<v1::ListLeasesResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let consistency = consistency(message.stale);
        let filter = LeaseFilter::try_from(message).map_err(malformed)?;
        let answer = self.operations.list_leases(&actor, filter, consistency).await.map_err(of)?;
        let next = answer.value.next.map(|next| next.to_string());
        let leases = answer.value.leases.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::ListLeasesResponse { leases, ledger_index: answer.ledger_index, next }))
    }

    async fn utilisation(&self, request: Request<v1::UtilisationRequest>) -> Result<Response<v1::UtilisationResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let answer = self.operations.utilisation(&actor, message.try_into().map_err(malformed)?).await.map_err(of)?;
        Ok(Response::new(convert::utilisation_response(answer.value, answer.ledger_index)))
    }

    async fn update_lease(&self, request: Request<v1::UpdateLeaseRequest>) -> Result<Response<v1::UpdateLeaseResponse>, Status> {
        let token = self.cloud_token(&request);
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        refuse_whole_hosts(message.reservations.iter().map(|one| one.resource.as_ref()))?;
        let id = lease_id(&message.lease_id)?;
        let change = LeaseChange::try_from(message).map_err(malformed)?;
        let answer = self.operations.update_lease_with(&actor, token.as_ref(), key, id, change).await.map_err(of)?;
        Ok(Response::new(v1::UpdateLeaseResponse { lease: Some(answer.value.into()), ledger_index: answer.ledger_index }))
    }

    async fn claim_offer(&self, request: Request<v1::ClaimOfferRequest>) -> Result<Response<v1::ClaimOfferResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        let id = lease_id(&message.lease_id)?;
        let answer = self.operations.claim_offer(&actor, key, id).await.map_err(of)?;
        Ok(Response::new(v1::ClaimOfferResponse { lease: Some(answer.value.into()), ledger_index: answer.ledger_index }))
    }

    async fn delete_lease(&self, request: Request<v1::DeleteLeaseRequest>) -> Result<Response<v1::DeleteLeaseResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        let id = lease_id(&message.lease_id)?;
        let answer = self.operations.delete_lease(&actor, key, id).await.map_err(of)?;
        Ok(Response::new(v1::DeleteLeaseResponse { ledger_index: answer.ledger_index }))
    }

    async fn delete_series(
        &self,
        request: Request<v1::DeleteSeriesRequest>,
    ) -> Result<Response<v1::DeleteSeriesResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        let id = convert::uuid("series_id", &message.series_id).map(SeriesId).map_err(malformed)?;
        let answer = self.operations.delete_series(&actor, key, id).await.map_err(of)?;
        let ids = |leases: Vec<LeaseId>| leases.iter().map(ToString::to_string).collect();
        let (deleted, kept) = (ids(answer.value.deleted), ids(answer.value.kept));
        Ok(Response::new(v1::DeleteSeriesResponse { deleted, kept, ledger_index: answer.ledger_index }))
    }

    async fn look_up_key(&self, request: Request<v1::LookUpKeyRequest>) -> Result<Response<v1::LookUpKeyResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = looked_up(&actor.project_id, &message.request_id, message.valid_until_ms)?;
        let answer = self.operations.look_up_key(&actor, key).await.map_err(of)?;
        Ok(Response::new(key_state(answer.value, answer.ledger_index)))
    }

    async fn peek_key(&self, request: Request<v1::PeekKeyRequest>) -> Result<Response<v1::PeekKeyResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = looked_up(&actor.project_id, &message.request_id, message.valid_until_ms)?;
        let answer = self.operations.peek_key(&actor, &key).await.map_err(of)?;
        let known = answer.value.map(|state| key_state(state, answer.ledger_index));
        Ok(Response::new(v1::PeekKeyResponse { known, ledger_index: answer.ledger_index }))
    }
}

/// Whole hosts are asked about only.
fn refuse_whole_hosts<'a>(mut resources: impl Iterator<Item = Option<&'a v1::Resource>>) -> Result<(), Status> {
    match resources.position(convert::of_whole_hosts) {
        None => Ok(()),
        Some(place) => {
            let text = format!(
                "reservations[{place}].resource is of whole hosts, which cannot be booked by this version of Leasehold; it must be an instance. WhatIf tells whether there would be hosts"
            );
            Err(of(Problem::not_implemented(text)))
        }
    }
}

/// The key of a lookup, which must be given.
fn looked_up(project: &ProjectId, request_id: &str, valid_until_ms: u64) -> Result<RequestKey, Status> {
    convert::request_key(project, request_id, valid_until_ms)
        .and_then(|key| key.ok_or_else(|| convert::missing("request_id", "the UUID of the request that is looked up")))
        .map_err(malformed)
}

fn key_state(state: KeyState, ledger_index: u64) -> v1::LookUpKeyResponse {
    let state = match state {
        KeyState::Applied { lease_id, rejection, ledger_index } => {
            State::Applied(Applied { lease_id: lease_id.map(|id| id.to_string()), rejection, ledger_index })
        }
        KeyState::Pending { lease_id } => State::Pending(Pending { lease_id: lease_id.to_string() }),
        KeyState::Never => State::Never(true),
        KeyState::Expired => State::Expired(true),
    };
    v1::LookUpKeyResponse { state: Some(state), ledger_index }
}
