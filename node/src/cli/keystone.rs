//! Tokens from Keystone by the `OS_*` variables that OpenStack's own clients use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leasehold_client::{TokenError, TokenSource};

use super::Failure;
use crate::openstack::keystone::{self, Credentials, KeystoneOptions, Secret};
use crate::seams::clock::SystemClock;
use crate::seams::http::{HttpOptions, SystemHttp};

/// Gets and renews a token of the user that the variables name.
pub(super) struct KeystoneTokens(keystone::TokenSource);

/// What the variables say; `None` without `OS_AUTH_URL`.
///
/// Errors: variables that do not go together.
pub(super) fn from_environment(ca_pem: Option<Vec<u8>>) -> Result<Option<KeystoneTokens>, Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(options) = options(&variable)? else { return Ok(None) };
    let http = SystemHttp::new(&HttpOptions { extra_ca_pem: ca_pem.unwrap_or_default() })
        .map_err(|error| Failure::Usage(format!("HTTP towards Keystone: {error}")))?;
    Ok(Some(KeystoneTokens(keystone::TokenSource::new(options, Arc::new(http), Arc::new(SystemClock::new())))))
}

/// The variables, read through `variable`.
pub(super) fn options(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<KeystoneOptions>, Failure> {
    let Some(auth_url) = variable("OS_AUTH_URL") else { return Ok(None) };
    let needed = |name: &str| variable(name).ok_or_else(|| Failure::Usage(format!("OS_AUTH_URL is set, but not {name}")));
    let domain = |name: &str| variable(name).unwrap_or_else(|| "Default".to_owned());
    let credentials = match variable("OS_APPLICATION_CREDENTIAL_ID") {
        Some(id) => Credentials::ApplicationCredential { id, secret: Secret::new(needed("OS_APPLICATION_CREDENTIAL_SECRET")?) },
        None => Credentials::Password {
            username: needed("OS_USERNAME")?,
            user_domain_name: domain("OS_USER_DOMAIN_NAME"),
            password: Secret::new(needed("OS_PASSWORD")?),
            project_name: needed("OS_PROJECT_NAME")?,
            project_domain_name: domain("OS_PROJECT_DOMAIN_NAME"),
        },
    };
    Ok(Some(KeystoneOptions {
        auth_url,
        credentials,
        region: variable("OS_REGION_NAME"),
        interface: keystone::Interface::default(),
        endpoints: BTreeMap::new(),
        timeout: Duration::from_secs(20),
    }))
}

#[async_trait]
impl TokenSource for KeystoneTokens {
    async fn token(&self, rejected: Option<&str>) -> Result<Option<String>, TokenError> {
        let failed = |error: keystone::Error| TokenError(error.to_string());
        let mut token = self.0.token().await.map_err(failed)?;
        if rejected == Some(token.token.reveal()) {
            self.0.refuse(&token);
            token = self.0.token().await.map_err(failed)?;
        }
        Ok(Some(token.token.reveal().to_owned()))
    }
}
