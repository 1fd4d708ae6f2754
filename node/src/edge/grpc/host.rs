//! Hosts.

use leasehold_client::wire::convert::{self, NewDowntime, NewHost};
use leasehold_client::wire::v1;
use leasehold_client::wire::v1::host_service_server::HostService;
use leasehold_ledger::model::{DowntimeId, HostId};
use tonic::{Request, Response, Status};

use super::lease::consistency;
use super::status::{malformed, of};
use super::{Admitted, Edge};
use crate::operations::HostRequest;

#[tonic::async_trait]
impl HostService for Edge {
    async fn register_host(
        &self,
        request: Request<v1::RegisterHostRequest>,
    ) -> Result<Response<v1::RegisterHostResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        let NewHost { name, pool, properties } = NewHost::from_request(message).map_err(malformed)?;
        let answer = self.operations.register_host(&actor, key, HostRequest { name, pool, properties }).await.map_err(of)?;
        Ok(Response::new(v1::RegisterHostResponse { host: Some(answer.value.into()), ledger_index: answer.ledger_index }))
    }

    async fn get_host(&self, request: Request<v1::GetHostRequest>) -> Result<Response<v1::GetHostResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let (id, consistency) = (HostId(message.host_id), consistency(message.stale));
        let answer = self.operations.get_host(&actor, id, consistency).await.map_err(of)?;
        Ok(Response::new(v1::GetHostResponse { host: Some(answer.value.into()), ledger_index: answer.ledger_index }))
    }

    async fn list_hosts(&self, request: Request<v1::ListHostsRequest>) -> Result<Response<v1::ListHostsResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let consistency = consistency(message.stale);
        let listing = message.try_into().map_err(malformed)?;
        let answer = self.operations.list_hosts(&actor, listing, consistency).await.map_err(of)?;
        let hosts = answer.value.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::ListHostsResponse { hosts, ledger_index: answer.ledger_index }))
    }

    async fn update_host(&self, request: Request<v1::UpdateHostRequest>) -> Result<Response<v1::UpdateHostResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        let id = HostId(message.host_id);
        let answer = self.operations.update_host(&actor, key, id, message.properties, message.reservable).await.map_err(of)?;
        Ok(Response::new(v1::UpdateHostResponse { host: Some(answer.value.into()), ledger_index: answer.ledger_index }))
    }

    async fn set_downtime(&self, request: Request<v1::SetDowntimeRequest>) -> Result<Response<v1::SetDowntimeResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        let host_id = HostId(message.host_id);
        let NewDowntime { id, start, end, withheld } = NewDowntime::from_request(message).map_err(malformed)?;
        let answer = self.operations.set_downtime(&actor, key, host_id, id, (start, end), withheld).await.map_err(of)?;
        Ok(Response::new(v1::SetDowntimeResponse { host: Some(answer.value.into()), ledger_index: answer.ledger_index }))
    }

    async fn drop_downtime(
        &self,
        request: Request<v1::DropDowntimeRequest>,
    ) -> Result<Response<v1::DropDowntimeResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        let id = DowntimeId(convert::uuid("downtime_id", &message.downtime_id).map_err(malformed)?);
        let answer = self.operations.drop_downtime(&actor, key, HostId(message.host_id), id).await.map_err(of)?;
        Ok(Response::new(v1::DropDowntimeResponse { host: Some(answer.value.into()), ledger_index: answer.ledger_index }))
    }

    async fn set_upgrade(&self, request: Request<v1::SetUpgradeRequest>) -> Result<Response<v1::SetUpgradeResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        let upgrade = convert::upgrade_asked(&message).map_err(malformed)?;
        let answer = self.operations.set_upgrade(&actor, key, HostId(message.host_id), upgrade).await.map_err(of)?;
        Ok(Response::new(v1::SetUpgradeResponse { host: Some(answer.value.into()), ledger_index: answer.ledger_index }))
    }

    async fn drop_upgrade(&self, request: Request<v1::DropUpgradeRequest>) -> Result<Response<v1::DropUpgradeResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        let answer = self.operations.drop_upgrade(&actor, key, HostId(message.host_id)).await.map_err(of)?;
        Ok(Response::new(v1::DropUpgradeResponse { host: Some(answer.value.into()), ledger_index: answer.ledger_index }))
    }

    async fn list_downtimes(
        &self,
        request: Request<v1::ListDowntimesRequest>,
    ) -> Result<Response<v1::ListDowntimesResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let consistency = consistency(message.stale);
        let listing = message.try_into().map_err(malformed)?;
        let answer = self.operations.list_downtimes(&actor, listing, consistency).await.map_err(of)?;
        let downtimes = answer.value.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::ListDowntimesResponse { downtimes, ledger_index: answer.ledger_index }))
    }

    async fn delete_host(&self, request: Request<v1::DeleteHostRequest>) -> Result<Response<v1::DeleteHostResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        let answer = self.operations.delete_host(&actor, key, HostId(message.host_id)).await.map_err(of)?;
        Ok(Response::new(v1::DeleteHostResponse { ledger_index: answer.ledger_index }))
    }

    async fn list_allocations(
        &self,
        request: Request<v1::ListAllocationsRequest>,
    ) -> Result<Response<v1::ListAllocationsResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let filter = message.try_into().map_err(malformed)?;
        let answer = self.operations.host_allocations(&actor, filter).await.map_err(of)?;
        let allocations = answer.value.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::ListAllocationsResponse { allocations, ledger_index: answer.ledger_index }))
    }
}
