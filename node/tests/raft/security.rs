//! Mutual TLS between nodes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use leasehold_node::raft::peer::{Lane, Route, Transport};
use leasehold_node::raft::{GrpcTransport, RaftNode, TlsFiles};
use leasehold_node::seams::{HttpOptions, Seams};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::cluster::Cluster;

/// Files of a node's certificate, signed by an authority made for it.
fn files(folder: &TempDir) -> TlsFiles {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let mut node = CertificateParams::default();
    node.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
    node.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = node.signed_by(&key, &authority).unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    TlsFiles {
        ca: write("ca.pem", authority.pem()),
        certificate: write("node.pem", certificate.pem()),
        key: write("node.key", key.serialize_pem()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_speak_mutual_tls_and_strangers_are_turned_away() {
    let (folder, stranger) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut cluster = Cluster::empty();
    cluster.tls = Some(files(&folder));
    let cluster = cluster.with(2).await;
    cluster.write(2, "over TLS").await;
    cluster.agree().await;
    let (address, status) = (cluster.node(1).member().peer_address.clone(), cluster.node(1).status());
    let route = Route {
        cluster_id: status.cluster_id.unwrap(),
        source: 9,
        source_disk: Uuid::from_u128(9),
        target: 1,
        target_disk: None,
    };
    let known = GrpcTransport::new(cluster.tls.as_ref()).unwrap();
    assert!(known.peer(&address, Lane::Operations).health(route).await.is_ok());
    for tls in [None, Some(files(&stranger))] {
        let unknown = GrpcTransport::new(tls.as_ref()).unwrap();
        assert!(unknown.peer(&address, Lane::Operations).health(route).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_not_spoken_to_in_the_clear_over_a_network() {
    let cluster = Cluster::empty();
    let mut config = cluster.config(1);
    config.listen = "0.0.0.0:0".parse().unwrap();
    let refused = RaftNode::start(config, &Seams::system(&HttpOptions::default()).unwrap()).await.err().unwrap();
    assert!(refused.to_string().contains("TLS"), "{refused}");
}

/// Who connects and says nothing is let go, and keeps nobody out: descriptors are the disks', too.
#[tokio::test(flavor = "multi_thread")]
async fn silent_strangers_are_let_go_and_peers_still_speak() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::empty();
    cluster.tls = Some(files(&folder));
    let cluster = cluster.with(2).await;
    cluster.write(1, "before").await;
    let address = cluster.node(2).member().peer_address.clone();
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    cluster.write(1, "beside them").await;
    let closed = tokio::time::timeout(Duration::from_secs(30), silent[0].read(&mut [0])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    cluster.write(1, "after").await;
    cluster.agree().await;
}
