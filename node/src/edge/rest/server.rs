//! The REST edge's server: its limits and what is done before a path is looked up.

use std::io;
use std::sync::Arc;

use ::http::Request;
use axum::body::Body;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::util::MapRequest;

use super::{Rest, routes};
use crate::config::ApiSection;
use crate::edge::auth::Authenticator;
use crate::edge::http;
use crate::listen::accept::{self, Listener};
use crate::listen::tls::ServerTls;
use crate::operations::Operations;
use crate::seams::Seams;

/// Serves until `stop`; then takes no more connections and lets those that are there finish their requests.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: impl Listener,
    tls: Option<ServerTls>,
    operations: Operations,
    authenticator: Arc<dyn Authenticator>,
    api: ApiSection,
    seams: Seams,
    stop: CancellationToken,
) -> io::Result<()> {
    let rest = Rest {
        operations,
        authenticator,
        seams: seams.clone(),
        minutes_before_end: api.minutes_before_end_lease,
        in_flight: Arc::new(Semaphore::new(api.requests_max.clamp(1, Semaphore::MAX_PERMITS))),
        scheme: if tls.is_some() { "https" } else { "http" },
    };
    let service = MapRequest::new(routes::router(rest), without_json);
    let connections = accept::connections(listener, tls, api.connections_max, &seams, stop.clone());
    http::serve(connections, service, &seams, &stop).await
}

fn without_json(mut request: Request<Body>) -> Request<Body> {
    if let Some(uri) = routes::without_json(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}
