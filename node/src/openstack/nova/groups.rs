//! Server groups: what Nova is told of affinity.
//!
//! A group belongs to the project of the token that made it, and Nova finds it for nobody else but administrators: a tenant
//! can name only a group of his own project as a hint. So it is made with his token ([`OwnGroups`]) where there is one.

use http::Method;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{Nova, call};
use crate::openstack::session::{Answer, Call, Caller, Session};
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
    /// What a reservation's affinity, true or false, wants.
    #[must_use]
    pub fn of(affinity: bool) -> Self {
        if affinity { Self::Affinity } else { Self::AntiAffinity }
    }

    /// As Nova spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
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
    /// Nova's name of it; of any of its policies, not only of ours.
    pub policy: String,
    /// Whose it is.
    pub project_id: String,
}

/// `POST /os-server-groups`
fn creation(name: &str, policy: GroupPolicy) -> Call {
    let body = json!({"server_group": {"name": name, "policy": policy.name()}});
    call(Method::POST, "/os-server-groups").body(body)
}

/// `DELETE /os-server-groups/{id}`
fn deletion(id: Uuid) -> Call {
    call(Method::DELETE, format!("/os-server-groups/{id}"))
}

/// What a creation answers.
#[derive(Deserialize)]
struct One {
    server_group: ServerGroup,
}

/// One that is not there is done.
fn gone(answer: Result<Answer, CloudError>) -> Result<(), CloudError> {
    match answer {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

#[allow(clippy::missing_errors_doc)] // Every one of them: see CloudError.
impl Nova<'_> {
    /// The server groups of all projects.
    pub async fn server_groups(&self) -> Result<Vec<ServerGroup>, CloudError> {
        #[derive(Deserialize)]
        struct Page {
            server_groups: Vec<ServerGroup>,
        }
        const PAGE: usize = 500;
        let mut groups: Vec<ServerGroup> = Vec::new();
        loop {
            let path = format!("/os-server-groups?all_projects=True&limit={PAGE}&offset={}", groups.len());
            let page: Page = self.session.read(call(Method::GET, path).slow()).await?.json()?;
            let full = page.server_groups.len() >= PAGE;
            groups.extend(page.server_groups);
            if !full {
                return Ok(groups);
            }
        }
    }

    /// Makes a server group in our own project. Names are not unique: look for it first.
    pub async fn create_server_group(
        &self,
        errand: &Errand<'_>,
        name: &str,
        policy: GroupPolicy,
    ) -> Result<ServerGroup, CloudError> {
        Ok(self.write(errand, creation(name, policy)).await?.json::<One>()?.server_group)
    }

    /// Deletes a server group of any project (Nova's policy lets an administrator); one that is not there is done.
    pub async fn delete_server_group(&self, errand: &Errand<'_>, id: Uuid) -> Result<(), CloudError> {
        gone(self.write(errand, deletion(id)).await)
    }
}

/// Server groups in the name of a caller: they are made in his project and count against his quota.
#[derive(Clone, Copy)]
pub struct OwnGroups<'a> {
    session: &'a Session,
    caller: Caller<'a>,
}

#[allow(clippy::missing_errors_doc)] // Every one of them: see CloudError.
impl<'a> OwnGroups<'a> {
    pub(in crate::openstack) fn new(session: &'a Session, caller: Caller<'a>) -> Self {
        Self { session, caller }
    }

    /// Makes one.
    pub async fn create(&self, name: &str, policy: GroupPolicy) -> Result<ServerGroup, CloudError> {
        Ok(self.session.write_as(self.caller, creation(name, policy)).await?.json::<One>()?.server_group)
    }

    /// Deletes one; one that is not there is done.
    pub async fn delete(&self, id: Uuid) -> Result<(), CloudError> {
        gone(self.session.write_as(self.caller, deletion(id)).await)
    }
}
