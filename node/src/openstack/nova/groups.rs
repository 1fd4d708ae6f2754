//! Server groups: what Nova is told of affinity.

use http::Method;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{Nova, call};
use crate::openstack::{CloudError, Errand};

/// Nova's policies that a reservation can want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupPolicy {
    /// All on one host.
    Affinity,
    /// Every one on another host.
    AntiAffinity,
}

impl GroupPolicy {
    fn name(self) -> &'static str {
        match self {
            Self::Affinity => "affinity",
            Self::AntiAffinity => "anti-affinity",
        }
    }
}

/// A server group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServerGroup {
    /// Identity.
    pub id: Uuid,
    /// Not unique.
    pub name: String,
}

#[allow(clippy::missing_errors_doc)] // Every one of them: see CloudError.
impl Nova<'_> {
    /// All server groups of our own project. Their names are ours.
    pub async fn server_groups(&self) -> Result<Vec<ServerGroup>, CloudError> {
        #[derive(Deserialize)]
        struct Page {
            server_groups: Vec<ServerGroup>,
        }
        const PAGE: usize = 500;
        let mut groups: Vec<ServerGroup> = Vec::new();
        loop {
            let path = format!("/os-server-groups?limit={PAGE}&offset={}", groups.len());
            let page: Page = self.get(path).await?.json()?;
            let full = page.server_groups.len() >= PAGE;
            groups.extend(page.server_groups);
            if !full {
                return Ok(groups);
            }
        }
    }

    /// Makes a server group. Names are not unique: look for it first.
    pub async fn create_server_group(
        &self,
        errand: &Errand<'_>,
        name: &str,
        policy: GroupPolicy,
    ) -> Result<ServerGroup, CloudError> {
        #[derive(Deserialize)]
        struct One {
            server_group: ServerGroup,
        }
        let body = json!({"server_group": {"name": name, "policy": policy.name()}});
        let answer = self.write(errand, call(Method::POST, "/os-server-groups").body(body)).await?;
        Ok(answer.json::<One>()?.server_group)
    }

    /// Deletes a server group; one that is not there is done.
    pub async fn delete_server_group(&self, errand: &Errand<'_>, id: Uuid) -> Result<(), CloudError> {
        match self.write(errand, call(Method::DELETE, format!("/os-server-groups/{id}"))).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
