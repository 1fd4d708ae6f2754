//! What a node must not accept, from its disk or from a peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use leasehold_ledger::command::Command;
use leasehold_ledger::storage::disk::{Disk, DiskError, DiskFuture, FrozenView, RowChange};
use leasehold_node::raft::peer::{CallError, Lane, Route, Transport};
use leasehold_node::raft::{GrpcTransport, RaftNode, Serve, StartError};
use leasehold_node::seams::{DiskUse, Disks, HttpOptions, RocksDisks, Seams};
use uuid::Uuid;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_for_another_cluster_or_another_node_is_refused() {
    let cluster = Cluster::of(1).await;
    let node = cluster.node(1);
    let peer = GrpcTransport::new(None).unwrap().peer(&node.member().peer_address, Lane::Operations);
    let cluster_id = node.status().cluster_id.unwrap();
    let disk = Uuid::from_u128(2);
    let right = Route { cluster_id, source: 2, source_disk: disk, target: 1, target_disk: None };
    assert_eq!(peer.health(right).await.unwrap().ledger_index, node.status().ledger_index);
    for wrong in [
        Route { cluster_id: Uuid::from_u128(5), ..right },
        Route { cluster_id: Uuid::nil(), ..right },
        Route { target: 3, ..right },
        Route { source: 1, ..right },
        // Node 2 was met with the first call: it has come back with an empty disk.
        Route { source_disk: Uuid::from_u128(3), ..right },
    ] {
        let refused = peer.health(wrong).await;
        assert!(matches!(refused, Err(CallError::Refused(_))), "{wrong:?}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_cluster_and_a_state_without_its_log_are_refused() {
    let mut cluster = Cluster::of(1).await;
    cluster.stop(1).await;
    // Started again, so that nothing holds the disks.
    cluster.start(1).await;
    let found = cluster.node(1).status().cluster_id.unwrap();
    cluster.stop(1).await;
    let mut config = cluster.config(1);
    config.cluster_id = Some(Uuid::from_u128(5));
    let refused = started(config).await;
    assert!(refused.contains(&format!("belongs to cluster {found}")), "{refused}");
    std::fs::remove_dir_all(cluster.data(1).join("log")).unwrap();
    let refused = started(cluster.config(1)).await;
    assert!(refused.contains("new node id and `leasehold cluster add` it"), "{refused}");
}

/// The text of the refusal, once nothing of the node's last life holds its disks.
async fn started(config: leasehold_node::raft::RaftConfig) -> String {
    loop {
        match RaftNode::start(config.clone(), &Seams::system(&HttpOptions::default()).unwrap()).await {
            Ok(_) => panic!("it started"),
            Err(StartError::Log(error)) if format!("{error:?}").contains("lock") => tokio::task::yield_now().await,
            Err(error) => return error.to_string(),
        }
    }
}

/// Disks whose synced writes fail once told so. Others go on: what is applied in the background meanwhile must not be
/// the first to fail, it is the sync that the test is about.
struct Failing {
    disks: RocksDisks,
    broken: Arc<AtomicBool>,
}

struct FailingDisk {
    disk: Arc<dyn Disk>,
    broken: Arc<AtomicBool>,
}

impl Disks for Failing {
    fn open(&self, name: &str, used: DiskUse) -> Result<Arc<dyn Disk>, DiskError> {
        let disk = self.disks.open(name, used)?;
        Ok(Arc::new(FailingDisk { disk, broken: self.broken.clone() }))
    }
    fn names(&self) -> Result<Vec<String>, DiskError> {
        self.disks.names()
    }
    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.disks.remove(name)
    }
}

impl Disk for FailingDisk {
    fn write(&self, batch: Vec<RowChange>, sync: bool) -> DiskFuture<()> {
        if sync && self.broken.load(Ordering::SeqCst) {
            let error = DiskError { what: "write", cause: "input/output error".into(), damaged: false };
            return Box::pin(std::future::ready(Err(error)));
        }
        self.disk.write(batch, sync)
    }
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.disk.get(key)
    }
    fn freeze(&self) -> Arc<dyn FrozenView> {
        self.disk.freeze()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_failed_sync_ends_the_node_and_nothing_is_answered_as_committed() {
    let cluster = Cluster::empty();
    let (broken, config) = (Arc::new(AtomicBool::new(false)), cluster.config(1));
    let disks = Failing { disks: RocksDisks::new(&config.data_dir).unwrap(), broken: broken.clone() };
    let transport = Arc::new(GrpcTransport::new(None).unwrap());
    let serve: Serve = Box::new(|_, _| Box::pin(std::future::ready(Ok(None))));
    let seams = Seams::system(&HttpOptions::default()).unwrap();
    let node = RaftNode::start_on(config, &seams, Arc::new(disks), transport, serve).await.unwrap();
    node.initialise().await.unwrap();
    broken.store(true, Ordering::SeqCst);
    let answer = node.propose(None, Command::Probe { payload: Vec::new() }).await;
    assert!(answer.is_err(), "{answer:?}");
    let reason = node.fatal().await;
    assert!(reason.contains("cannot be written") && reason.contains("input/output error"), "{reason}");
    broken.store(false, Ordering::SeqCst);
    let later = node.propose(None, Command::Probe { payload: Vec::new() }).await;
    assert!(later.is_err(), "a node that could not write once does not write again: {later:?}");
    node.stop().await;
}
