//! Some of what is asked for is asked for by a flavor of the cloud: the node looks it up, and books what it finds. Each has the
//! sizes that the wish has anyway, so that all that judges wishes judges these, too.

use std::sync::Arc;

use anyhow::{Result, ensure};
use http::Method;
use leasehold_ledger::model::{InstanceWish, ResourceWish, SourceFlavor};
use serde_json::{Value, json};

use super::{Turn, Wanted, Workload};
use crate::plan::Draw;
use crate::sim::cloud::SimCloud;

/// Of so many wishes for servers that could be, one is by a flavor.
const ONE_IN: usize = 6;
/// What wishes are drawn from (see `wishes.rs`).
const VCPUS: std::ops::Range<u32> = 1..5;
const MEMORY_MB: [u32; 3] = [512, 1_024, 4_096];
const DISK_GB: u32 = 1;

/// Its id, and its name.
fn id_of(vcpus: u32, memory_mb: u32) -> String {
    format!("source-{vcpus}-{memory_mb}")
}

/// Makes the flavors.
///
/// # Errors
/// When the cloud does not take one.
pub fn put(cloud: &SimCloud) -> Result<()> {
    let Some(token) = cloud.token("admin") else { anyhow::bail!("no token of the operator") };
    for vcpus in VCPUS {
        for memory_mb in MEMORY_MB {
            let id = id_of(vcpus, memory_mb);
            let body = json!({"flavor": {"id": id, "name": id, "vcpus": vcpus, "ram": memory_mb, "disk": DISK_GB}});
            let (status, answer): (u16, Value) = cloud.tenant(Method::POST, "/compute/v2.1/flavors", &token, Some(&body));
            ensure!((200..300).contains(&status), "flavor {id}: {status} {answer}");
        }
    }
    Ok(())
}

impl Workload {
    /// The same, or the same by a flavor, as drawn.
    pub(super) fn perhaps_by_flavor(&self, turn: Turn, mut wanted: Wanted) -> Wanted {
        // REST shows a lease without all that the flavor was: at the wire level clients could not ask for changes of it.
        if self.wire.is_some() || Draw::new(self.world.plan.seed, turn.stream("flavor")).below(ONE_IN) > 0 {
            return wanted;
        }
        match &mut wanted {
            Wanted::Create(wish) | Wanted::WhatIf(wish) => {
                for one in &mut wish.reservations {
                    let ResourceWish::Instance(instance) = &mut one.resource;
                    name_flavor(Arc::make_mut(instance));
                }
            }
            Wanted::Density(wish) => name_flavor(&mut wish.instance),
            _ => {}
        }
        wanted
    }
}

/// A flavor has no affinity in Blazar's words.
fn name_flavor(wish: &mut InstanceWish) {
    let is_one = VCPUS.contains(&wish.vcpus) && MEMORY_MB.contains(&wish.memory_mb) && wish.disk_gb == DISK_GB;
    if is_one && wish.affinity.is_none() {
        let id = id_of(wish.vcpus, wish.memory_mb);
        wish.flavor = Some(Arc::new(SourceFlavor { name: id.clone(), id, ..SourceFlavor::default() }));
    }
}
