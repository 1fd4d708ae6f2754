//! G against K: does the memory of every ordinary flavor keep clear of the anchors on shared hosts (architecture D21)?

use leasehold_ledger::model::{Anchor, PoolKind};

use super::{Ledger, Report};
use crate::leader::grain;
use crate::openstack::Cloud;

pub(super) async fn examine(cloud: &Cloud, ledger: &Ledger, report: &mut Report) {
    let subject = "flavors: grain";
    let shared: Vec<_> = ledger.hosts.iter().filter(|host| host.description.pool == PoolKind::Shared).collect();
    if shared.is_empty() {
        report.skip(subject, "no host is shared with ordinary servers");
        return;
    }
    let flavors = match cloud.nova().flavors().await {
        Ok(flavors) => flavors,
        Err(error) => return report.no_answer(subject, &error),
    };
    for host in shared {
        let description = &host.description;
        let subject = format!("flavors: grain on {}", description.hypervisor_hostname);
        if description.anchor == Anchor::Class {
            let seen = format!("{} anchors of a class of their own, which no ordinary flavor takes", description.anchor_budget);
            report.ok(&subject, seen);
            continue;
        }
        match grain::read(cloud, &ledger.names(), description.root_provider, &flavors).await {
            Err(error) => report.no_answer(&subject, &error),
            Ok(grain_mb) if grain::is_too_small(description, grain_mb) => report.fail(
                &subject,
                format!(
                    "ordinary servers may take the memory of {} anchors: of the {} MB that all were multiples of, the common \
                     grain is down to {grain_mb} MB",
                    description.anchor_budget, description.memory_grain_mb
                ),
                format!(
                    "remove what does not fit, and what runs of it ({}), or take the host out and in again",
                    grain::culprits(&flavors, description.memory_grain_mb)
                ),
            ),
            Ok(0) => report.ok(&subject, "there is no ordinary flavor"),
            Ok(grain_mb) => report.ok(&subject, format!("{grain_mb} MB, and {} anchors", description.anchor_budget)),
        }
    }
}
