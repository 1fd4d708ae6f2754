//! Watch streams.

use futures::stream::{BoxStream, StreamExt};
use leasehold_client::wire::v1;
use leasehold_client::wire::v1::watch_service_server::WatchService;
use tonic::{Request, Response, Status};

use super::status::of;
use super::{Admitted, Edge};
use crate::operations::{OperationError, Unavailable};

#[tonic::async_trait]
impl WatchService for Edge {
    type WatchStream = BoxStream<'static, Result<v1::WatchResponse, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        // A stream that waits is no request in flight: the permit ends with this call, the connection's limits go on.
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let changes = self.operations.watch(&actor, message.after).await.map_err(of)?;
        let changes = changes.map(|change| change.map(Into::into).map_err(of));
        // Streams have no end of their own: a node that stops ends them, so that readers go to another one.
        let stopping = async { Err(of(OperationError::Unavailable(Unavailable::Stopping))) };
        let stream = changes.take_until(self.stop.clone().cancelled_owned()).chain(futures::stream::once(stopping));
        Ok(Response::new(stream.boxed()))
    }
}
