//! Operations on the cluster, for admins. What they answer has no noun in the ledger and stays as the wire has it.

use std::time::Duration;

use crate::client::{ANSWER_BYTES_MAX, Client, send};
use crate::error::Error;
use crate::retry::{Patience, Repeat};
use crate::wire::v1;
use crate::wire::v1::cluster_service_client::ClusterServiceClient;

/// For looking at every member, dead ones too.
const PROBE_PATIENCE: Patience = Patience { overall: Duration::from_secs(3), attempt: Duration::from_secs(3) };

impl Client {
    /// The cluster as the asked member sees it.
    pub async fn cluster_status(&self) -> Result<v1::StatusResponse, Error> {
        let send = send!(ClusterServiceClient, status);
        self.caller.call(Repeat::Read, self.patience, v1::StatusRequest {}, send).await
    }

    /// The inside of the asked member. To probe a certain one, make a client of it alone.
    pub async fn state_probe(&self) -> Result<v1::StateProbeResponse, Error> {
        let send = send!(ClusterServiceClient, state_probe);
        self.caller.call(Repeat::Read, self.patience, v1::StateProbeRequest {}, send).await
    }

    /// [`Client::state_probe`] that gives up after three seconds: does the member answer at all?
    pub async fn state_probe_soon(&self) -> Result<v1::StateProbeResponse, Error> {
        let send = send!(ClusterServiceClient, state_probe);
        self.caller.call(Repeat::Read, PROBE_PATIENCE, v1::StateProbeRequest {}, send).await
    }

    /// Makes the asked member the first one of a new cluster.
    pub async fn init_cluster(&self) -> Result<v1::StatusResponse, Error> {
        let send = send!(ClusterServiceClient, init);
        self.caller.call(Repeat::Once, self.long(), v1::InitRequest {}, send).await
    }

    /// Adds a node; answers when it votes.
    pub async fn add_node(
        &self,
        node_id: u64,
        peer_address: String,
        grpc_address: Option<String>,
    ) -> Result<v1::StatusResponse, Error> {
        let send = send!(ClusterServiceClient, add);
        let request = v1::AddRequest { node_id, peer_address, grpc_address };
        self.caller.call(Repeat::Once, self.long(), request, send).await
    }

    /// Removes a node.
    pub async fn remove_node(&self, node_id: u64) -> Result<v1::StatusResponse, Error> {
        let send = send!(ClusterServiceClient, remove);
        self.caller.call(Repeat::Once, self.long(), v1::RemoveRequest { node_id }, send).await
    }

    /// Hands leadership over; `None`: to the most up-to-date voter.
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<v1::StatusResponse, Error> {
        let send = send!(ClusterServiceClient, transfer);
        self.caller.call(Repeat::Once, self.patience, v1::TransferRequest { to }, send).await
    }

    /// Accepts that the nodes' clocks have jumped.
    pub async fn accept_clock(&self) -> Result<v1::StatusResponse, Error> {
        let send = send!(ClusterServiceClient, accept_clock);
        self.caller.call(Repeat::Once, self.patience, v1::AcceptClockRequest {}, send).await
    }

    /// Commits bytes without meaning; answers their ledger index. Sent again when lost, since it changes nothing.
    pub async fn probe(&self, payload: Vec<u8>) -> Result<u64, Error> {
        let send = send!(ClusterServiceClient, probe);
        let wire = self.caller.call(Repeat::Read, self.patience, v1::ProbeRequest { payload }, send).await?;
        Ok(wire.ledger_index)
    }

    /// A linearizable read that gives only the ledger index.
    pub async fn probe_read(&self) -> Result<u64, Error> {
        let send = send!(ClusterServiceClient, probe_read);
        let wire = self.caller.call(Repeat::Read, self.patience, v1::ProbeReadRequest {}, send).await?;
        Ok(wire.ledger_index)
    }
}
