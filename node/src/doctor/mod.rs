//! `leasehold doctor`: looks at what the promise stands on and says what is wrong and what to do next. Reads only.
//!
//! One file a group of checks: [`service_user`] Keystone and the catalog, [`services`] microversions and clocks, [`quota`] how
//! Nova counts, [`grains`] the ordinary flavors beside the anchors, [`hosts`] every host of the ledger, [`leftovers`] what
//! belongs to no lease. What the cloud should hold is the leader's own pure code (`leader/desired.rs`, `host_plan.rs`,
//! `grain.rs`, `names.rs`). What cannot be seen is said to be unknown, never guessed. Must not know: how it is printed.

mod grains;
mod hosts;
mod leftovers;
mod quota;
mod report;
mod service_user;
mod services;

use async_trait::async_trait;
use leasehold_ledger::model::{Host, Lease, Seconds};
use uuid::Uuid;

pub use report::{Check, Report, Verdict};

use crate::leader::names::Names;
use crate::openstack::Cloud;
use crate::seams::Clock;

/// What the cluster says of itself.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Whose objects are ours in the cloud.
    pub cluster_id: Uuid,
    /// All hosts.
    pub hosts: Vec<Host>,
    /// All visible leases of all projects.
    pub leases: Vec<Lease>,
    /// When they were read.
    pub now: Seconds,
}

impl Ledger {
    fn names(&self) -> Names {
        Names::new(self.cluster_id)
    }
}

/// Where the cluster's rows come from. They are read again for what differs from the cloud: the leader may have been at work
/// between the two readings.
#[async_trait]
pub trait Rows: Send + Sync {
    /// Reads them all, as they are now.
    ///
    /// # Errors
    /// What stood in the way, for people.
    async fn read(&self) -> Result<Ledger, String>;
}

/// The rows, or a failure in the report.
async fn read(rows: &dyn Rows, report: &mut Report) -> Option<Ledger> {
    match rows.read().await {
        Ok(ledger) => Some(ledger),
        Err(error) => {
            let next =
                "hosts and leases of all projects are read by an admin's token: give another --token, or look at the members";
            report.fail("cluster: rows", error, next);
            None
        }
    }
}

/// Looks at the cloud; with the cluster's rows, at what they should have made of it. `None`: the cluster was not reached,
/// which the report tells already. `begun_ms`: our clock before the first call, Unix milliseconds.
pub async fn examine(cloud: &Cloud, clock: &dyn Clock, begun_ms: u64, rows: Option<&dyn Rows>, report: &mut Report) {
    if !service_user::examine(cloud, clock, begun_ms, report).await {
        report.skip("nova, placement, hosts", "the service user has no token");
        return;
    }
    services::examine(cloud, clock, report).await;
    let known = match rows {
        Some(rows) => read(rows, report).await.map(|ledger| (rows, ledger)),
        None => None,
    };
    quota::examine(cloud, known.as_ref().map(|(_, ledger)| ledger), report).await;
    let Some((rows, ledger)) = known else {
        report.skip("hosts, flavors, leftovers", "they are compared with the cluster's rows, which were not read");
        return;
    };
    grains::examine(cloud, &ledger, report).await;
    hosts::examine(cloud, clock, rows, &ledger, report).await;
    leftovers::examine(cloud, rows, &ledger, report).await;
}
