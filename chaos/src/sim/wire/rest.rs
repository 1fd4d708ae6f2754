//! Clients of the REST API: one connection a request, HTTP/1.1 or HTTP/2.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::DateTime;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use leasehold_ledger::model::RequestKey;
use serde_json::{Value, json};

use super::super::network::CLIENTS;
use super::super::trace::Trace;
use super::clients::{Answered, Refused};
use super::tokens::Tokens;
use super::{REST, Tcp, address, shapes};
use crate::record::Refusal;
use crate::rows::Rows;
use crate::sim::tasks;
use crate::workload::Wanted;

/// Lane of connections of REST clients.
const LANE: u64 = 22;
/// A connection that is not there by then is given up.
const CONNECT: Duration = Duration::from_secs(5);

/// Asks nodes.
pub struct Rest {
    tcp: Arc<Tcp>,
    trace: Arc<Trace>,
    asked: AtomicU64,
}

/// One request.
struct Call {
    method: Method,
    path: String,
    body: Option<Value>,
}

/// An answer as it came.
struct Told {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Rest {
    /// Over these connections.
    pub fn new(tcp: Arc<Tcp>, trace: Arc<Trace>) -> Rest {
        Rest { tcp, trace, asked: AtomicU64::new(0) }
    }

    /// Asks for an operation.
    pub async fn carry_out(&self, node: u64, tokens: &Tokens, key: Option<&RequestKey>, wanted: Wanted, rows: &Rows) -> Answered {
        let of = |id| format!("/v1/leases/{id}");
        let list = match wanted {
            Wanted::List { offers: false } => Some("leases"),
            Wanted::List { offers: true } => Some("offers"),
            Wanted::ListSeries { .. } | Wanted::Waiting => Some("leases"),
            _ => None,
        };
        let (books_series, ends_series) =
            (matches!(wanted, Wanted::CreateSeries(_)), matches!(wanted, Wanted::DeleteSeries { .. }));
        let (method, path, body) = match wanted {
            Wanted::Create(wish) => (Method::POST, "/v1/leases".to_owned(), Some(shapes::create(&wish))),
            Wanted::Update { lease_id, change } => (Method::PUT, of(lease_id), Some(shapes::update(&change))),
            Wanted::Claim { lease_id } => (Method::POST, format!("{}/claim", of(lease_id)), None),
            Wanted::Delete { lease_id } => (Method::DELETE, of(lease_id), None),
            Wanted::Get { lease_id } => (Method::GET, of(lease_id), None),
            Wanted::List { offers } => (Method::GET, if offers { "/v1/offers" } else { "/v1/leases" }.to_owned(), None),
            Wanted::Waiting => (Method::GET, "/v1/leases?status=WAITING".to_owned(), None),
            Wanted::CreateSeries(wish) => (Method::POST, "/v1/leases".to_owned(), Some(shapes::create_series(&wish))),
            Wanted::DeleteSeries { series_id } => (Method::DELETE, format!("/v1/series/{series_id}"), None),
            Wanted::ListSeries { series_id } => (Method::GET, format!("/v1/leases?series_id={series_id}"), None),
            Wanted::SetQuota { .. } | Wanted::GetQuota { .. } | Wanted::WhatIf(_) | Wanted::Density(_) => {
                return Err(self.odd("what no client asks for here"));
            }
        };
        let told = self.call(node, tokens, key, &Call { method, path, body }).await?;
        if !told.status.is_success() {
            return Err(self.refused(&told));
        }
        let index = told.headers.get("x-leasehold-ledger-index").and_then(|value| value.to_str().ok()?.parse().ok());
        let index = index.ok_or_else(|| self.odd("an answer without its index"))?;
        if told.status == StatusCode::NO_CONTENT {
            return Ok((Value::Null, index, None));
        }
        if let Some(list) = list {
            let leases = told.body[list].as_array().ok_or_else(|| self.odd(&told.body.to_string()))?;
            let leases = leases.iter().map(|lease| shapes::of_rest(lease).map(|(told, _)| told));
            let leases = leases.collect::<Result<Vec<_>, _>>().map_err(|problem| self.odd(&problem))?;
            return Ok((rows.name_told(leases.into_iter()), index, None));
        }
        if ends_series {
            let series = &told.body["series"];
            return Ok((json!({"deleted": series["deleted"], "kept": series["kept"]}), index, None));
        }
        if books_series {
            let (reply, first) = shapes::of_series(&told.body).map_err(|problem| self.odd(&problem))?;
            return Ok((reply, index, Some(first)));
        }
        let (reply, lease) = shapes::of_rest(&told.body["lease"]).map_err(|problem| self.odd(&problem))?;
        Ok((reply, index, Some(lease)))
    }

    /// What a key holds; `None`: nobody told.
    pub async fn look_up(&self, node: u64, tokens: &Tokens, key: &RequestKey) -> Option<Value> {
        let call = Call { method: Method::GET, path: format!("/v1/idempotency-keys/{}", key.id), body: None };
        let told = self.call(node, tokens, Some(key), &call).await.ok()?;
        let state = &told.body["idempotency_key"];
        match state["state"].as_str().filter(|_| told.status == StatusCode::OK)? {
            "applied" => {
                let (lease_id, rejection, index) = (&state["lease_id"], &state["rejection"], &state["ledger_index"]);
                Some(json!({"applied": {"lease_id": lease_id, "rejection": rejection, "ledger_index": index}}))
            }
            other => Some(json!(other)),
        }
    }

    /// With a new token if the one that is known is refused.
    async fn call(&self, node: u64, tokens: &Tokens, key: Option<&RequestKey>, call: &Call) -> Result<Told, Refused> {
        let token = tokens.get(None).await;
        let told = self.once(node, &token, key, call).await?;
        if told.status != StatusCode::UNAUTHORIZED {
            return Ok(told);
        }
        let token = tokens.get(Some(&token)).await;
        self.once(node, &token, key, call).await
    }

    async fn once(&self, node: u64, token: &str, key: Option<&RequestKey>, call: &Call) -> Result<Told, Refused> {
        let connecting = self.tcp.connect(CLIENTS, (node, REST), LANE, None);
        let connected = match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_) => Err("no connection in time".to_owned()),
        };
        let io = TokioIo::new(connected.map_err(|why| Refused::plain(Refusal::Unavailable, why))?);
        let gone = |error: hyper::Error| Refused::plain(Refusal::Unknown, format!("the connection broke: {error}"));
        // Every other one over HTTP/2.
        let answer = if self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            let made = http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).handshake(io).await;
            let (mut sender, connection) = made.map_err(gone)?;
            drop(tasks::spawn(connection));
            sender.send_request(self.request(node, token, key, call, true)).await.map_err(gone)?
        } else {
            let (mut sender, connection) = http1::handshake(io).await.map_err(gone)?;
            drop(tasks::spawn(connection));
            sender.send_request(self.request(node, token, key, call, false)).await.map_err(gone)?
        };
        self.read(answer).await
    }

    async fn read(&self, answer: http::Response<Incoming>) -> Result<Told, Refused> {
        let (head, body) = answer.into_parts();
        let bytes = body.collect().await.map_err(|error| Refused::plain(Refusal::Unknown, format!("it broke off: {error}")))?;
        let bytes = bytes.to_bytes();
        let body = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
        let body = body.map_err(|error| self.odd(&format!("no JSON: {error}")))?;
        Ok(Told { status: head.status, headers: head.headers, body })
    }

    fn request(&self, node: u64, token: &str, key: Option<&RequestKey>, call: &Call, absolute: bool) -> Request<Full<Bytes>> {
        let host = address(node, REST);
        // HTTP/2 has the authority in the request itself.
        let uri = if absolute { format!("http://{host}{}", call.path) } else { call.path.clone() };
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(uri)
            .header("openstack-api-version", "reservation 1.1")
            .header("x-auth-token", token);
        if !absolute {
            request = request.header("host", host);
        }
        if let Some(key) = key {
            let until = i64::try_from(key.valid_until.0).ok().and_then(DateTime::from_timestamp_millis);
            let until = until.expect("keys are valid for hours");
            request = request
                .header("idempotency-key", key.id.to_string())
                .header("idempotency-valid-until", until.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
        }
        let body = match &call.body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                body.to_string()
            }
            None => String::new(),
        };
        request.body(Full::new(body.into())).expect("all parts of the request are text without line breaks")
    }

    fn refused(&self, told: &Told) -> Refused {
        let text = told.body["error_message"].as_str().unwrap_or_default();
        let problem = told.body["error_code"].is_u64();
        let plain = |refusal| Refused::plain(refusal, text);
        match told.status {
            StatusCode::SERVICE_UNAVAILABLE => plain(Refusal::Unavailable),
            StatusCode::GATEWAY_TIMEOUT => plain(Refusal::Unknown),
            // A token that ended between the two.
            StatusCode::UNAUTHORIZED => plain(Refusal::Unavailable),
            // It is there, perhaps: the clock has yet to drop it.
            StatusCode::NOT_FOUND if problem && text.contains("has expired") => {
                Refused { rejection: shapes::rejection("offer_expired", text), ..plain(Refusal::Rejected) }
            }
            StatusCode::NOT_FOUND if problem => {
                let code = if text.contains("'series_id'") { "series_not_found" } else { "lease_not_found" };
                Refused { rejection: shapes::rejection(code, text), ..plain(Refusal::Rejected) }
            }
            StatusCode::CONFLICT if told.body["offer"].is_object() => {
                Refused { index: told.body["offer"]["ledger_index"].as_u64(), ..plain(Refusal::NoRoom) }
            }
            StatusCode::CONFLICT if text.starts_with("Not enough hosts available") => plain(Refusal::HoldRefused),
            StatusCode::FORBIDDEN if text.starts_with("Policy") => plain(Refusal::Forbidden),
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS if problem => {
                Refused { rejection: json!(text), ..plain(Refusal::Rejected) }
            }
            status => self.odd(&format!("{status} {}", told.body)),
        }
    }

    /// An answer that no request of ours may have.
    fn odd(&self, what: &str) -> Refused {
        self.trace.finding("R1", format!("REST answers {what}"));
        Refused::plain(Refusal::Unknown, what)
    }
}
