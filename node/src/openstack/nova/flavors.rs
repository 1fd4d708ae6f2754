//! Flavors, their extra specs and who may use them.

use std::collections::BTreeMap;

use http::Method;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{Nova, call};
use crate::openstack::{CloudError, Errand};

/// A flavor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Flavor {
    /// Identity.
    pub id: String,
    /// Unique too.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// MiB.
    pub ram: u32,
    /// GiB.
    pub disk: u32,
    /// GiB of a second disk.
    #[serde(default, rename = "OS-FLV-EXT-DATA:ephemeral")]
    pub ephemeral: u32,
    /// MiB of swap.
    #[serde(default, deserialize_with = "swap")]
    pub swap: u32,
    /// Everybody may use it.
    #[serde(default, rename = "os-flavor-access:is_public")]
    pub is_public: bool,
    /// What Placement and the scheduler make of it.
    #[serde(default)]
    pub extra_specs: BTreeMap<String, String>,
}

/// Before 2.75 none is an empty text.
fn swap<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Swap {
        Size(u32),
        Text(String),
    }
    match Swap::deserialize(from)? {
        Swap::Size(mib) => Ok(mib),
        Swap::Text(text) if text.is_empty() => Ok(0),
        Swap::Text(text) => text.parse().map_err(D::Error::custom),
    }
}

/// A private flavor to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFlavor {
    /// Identity.
    pub id: String,
    /// Unique too.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// MiB.
    pub ram: u32,
    /// GiB of the root disk.
    pub disk: u32,
    /// GiB of a second disk.
    pub ephemeral: u32,
    /// MiB of swap.
    pub swap: u32,
    /// Set in a call of their own.
    pub extra_specs: BTreeMap<String, String>,
}

#[allow(clippy::missing_errors_doc)] // Every one of them: see CloudError.
impl Nova<'_> {
    /// All flavors, private ones too.
    pub async fn flavors(&self) -> Result<Vec<Flavor>, CloudError> {
        #[derive(Deserialize)]
        struct Page {
            flavors: Vec<Flavor>,
            #[serde(default)]
            flavors_links: Vec<Value>,
        }
        const PAGE: usize = 500;
        let mut flavors: Vec<Flavor> = Vec::new();
        loop {
            let marker = flavors.last().map(|last| format!("&marker={}", last.id)).unwrap_or_default();
            let path = format!("/flavors/detail?is_public=none&limit={PAGE}{marker}");
            let page: Page = self.session.read(call(Method::GET, path).slow()).await?.json()?;
            flavors.extend(page.flavors);
            if page.flavors_links.is_empty() {
                return Ok(flavors);
            }
        }
    }

    /// A flavor; `None` when it is not there.
    pub async fn flavor(&self, id: &str) -> Result<Option<Flavor>, CloudError> {
        #[derive(Deserialize)]
        struct One {
            flavor: Flavor,
        }
        match self.get(format!("/flavors/{id}")).await {
            Ok(answer) => Ok(Some(answer.json::<One>()?.flavor)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a private flavor with its extra specs; one that is there gets the extra specs.
    pub async fn ensure_flavor(&self, errand: &Errand<'_>, new: &NewFlavor) -> Result<(), CloudError> {
        let body = json!({"flavor": {
            "id": new.id, "name": new.name, "vcpus": new.vcpus, "ram": new.ram, "disk": new.disk,
            "OS-FLV-EXT-DATA:ephemeral": new.ephemeral, "swap": new.swap,
            "os-flavor-access:is_public": false,
        }});
        match self.write(errand, call(Method::POST, "/flavors").body(body)).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        let path = format!("/flavors/{}/os-extra_specs", new.id);
        let body = json!({"extra_specs": new.extra_specs});
        self.write(errand, call(Method::POST, path).body(body)).await.map(drop)
    }

    /// Deletes a flavor; one that is not there is done.
    pub async fn delete_flavor(&self, errand: &Errand<'_>, id: &str) -> Result<(), CloudError> {
        match self.write(errand, call(Method::DELETE, format!("/flavors/{id}"))).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Projects that may use a private flavor; `None` when it is not there.
    pub async fn flavor_access(&self, id: &str) -> Result<Option<Vec<String>>, CloudError> {
        #[derive(Deserialize)]
        struct Entry {
            tenant_id: String,
        }
        #[derive(Deserialize)]
        struct Page {
            flavor_access: Vec<Entry>,
        }
        match self.get(format!("/flavors/{id}/os-flavor-access")).await {
            Ok(answer) => {
                let page: Page = answer.json()?;
                Ok(Some(page.flavor_access.into_iter().map(|entry| entry.tenant_id).collect()))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets a project use a flavor; one that may already is done. 404 when the flavor is not there.
    pub async fn add_flavor_access(&self, errand: &Errand<'_>, id: &str, project: &str) -> Result<(), CloudError> {
        let body = json!({"addTenantAccess": {"tenant": project}});
        match self.write(errand, call(Method::POST, format!("/flavors/{id}/action")).body(body)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes a flavor from a project; one that has it not, or no such flavor, is done.
    pub async fn remove_flavor_access(&self, errand: &Errand<'_>, id: &str, project: &str) -> Result<(), CloudError> {
        let body = json!({"removeTenantAccess": {"tenant": project}});
        match self.write(errand, call(Method::POST, format!("/flavors/{id}/action")).body(body)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            // Nova refuses a project that Keystone does not know (any more). What counts is whether it still has access.
            Err(error) if error.status() == Some(400) => match self.flavor_access(id).await? {
                Some(projects) if projects.iter().any(|has| has == project) => Err(error),
                _ => Ok(()),
            },
            Err(error) => Err(error),
        }
    }
}
