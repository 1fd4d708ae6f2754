//! The cluster: status, changes, probes.

use leasehold_client::wire::v1;
use leasehold_client::wire::v1::cluster_service_server::ClusterService;
use tonic::{Request, Response, Status};

use super::status::of;
use super::{Admitted, Edge};
use crate::operations::{ClusterChange, ClusterStatus, MemberStatus};

fn encode(status: ClusterStatus) -> v1::StatusResponse {
    v1::StatusResponse {
        cluster_id: status.cluster_id.map(|id| id.to_string()),
        node_id: status.node_id,
        role: status.role,
        term: status.term,
        leader: status.leader,
        members: status.members.into_iter().map(encode_member).collect(),
        committed_index: status.committed_index,
        applied_index: status.applied_index,
        ledger_index: status.ledger_index,
        clock_problem: status.clock_problem,
        build: status.build,
        members_changing: status.members_changing,
    }
}

fn encode_member(member: MemberStatus) -> v1::Member {
    let MemberStatus { node_id, peer_address, grpc_address, voter, matched_index } = member;
    v1::Member { node_id, peer_address, grpc_address, voter, matched_index }
}

impl Edge {
    async fn change<M>(
        &self,
        request: Request<M>,
        change: impl FnOnce(M) -> ClusterChange,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let status = self.operations.change_cluster(&actor, change(message)).await.map_err(of)?;
        Ok(Response::new(encode(status)))
    }
}

#[tonic::async_trait]
impl ClusterService for Edge {
    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let Admitted { actor, message: v1::StatusRequest {}, _permit } = self.admit(request).await?;
        let status = self.operations.cluster_status(&actor).await.map_err(of)?;
        Ok(Response::new(encode(status)))
    }

    async fn state_probe(&self, request: Request<v1::StateProbeRequest>) -> Result<Response<v1::StateProbeResponse>, Status> {
        let Admitted { actor, message: v1::StateProbeRequest {}, _permit } = self.admit(request).await?;
        let status = self.operations.cluster_status(&actor).await.map_err(of)?;
        Ok(Response::new(v1::StateProbeResponse {
            node_id: status.node_id,
            term: status.term,
            vote: status.vote,
            role: status.role,
            last_log_index: status.last_log_index,
            committed_index: status.committed_index,
            applied_index: status.applied_index,
            snapshot_index: status.snapshot_index,
            ledger_index: status.ledger_index,
            state_hash: status.state_hash,
            open_actuations: status.open_actuations,
            resident_bytes: status.resident_bytes,
            open_files: status.open_files,
            build: status.build,
        }))
    }

    async fn init(&self, request: Request<v1::InitRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        self.change(request, |v1::InitRequest {}| ClusterChange::Init).await
    }

    async fn add(&self, request: Request<v1::AddRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        self.change(request, |v1::AddRequest { node_id, peer_address, grpc_address }| ClusterChange::Add {
            node_id,
            peer_address,
            grpc_address,
        })
        .await
    }

    async fn remove(&self, request: Request<v1::RemoveRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        self.change(request, |v1::RemoveRequest { node_id }| ClusterChange::Remove { node_id }).await
    }

    async fn transfer(&self, request: Request<v1::TransferRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        self.change(request, |v1::TransferRequest { to }| ClusterChange::Transfer { to }).await
    }

    async fn accept_clock(&self, request: Request<v1::AcceptClockRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        self.change(request, |v1::AcceptClockRequest {}| ClusterChange::AcceptClock).await
    }

    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeResponse>, Status> {
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let answer = self.operations.probe(&actor, message.payload).await.map_err(of)?;
        Ok(Response::new(v1::ProbeResponse { ledger_index: answer.ledger_index }))
    }

    async fn probe_read(&self, request: Request<v1::ProbeReadRequest>) -> Result<Response<v1::ProbeReadResponse>, Status> {
        let Admitted { actor, message: v1::ProbeReadRequest {}, _permit } = self.admit(request).await?;
        let answer = self.operations.read_index(&actor).await.map_err(of)?;
        Ok(Response::new(v1::ProbeReadResponse { ledger_index: answer.ledger_index }))
    }
}
