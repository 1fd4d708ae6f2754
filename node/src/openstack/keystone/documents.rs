//! Keystone's JSON, as far as we read it. Unknown keys are ignored: Keystone adds some from release to release.

use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct TokenDocument {
    pub token: Token,
}

#[derive(Deserialize)]
pub(super) struct Token {
    pub user: Named,
    /// Absent in tokens without scope or scoped to a domain or the system.
    pub project: Option<Named>,
    #[serde(default)]
    pub roles: Vec<Named>,
    pub issued_at: String,
    pub expires_at: String,
    #[serde(default)]
    pub catalog: Vec<CatalogService>,
}

#[derive(Deserialize)]
pub(super) struct Named {
    pub id: String,
    #[serde(default)]
    pub name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct CatalogService {
    #[serde(rename = "type")]
    pub service_type: String,
    #[serde(default)]
    pub endpoints: Vec<CatalogEndpoint>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct CatalogEndpoint {
    pub interface: String,
    pub region_id: Option<String>,
    pub url: String,
}

impl Token {
    /// `issued_at` and `expires_at`, Unix milliseconds.
    pub fn times_ms(&self) -> Result<(u64, u64), String> {
        Ok((unix_ms("issued_at", &self.issued_at)?, unix_ms("expires_at", &self.expires_at)?))
    }
}

fn unix_ms(field: &str, text: &str) -> Result<u64, String> {
    chrono::DateTime::parse_from_rfc3339(text)
        .ok()
        .and_then(|time| u64::try_from(time.timestamp_millis()).ok())
        .ok_or_else(|| format!("{field} is not a time"))
}
