//! Servers: what state they are in, and the verbs that move them.

use std::collections::BTreeMap;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Nova, call};
use crate::openstack::{CloudError, Errand};

/// A server, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Server {
    /// Identity.
    pub id: String,
    /// Not unique.
    pub name: String,
    /// `ACTIVE`, `SHUTOFF`, `SHELVED`, `SHELVED_OFFLOADED`, `BUILD`, `ERROR`, `DELETED` …
    pub status: String,
    /// Owner.
    pub tenant_id: String,
    /// What Nova is doing with it; `None` at rest.
    #[serde(rename = "OS-EXT-STS:task_state", default)]
    pub task_state: Option<String>,
    /// Where it runs; `None` while it is offloaded or not placed yet.
    #[serde(rename = "OS-EXT-SRV-ATTR:hypervisor_hostname", default)]
    pub hypervisor_hostname: Option<String>,
    /// The zone that its owner asked for and outside of which Nova never places it; `None`: any.
    #[serde(default)]
    pub pinned_availability_zone: Option<String>,
    /// The flavor it was made with, as it was then.
    #[serde(default)]
    pub flavor: EmbeddedFlavor,
}

/// A flavor as a server keeps it: without its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EmbeddedFlavor {
    /// CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub ram: u32,
    /// Root disk in GiB.
    pub disk: u32,
    /// Second disk in GiB.
    pub ephemeral: u32,
    /// Swap in MiB.
    pub swap: u32,
    /// As [`Flavor::extra_specs`](super::Flavor::extra_specs).
    pub extra_specs: BTreeMap<String, String>,
}

impl Server {
    /// Nova does nothing with it now.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        self.task_state.is_none() && self.status != "BUILD"
    }

    /// Shelved and off its host: it needs no room.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.status == "SHELVED_OFFLOADED" && self.task_state.is_none()
    }

    /// It has a place on a host, or is about to get or to lose one.
    #[must_use]
    pub fn has_place(&self) -> bool {
        let is_nowhere = self.status == "ERROR" && self.task_state.is_none() && self.hypervisor_hostname.is_none();
        !self.is_gone() && !self.is_parked() && !is_nowhere
    }

    /// Nova still shows it for a moment after it is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.status == "DELETED"
    }
}

/// One line of what was done to a server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct InstanceAction {
    /// `create`, `shelve`, `shelveOffload`, `unshelve`, `stop` …
    pub action: String,
    /// Who asked.
    #[serde(default)]
    pub user_id: Option<String>,
    /// When; sorts as text.
    #[serde(default)]
    pub start_time: String,
}

/// State verbs: Nova refuses them with 409 in a state that does not fit, so each is safe to send after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Image it and stop it.
    Shelve,
    /// Take a shelved server off its host.
    ShelveOffload,
    /// Bring it back.
    Unshelve,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Shelve => "shelve",
            Self::ShelveOffload => "shelveOffload",
            Self::Unshelve => "unshelve",
        }
    }
}

#[allow(clippy::missing_errors_doc)] // Every one of them: see CloudError.
impl Nova<'_> {
    /// Servers made of a flavor, in any project and state. Without such a flavor there are none to be found.
    pub async fn servers_of_flavor(&self, flavor_id: &str) -> Result<Vec<Server>, CloudError> {
        self.servers(&format!("&flavor={flavor_id}")).await
    }

    /// Servers on a compute host, in any project.
    pub async fn servers_on(&self, service_host: &str) -> Result<Vec<Server>, CloudError> {
        self.servers(&format!("&host={}", crate::openstack::session::query_value(service_host))).await
    }

    /// Every server of the cloud: also those whose flavor is gone, which keep it all the same.
    pub async fn all_servers(&self) -> Result<Vec<Server>, CloudError> {
        self.servers("").await
    }

    async fn servers(&self, filter: &str) -> Result<Vec<Server>, CloudError> {
        #[derive(Deserialize)]
        struct Page {
            servers: Vec<Server>,
            #[serde(default)]
            servers_links: Vec<Value>,
        }
        const PAGE: usize = 500;
        let mut all: Vec<Server> = Vec::new();
        loop {
            let marker = all.last().map(|last| format!("&marker={}", last.id)).unwrap_or_default();
            let path = format!("/servers/detail?all_tenants=1{filter}&limit={PAGE}{marker}");
            let page: Page = self.session.read(call(Method::GET, path).slow()).await?.json()?;
            all.extend(page.servers);
            if page.servers_links.is_empty() {
                return Ok(all);
            }
        }
    }

    /// A server; `None` when it is not there.
    pub async fn server(&self, id: &str) -> Result<Option<Server>, CloudError> {
        #[derive(Deserialize)]
        struct One {
            server: Server,
        }
        match self.get(format!("/servers/{id}")).await {
            Ok(answer) => Ok(Some(answer.json::<One>()?.server)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What was done to a server, the youngest first; nothing when it is not there.
    pub async fn instance_actions(&self, server_id: &str) -> Result<Vec<InstanceAction>, CloudError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(rename = "instanceActions")]
            instance_actions: Vec<InstanceAction>,
        }
        match self.get(format!("/servers/{server_id}/os-instance-actions")).await {
            Ok(answer) => Ok(answer.json::<Page>()?.instance_actions),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Sends a state verb. 409: look again.
    pub async fn act(&self, errand: &Errand<'_>, server_id: &str, verb: Verb) -> Result<(), CloudError> {
        let body = json!({ verb.name(): Value::Null });
        let path = format!("/servers/{server_id}/action");
        self.write(errand, call(Method::POST, path).body(body).slow()).await.map(drop)
    }

    /// Deletes a server; one that is not there is done. Nothing fences this verb.
    pub async fn delete_server(&self, errand: &Errand<'_>, server_id: &str) -> Result<(), CloudError> {
        match self.write(errand, call(Method::DELETE, format!("/servers/{server_id}")).slow()).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Has an image made of a server; answers the image's id. Every call makes another image: nothing fences this verb.
    pub async fn create_image(
        &self,
        errand: &Errand<'_>,
        server_id: &str,
        name: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<String, CloudError> {
        #[derive(Deserialize)]
        struct Made {
            image_id: String,
        }
        let body = json!({"createImage": {"name": name, "metadata": properties}});
        let path = format!("/servers/{server_id}/action");
        let answer = self.write(errand, call(Method::POST, path).body(body).slow()).await?;
        Ok(answer.json::<Made>()?.image_id)
    }
}
