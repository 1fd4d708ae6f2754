//! Who this node is and which cluster it belongs to, and whether a call is meant for it.

use std::io;
use std::sync::OnceLock;

use uuid::Uuid;

use super::log_store::LogStore;
use super::peer::{CallError, Route};

/// The log's value that names the cluster.
const CLUSTER_ID: &str = "cluster_id";

/// Node and cluster. The cluster is known from its making, from the disk, or from the first peer that calls this node
/// by its id; afterwards it never changes.
pub(super) struct Identity {
    node_id: u64,
    cluster_id: OnceLock<Uuid>,
    log: LogStore,
    adopting: tokio::sync::Mutex<()>,
}

/// The data directory belongs to another cluster than was configured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// See the text.
    #[error("the data directory belongs to cluster {found}, the configuration says {configured}; correct the one that is wrong")]
    OtherCluster {
        /// What is there.
        found: Uuid,
        /// What was configured.
        configured: Uuid,
    },
    /// The log fails, or its value is not an id.
    #[error("the cluster's id cannot be read or kept")]
    Log(#[from] io::Error),
}

impl Identity {
    pub(super) async fn open(node_id: u64, configured: Option<Uuid>, log: LogStore) -> Result<Self, Error> {
        let kept = log.value(CLUSTER_ID).map_err(io::Error::other)?;
        let found = kept.map(|bytes| Uuid::from_slice(&bytes)).transpose().map_err(io::Error::other)?;
        let identity = Self { node_id, cluster_id: OnceLock::new(), log, adopting: tokio::sync::Mutex::new(()) };
        match (found, configured) {
            (Some(found), Some(configured)) if found != configured => {
                return Err(Error::OtherCluster { found, configured });
            }
            (Some(found), _) => {
                // Nobody else has it yet.
                let _ = identity.cluster_id.set(found);
            }
            (None, Some(configured)) => identity.adopt(configured).await?,
            (None, None) => {}
        }
        Ok(identity)
    }

    pub(super) fn node_id(&self) -> u64 {
        self.node_id
    }

    pub(super) fn cluster_id(&self) -> Option<Uuid> {
        self.cluster_id.get().copied()
    }

    /// Belongs to this cluster from now on, durably; nothing happens if it belongs to one already.
    pub(super) async fn adopt(&self, cluster_id: Uuid) -> io::Result<()> {
        let _one_at_a_time = self.adopting.lock().await;
        if self.cluster_id.get().is_none() {
            self.log.set_value(CLUSTER_ID, cluster_id.as_bytes().to_vec()).await?;
            // Nobody else sets it: this holds the lock.
            let _ = self.cluster_id.set(cluster_id);
        }
        Ok(())
    }

    /// The route of a call to `target`.
    pub(super) fn route(&self, target: u64) -> Route {
        Route { cluster_id: self.cluster_id().unwrap_or_default(), source: self.node_id, target }
    }

    /// Refuses a call that is not meant for this node or not of its cluster. A node without a cluster joins the one of
    /// the first call that is meant for it.
    pub(super) async fn check(&self, route: Route) -> Result<(), CallError> {
        let refused = |text: String| {
            tracing::warn!(?route, node_id = self.node_id, "refused a call: {text}");
            Err(CallError::Refused(text))
        };
        if route.target != self.node_id {
            return refused(format!("meant for node {}, this is node {}", route.target, self.node_id));
        }
        if route.source == self.node_id {
            return refused(format!("node {} called itself", route.source));
        }
        if route.cluster_id.is_nil() {
            return refused("the caller belongs to no cluster".into());
        }
        if self.cluster_id.get().is_none() {
            self.adopt(route.cluster_id).await.map_err(|error| CallError::Refused(error.to_string()))?;
        }
        match self.cluster_id() {
            Some(own) if own == route.cluster_id => Ok(()),
            own => refused(format!("of cluster {}, this node belongs to {own:?}", route.cluster_id)),
        }
    }
}
