//! `Idempotency-Key` and `Idempotency-Valid-Until` (architecture D18).

use chrono::DateTime;
use http::HeaderMap;
use leasehold_ledger::model::{RequestKey, Timestamp};
use uuid::Uuid;

use super::body::cut;
use crate::edge::error::Problem;
use crate::operations::Actor;

const KEY: &str = "idempotency-key";
const VALID_UNTIL: &str = "idempotency-valid-until";
/// How long a UUIDv7 that comes alone is valid after the time inside it.
const V7_VALID_MS: u64 = 3_600_000;

/// The request's key, if it has one.
pub fn of_request(headers: &HeaderMap, actor: &Actor) -> Result<Option<RequestKey>, Problem> {
    match text(headers, KEY)? {
        Some(id) => key(id, headers, actor).map(Some),
        None => Ok(None),
    }
}

/// The key with this id, and the validity that the headers or the id itself tell.
pub fn key(id: &str, headers: &HeaderMap, actor: &Actor) -> Result<RequestKey, Problem> {
    let uuid =
        Uuid::parse_str(id).map_err(|_| Problem::malformed(format!("Idempotency-Key is \"{}\"; it must be a UUID", cut(id))))?;
    let valid_until = match (text(headers, VALID_UNTIL)?, uuid.get_version_num(), uuid.get_timestamp()) {
        (Some(date), _, _) => parse_date(date)?,
        (None, 7, Some(made)) => {
            let (seconds, nanos) = made.to_unix();
            Timestamp(seconds.saturating_mul(1000).saturating_add(u64::from(nanos / 1_000_000))).plus_ms(V7_VALID_MS)
        }
        (None, _, _) => {
            return Err(Problem::malformed(
                "Idempotency-Key is not a UUIDv7, so the header Idempotency-Valid-Until must tell until when it is valid, \
                 at most 24 hours ahead, RFC 3339 as in 2027-01-31T09:30:00Z",
            ));
        }
    };
    Ok(RequestKey { project_id: actor.project_id.clone(), id: uuid, valid_until })
}

fn parse_date(text: &str) -> Result<Timestamp, Problem> {
    let unix_ms = DateTime::parse_from_rfc3339(text).ok().and_then(|date| u64::try_from(date.timestamp_millis()).ok());
    unix_ms.map(Timestamp).ok_or_else(|| {
        Problem::malformed(format!(
            "Idempotency-Valid-Until is \"{}\"; it must be at most 24 hours ahead, RFC 3339 as in 2027-01-31T09:30:00Z",
            cut(text)
        ))
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let not_text = |_| Problem::malformed(format!("the header {name} is not text"));
    headers.get(name).map(|value| value.to_str().map(str::trim).map_err(not_text)).transpose()
}
