//! Another way to peers than the system's TCP: whoever simulates a network makes the connections, and gRPC goes over them.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use leasehold_client::Bytes;
use tonic::transport::{Channel, Endpoint};

use super::peer::Lane;
use crate::seams::Spawner;

/// Makes connections to peers.
pub trait Dial: Send + Sync + 'static {
    /// One to `address` (`host:port`), for one purpose.
    fn dial(&self, address: &str, lane: Lane) -> BoxFuture<'static, io::Result<Box<dyn Bytes>>>;
}

/// A channel over connections that `dial` makes, first when it is used and again when one broke.
pub(super) fn channel(endpoint: Endpoint, dial: Arc<dyn Dial>, address: &str, lane: Lane, group: &Spawner) -> Channel {
    let address = address.to_owned();
    let connect = tower::service_fn(move |_: Uri| {
        let connecting = dial.dial(&address, lane);
        async move { connecting.await.map(TokioIo::new) }
    });
    endpoint.executor(InGroup(group.clone())).connect_with_connector_lazy(connect)
}

/// Runs what keeps a connection in the node's group.
struct InGroup(Spawner);

impl hyper::rt::Executor<BoxFuture<'static, ()>> for InGroup {
    fn execute(&self, task: BoxFuture<'static, ()>) {
        drop(self.0.spawn("peer connection", task));
    }
}
