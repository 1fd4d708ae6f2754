//! Quotas.

use leasehold_client::wire::convert;
use leasehold_client::wire::v1;
use leasehold_client::wire::v1::quota_service_server::QuotaService;
use tonic::{Request, Response, Status};

use super::status::{malformed, of};
use super::{Admitted, Edge};

#[tonic::async_trait]
impl QuotaService for Edge {
    async fn show_quota(&self, request: Request<v1::ShowQuotaRequest>) -> Result<Response<v1::ShowQuotaResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let project = message.project_id.map_or(Some(actor.project_id.clone()), |id| convert::quota_project(&id));
        let answer = self.operations.get_quota(&actor, project).await.map_err(of)?;
        Ok(Response::new(v1::ShowQuotaResponse { quota: Some(answer.value.into()), ledger_index: answer.ledger_index }))
    }

    async fn list_quotas(&self, request: Request<v1::ListQuotasRequest>) -> Result<Response<v1::ListQuotasResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let listing = message.try_into().map_err(malformed)?;
        let answer = self.operations.list_quotas(&actor, &listing).await.map_err(of)?;
        let quotas = answer.value.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::ListQuotasResponse { quotas, ledger_index: answer.ledger_index }))
    }

    async fn set_quota(&self, request: Request<v1::SetQuotaRequest>) -> Result<Response<v1::SetQuotaResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let key = convert::request_key(&actor.project_id, &message.request_id, message.valid_until_ms).map_err(malformed)?;
        let project = convert::quota_project(&message.project_id);
        let set = convert::decode_limits(message.set).map_err(malformed)?;
        let unset = convert::decode_kinds("unset", &message.unset).map_err(malformed)?;
        let answer = self.operations.set_quota(&actor, key, project, set, unset).await.map_err(of)?;
        Ok(Response::new(v1::SetQuotaResponse { quota: Some(answer.value.into()), ledger_index: answer.ledger_index }))
    }
}
