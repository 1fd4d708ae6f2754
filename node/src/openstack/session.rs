//! One authenticated way to every service: token, endpoint, versions, ids of calls, limits, and the fence.
//!
//! Mutating calls carry an [`Errand`]: whose work it is, and the [`Permit`] that is asked in the very poll that hands
//! the request to the transport, so that no pause of this process can slip between the check and the sending.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use leasehold_ledger::mutant;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use super::keystone::{self, Secret, Service, ServiceToken, TokenSource};
use super::patience::{Kind, TIMEOUT, timeout};
use super::{CloudError, Withheld};
use crate::seams::{Clock, Http, HttpRequest, HttpResponse, fault};
use crate::telemetry::metrics;

/// Most calls in flight at once to one service; twice as many with those of [`Session::beside`]. Its API is the narrowest
/// part; more only queue there, and a service that hangs must not take the places of the others.
pub const CALLS_IN_FLIGHT_MAX: usize = 64;

/// Longest text of an error that is kept.
const TEXT_CHARS_MAX: usize = 300;

/// Most headers of a call.
const HEADERS_MAX: usize = 6;

/// Namespace of the ids our calls carry.
const CALLS: Uuid = Uuid::from_u128(0x6c65_6173_6568_6f6c_642d_6361_6c6c_7301);

/// Who we are to the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudUser {
    /// The service project: owner of fresh snapshots, and of the server groups that no tenant could make.
    pub project_id: String,
    /// The service user.
    pub user_id: String,
}

/// Asked before every mutating call, in the poll that sends it.
pub trait Permit: Send + Sync {
    /// # Errors
    /// Why the call must not be sent.
    fn check(&self) -> Result<(), Withheld>;
}

/// Whose work a mutating call is.
pub struct Errand<'a> {
    subject: String,
    term: u64,
    attempts: AtomicU64,
    permit: &'a dyn Permit,
}

impl<'a> Errand<'a> {
    /// Work on `subject` (a row, a host) in a leader's `term`.
    #[must_use]
    pub fn new(subject: impl Into<String>, term: u64, permit: &'a dyn Permit) -> Self {
        Self { subject: subject.into(), term, attempts: AtomicU64::new(0), permit }
    }

    /// The same work and count of attempts are not shared: a narrower permit for one call.
    #[must_use]
    pub fn under<'b>(&self, permit: &'b dyn Permit) -> Errand<'b> {
        let mark = self.attempts.fetch_add(1, Ordering::Relaxed);
        Errand::new(format!("{}/{mark}", self.subject), self.term, permit)
    }

    /// Another name for each attempt: work, term and attempt.
    fn attempt(&self) -> String {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        format!("{}/{}/{attempt}", self.subject, self.term)
    }
}

/// Whose a call is, for the fence and for the services' logs.
#[derive(Clone, Copy)]
enum Signature<'a> {
    /// Nobody's: it changes nothing.
    None,
    /// An attempt at an errand, by its name.
    Attempt(&'a Errand<'a>, &'a str),
    /// Of the request that it serves.
    Request(Option<&'a str>),
}

impl Signature<'_> {
    /// What the service notes as the caller's own id; of an attempt the uuid5 of its name (architecture D6).
    fn id(self) -> Option<String> {
        match self {
            Signature::None => None,
            Signature::Attempt(_, name) => Some(format!("req-{}", Uuid::new_v5(&CALLS, name.as_bytes()))),
            Signature::Request(id) => id.map(str::to_owned),
        }
    }
}

/// In whose name a call is made that is not the service user's: with his own token, and outside the fence, for what is his.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// As he sent it. Used for this call, and kept nowhere.
    pub token: &'a Secret,
    /// Of the request that the call serves, under which the service has it in its log.
    pub request_id: Option<&'a str>,
}

/// Who sends a call.
#[derive(Clone, Copy)]
enum Sender<'a> {
    /// The service user; with an errand when the call changes something.
    Service(Option<&'a Errand<'a>>),
    Caller(Caller<'a>),
}

/// The microversion that calls of a service name; `None`: the service has none.
pub(super) fn pinned(service: Service) -> Option<&'static str> {
    match service {
        Service::Nova => Some("compute 2.96"),
        Service::Placement => Some("placement 1.39"),
        Service::Glance | Service::Keystone => None,
    }
}

/// One call.
pub(super) struct Call {
    service: Service,
    method: Method,
    path: String,
    body: Option<Value>,
    kind: Kind,
    version: Option<&'static str>,
    content_type: &'static str,
}

impl Call {
    pub(super) fn new(service: Service, method: Method, path: impl Into<String>) -> Self {
        let version = pinned(service);
        let content_type = "application/json";
        Self { service, method, path: path.into(), body: None, kind: Kind::Quick, version, content_type }
    }

    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) fn slow(mut self) -> Self {
        self.kind = Kind::Slow;
        self
    }

    pub(super) fn version(mut self, version: &'static str) -> Self {
        self.version = Some(version);
        self
    }

    /// Names no microversion: for asking which there are.
    pub(super) fn unversioned(mut self) -> Self {
        self.version = None;
        self
    }

    pub(super) fn content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A successful answer.
pub(super) struct Answer {
    call: Call,
    body: Bytes,
    date: Option<HeaderValue>,
}

impl Answer {
    /// The service's clock as it answered: Unix milliseconds, of whole seconds; `None` when it told none.
    pub(super) fn date_ms(&self) -> Option<u64> {
        let date = chrono::DateTime::parse_from_rfc2822(self.date.as_ref()?.to_str().ok()?).ok()?;
        u64::try_from(date.timestamp_millis()).ok()
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, CloudError> {
        serde_json::from_slice(&self.body).map_err(|error| CloudError::Decode {
            service: self.call.service.name(),
            call: self.call.name(),
            text: error.to_string(),
        })
    }
}

/// Sends calls.
pub struct Session {
    http: Arc<dyn Http>,
    tokens: Arc<TokenSource>,
    clock: Arc<dyn Clock>,
    agent: HeaderValue,
    timeout: Duration,
    in_flight: InFlight,
}

/// Places for calls, by service.
struct InFlight {
    nova: Semaphore,
    placement: Semaphore,
    glance: Semaphore,
    keystone: Semaphore,
}

impl InFlight {
    fn new() -> Self {
        let places = || Semaphore::new(CALLS_IN_FLIGHT_MAX);
        Self { nova: places(), placement: places(), glance: places(), keystone: places() }
    }

    async fn place(&self, service: Service) -> SemaphorePermit<'_> {
        let places = match service {
            Service::Nova => &self.nova,
            Service::Placement => &self.placement,
            Service::Glance => &self.glance,
            Service::Keystone => &self.keystone,
        };
        places.acquire().await.expect("the semaphore is never closed")
    }
}

impl Session {
    /// A session that names itself `leasehold/<node>` to the cloud's records.
    #[must_use]
    pub fn new(http: Arc<dyn Http>, tokens: Arc<TokenSource>, clock: Arc<dyn Clock>, node: u64) -> Self {
        let agent = HeaderValue::try_from(format!("leasehold/{node}")).expect("digits are header text");
        Self { http, tokens, clock, agent, timeout: TIMEOUT, in_flight: InFlight::new() }
    }

    /// The same session with another time until a call is given up; quick reads are given up after a sixth of it.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same way to the cloud with calls in flight of its own.
    pub(super) fn beside(&self) -> Self {
        let (http, tokens, clock) = (self.http.clone(), self.tokens.clone(), self.clock.clone());
        Self { http, tokens, clock, agent: self.agent.clone(), timeout: self.timeout, in_flight: InFlight::new() }
    }

    pub(super) async fn user(&self) -> Result<CloudUser, CloudError> {
        let token = self.token().await?;
        Ok(CloudUser { project_id: token.project_id.clone(), user_id: token.user_id.clone() })
    }

    /// The service user's token and where each service is called; errors as Keystone's client tells them.
    pub(super) fn tokens(&self) -> &TokenSource {
        &self.tokens
    }

    /// A call that changes nothing.
    pub(super) async fn read(&self, call: Call) -> Result<Answer, CloudError> {
        self.carry(call, Sender::Service(None)).await
    }

    /// A call that changes something, sent only while the errand's permit says so.
    pub(super) async fn write(&self, errand: &Errand<'_>, call: Call) -> Result<Answer, CloudError> {
        self.carry(call, Sender::Service(Some(errand))).await
    }

    /// A call in the name of somebody else, with his token, which is never renewed.
    pub(super) async fn write_as(&self, caller: Caller<'_>, call: Call) -> Result<Answer, CloudError> {
        self.carry(call, Sender::Caller(caller)).await
    }

    async fn token(&self) -> Result<Arc<ServiceToken>, CloudError> {
        self.tokens.token().await.map_err(|error| keystone_failed(&error))
    }

    async fn carry(&self, call: Call, sender: Sender<'_>) -> Result<Answer, CloudError> {
        let (service, method, begun) = (call.service.name(), verb(&call.method), self.clock.mono());
        let answer = self.deliver(call, sender).await;
        let ending = match &answer {
            Ok(_) => "2xx",
            Err(CloudError::Withheld(_)) => "withheld",
            Err(error) => match error.status() {
                Some(409) => "409",
                Some(500..) => "5xx",
                Some(_) => "4xx",
                None => "lost",
            },
        };
        metrics::observe_cloud_call(service, method, ending, self.clock.mono().since(begun).as_secs_f64());
        answer
    }

    async fn deliver(&self, call: Call, sender: Sender<'_>) -> Result<Answer, CloudError> {
        let service = call.service.name();
        let response = match sender {
            Sender::Caller(Caller { token, request_id }) => self.send(&call, token, Signature::Request(request_id)).await?,
            Sender::Service(errand) => self.send_as_service(&call, errand).await?,
        };
        let status = response.status.as_u16();
        if status < 300 {
            let date = response.headers.get("date").cloned();
            return Ok(Answer { call, body: response.body, date });
        }
        let (code, text) = told(&response.body);
        if status == 401 {
            return Err(CloudError::Unauthorised(format!("{service}: {text}")));
        }
        let retry_after =
            response.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        Err(CloudError::Status { service, call: call.name(), status, code, text, retry_after })
    }

    async fn send_as_service(&self, call: &Call, errand: Option<&Errand<'_>>) -> Result<HttpResponse, CloudError> {
        let token = self.token().await?;
        let response = self.attempt(call, &token.token, errand).await?;
        if response.status.as_u16() != 401 {
            return Ok(response);
        }
        // A 401 is given before the work, so sending once more with another token repeats nothing.
        self.tokens.refuse(&token);
        let token = self.token().await?;
        self.attempt(call, &token.token, errand).await
    }

    async fn attempt(&self, call: &Call, token: &Secret, errand: Option<&Errand<'_>>) -> Result<HttpResponse, CloudError> {
        let Some(errand) = errand else { return self.send(call, token, Signature::None).await };
        let name = errand.attempt();
        // Planted bug: after its first call an errand does not say any more whose calls are.
        if mutant!("C01") && !name.ends_with("/0") {
            return self.send(call, token, Signature::Request(None)).await;
        }
        self.send(call, token, Signature::Attempt(errand, &name)).await
    }

    async fn send(&self, call: &Call, token: &Secret, signature: Signature<'_>) -> Result<HttpResponse, CloudError> {
        let service = call.service.name();
        let base = self.tokens.endpoint(call.service).await.map_err(|error| keystone_failed(&error))?;
        let mut headers = HeaderMap::with_capacity(HEADERS_MAX);
        headers.insert("user-agent", self.agent.clone());
        let mut set = |name: HeaderName, value: &str| {
            HeaderValue::try_from(value)
                .map(|value| drop(headers.insert(name, value)))
                .map_err(|_| CloudError::Unauthorised(format!("{service}: the token holds characters that no header can carry")))
        };
        set(HeaderName::from_static("x-auth-token"), token.reveal())?;
        set(HeaderName::from_static("accept"), "application/json")?;
        if let Some(version) = call.version {
            set(HeaderName::from_static("openstack-api-version"), version)?;
        }
        if let Some(id) = signature.id() {
            set(HeaderName::from_static("x-openstack-request-id"), &id)?;
        }
        let mut body = Bytes::new();
        if let Some(value) = &call.body {
            set(HeaderName::from_static("content-type"), call.content_type)?;
            body = Bytes::from(serde_json::to_vec(value).expect("a value is JSON, and a Vec takes every write"));
        }
        let request = HttpRequest {
            method: call.method.clone(),
            url: format!("{base}{}", call.path),
            headers,
            body,
            timeout: timeout(self.timeout, &call.method, call.kind),
        };
        // Taken only now: a Keystone that hangs must not keep the places of others.
        let _place = self.in_flight.place(call.service).await;
        // Nothing may wait between this check and the first poll of the sending (architecture D6).
        if let Signature::Attempt(errand, name) = signature {
            errand.permit.check()?;
            crate::fault_point!("leader.call.before");
            fault::sends(name);
        }
        let answer = self.http.send(request).await.map_err(|error| CloudError::transport(service, &error));
        if let Signature::Attempt(..) = signature {
            crate::fault_point!("leader.call.after");
        }
        answer
    }
}

/// The method as a label.
fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

/// A call that was not sent because there was no token or endpoint for it.
fn keystone_failed(error: &keystone::Error) -> CloudError {
    let mut text = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        text = format!("{text}: {cause}");
    }
    match error {
        keystone::Error::CredentialsRefused { .. } => CloudError::Unauthorised(text),
        _ => CloudError::Unreachable { service: "keystone", text },
    }
}

/// Code and text of an error body: Placement lists errors, Nova wraps one in an object named after its kind.
fn told(body: &[u8]) -> (String, String) {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return (String::new(), short(&String::from_utf8_lossy(body)));
    };
    let field = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(first) = value.get("errors").and_then(|errors| errors.get(0)) {
        return (field(first, "code"), short(&field(first, "detail")));
    }
    if let Some(inner) = value.as_object().and_then(|object| object.values().next()) {
        return (String::new(), short(&field(inner, "message")));
    }
    (String::new(), short(&value.to_string()))
}

fn short(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TEXT_CHARS_MAX).collect()
}

/// Text as the value of a query parameter.
pub(super) fn query_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
