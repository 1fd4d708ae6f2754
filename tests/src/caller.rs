//! The product's client library, connected to a harness cluster.

use anyhow::Result;
use leasehold_client::Client;

use crate::cluster::Cluster;

/// A client that knows every node. With `noauth` a token names the caller's project.
pub async fn connect(cluster: &Cluster, token: Option<&str>) -> Result<Client> {
    todo!()
}
