//! Another way to members than the system's TCP: whoever simulates a network makes the connections.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint};

/// The bytes of a connection.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Bytes for T {}

/// Makes connections to members.
pub trait Connector: Send + Sync + 'static {
    /// One to a member (`host:port`).
    fn connect(&self, member: &str) -> BoxFuture<'static, io::Result<Box<dyn Bytes>>>;
}

/// A channel over connections that `connector` makes, first when it is used and again when one broke.
pub(crate) fn channel(endpoint: &Endpoint, connector: &Arc<dyn Connector>) -> Channel {
    let connector = connector.clone();
    endpoint.connect_with_connector_lazy(tower::service_fn(move |member: Uri| {
        let connecting = connector.connect(member.authority().map_or("", |authority| authority.as_str()));
        async move { connecting.await.map(TokioIo::new) }
    }))
}
