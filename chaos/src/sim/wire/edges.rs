//! A node's edges, as the product serves them, with tokens of the simulated Keystone.

use std::sync::Arc;
use std::time::Duration;

use leasehold_node::config::{ApiSection, AuthSection, CloudSection};
use leasehold_node::edge::auth::Authenticator;
use leasehold_node::edge::keystone_auth::KeystoneAuth;
use leasehold_node::edge::{grpc, rest};
use leasehold_node::operations::Operations;
use leasehold_node::seams::Seams;
use tokio_util::sync::CancellationToken;

use super::super::gate::PauseGate;
use super::{GRPC, REST, Tcp};

/// Serves clients of a node until its tasks stop.
///
/// # Errors
/// When the cloud's configuration is no good.
pub fn serve(
    node: u64,
    tcp: &Tcp,
    gate: &Arc<PauseGate>,
    operations: &Operations,
    cloud: &CloudSection,
    seams: &Seams,
) -> Result<(), String> {
    let auth = AuthSection::default();
    let authenticator = KeystoneAuth::new(cloud, &auth, seams).map_err(|error| error.to_string())?;
    let authenticator: Arc<dyn Authenticator> = Arc::new(authenticator);
    // Clients say themselves whether they want to be told before the end.
    let api = ApiSection { minutes_before_end_lease: 0, ..ApiSection::default() };
    // A node ends by its tasks' end.
    let stop = CancellationToken::new();
    let listen = |port| tcp.listen(node, port).behind(gate.clone());
    let (by_rest, by_grpc) = (listen(REST), listen(GRPC));
    let (inside, served, known, limits, ends) =
        (seams.clone(), operations.clone(), authenticator.clone(), api.clone(), stop.clone());
    drop(seams.spawner.spawn("rest", async move {
        if let Err(error) = rest::serve(by_rest, None, served, known, limits, inside, ends).await {
            tracing::error!(%error, "the edge ended");
        }
    }));
    let (inside, served) = (seams.clone(), operations.clone());
    let callers = grpc::Callers { authenticator, recheck: Duration::from_secs(auth.cache_s) };
    drop(seams.spawner.spawn("grpc", async move {
        if let Err(error) = grpc::serve(by_grpc, None, served, callers, api, inside, stop).await {
            tracing::error!(%error, "the edge ended");
        }
    }));
    Ok(())
}
