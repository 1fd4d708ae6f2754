//! Compute hosts: hypervisors, services, zones.

use serde::Deserialize;
use serde_json::Value;

use super::{Nova, call};
use crate::openstack::CloudError;
use crate::openstack::session::query_value;

/// A hypervisor. Read at 2.53, the last versions before 2.88 took the sizes out.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Hypervisor {
    /// Identity, and of the root provider in Placement.
    pub id: String,
    /// Also the name of the root provider.
    pub hypervisor_hostname: String,
    /// For example `QEMU`.
    pub hypervisor_type: String,
    /// As a number.
    pub hypervisor_version: i64,
    /// Physical CPUs.
    #[serde(default)]
    pub vcpus: u32,
    /// Physical memory, MiB.
    #[serde(default)]
    pub memory_mb: u32,
    /// Physical disk, GiB.
    #[serde(default)]
    pub local_gb: u32,
    /// An object, or text on old hypervisors.
    #[serde(default)]
    pub cpu_info: Value,
    /// Its compute service.
    pub service: HypervisorService,
}

/// A hypervisor's compute service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HypervisorService {
    /// `service_host`.
    pub host: String,
}

/// A compute service's state.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServiceState {
    /// `service_host`.
    pub host: String,
    /// Zone.
    #[serde(default)]
    pub zone: String,
    /// `enabled` or `disabled` by an operator; `UNKNOWN` while its cell does not answer, with nothing of the rest.
    pub status: String,
    /// `up` or `down` by its heartbeat.
    #[serde(default)]
    pub state: String,
    /// Declared dead.
    #[serde(default)]
    pub forced_down: bool,
}

impl ServiceState {
    /// New servers may come here.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.state == "up" && self.status == "enabled" && !self.forced_down
    }

    /// Its cell does not answer, so that nobody knows how it is.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.status == "UNKNOWN"
    }
}

#[allow(clippy::missing_errors_doc)] // Every one of them: see CloudError.
impl Nova<'_> {
    /// All hypervisors.
    pub async fn hypervisors(&self) -> Result<Vec<Hypervisor>, CloudError> {
        #[derive(Deserialize)]
        struct Page {
            hypervisors: Vec<Hypervisor>,
            #[serde(default)]
            hypervisors_links: Vec<Value>,
        }
        const PAGE: usize = 500;
        let mut all: Vec<Hypervisor> = Vec::new();
        loop {
            let marker = all.last().map(|last| format!("&marker={}", last.id)).unwrap_or_default();
            let path = format!("/os-hypervisors/detail?limit={PAGE}{marker}");
            let call = call(http::Method::GET, path).version("compute 2.53").slow();
            let page: Page = self.session.read(call).await?.json()?;
            all.extend(page.hypervisors);
            if page.hypervisors_links.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Hypervisors whose names contain this text; names that are longer, too. Nova answers these without pages.
    pub async fn hypervisors_like(&self, name: &str) -> Result<Vec<Hypervisor>, CloudError> {
        #[derive(Deserialize)]
        struct Found {
            hypervisors: Vec<Hypervisor>,
        }
        let path = format!("/os-hypervisors/detail?hypervisor_hostname_pattern={}", query_value(name));
        let call = call(http::Method::GET, path).version("compute 2.53").slow();
        match self.session.read(call).await {
            Ok(answer) => Ok(answer.json::<Found>()?.hypervisors),
            // So Nova says that there is none.
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The compute service of a host, also while its cell does not answer; `None` when there is none.
    pub async fn compute_service(&self, service_host: &str) -> Result<Option<ServiceState>, CloudError> {
        let found = self.services(&format!("&host={}", query_value(service_host))).await?;
        Ok(found.into_iter().find(|service| service.host == service_host))
    }

    /// All compute services.
    pub async fn compute_services(&self) -> Result<Vec<ServiceState>, CloudError> {
        self.services("").await
    }

    async fn services(&self, filter: &str) -> Result<Vec<ServiceState>, CloudError> {
        #[derive(Deserialize)]
        struct Page {
            services: Vec<ServiceState>,
        }
        let page: Page = self.get(format!("/os-services?binary=nova-compute{filter}")).await?.json()?;
        Ok(page.services)
    }
}
