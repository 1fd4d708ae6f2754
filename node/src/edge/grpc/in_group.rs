//! Calls are served by tasks of the node's group. The server's own tasks are in none: they go on where the node is stopped.

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use tower::{Layer, Service};

use crate::seams::{Spawner, Stopped, Task};

/// Wraps the services.
#[derive(Clone)]
pub(super) struct InGroup(pub Spawner);

/// A wrapped service.
#[derive(Clone)]
pub(super) struct Grouped<S> {
    group: Spawner,
    inner: S,
}

impl<S> Layer<S> for InGroup {
    type Service = Grouped<S>;

    fn layer(&self, inner: S) -> Grouped<S> {
        Grouped { group: self.0.clone(), inner }
    }
}

impl<S, R> Service<R> for Grouped<S>
where
    S: Service<R>,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let mut serving = Serving(self.group.spawn("grpc call", self.inner.call(request)));
        async move {
            match (&mut serving.0).await {
                Ok(answer) => answer,
                // The node is being stopped, and its connections with it.
                Err(Stopped) => std::future::pending().await,
            }
        }
        .boxed()
    }
}

/// A call that ends when its caller goes away.
struct Serving<T>(Task<T>);

impl<T> Drop for Serving<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_call_ends_with_its_caller_and_with_the_node() {
        let group = Spawner::new();
        let alive = Arc::new(());
        let held = alive.clone();
        let mut service = InGroup(group.clone()).layer(tower::service_fn(move |wait: bool| {
            let held = held.clone();
            async move {
                if wait {
                    std::future::pending::<()>().await;
                }
                drop(held);
                Ok::<_, Infallible>(7)
            }
        }));
        assert_eq!(service.call(false).await, Ok(7));
        let idle = Arc::strong_count(&alive);
        let gone = async |idle| {
            while Arc::strong_count(&alive) > idle {
                tokio::task::yield_now().await;
            }
        };
        let mut waiting = service.call(true);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(waiting);
        gone(idle).await;
        let mut waiting = service.call(true);
        assert!(futures::poll!(&mut waiting).is_pending());
        group.shutdown().await;
        assert_eq!(Arc::strong_count(&alive), idle);
        assert!(futures::poll!(&mut waiting).is_pending(), "nobody answers for a node that is gone");
    }
}
