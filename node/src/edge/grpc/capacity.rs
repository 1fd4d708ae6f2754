//! Capacity and density.

use leasehold_client::wire::convert::{capacity_response, density_response};
use leasehold_client::wire::v1;
use leasehold_client::wire::v1::capacity_service_server::CapacityService;
use tonic::{Request, Response, Status};

use super::status::{malformed, of};
use super::{Admitted, Edge};

#[tonic::async_trait]
impl CapacityService for Edge {
    async fn show(&self, request: Request<v1::ShowCapacityRequest>) -> Result<Response<v1::ShowCapacityResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let answer = self.operations.capacity(&actor, message.try_into().map_err(malformed)?).await.map_err(of)?;
        Ok(Response::new(capacity_response(answer.value, answer.ledger_index)))
    }

    async fn density(&self, request: Request<v1::DensityRequest>) -> Result<Response<v1::DensityResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let answer = self.operations.density(&actor, message.try_into().map_err(malformed)?).await.map_err(of)?;
        Ok(Response::new(density_response(answer.value, answer.ledger_index)))
    }
}
