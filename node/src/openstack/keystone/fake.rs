//! A Keystone for unit tests: answers in the order they were given, and keeps what it was asked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Credentials, Interface, KeystoneOptions, Secret, TokenSource};
use crate::seams::clock::SystemClock;
use crate::seams::{Clock, Http, HttpError, HttpRequest, HttpResponse};

/// Answers in order; each takes a second of the test's clock.
#[derive(Default)]
pub(crate) struct FakeKeystone {
    answers: Mutex<VecDeque<Result<HttpResponse, HttpError>>>,
    asked: Mutex<Vec<HttpRequest>>,
}

impl FakeKeystone {
    pub fn new(answers: Vec<Result<HttpResponse, HttpError>>) -> Arc<FakeKeystone> {
        Arc::new(FakeKeystone { answers: Mutex::new(answers.into()), asked: Mutex::default() })
    }

    /// `METHOD url` of every request so far.
    pub fn calls(&self) -> Vec<String> {
        self.asked.lock().iter().map(|request| format!("{} {}", request.method, request.url)).collect()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.asked.lock().clone()
    }

    /// A token source that asks this Keystone.
    pub fn source(self: &Arc<Self>) -> (Arc<TokenSource>, Arc<dyn Clock>) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let options = KeystoneOptions {
            auth_url: "http://keystone:5000".into(),
            credentials: Credentials::Password {
                username: "leasehold".into(),
                user_domain_name: "Default".into(),
                password: Secret::new("hunter2"),
                project_name: "service".into(),
                project_domain_name: "Default".into(),
            },
            region: Some("RegionOne".into()),
            interface: Interface::Internal,
            endpoints: [(super::Service::Glance, "http://elsewhere:9292/".to_owned())].into(),
            timeout: Duration::from_secs(10),
        };
        (Arc::new(TokenSource::new(options, self.clone(), clock.clone())), clock)
    }
}

impl Http for FakeKeystone {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>> {
        self.asked.lock().push(request);
        let answer = self.answers.lock().pop_front().unwrap_or_else(|| Err(HttpError::Connect("no answer is left".into())));
        async move {
            SystemClock::new().sleep(Duration::from_secs(1)).await;
            answer
        }
        .boxed()
    }
}

/// An answer to `POST /v3/auth/tokens`, shaped like the recorded one.
pub(crate) fn issued(token: &'static str, life_s: i64) -> Result<HttpResponse, HttpError> {
    let endpoints = |port: u16, path: &str| {
        json!([
            {"id": "1", "interface": "public", "region_id": "RegionOne", "region": "RegionOne", "url": format!("http://public:{port}{path}")},
            {"id": "2", "interface": "internal", "region_id": "RegionTwo", "region": "RegionTwo", "url": format!("http://two:{port}{path}")},
            {"id": "3", "interface": "internal", "region_id": "RegionOne", "region": "RegionOne", "url": format!("http://one:{port}{path}/")},
        ])
    };
    let mut document = token_document("service-user", "service-project", &["admin"], life_s);
    document["token"]["catalog"] = json!([
        {"id": "a", "type": "compute", "name": "nova", "endpoints": endpoints(8774, "/v2.1")},
        {"id": "b", "type": "image", "name": "glance", "endpoints": endpoints(9292, "")},
    ]);
    let mut headers = HeaderMap::new();
    headers.insert("x-subject-token", HeaderValue::from_static(token));
    Ok(HttpResponse { status: StatusCode::CREATED, headers, body: Bytes::from(document.to_string()) })
}

/// An answer to `GET /v3/auth/tokens`.
pub(crate) fn valid(user: &str, project: &str, roles: &[&str], life_s: i64) -> Result<HttpResponse, HttpError> {
    let body = Bytes::from(token_document(user, project, roles, life_s).to_string());
    Ok(HttpResponse { status: StatusCode::OK, headers: HeaderMap::new(), body })
}

/// An answer without content.
pub(crate) fn status(status: u16) -> Result<HttpResponse, HttpError> {
    let status = StatusCode::from_u16(status).expect("a status");
    Ok(HttpResponse { status, headers: HeaderMap::new(), body: Bytes::from_static(b"{\"error\": {}}") })
}

fn token_document(user: &str, project: &str, roles: &[&str], life_s: i64) -> Value {
    let issued_ms = i64::try_from(SystemClock::new().wall_ms()).expect("a time");
    let time =
        |ms: i64| chrono::DateTime::from_timestamp_millis(ms).expect("a time").format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let named = |name: &&str| json!({"id": format!("id-of-{name}"), "name": name});
    json!({"token": {
        "methods": ["password"], "audit_ids": ["x"], "is_domain": false,
        "user": {"domain": {"id": "default", "name": "Default"}, "id": user, "name": user, "password_expires_at": null},
        "project": {"domain": {"id": "default", "name": "Default"}, "id": project, "name": project},
        "issued_at": time(issued_ms), "expires_at": time(issued_ms + life_s * 1000),
        "roles": roles.iter().map(named).collect::<Vec<_>>(),
    }})
}
