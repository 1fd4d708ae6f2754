//! The service user's token: obtained once, shared by all callers, renewed before it runs out or when it was refused.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::Mutex;

use super::documents::{CatalogService, TokenDocument};
use super::{Credentials, Error, KeystoneOptions, Secret, Service, catalog};
use crate::openstack::patience::{Kind, timeout};
use crate::seams::{Clock, Http, HttpError, HttpRequest, HttpResponse, Mono};
use crate::telemetry::metrics;

/// What the call that gets a token is called in errors.
const OBTAIN: &str = "get a token for the service user";
/// A token is renewed when less than this, or a fifth of its life, is left.
const RENEW_BEFORE: Duration = Duration::from_secs(120);
/// After a failed renewal the old token is handed out for so long before Keystone is asked again: with Keystone down, no
/// call waits for it more than once in this time.
const RENEW_AGAIN: Duration = Duration::from_secs(10);

/// A token of the service user and what came with it.
#[derive(Clone, Debug)]
pub struct ServiceToken {
    /// For `X-Auth-Token`.
    pub token: Secret,
    /// The service user's id.
    pub user_id: String,
    /// The project it is scoped to.
    pub project_id: String,
    /// Names of the roles it has there.
    pub roles: Arc<[String]>,
    /// Keystone's clock when it made the token, Unix milliseconds.
    pub issued_ms: u64,
    catalog: Arc<[CatalogService]>,
    /// From here on a new one is got before this one is handed out.
    renew_at: Mono,
    /// From here on it is of no use to anyone.
    expires_at: Mono,
}

/// The last failed attempt: when it ended, and how.
type LastFailure = Option<(Mono, Error)>;

/// Gives the service user's token and the cloud's endpoints. Share it in an `Arc`.
pub struct TokenSource {
    pub(super) options: KeystoneOptions,
    pub(super) http: Arc<dyn Http>,
    clock: Arc<dyn Clock>,
    current: RwLock<Option<Arc<ServiceToken>>>,
    // Held while a token is got, so that a thousand callers make one call.
    attempt: Mutex<LastFailure>,
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource").field("options", &self.options).finish_non_exhaustive()
    }
}

impl TokenSource {
    /// Nothing is called before the first token is asked for.
    pub fn new(options: KeystoneOptions, http: Arc<dyn Http>, clock: Arc<dyn Clock>) -> TokenSource {
        TokenSource { options, http, clock, current: RwLock::new(None), attempt: Mutex::default() }
    }

    /// A token that is good for a while. Callers who find none wait for one call to Keystone and share its answer, a
    /// failure too; but while the old token has not expired, a failed renewal gives that: Keystone's outage is not ours.
    ///
    /// # Errors
    /// Any of [`Error`]; nothing is retried here.
    pub async fn token(&self) -> Result<Arc<ServiceToken>, Error> {
        if let Some(token) = self.usable() {
            return Ok(token);
        }
        // Another caller may be asking right now. If its attempt fails after we began to wait, that failure is ours too:
        // otherwise each of many waiters would wait out a timeout of its own, one after the other.
        let began = self.clock.mono();
        // Nobody waits for a renewal while the old token still serves.
        let mut last_failure = match self.attempt.try_lock() {
            Ok(attempt) => attempt,
            Err(_) => match self.unexpired() {
                Some(token) => return Ok(token),
                None => self.attempt.lock().await,
            },
        };
        if let Some(token) = self.usable() {
            return Ok(token);
        }
        if let Some((ended, error)) = &*last_failure {
            let (shared, recent) = (*ended > began, began < ended.after(RENEW_AGAIN));
            match self.unexpired() {
                Some(token) if shared || recent => return Ok(token),
                None if shared => return Err(error.clone()),
                Some(_) | None => {}
            }
        }
        match self.obtain().await {
            Ok(token) => {
                let token = Arc::new(token);
                *self.current.write() = Some(token.clone());
                *last_failure = None;
                Ok(token)
            }
            Err(error) => {
                *last_failure = Some((self.clock.mono(), error.clone()));
                // Asked for only now: the attempt itself may have taken the rest of the token's life.
                match self.unexpired() {
                    Some(token) => {
                        tracing::warn!(%error, "the service user's token could not be renewed; it is used until it expires");
                        Ok(token)
                    }
                    None => Err(error),
                }
            }
        }
    }

    /// Tells that the cloud answered 401 to `refused`: the next [`TokenSource::token`] gets a new one. A token that was
    /// replaced meanwhile is left alone.
    pub fn refuse(&self, refused: &ServiceToken) {
        let mut current = self.current.write();
        if current.as_ref().is_some_and(|token| token.token == refused.token) {
            *current = None;
        }
    }

    /// Where `service` is called, without a slash at the end.
    ///
    /// # Errors
    /// [`Error::NoEndpoint`], or those of [`TokenSource::token`], whose answer brings the catalog.
    pub async fn endpoint(&self, service: Service) -> Result<String, Error> {
        if self.options.endpoints.contains_key(&service) {
            return catalog::endpoint(&self.options, &[], service);
        }
        let token = self.token().await?;
        catalog::endpoint(&self.options, &token.catalog, service)
    }

    /// Sends a request, and counts how it ended.
    pub(super) async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (method, begun) = (if request.method == Method::POST { "POST" } else { "GET" }, self.clock.mono());
        let answer = self.http.send(request).await;
        let ending = match answer.as_ref().map(|answer| answer.status.as_u16()) {
            Ok(..400) => "2xx",
            Ok(400..500) => "4xx",
            Ok(500..) => "5xx",
            Err(_) => "lost",
        };
        let seconds = self.clock.mono().since(begun).as_secs_f64();
        metrics::observe_cloud_call(Service::Keystone.name(), method, ending, seconds);
        answer
    }

    /// `…/v3/auth/tokens` with `query`.
    pub(super) fn tokens_url(&self, query: &str) -> String {
        let base = self.options.auth_url.trim_end_matches('/');
        let version = if base.ends_with("/v3") { "" } else { "/v3" };
        format!("{base}{version}/auth/tokens{query}")
    }

    fn usable(&self) -> Option<Arc<ServiceToken>> {
        let current = self.current.read();
        current.as_ref().filter(|token| self.clock.mono() < token.renew_at).cloned()
    }

    /// The current token, however little is left of it.
    fn unexpired(&self) -> Option<Arc<ServiceToken>> {
        let current = self.current.read();
        current.as_ref().filter(|token| self.clock.mono() < token.expires_at).cloned()
    }

    async fn obtain(&self) -> Result<ServiceToken, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        // The token's life counts from before the request on our monotonic clock: no wall clock has to agree.
        let asked_at = self.clock.mono();
        let answer = self
            .call(HttpRequest {
                method: Method::POST,
                url: self.tokens_url(""),
                headers,
                body: Bytes::from(auth_document(&self.options.credentials).to_string()),
                timeout: timeout(self.options.timeout, &Method::POST, Kind::Quick),
            })
            .await
            .map_err(|cause| Error::Unreachable { call: OBTAIN, cause })?;
        match answer.status {
            StatusCode::CREATED | StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Error::CredentialsRefused { status: answer.status.as_u16() });
            }
            other => return Err(Error::Status { call: OBTAIN, status: other.as_u16() }),
        }
        let malformed = |problem: String| Error::Malformed { call: OBTAIN, problem };
        let token = answer
            .headers
            .get("x-subject-token")
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| malformed("there is no X-Subject-Token header".to_owned()))?;
        let document: TokenDocument = serde_json::from_slice(&answer.body)
            .map_err(|error| malformed(format!("{:?} error in its JSON", error.classify())))?;
        let (issued_ms, expires_ms) = document.token.times_ms().map_err(malformed)?;
        let life = Duration::from_millis(expires_ms.saturating_sub(issued_ms));
        let project = document.token.project.ok_or_else(|| malformed("the token has no project".to_owned()))?;
        Ok(ServiceToken {
            token: Secret::new(token),
            user_id: document.token.user.id,
            project_id: project.id,
            issued_ms,
            roles: document.token.roles.into_iter().map(|role| role.name).collect(),
            catalog: document.token.catalog.into(),
            renew_at: asked_at.after(life.saturating_sub(RENEW_BEFORE.min(life / 5))),
            expires_at: asked_at.after(life),
        })
    }
}

/// The body of `POST /v3/auth/tokens`.
fn auth_document(credentials: &Credentials) -> serde_json::Value {
    match credentials {
        Credentials::Password { username, user_domain_name, password, project_name, project_domain_name } => json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": username, "domain": {"name": user_domain_name}, "password": password.reveal()}}},
            "scope": {"project": {"name": project_name, "domain": {"name": project_domain_name}}}}}),
        Credentials::ApplicationCredential { id, secret } => json!({"auth": {
            "identity": {"methods": ["application_credential"],
                         "application_credential": {"id": id, "secret": secret.reveal()}}}}),
    }
}
