//! What Nova counts of a project against its quota, and the servers that it counts.

use std::collections::BTreeMap;

use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{Nova, call};
use crate::openstack::CloudError;
use crate::openstack::session::query_value;

/// A server with the flavor it was made of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CountedServer {
    /// Identity.
    pub id: String,
    /// As [`super::Server`].
    pub status: String,
    /// Owner.
    pub tenant_id: String,
    /// What Nova is doing with it; `None` at rest.
    #[serde(rename = "OS-EXT-STS:task_state", default)]
    pub task_state: Option<String>,
    /// As it was when the server was made.
    pub flavor: EmbeddedFlavor,
}

/// The part of a server's own copy of its flavor that counts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EmbeddedFlavor {
    /// Virtual CPUs.
    pub vcpus: u64,
    /// What Placement makes of it.
    #[serde(default)]
    pub extra_specs: BTreeMap<String, String>,
}

#[allow(clippy::missing_errors_doc)] // Every one of them: see CloudError.
impl Nova<'_> {
    /// One page of shelved servers without a host, of all projects.
    pub async fn some_offloaded(&self, limit: usize) -> Result<Vec<CountedServer>, CloudError> {
        Ok(self.counted(&format!("status=SHELVED_OFFLOADED&limit={limit}")).await?.0)
    }

    /// All servers of a project, or `None` when there are more than a page of them.
    pub async fn counted_servers(&self, project: &str) -> Result<Option<Vec<CountedServer>>, CloudError> {
        let (servers, is_all) = self.counted(&format!("project_id={}&limit=500", query_value(project))).await?;
        Ok(is_all.then_some(servers))
    }

    async fn counted(&self, filter: &str) -> Result<(Vec<CountedServer>, bool), CloudError> {
        #[derive(Deserialize)]
        struct Page {
            servers: Vec<CountedServer>,
            #[serde(default)]
            servers_links: Vec<Value>,
        }
        let path = format!("/servers/detail?all_tenants=1&{filter}");
        let page: Page = self.session.read(call(Method::GET, path).slow()).await?.json()?;
        Ok((page.servers, page.servers_links.is_empty()))
    }

    /// Cores that Nova counts as used by a project.
    pub async fn cores_used(&self, project: &str) -> Result<i64, CloudError> {
        #[derive(Deserialize)]
        struct Absolute {
            #[serde(rename = "totalCoresUsed")]
            cores: i64,
        }
        #[derive(Deserialize)]
        struct Limits {
            absolute: Absolute,
        }
        #[derive(Deserialize)]
        struct Body {
            limits: Limits,
        }
        let body: Body = self.get(format!("/limits?tenant_id={}", query_value(project))).await?.json()?;
        Ok(body.limits.absolute.cores)
    }
}
