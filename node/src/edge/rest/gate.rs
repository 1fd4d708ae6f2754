//! What every request passes: request id, limit, token; and, where a route matches, microversion and body rules.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tracing::Instrument;
use tracing::field::Empty;

use super::Rest;
use super::answer::{self, Ending, Refused};
use super::microversion::{self, Microversion};
use crate::config::Secret;
use crate::edge::auth::AuthError;
use crate::edge::error::Problem;
use crate::listen::date;
use crate::operations::{Actor, OperationError, Rule, Unavailable};
use crate::telemetry::{metrics, request_id};

/// Longest body that is read.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How much of a longer one is thrown away, so that its sender gets to read the answer.
const BODY_BYTES_DRAINED_MAX: usize = 64 * 1024 * 1024;
/// A body must have arrived by then.
const BODY_TIME: Duration = Duration::from_secs(30);
/// An answer must be there by then; deletes wait up to 60 s for the cloud (architecture D19).
const ANSWER_TIME: Duration = Duration::from_secs(90);

/// OpenStack's header for it, in requests and answers.
const REQUEST_ID: &str = "x-openstack-request-id";

/// Name of the operation, for metrics; set by the route.
#[derive(Clone, Copy, Debug)]
pub struct Operation(pub &'static str);

/// The caller's token, where services of the cloud know it. Never shown: it is a [`Secret`].
#[derive(Clone)]
struct CloudToken(Option<Secret>);

/// Outermost: every answer gets a request id, every caller must be known, every request is counted.
pub async fn enter(State(rest): State<Rest>, mut request: Request, next: Next) -> Response {
    let request_id = request_id::of(rest.seams.rng.uuid_v4());
    let span = tracing::info_span!("rest", request_id, global_request_id = Empty, project_id = Empty, lease_id = Empty,
        key = Empty, term = Empty, log_index = Empty, method = %request.method(), path = request.uri().path());
    // The id under which the service that called us has it in its log.
    let global = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    if let Some(global) = global.filter(|global| request_id::is_well_formed(global)) {
        span.record("global_request_id", global);
    }
    let began = rest.seams.clock.mono();
    let mut response = async {
        // First who it is: a Keystone that hangs must not use up the places of those whose token is known.
        let token = token(request.headers());
        let known = match &token {
            Ok(token) => rest.authenticator.authenticate(token.as_deref()).await,
            Err(error) => Err(error.clone()),
        };
        match known {
            Ok(actor) => {
                let Ok(_permit) = rest.in_flight.clone().try_acquire_owned() else {
                    return Refused::from(OperationError::Unavailable(Unavailable::Overloaded)).into_response();
                };
                tracing::Span::current().record("project_id", tracing::field::display(&actor.project_id));
                tracing::debug!("a request");
                let token = token.as_ref().ok().and_then(|token| rest.authenticator.for_cloud(token.as_deref()));
                request.extensions_mut().insert(CloudToken(token));
                request.extensions_mut().insert(actor);
                let clock = rest.seams.clock.clone();
                match clock.timeout(ANSWER_TIME, request_id::within(request_id.clone(), next.run(request))).await {
                    Ok(response) => response,
                    Err(_) => Refused::from(OperationError::Unknown).into_response(),
                }
            }
            Err(error @ (AuthError::Missing | AuthError::Invalid)) => answer::unauthenticated(&error.to_string()),
            Err(error @ AuthError::Unavailable(_)) => Refused::from(error).into_response(),
        }
    }
    .instrument(span.clone())
    .await;
    let operation = response.extensions().get().map_or("none", |Operation(name)| name);
    let ending = response.extensions().get().map_or("refused", |Ending(name)| name);
    let seconds = rest.seams.clock.mono().since(began).as_secs_f64();
    metrics::request("rest", operation, ending, seconds);
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), seconds, "answered"));
    date::stamp(response.headers_mut(), &*rest.seams.clock);
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Inside, where a route has a body or a query: the policy's rule, before it is read (blazar-api §13). Who may not do it at all
/// is told so, and not what is wrong with the request. Whose the target is, the operation checks.
pub async fn may(State(rule): State<Rule>, request: Request, next: Next) -> Response {
    let Some(actor) = request.extensions().get::<Actor>() else {
        return Refused::from(OperationError::Internal("a handler was reached around the gate".to_owned())).into_response();
    };
    match actor.authorise(rule, Some(&actor.project_id)) {
        Ok(()) => next.run(request).await,
        Err(denied) => Refused::from(OperationError::from(denied)).into_response(),
    }
}

fn token(headers: &HeaderMap) -> Result<Option<String>, AuthError> {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).map_err(|_| AuthError::Invalid);
    headers.get("x-auth-token").map(text).transpose()
}

/// Inside, where a route matched: microversion, and its headers on the answer.
pub async fn versioned(mut request: Request, next: Next) -> Response {
    let version = match Microversion::of_request(request.headers()) {
        Ok(version) => version,
        Err((status, text)) => return Refused::Framework(status, text).into_response(),
    };
    request.extensions_mut().insert(version);
    let mut response = next.run(request).await;
    response.headers_mut().insert(microversion::HEADER, HeaderValue::from_static(version.header_value()));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("OpenStack-API-Version"));
    response
}

/// Who asks, and in which version: put there by [`enter`] and [`versioned`].
pub struct Caller {
    /// Validated.
    pub actor: Actor,
    /// His token, where services of the cloud know it.
    pub token: Option<Secret>,
    /// Understood.
    pub version: Microversion,
}

impl Caller {
    /// Refuses a path that 1.0 does not have (architecture D9).
    pub fn since_1_1(&self) -> Result<(), Refused> {
        if self.version < Microversion::V1_1 {
            let text = "this path needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1".to_owned();
            return Err(Refused::Framework(StatusCode::NOT_FOUND, text));
        }
        Ok(())
    }
}

impl FromRequestParts<Rest> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Rest) -> Result<Self, Self::Rejection> {
        // Both layers run before every handler; without them nothing may be answered.
        let missing = || OperationError::Internal("a handler was reached around the gate".to_owned());
        let actor = parts.extensions.get::<Actor>().cloned().ok_or_else(missing)?;
        let version = parts.extensions.get::<Microversion>().copied().ok_or_else(missing)?;
        let CloudToken(token) = parts.extensions.get::<CloudToken>().cloned().ok_or_else(missing)?;
        Ok(Caller { actor, token, version })
    }
}

/// A query as it was sent: keys may come twice.
pub type Pairs = std::result::Result<Query<Vec<(String, String)>>, QueryRejection>;

/// Its keys and values.
pub fn pairs(query: Pairs) -> std::result::Result<Vec<(String, String)>, Refused> {
    query.map(|Query(pairs)| pairs).map_err(|error| Refused::Framework(StatusCode::BAD_REQUEST, error.body_text()))
}

/// The one variable segment of a path.
pub struct Segment(pub String);

impl FromRequestParts<Rest> for Segment {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Self, Self::Rejection> {
        match Path::<String>::from_request_parts(parts, rest).await {
            Ok(Path(segment)) => Ok(Segment(segment)),
            Err(_) => Err(Refused::Framework(StatusCode::BAD_REQUEST, "the path is not UTF-8".to_owned())),
        }
    }
}

/// The two variable segments of a path.
pub struct Segments(pub String, pub String);

impl FromRequestParts<Rest> for Segments {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Self, Self::Rejection> {
        match Path::<(String, String)>::from_request_parts(parts, rest).await {
            Ok(Path((first, second))) => Ok(Segments(first, second)),
            Err(_) => Err(Refused::Framework(StatusCode::BAD_REQUEST, "the path is not UTF-8".to_owned())),
        }
    }
}

/// A JSON body.
pub struct Json(pub Value);

impl FromRequest<Rest> for Json {
    type Rejection = Refused;

    async fn from_request(request: Request, rest: &Rest) -> Result<Self, Self::Rejection> {
        if let Some(content_type) = request.headers().get(header::CONTENT_TYPE) {
            let text = content_type.to_str().unwrap_or("(not text)");
            let essence = text.split(';').next().unwrap_or_default().trim();
            if !essence.eq_ignore_ascii_case("application/json") {
                let text: String = text.chars().take(80).collect();
                return Err(Refused::Framework(StatusCode::BAD_REQUEST, format!("Content type '{text}' isn't supported")));
            }
        }
        let read = rest.seams.clock.timeout(BODY_TIME, read(request.into_body())).await;
        let bytes = read.map_err(|_| {
            let text = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            Refused::Framework(StatusCode::REQUEST_TIMEOUT, text)
        })??;
        serde_json::from_slice(&bytes).map(Json).map_err(|error| {
            let text = if bytes.is_empty() {
                "the body is empty; it must be JSON".to_owned()
            } else {
                format!("the body is not JSON: {error}")
            };
            Refused::Framework(StatusCode::BAD_REQUEST, text)
        })
    }
}

async fn read(mut body: Body) -> Result<Bytes, Refused> {
    let mut bytes = BytesMut::new();
    let mut len = 0;
    while let Some(frame) = body.frame().await {
        let broken = |error| Refused::from(Problem::malformed(format!("the body broke off: {error}")));
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        len += data.len();
        if len <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else if len > BODY_BYTES_DRAINED_MAX {
            break;
        }
    }
    if len > BODY_BYTES_MAX {
        let text = format!("the body is longer than {BODY_BYTES_MAX} bytes, the longest that is read");
        return Err(Refused::Framework(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    Ok(bytes.freeze())
}
