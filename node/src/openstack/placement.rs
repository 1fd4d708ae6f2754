//! Placement at 1.39: providers, inventories, allocations. Every write names the generation it was decided on.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::keystone::Service;
use super::session::{Call, Session};
use super::{CloudError, CloudUser, Errand};

/// Amounts by resource class.
pub type Resources = BTreeMap<String, u64>;

/// A resource provider.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Provider {
    /// Identity.
    pub uuid: Uuid,
    /// Unique.
    pub name: String,
    /// Rises with every write.
    pub generation: u64,
    /// For children.
    #[serde(default)]
    pub parent_provider_uuid: Option<Uuid>,
}

/// One class of a provider's inventory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// All there is.
    pub total: u64,
    /// Not to be allocated. Equal to `total`: closed.
    #[serde(default)]
    pub reserved: u64,
    /// Least of one allocation.
    pub min_unit: u64,
    /// Most of one allocation.
    pub max_unit: u64,
    /// Granularity.
    pub step_size: u64,
    /// Overcommit.
    pub allocation_ratio: f64,
}

impl Inventory {
    /// What can be allocated: `floor((total − reserved) × ratio)`.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        let free = self.total.saturating_sub(self.reserved);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let scaled = (free as f64 * self.allocation_ratio).floor().max(0.0) as u64;
        scaled
    }
}

/// A provider's inventories at one generation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Inventories {
    /// To be named by the next write.
    #[serde(rename = "resource_provider_generation")]
    pub generation: u64,
    /// By class.
    pub inventories: BTreeMap<String, Inventory>,
}

/// Who uses a provider at one generation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProviderAllocations {
    /// The generation this is true at.
    #[serde(rename = "resource_provider_generation")]
    pub generation: u64,
    /// By consumer.
    pub allocations: BTreeMap<Uuid, ConsumerOnProvider>,
}

/// What one consumer has of one provider.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ConsumerOnProvider {
    /// Amounts.
    pub resources: Resources,
    /// To be named by the next write of this consumer.
    #[serde(default)]
    pub consumer_generation: Option<u64>,
}

/// What a consumer is to have after a write; nothing at all removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerWrite {
    /// Which.
    pub consumer: Uuid,
    /// `None`: it must not be there yet.
    pub generation: Option<u64>,
    /// The one provider.
    pub provider: Uuid,
    /// Amounts; classes of 0 are left out.
    pub resources: Resources,
}

/// Calls to Placement.
#[derive(Clone, Copy)]
pub struct Placement<'a> {
    session: &'a Session,
}

fn call(method: Method, path: impl Into<String>) -> Call {
    Call::new(Service::Placement, method, path)
}

/// An answer, or nothing for 404.
fn found<T>(result: Result<T, CloudError>) -> Result<Option<T>, CloudError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[allow(clippy::missing_errors_doc)] // Every one of them: see CloudError.
impl<'a> Placement<'a> {
    pub(super) fn new(session: &'a Session) -> Self {
        Self { session }
    }

    /// The provider of this name.
    pub async fn provider_named(&self, name: &str) -> Result<Option<Provider>, CloudError> {
        #[derive(Deserialize)]
        struct Page {
            resource_providers: Vec<Provider>,
        }
        let path = format!("/resource_providers?name={}", super::session::query_value(name));
        let page: Page = self.session.read(call(Method::GET, path)).await?.json()?;
        Ok(page.resource_providers.into_iter().next())
    }

    /// All providers of the cloud.
    pub async fn providers(&self) -> Result<Vec<Provider>, CloudError> {
        #[derive(Deserialize)]
        struct Page {
            resource_providers: Vec<Provider>,
        }
        let page: Page = self.session.read(call(Method::GET, "/resource_providers").slow()).await?.json()?;
        Ok(page.resource_providers)
    }

    /// A provider; `None` when it is not there.
    pub async fn provider(&self, uuid: Uuid) -> Result<Option<Provider>, CloudError> {
        match found(self.session.read(call(Method::GET, format!("/resource_providers/{uuid}"))).await)? {
            Some(answer) => answer.json().map(Some),
            None => Ok(None),
        }
    }

    /// A provider and all below it.
    pub async fn tree(&self, root: Uuid) -> Result<Vec<Provider>, CloudError> {
        #[derive(Deserialize)]
        struct Page {
            resource_providers: Vec<Provider>,
        }
        let page: Page = self.session.read(call(Method::GET, format!("/resource_providers?in_tree={root}"))).await?.json()?;
        Ok(page.resource_providers)
    }

    /// Makes a child provider with a fixed identity. 409 `placement.duplicate_name` when name or identity is taken.
    pub async fn create_provider(&self, errand: &Errand<'_>, name: &str, uuid: Uuid, parent: Uuid) -> Result<(), CloudError> {
        let body = json!({"name": name, "uuid": uuid, "parent_provider_uuid": parent});
        self.session.write(errand, call(Method::POST, "/resource_providers").body(body)).await.map(drop)
    }

    /// Removes a provider; one that is not there is done.
    pub async fn delete_provider(&self, errand: &Errand<'_>, uuid: Uuid) -> Result<(), CloudError> {
        let path = format!("/resource_providers/{uuid}");
        found(self.session.write(errand, call(Method::DELETE, path)).await).map(drop)
    }

    /// A provider's inventories; `None` when there is no such provider.
    pub async fn inventories(&self, uuid: Uuid) -> Result<Option<Inventories>, CloudError> {
        let path = format!("/resource_providers/{uuid}/inventories");
        match found(self.session.read(call(Method::GET, path)).await)? {
            Some(answer) => answer.json().map(Some),
            None => Ok(None),
        }
    }

    /// Replaces all inventories of a provider, if its generation is still this one; answers the new generation.
    pub async fn put_inventories(&self, errand: &Errand<'_>, uuid: Uuid, wanted: &Inventories) -> Result<u64, CloudError> {
        let body = json!({
            "resource_provider_generation": wanted.generation,
            "inventories": wanted.inventories,
        });
        let path = format!("/resource_providers/{uuid}/inventories");
        let put: Inventories = self.session.write(errand, call(Method::PUT, path).body(body)).await?.json()?;
        Ok(put.generation)
    }

    /// A provider's traits.
    pub async fn traits(&self, uuid: Uuid) -> Result<BTreeSet<String>, CloudError> {
        #[derive(Deserialize)]
        struct Traits {
            traits: BTreeSet<String>,
        }
        let path = format!("/resource_providers/{uuid}/traits");
        let answer: Traits = self.session.read(call(Method::GET, path)).await?.json()?;
        Ok(answer.traits)
    }

    /// Who uses a provider; `None` when there is no such provider.
    pub async fn allocations_on(&self, uuid: Uuid) -> Result<Option<ProviderAllocations>, CloudError> {
        let path = format!("/resource_providers/{uuid}/allocations");
        match found(self.session.read(call(Method::GET, path).slow()).await)? {
            Some(answer) => answer.json().map(Some),
            None => Ok(None),
        }
    }

    /// Writes several consumers in one transaction: all or none. 409 `placement.concurrent_update` when a generation
    /// is not the one named, another 409 when there is no room.
    pub async fn write_consumers(
        &self,
        errand: &Errand<'_>,
        owner: &CloudUser,
        consumer_type: &str,
        writes: &[ConsumerWrite],
    ) -> Result<(), CloudError> {
        let mut body = serde_json::Map::new();
        for write in writes {
            let resources: BTreeMap<&String, &u64> = write.resources.iter().filter(|(_, n)| **n > 0).collect();
            let mut allocations = serde_json::Map::new();
            if !resources.is_empty() {
                allocations.insert(write.provider.to_string(), json!({"resources": resources}));
            }
            let consumer = json!({
                "allocations": allocations,
                "project_id": owner.project_id,
                "user_id": owner.user_id,
                "consumer_type": consumer_type,
                "consumer_generation": write.generation,
            });
            body.insert(write.consumer.to_string(), consumer);
        }
        let call = call(Method::POST, "/allocations").body(Value::Object(body)).slow();
        self.session.write(errand, call).await.map(drop)
    }

    /// Makes a resource class; one that is there is done.
    pub async fn ensure_class(&self, errand: &Errand<'_>, name: &str) -> Result<(), CloudError> {
        self.session.write(errand, call(Method::PUT, format!("/resource_classes/{name}"))).await.map(drop)
    }

    /// Removes a resource class; one that is not there is done. 409 while an inventory has it.
    pub async fn delete_class(&self, errand: &Errand<'_>, name: &str) -> Result<(), CloudError> {
        let path = format!("/resource_classes/{name}");
        found(self.session.write(errand, call(Method::DELETE, path)).await).map(drop)
    }

    /// Names of all resource classes.
    pub async fn classes(&self) -> Result<BTreeSet<String>, CloudError> {
        #[derive(Deserialize)]
        struct Class {
            name: String,
        }
        #[derive(Deserialize)]
        struct Page {
            resource_classes: Vec<Class>,
        }
        let page: Page = self.session.read(call(Method::GET, "/resource_classes").slow()).await?.json()?;
        Ok(page.resource_classes.into_iter().map(|class| class.name).collect())
    }
}
