//! Wishes for servers like a flavor of the cloud, before anything is planned for them.

use std::sync::Arc;

use leasehold_ledger::command::LeaseWish;
use leasehold_ledger::model::{InstanceWish, ProjectId, ResourceWish};
use leasehold_ledger::reply::Rejection;

use super::{OperationError, Operations, Result};
use crate::leader::source_flavor;

impl Operations {
    /// Looks up the flavors that a lease's reservations name, as their owner sees them. The node that was asked does it, and what
    /// it finds is the wish from then on: a flavor that changes later changes no lease.
    pub(super) async fn with_flavors(&self, mut wish: LeaseWish) -> Result<LeaseWish> {
        for one in &mut wish.reservations {
            let instance = one.resource.instance();
            if instance.flavor.is_some() {
                if !one.servers.is_empty() {
                    let problem = "servers keep the flavor that they have; name their sizes".to_owned();
                    return Err(Rejection::Invalid { field: "servers".to_owned(), problem }.into());
                }
                let like = self.with_flavor(&wish.project_id, instance).await?;
                one.resource = ResourceWish::Instance(Arc::new(like));
            }
        }
        Ok(wish)
    }

    /// The same of one kind of server.
    pub(super) async fn with_flavor(&self, project: &ProjectId, wish: &InstanceWish) -> Result<InstanceWish> {
        if wish.flavor.is_none() {
            return Ok(wish.clone());
        }
        let Some(cloud) = &self.inner.cloud else {
            return Err(OperationError::CloudUnavailable("no cloud is configured ([cloud] in the configuration)".to_owned()));
        };
        Ok(source_flavor::like(cloud, project, wish).await?)
    }
}
