//! Keystone: users, projects, roles, tokens, application credentials, the catalog.
//!
//! Who may do what at the other services is theirs to say; here a token is only turned into [`Who`].

mod api;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::config::CloudConfig;
use crate::rng::{Rng, digest};

pub(crate) use api::handle;
pub(crate) use tokens::authenticate;

/// Who stands behind a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) user_id: String,
    pub(crate) user_name: String,
    pub(crate) project_id: String,
    pub(crate) project_name: String,
    pub(crate) roles: Vec<String>,
}

impl Who {
    pub(crate) fn is_admin(&self) -> bool {
        self.has_role("admin")
    }

    pub(crate) fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|known| known == role)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) enabled: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) enabled: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) who: Arc<Who>,
    pub(crate) methods: Vec<String>,
    pub(crate) issued_ms: u64,
    pub(crate) expires_ms: u64,
    pub(crate) audit_id: String,
    /// The id of the application credential behind it.
    pub(crate) credential: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct AppCredential {
    pub(crate) name: String,
    pub(crate) secret: String,
    pub(crate) user_id: String,
    pub(crate) project_id: String,
    pub(crate) roles: Vec<String>,
}

/// The state of Keystone.
#[derive(Debug)]
pub(crate) struct Keystone {
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) projects: BTreeMap<String, Project>,
    /// (user id, project id) to role names.
    pub(crate) assignments: BTreeMap<(String, String), Vec<String>>,
    pub(crate) roles: BTreeMap<String, String>,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) credentials: BTreeMap<String, AppCredential>,
    /// The catalog.
    services: Vec<Service>,
}

/// A service as the catalog shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Service {
    endpoints: [Endpoint; 3],
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Serialize)]
struct Endpoint {
    id: String,
    interface: &'static str,
    region: &'static str,
    region_id: &'static str,
    url: String,
}

/// The roles of the lab, in the order in which each implies those before it.
const ROLES: [&str; 5] = ["reader", "member", "manager", "admin", "service"];

impl Keystone {
    pub(crate) fn new(config: &CloudConfig, rng: &mut Rng) -> Self {
        let mut keystone = Self {
            users: BTreeMap::new(),
            projects: BTreeMap::new(),
            assignments: BTreeMap::new(),
            roles: ROLES.iter().map(|role| ((*role).to_owned(), digest(&format!("role:{role}"), 32))).collect(),
            tokens: BTreeMap::new(),
            credentials: BTreeMap::new(),
            services: Vec::new(),
        };
        for project in ["admin", "demo", "alt_demo", "service"] {
            let id = rng.hex_id();
            keystone.projects.insert(id, Project { name: project.to_owned(), enabled: true });
        }
        let all = ["reader", "member", "manager", "admin"];
        for (user, project, roles) in [
            ("admin", "admin", &all[..]),
            ("demo", "demo", &all[..2]),
            ("alt_demo", "alt_demo", &all[..2]),
            ("leasehold", "service", &all[..]),
            ("nova", "service", &all[..]),
        ] {
            let id = rng.hex_id();
            let project = keystone.project_named(project).unwrap_or_default();
            let user = User { name: user.to_owned(), password: config.password.clone(), enabled: true };
            keystone.users.insert(id.clone(), user);
            keystone.assignments.insert((id, project), roles.iter().map(|role| (*role).to_owned()).collect());
        }
        for (kind, name, path) in [
            ("compute", "nova", "/compute/v2.1"),
            ("placement", "placement", "/placement"),
            ("network", "neutron", "/network"),
            ("image", "glance", "/image"),
            ("identity", "keystone", "/identity/v3"),
        ] {
            let url = format!("{}{path}", config.base_url.trim_end_matches('/'));
            keystone.set_endpoint(kind, name, &url);
        }
        for endpoint in &config.endpoints {
            keystone.set_endpoint(&endpoint.service_type, &endpoint.name, &endpoint.url);
        }
        keystone
    }

    pub(crate) fn project_named(&self, name: &str) -> Option<String> {
        self.projects.iter().find(|(_, project)| project.name == name).map(|(id, _)| id.clone())
    }

    pub(crate) fn user_named(&self, name: &str) -> Option<String> {
        self.users.iter().find(|(_, user)| user.name == name).map(|(id, _)| id.clone())
    }

    /// The role names of a user in a project.
    pub(crate) fn roles_of(&self, user_id: &str, project_id: &str) -> Vec<String> {
        self.assignments.get(&(user_id.to_owned(), project_id.to_owned())).cloned().unwrap_or_default()
    }

    /// Adds a service to the catalog, or changes where it is.
    pub(crate) fn set_endpoint(&mut self, kind: &str, name: &str, url: &str) {
        self.services.retain(|known| known.kind != kind);
        let endpoints = ["public", "internal", "admin"].map(|interface| Endpoint {
            id: digest(&format!("{kind}:{interface}"), 32),
            interface,
            region: "RegionOne",
            region_id: "RegionOne",
            url: url.to_owned(),
        });
        self.services.push(Service { endpoints, id: digest(kind, 32), name: name.to_owned(), kind: kind.to_owned() });
    }

    pub(crate) fn catalog(&self) -> &[Service] {
        &self.services
    }

    /// Ends the validity of every token at `now`.
    pub(crate) fn expire_all(&mut self, now: u64) {
        for token in self.tokens.values_mut() {
            token.expires_ms = token.expires_ms.min(now);
        }
    }
}
