//! Keystone: the service user's own token, the catalog, and what a tenant's token says.
//!
//! [`TokenSource`] gets and renews the service user's token and finds endpoints; [`TokenSource::validate`] asks about
//! somebody else's token. It must not know leases, policy or caches of tenants (`edge/keystone_auth.rs`), nor keep a
//! secret where a log could show it ([`Secret`]).

mod catalog;
mod documents;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
mod token_source;
mod validate;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::config::{self, CloudSection};
use crate::seams::HttpError;

pub use crate::config::Secret;
pub use token_source::{ServiceToken, TokenSource};
pub use validate::TokenFacts;

/// How the node talks to Keystone.
#[derive(Clone, Debug)]
pub struct KeystoneOptions {
    /// Base of the Identity API, `http(s)://…/v3`; a missing `/v3` is added.
    pub auth_url: String,
    /// Who the node is.
    pub credentials: Credentials,
    /// Catalog entries of other regions are ignored; `None`: the first entry of a service counts.
    pub region: Option<String>,
    /// Which of a service's endpoints is called.
    pub interface: Interface,
    /// Endpoints that win over the catalog.
    pub endpoints: BTreeMap<Service, String>,
    /// The configured time, of which a call has a part (`patience.rs`).
    pub timeout: Duration,
}

impl KeystoneOptions {
    /// From the checked configuration.
    ///
    /// # Errors
    /// When `interface` is no interface, or no complete credentials are given.
    pub fn from_config(cloud: &CloudSection) -> Result<KeystoneOptions, config::Error> {
        let wrong = |key, value: &str, problem| config::Error::Value { key, value: value.to_owned(), problem };
        let given = |name: &Option<String>, default: &str| name.clone().unwrap_or_else(|| default.to_owned());
        let credentials =
            match (&cloud.application_credential_id, &cloud.application_credential_secret, &cloud.username, &cloud.password) {
                (Some(id), Some(secret), _, _) => Credentials::ApplicationCredential { id: id.clone(), secret: secret.clone() },
                (_, _, Some(username), Some(password)) => Credentials::Password {
                    username: username.clone(),
                    user_domain_name: given(&cloud.user_domain_name, "Default"),
                    password: password.clone(),
                    project_name: given(&cloud.project_name, "service"),
                    project_domain_name: given(&cloud.project_domain_name, "Default"),
                },
                _ => return Err(wrong("cloud", "credentials", "are incomplete")),
            };
        let interface = match cloud.interface.as_deref() {
            None => Interface::default(),
            Some(text) => text.parse().map_err(|()| wrong("cloud.interface", text, "must be public, internal or admin"))?,
        };
        let endpoints = [
            (Service::Nova, &cloud.compute_endpoint),
            (Service::Placement, &cloud.placement_endpoint),
            (Service::Glance, &cloud.image_endpoint),
        ];
        Ok(KeystoneOptions {
            auth_url: cloud.auth_url.clone(),
            credentials,
            region: cloud.region.clone(),
            interface,
            endpoints: endpoints.into_iter().filter_map(|(service, url)| Some((service, url.clone()?))).collect(),
            timeout: Duration::from_secs(cloud.timeout_s.unwrap_or(30)),
        })
    }
}

/// How the service user proves who it is.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Name and password, scoped to a project.
    Password {
        /// User name.
        username: String,
        /// Name of the user's domain.
        user_domain_name: String,
        /// Its password.
        password: Secret,
        /// Project the token is scoped to.
        project_name: String,
        /// Name of the project's domain.
        project_domain_name: String,
    },
    /// An application credential; it carries its scope.
    ApplicationCredential {
        /// Its id.
        id: String,
        /// Its secret.
        secret: Secret,
    },
}

/// An endpoint's audience in the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interface {
    /// `public`
    #[default]
    Public,
    /// `internal`
    Internal,
    /// `admin`
    Admin,
}

impl Interface {
    /// As the catalog spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Interface::Public => "public",
            Interface::Internal => "internal",
            Interface::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Interface {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim_end_matches("URL") {
            "public" => Ok(Interface::Public),
            "internal" => Ok(Interface::Internal),
            "admin" => Ok(Interface::Admin),
            _ => Err(()),
        }
    }
}

/// The services of the cloud that the node calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// `identity`
    Keystone,
    /// `compute`
    Nova,
    /// `placement`
    Placement,
    /// `image`
    Glance,
}

impl Service {
    /// Every service, for tables of metrics and configuration.
    pub const ALL: [Service; 4] = [Service::Keystone, Service::Nova, Service::Placement, Service::Glance];

    /// Its type in the catalog.
    pub fn catalog_type(self) -> &'static str {
        match self {
            Service::Keystone => "identity",
            Service::Nova => "compute",
            Service::Placement => "placement",
            Service::Glance => "image",
        }
    }

    /// Its name for metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Service::Keystone => "keystone",
            Service::Nova => "nova",
            Service::Placement => "placement",
            Service::Glance => "glance",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Keystone did not give what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error("Keystone cannot be reached to {call}")]
    Unreachable {
        /// What for.
        call: &'static str,
        /// Why.
        #[source]
        cause: HttpError,
    },
    /// 401 or 403 to the service user itself: a matter of configuration.
    #[error("Keystone refuses the service user ({status}); check its name, domain, project and password or credential")]
    CredentialsRefused {
        /// What it answered.
        status: u16,
    },
    /// Any other status.
    #[error("Keystone answered {status} when asked to {call}")]
    Status {
        /// What for.
        call: &'static str,
        /// What it answered.
        status: u16,
    },
    /// An answer that is none.
    #[error("Keystone's answer to {call} cannot be read: {problem}")]
    Malformed {
        /// What for.
        call: &'static str,
        /// What is wrong with it; never the body, which may hold secrets.
        problem: String,
    },
    /// The catalog and the configuration name no endpoint.
    #[error("no {interface} endpoint of type `{service_type}` in {region}; add one to the catalog or to the configuration")]
    NoEndpoint {
        /// Which service.
        service_type: &'static str,
        /// Which audience.
        interface: &'static str,
        /// Where.
        region: String,
    },
}
