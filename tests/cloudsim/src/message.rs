//! Requests and responses as the cloud sees them, the same for both transports.

use bytes::Bytes;
use http::header::AsHeaderName;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

/// The caller's token.
pub(crate) static TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// The microversions that a call is made in.
pub(crate) static API_VERSION: HeaderName = HeaderName::from_static("openstack-api-version");
/// The caller's own id of the call.
pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// One call to the cloud.
#[derive(Debug, Clone)]
pub struct Request {
    /// The HTTP method.
    pub method: Method,
    /// The path with its service prefix, for example `/compute/v2.1/servers`.
    pub path: String,
    /// The query string without `?`; empty when there is none.
    pub query: String,
    /// The headers; names are matched without regard to case.
    pub headers: HeaderMap,
    /// The body as sent.
    pub body: Bytes,
    /// Who calls, as it stands in the record; when empty, the header `X-Leasehold-Node` or `User-Agent` is taken.
    pub caller: String,
}

impl Request {
    /// A request without headers and body; `target` is a path that may carry a query.
    pub fn new(method: Method, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            caller: String::new(),
        }
    }

    /// Adds a header. A name or value that HTTP cannot carry is left out, as no client could have sent it.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds the token of the caller.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("X-Auth-Token", token)
    }

    /// Sets a JSON body and its content type.
    #[must_use]
    pub fn json(mut self, body: &Value) -> Self {
        self.body = Bytes::from(body.to_string());
        self.header("Content-Type", "application/json")
    }

    /// Sets who calls.
    #[must_use]
    pub fn caller(mut self, caller: &str) -> Self {
        self.caller = caller.to_owned();
        self
    }

    /// The value of a header, if it is there and readable.
    pub(crate) fn get(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What becomes of a call. Only faults make anything else than an answer at once.
#[derive(Debug, Clone)]
pub enum Response {
    /// The answer, to be delivered `after_ms` later.
    Answer {
        /// Milliseconds between the call and the delivery.
        after_ms: u64,
        /// The answer.
        answer: Answer,
    },
    /// The connection ends without an answer, `after_ms` later.
    Lost {
        /// Milliseconds between the call and the end of the connection.
        after_ms: u64,
    },
    /// No answer ever, and the connection stays open.
    Hang,
}

impl Response {
    /// The answer when it comes at once, as without faults.
    pub fn answer(self) -> Option<Answer> {
        match self {
            Self::Answer { answer, .. } => Some(answer),
            Self::Lost { .. } | Self::Hang => None,
        }
    }

    /// The status of the answer, if there is one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { answer, .. } => Some(answer.status),
            Self::Lost { .. } | Self::Hang => None,
        }
    }
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers in the order they are sent; their names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `Null` when it is empty or no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The value of a header, by name without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
