//! The shapes of answers (blazar-api §3), in one place: domain errors, framework errors, and what succeeded.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::edge::error::{Problem, Retry, Row};

/// The code of an empty `PUT /os-hosts/{id}`, whose answer has a shape of its own.
pub const NO_DATA: &str = "no_data";
/// Tells at which ledger index an answer is true (architecture D17).
pub const LEDGER_INDEX: &str = "x-leasehold-ledger-index";

/// A success.
pub struct Answered {
    /// 200, 201 or 204.
    pub status: StatusCode,
    /// `None`: no body at all, as Blazar's 204.
    pub body: Option<Value>,
    /// Sent as [`LEDGER_INDEX`].
    pub ledger_index: Option<u64>,
}

impl Answered {
    /// With a body that is true at an index.
    pub fn at(ledger_index: u64, status: StatusCode, body: Value) -> Answered {
        Answered { status, body: Some(body), ledger_index: Some(ledger_index) }
    }
}

/// A refusal or failure.
#[derive(Debug)]
pub enum Refused {
    /// An operation's, or of the content of a request.
    Problem(Box<Problem>),
    /// Of the HTTP around it: no route, method, media type, microversion, JSON.
    Framework(StatusCode, String),
}

impl<P: Into<Problem>> From<P> for Refused {
    fn from(problem: P) -> Refused {
        Refused::Problem(Box::new(problem.into()))
    }
}

/// What a handler gives.
pub type Result = std::result::Result<Answered, Refused>;

/// How a request ended, for the metrics: the answer carries it as an extension.
#[derive(Clone, Copy, Debug)]
pub struct Ending(pub &'static str);

/// A problem that only REST knows; never to be sent again as it is.
pub fn problem(http: StatusCode, grpc: tonic::Code, code: &'static str, message: String) -> Problem {
    Problem { row: Row { grpc, http, retry: Retry::No, code }, message, offer: None }
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => json_response(self.status, &body),
            None => self.status.into_response(),
        };
        if let Some(index) = self.ledger_index {
            response.headers_mut().insert(LEDGER_INDEX, HeaderValue::from(index));
        }
        response.extensions_mut().insert(Ending("ok"));
        response
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Refused::Framework(status, message) => {
                let mut response = json_response(status, &json!({"error": status.as_u16(), "error_message": message}));
                response.extensions_mut().insert(ending(status));
                response
            }
            Refused::Problem(problem) => of_problem(&problem),
        }
    }
}

fn of_problem(problem: &Problem) -> Response {
    let status = problem.row.http;
    let number = json!(status.as_u16());
    let internal = json!("INTERNAL_SERVER_ERROR");
    let (message, name) = match problem.row.code {
        "internal" => {
            // The text may tell of our inside; the log has it, the caller gets Blazar's words.
            tracing::error!(problem = problem.message, "a request failed");
            ("Internal Server Error", internal)
        }
        NO_DATA => (problem.message.as_str(), internal),
        _ => (problem.message.as_str(), number.clone()),
    };
    let mut body = json!({"error_code": number, "error_message": message, "error_name": name});
    if let Some(offer) = &problem.offer {
        // An extra key: Blazar's clients read only the message.
        body["offer"] = json!(offer);
    }
    let mut response = json_response(status, &body);
    if problem.row.retry == Retry::SameKey {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response.extensions_mut().insert(ending(status));
    response
}

fn ending(status: StatusCode) -> Ending {
    Ending(match status {
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        StatusCode::GATEWAY_TIMEOUT => "unknown",
        status if status.is_server_error() => "internal",
        _ => "refused",
    })
}

/// 401 as Keystone's middleware words it, which Blazar sits behind, with our advice beside it.
pub fn unauthenticated(advice: &str) -> Response {
    let status = StatusCode::UNAUTHORIZED;
    let error = json!({"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."});
    let mut response = json_response(status, &json!({"error": error, "error_message": advice}));
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Keystone"));
    response.extensions_mut().insert(ending(status));
    response
}

/// A JSON answer.
pub fn json_response(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
