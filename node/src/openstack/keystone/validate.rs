//! What Keystone says about a tenant's token.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::documents::TokenDocument;
use super::{Error, Secret, TokenSource};
use crate::openstack::patience::{Kind, timeout};
use crate::seams::HttpRequest;

const VALIDATE: &str = "validate a token";

/// A valid token's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// Who.
    pub user_id: String,
    /// The project it is scoped to; `None` for tokens without one.
    pub project_id: Option<String>,
    /// Role names as Keystone spells them.
    pub roles: BTreeSet<String>,
    /// Unix milliseconds.
    pub expires_at_ms: u64,
}

impl TokenSource {
    /// Asks Keystone about `subject`. `None`: it is not valid (never was, expired or revoked).
    ///
    /// # Errors
    /// Any of [`Error`]: then nothing is known of the token, and it must not be accepted.
    pub async fn validate(&self, subject: &Secret) -> Result<Option<TokenFacts>, Error> {
        let Ok(subject_header) = header_value(subject) else {
            return Ok(None);
        };
        let mut renewed = false;
        loop {
            let own = self.token().await?;
            let mut headers = HeaderMap::new();
            headers.insert(
                "x-auth-token",
                header_value(&own.token).map_err(|()| Error::Malformed {
                    call: VALIDATE,
                    problem: "the service user's token is not a header value".to_owned(),
                })?,
            );
            headers.insert("x-subject-token", subject_header.clone());
            let answer = self
                .call(HttpRequest {
                    method: Method::GET,
                    url: self.tokens_url("?nocatalog"),
                    headers,
                    body: Bytes::new(),
                    timeout: timeout(self.options.timeout, &Method::GET, Kind::Quick),
                })
                .await
                .map_err(|cause| Error::Unreachable { call: VALIDATE, cause })?;
            match answer.status {
                StatusCode::OK => return facts(&answer.body).map(Some),
                StatusCode::NOT_FOUND => return Ok(None),
                // 401 speaks of our own token. Once a new one may help; twice is a matter of configuration.
                StatusCode::UNAUTHORIZED if !renewed => {
                    self.refuse(&own);
                    renewed = true;
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(Error::CredentialsRefused { status: answer.status.as_u16() });
                }
                other => return Err(Error::Status { call: VALIDATE, status: other.as_u16() }),
            }
        }
    }
}

/// Errors: not a header value, so no token either.
fn header_value(secret: &Secret) -> Result<HeaderValue, ()> {
    let mut value = HeaderValue::from_str(secret.reveal()).map_err(|_| ())?;
    value.set_sensitive(true);
    Ok(value)
}

fn facts(body: &[u8]) -> Result<TokenFacts, Error> {
    let malformed = |problem: String| Error::Malformed { call: VALIDATE, problem };
    let document: TokenDocument =
        serde_json::from_slice(body).map_err(|error| malformed(format!("{:?} error in its JSON", error.classify())))?;
    let (_, expires_at_ms) = document.token.times_ms().map_err(malformed)?;
    Ok(TokenFacts {
        user_id: document.token.user.id,
        project_id: document.token.project.map(|project| project.id),
        roles: document.token.roles.into_iter().map(|role| role.name).collect(),
        expires_at_ms,
    })
}
