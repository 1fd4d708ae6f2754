//! Who this node is, on which disk, and which cluster it belongs to; and whether a call is meant for it.
//!
//! A node that comes back under its id with an empty disk has forgotten votes and entries that it acknowledged, and could
//! make the cluster lose what was committed (raft-notes §5.11). So each disk has a number of its own, peers remember each
//! other's, and a node that is called by the number of a disk it has not got ends itself. Peers tell each other whom they
//! met ([`super::cluster_time`]): a node that joined while another was away would else take its empty disk for its first.

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;

use parking_lot::Mutex;
use uuid::Uuid;

use super::fatal::Fatal;
use super::log_store::{ADVICE, LogStore, OpenError};
use super::peer::{CallError, Route};
use crate::seams::Rng;

/// The log's value that names the cluster.
const CLUSTER_ID: &str = "cluster_id";
/// The log's value that numbers this disk.
const DISK_ID: &str = "disk_id";
/// The log's value with the disks of peers: node ids and disk ids in turn.
const PEER_DISKS: &str = "peer_disks";
/// Bytes of one peer in [`PEER_DISKS`].
const PEER_BYTES: usize = 8 + 16;

/// Node, disk and cluster. The cluster is known from its making, from the disk, or from the first peer that calls this
/// node by its id; afterwards it never changes.
pub(super) struct Identity {
    node_id: u64,
    disk_id: Uuid,
    cluster_id: OnceLock<Uuid>,
    peer_disks: Mutex<BTreeMap<u64, Uuid>>,
    log: LogStore,
    writing: tokio::sync::Mutex<()>,
    fatal: Fatal,
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
    #[error("the ids of cluster and disks cannot be read or kept")]
    Log(#[from] io::Error),
    /// The log does not give its values back: as damaged as if it were an entry.
    #[error(transparent)]
    Lost(#[from] OpenError),
}

impl Identity {
    pub(super) async fn open(
        node_id: u64,
        configured: Option<Uuid>,
        log: LogStore,
        rng: &dyn Rng,
        fatal: Fatal,
    ) -> Result<Self, Error> {
        let found = read_id(&log, CLUSTER_ID)?;
        let disk_id = match read_id(&log, DISK_ID)? {
            Some(kept) => kept,
            None => {
                let fresh = rng.uuid_v4();
                log.set_value(DISK_ID, fresh.as_bytes().to_vec()).await?;
                fresh
            }
        };
        let peer_disks = Mutex::new(decode_disks(&log.value(PEER_DISKS).map_err(OpenError::of)?.unwrap_or_default())?);
        let writing = tokio::sync::Mutex::new(());
        let identity = Self { node_id, disk_id, cluster_id: OnceLock::new(), peer_disks, log, writing, fatal };
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

    pub(super) fn disk_id(&self) -> Uuid {
        self.disk_id
    }

    pub(super) fn cluster_id(&self) -> Option<Uuid> {
        self.cluster_id.get().copied()
    }

    /// Whether a node of this id was ever heard of: its disk is known.
    pub(super) fn has_met(&self, node_id: u64) -> bool {
        self.peer_disks.lock().contains_key(&node_id)
    }

    /// Every node ever heard of, with its disk.
    pub(super) fn met(&self) -> BTreeMap<u64, Uuid> {
        self.peer_disks.lock().clone()
    }

    /// Belongs to this cluster from now on, durably; nothing happens if it belongs to one already.
    pub(super) async fn adopt(&self, cluster_id: Uuid) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock().await;
        if self.cluster_id.get().is_none() {
            self.log.set_value(CLUSTER_ID, cluster_id.as_bytes().to_vec()).await?;
            // Nobody else sets it: this holds the lock.
            let _ = self.cluster_id.set(cluster_id);
        }
        Ok(())
    }

    /// Remembers the disks of peers that are heard of for the first time, durably. What is known stays.
    pub(super) async fn meet(&self, peers: impl IntoIterator<Item = (u64, Uuid)>) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock().await;
        let mut disks = self.peer_disks.lock().clone();
        let before = disks.len();
        for (peer, disk) in peers.into_iter().filter(|(peer, _)| *peer != self.node_id) {
            disks.entry(peer).or_insert(disk);
        }
        if disks.len() == before {
            return Ok(());
        }
        self.log.set_value(PEER_DISKS, encode_disks(&disks)).await?;
        *self.peer_disks.lock() = disks;
        Ok(())
    }

    /// The route of a call to `target`.
    pub(super) fn route(&self, target: u64) -> Route {
        Route {
            cluster_id: self.cluster_id().unwrap_or_default(),
            source: self.node_id,
            source_disk: self.disk_id,
            target,
            target_disk: self.peer_disks.lock().get(&target).copied(),
        }
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
            Some(own) if own == route.cluster_id => {}
            own => return refused(format!("of cluster {}, this node belongs to {own:?}", route.cluster_id)),
        }
        if route.target_disk.is_some_and(|disk| disk != self.disk_id) {
            self.fatal.raise(format!("the data directory of node {} was lost or replaced; {ADVICE}", self.node_id));
            return refused("this node has lost its disk".into());
        }
        let known = self.peer_disks.lock().get(&route.source).copied();
        match known {
            Some(disk) if disk == route.source_disk => Ok(()),
            Some(_) => refused(format!("node {} came back with another disk; {ADVICE}", route.source)),
            None => {
                let met = self.meet([(route.source, route.source_disk)]).await;
                met.map_err(|error| CallError::Refused(error.to_string()))
            }
        }
    }
}

fn read_id(log: &LogStore, name: &str) -> Result<Option<Uuid>, Error> {
    let kept = log.value(name).map_err(OpenError::of)?;
    Ok(kept.map(|bytes| Uuid::from_slice(&bytes)).transpose().map_err(io::Error::other)?)
}

fn encode_disks(disks: &BTreeMap<u64, Uuid>) -> Vec<u8> {
    disks.iter().flat_map(|(node, disk)| node.to_be_bytes().into_iter().chain(*disk.as_bytes())).collect()
}

fn decode_disks(bytes: &[u8]) -> io::Result<BTreeMap<u64, Uuid>> {
    let (peers, rest) = bytes.as_chunks::<PEER_BYTES>();
    if !rest.is_empty() {
        return Err(io::Error::other(format!("{PEER_DISKS} is cut short")));
    }
    let decoded = peers.iter().map(|peer| {
        let (node, disk) = peer.split_at(8);
        let node = u64::from_be_bytes(node.try_into().map_err(io::Error::other)?);
        Ok((node, Uuid::from_slice(disk).map_err(io::Error::other)?))
    });
    decoded.collect()
}
