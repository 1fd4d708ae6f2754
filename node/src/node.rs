//! Wires the parts of a node together; the only file that knows them all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use leasehold_ledger::model::NodeId;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{AuthMode, Config, TlsSection};
use crate::edge::auth::{Authenticator, NoAuth};
use crate::edge::keystone_auth::KeystoneAuth;
use crate::edge::{self, grpc, rest};
use crate::lead;
use crate::listen::tls;
use crate::openstack::keystone::{KeystoneOptions, TokenSource};
use crate::openstack::{Cloud, Session};
use crate::operations::{Bounds, Operations};
use crate::raft::{Member, RaftConfig, RaftHandle, RaftNode, Timing, TlsFiles};
use crate::seams::{Seams, process};
use crate::telemetry::health;

/// How long requests in flight may take at a shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened to.
    #[error("{key} = {address}: cannot listen there")]
    Listen {
        /// Key of the configuration.
        key: &'static str,
        /// As configured.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// See there.
    #[error(transparent)]
    Raft(#[from] crate::raft::StartError),
    /// Authentication is off on an address that others reach.
    #[error(transparent)]
    Auth(#[from] edge::auth::NotLoopback),
    /// A certificate or key is no good.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The cloud's configuration is no good.
    #[error(transparent)]
    Config(#[from] crate::config::Error),
}

/// Files that are no clients' connections: the disks', peers', the cloud's.
const OTHER_FILES: u64 = 768;

/// A running node.
pub struct Node {
    raft: RaftHandle,
    operations: Operations,
    seams: Seams,
    stop: CancellationToken,
    addresses: Addresses,
}

/// Where a node really listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Blazar's REST API.
    pub rest: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// Metrics and health.
    pub metrics: SocketAddr,
}

impl Node {
    /// Starts everything. What was started is stopped again when a later part fails.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start(config: Config, seams: Seams) -> Result<Node, Error> {
        let (rest_listener, rest) = listen("listen.rest", config.listen.rest).await?;
        let (grpc_listener, grpc_address) = listen("listen.grpc", config.listen.grpc).await?;
        let (metrics_listener, metrics_address) = listen("listen.metrics", config.listen.metrics).await?;
        let addresses = Addresses { rest, grpc: grpc_address, metrics: metrics_address };
        let api_tls = tls::server_config(&config.tls)?;

        let cloud = match &config.cloud {
            Some(section) => {
                let options = KeystoneOptions::from_config(section)?;
                let timeout = options.timeout;
                let tokens = Arc::new(TokenSource::new(options, seams.http.clone(), seams.clock.clone()));
                let session = Session::new(seams.http.clone(), tokens, seams.clock.clone(), config.node.id);
                Some(Cloud::new(session.with_timeout(timeout)))
            }
            None => None,
        };
        let authenticator: Arc<dyn Authenticator> = match (config.auth.mode, &config.cloud) {
            (AuthMode::Keystone, Some(section)) => Arc::new(KeystoneAuth::new(section, &config.auth, &seams)?),
            // `Config::check` has seen to it that Keystone's users are known.
            (AuthMode::Keystone, None) => unreachable!("keystone without [cloud] passed the configuration's check"),
            (AuthMode::Noauth, _) => {
                tracing::warn!("auth.mode = noauth: everybody who reaches this machine's loopback is an admin");
                Arc::new(NoAuth::new(&[rest, grpc_address])?)
            }
        };

        let raft = RaftNode::start(raft_config(&config, &addresses), &seams).await?;
        let node_id = NodeId(config.node.id);
        let bounds = Bounds {
            offer_valid_s_max: config.api.offer_valid_s_max,
            wait_s_max: config.api.wait_s_max,
            flavors: config.api.flavor_reservations,
            priorities: config.api.priorities,
            priority_role: config.api.priority_role.as_deref().map(str::to_lowercase),
            quota_exempt_role: config.api.quota_exempt_role.as_deref().map(str::to_lowercase),
            expiry: config.api.expiry,
            expiry_s_default: config.api.expiry_s_default,
            ended_leases_read_max: config.api.ended_leases_read_max,
        };
        let operations = Operations::new(raft.clone(), cloud.clone(), node_id, bounds, seams.clone());
        let stop = CancellationToken::new();
        lead::follow(&raft, cloud, &config.leader, node_id, &seams);

        let mut api = config.api.clone();
        let fitting = fitting_connections(process::raise_open_files_max());
        if api.connections_max > fitting {
            let asked = api.connections_max;
            tracing::warn!(
                asked,
                fitting,
                "api.connections_max does not fit the limit of open files (ulimit -n); fewer are taken"
            );
            api.connections_max = fitting;
        }
        for (edge, address) in [("rest", rest), ("grpc", grpc_address)] {
            if api_tls.is_none() && !address.ip().is_loopback() {
                tracing::warn!(edge, %address, "served without TLS (tls.api_certificate): tokens can be read on the network");
            }
        }
        let parts = (operations.clone(), authenticator.clone(), seams.clone(), stop.clone());
        serve(&seams, "rest", {
            let (operations, authenticator, seams, stop) = parts.clone();
            let (tls, api) = (api_tls.clone(), api.clone());
            async move {
                rest::serve(rest_listener, tls, operations, authenticator, api, seams, stop)
                    .await
                    .map_err(|error| error.to_string())
            }
        });
        // At least a second: with a cache of nothing every stream would ask without a pause.
        let recheck = Duration::from_secs(config.auth.cache_s.max(1));
        serve(&seams, "grpc", {
            let (operations, authenticator, seams, stop) = parts;
            let callers = grpc::Callers { authenticator, recheck };
            async move {
                grpc::serve(grpc_listener, api_tls, operations, callers, api, seams, stop)
                    .await
                    .map_err(|error| error.to_string())
            }
        });
        let readiness = readiness(&raft, &seams);
        let (health_seams, health_stop) = (seams.clone(), stop.clone());
        serve(&seams, "metrics", async move {
            health::serve(metrics_listener, health_seams, readiness, health_stop).await.map_err(|error| error.to_string())
        });

        tracing::info!(node_id = config.node.id, %rest, grpc = %grpc_address, metrics = %metrics_address, "the node serves");
        Ok(Node { raft, operations, seams, stop, addresses })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its operations, for those in the same process.
    #[must_use]
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    /// Completes with the reason when the node must end: a failed sync, an engine that stopped.
    pub async fn fatal(&self) -> String {
        self.raft.fatal().await
    }

    /// Hands leadership over, answers what is in flight, stops.
    pub async fn shutdown(self) {
        tracing::info!("stopping: handing leadership over, answering what is in flight");
        // Edges first stop taking connections; what is in flight still needs Raft.
        self.stop.cancel();
        self.seams.clock.sleep(Duration::from_millis(50)).await;
        if self.seams.clock.timeout(DRAIN, self.raft.shutdown()).await.is_err() {
            tracing::warn!("stopping took too long and was cut short");
        }
        self.seams.spawner.shutdown().await;
        tracing::info!("stopped");
    }
}

/// Connections of each edge that the limit of open files leaves room for.
fn fitting_connections(open_files_max: Option<u64>) -> usize {
    let Some(limit) = open_files_max else { return usize::MAX };
    // A few files must always be left to serve with, however low the limit is.
    usize::try_from(limit.saturating_sub(OTHER_FILES) / 2).unwrap_or(usize::MAX).max(16)
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { key, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn serve(seams: &Seams, edge: &'static str, serving: impl Future<Output = Result<(), String>> + Send + 'static) {
    drop(seams.spawner.spawn(edge, async move {
        if let Err(error) = serving.await {
            tracing::error!(edge, error, "the edge ended");
        }
    }));
}

fn raft_config(config: &Config, addresses: &Addresses) -> RaftConfig {
    let raft = &config.raft;
    let TlsSection { peer_certificate, peer_key, peer_ca, .. } = config.tls.clone();
    let tls = match (peer_certificate, peer_key, peer_ca) {
        (Some(certificate), Some(key), Some(ca)) => Some(TlsFiles { ca, certificate, key }),
        // `Config::check` has seen to it that all or none are given.
        _ => None,
    };
    if tls.is_none() {
        tracing::warn!("peers are spoken to without TLS; only loopback addresses are allowed");
    }
    RaftConfig {
        node_id: NodeId(config.node.id),
        cluster_id: None,
        data_dir: config.node.data_dir.clone(),
        listen: config.listen.peer,
        member: Member {
            peer_address: config.listen.peer_advertised.clone().unwrap_or_default(),
            grpc_address: config.listen.grpc_advertised.clone().unwrap_or_else(|| addresses.grpc.to_string()),
            rest_address: addresses.rest.to_string(),
        },
        tls,
        timing: Timing {
            heartbeat: Duration::from_millis(raft.heartbeat_ms),
            election_min: Duration::from_millis(raft.election_min_ms),
            election_max: Duration::from_millis(raft.election_max_ms),
            snapshot_entries: raft.snapshot_entries,
            keep_entries: raft.keep_entries,
            ..Timing::default()
        },
    }
}

/// Ready: a leader is known, and this node could answer a linearizable read just now.
fn readiness(raft: &RaftHandle, seams: &Seams) -> health::Readiness {
    let (raft, clock) = (raft.clone(), seams.clock.clone());
    Arc::new(move || {
        let (raft, clock) = (raft.clone(), clock.clone());
        async move {
            match clock.timeout(Duration::from_secs(2), raft.read_index()).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no read was confirmed within 2 s".to_owned()),
            }
        }
        .boxed()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_disks() {
        assert_eq!(fitting_connections(None), usize::MAX);
        assert_eq!(fitting_connections(Some(1024)), 128);
        assert_eq!(fitting_connections(Some(100)), 16);
        assert_eq!(fitting_connections(Some(1 << 20)), (1 << 19) - 384);
    }
}
