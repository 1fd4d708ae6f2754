//! How Nova counts a reservation's servers against quota (architecture D26). Its `[quota] count_usage_from_placement` cannot be
//! read, but it shows where the two ways of counting differ: at a project with servers that have cores in Nova's database
//! and none in Placement, as parked ones and those of reservations.

use std::collections::BTreeSet;

use super::{Ledger, Report};
use crate::openstack::nova::CountedServer;
use crate::openstack::{Cloud, CloudError};

/// Projects that are looked at before giving up.
const PROJECTS_MAX: usize = 5;
/// Offloaded servers that are looked at for their projects.
const OFFLOADED_MAX: usize = 100;

const SUBJECT: &str = "nova: quota";
const LOOK_FOR: &str = "look for count_usage_from_placement and driver in [quota] of nova-api's nova.conf; docs/operations.md \
                        (Quota) tells what each means for reservations";

/// What a project's numbers show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// Every server in full.
    InFull,
    /// What Placement has allocated.
    FromPlacement,
    /// Either would give this.
    Undecided,
}

pub(super) async fn examine(cloud: &Cloud, ledger: Option<&Ledger>, report: &mut Report) {
    match look(cloud, ledger).await {
        Ok((Counted::InFull, project)) => report.ok(
            SUBJECT,
            format!(
                "servers of reservations and parked ones count in full (seen in project {project}); a wake-up asks for no more"
            ),
        ),
        Ok((Counted::FromPlacement, project)) => report.warn(
            SUBJECT,
            format!(
                "cores and RAM are counted from Placement (seen in project {project}): servers of reservations cost next to none"
            ),
            "Nova may refuse to wake a parked server (status_reason QUOTA); docs/operations.md (Quota) tells what it compares: keep \
             the project of the service user free of servers",
        ),
        Ok((Counted::Undecided, _)) => {
            report.unknown(SUBJECT, "no project has servers that the two ways of counting would count differently", LOOK_FOR);
        }
        Err(error) => report.no_answer(SUBJECT, &error),
    }
}

async fn look(cloud: &Cloud, ledger: Option<&Ledger>) -> Result<(Counted, String), CloudError> {
    let nova = cloud.nova();
    let with_leases = ledger.iter().flat_map(|ledger| &ledger.leases).map(|lease| lease.project_id.to_string());
    let mut projects: BTreeSet<String> = nova.some_offloaded(OFFLOADED_MAX).await?.into_iter().map(|one| one.tenant_id).collect();
    projects.extend(with_leases);
    for project in projects.into_iter().take(PROJECTS_MAX) {
        let Some(servers) = nova.counted_servers(&project).await? else { continue };
        let counted = counted(&servers, nova.cores_used(&project).await?);
        if counted != Counted::Undecided {
            return Ok((counted, project));
        }
    }
    Ok((Counted::Undecided, String::new()))
}

/// Which way of counting gives this number, if only one of the two does.
fn counted(servers: &[CountedServer], cores_used: i64) -> Counted {
    // What moves or failed has allocations that cannot be told from here.
    if servers.iter().any(|server| server.task_state.is_some() || matches!(server.status.as_str(), "BUILD" | "ERROR")) {
        return Counted::Undecided;
    }
    let sum = |without_allocation: bool| -> i64 {
        let counted = servers.iter().filter(|server| !without_allocation || has_cores_in_placement(server));
        counted.map(|server| i64::try_from(server.flavor.vcpus).unwrap_or(i64::MAX)).sum()
    };
    let (in_full, from_placement) = (sum(false), sum(true));
    match (cores_used == in_full, cores_used == from_placement) {
        (true, false) => Counted::InFull,
        (false, true) => Counted::FromPlacement,
        _ => Counted::Undecided,
    }
}

fn has_cores_in_placement(server: &CountedServer) -> bool {
    server.status != "SHELVED_OFFLOADED" && server.flavor.extra_specs.get("resources:VCPU").is_none_or(|cores| cores != "0")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::openstack::nova::usage::EmbeddedFlavor;

    fn server(status: &str, vcpus: u64, specs: &[(&str, &str)]) -> CountedServer {
        let extra_specs: BTreeMap<String, String> = specs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let flavor = EmbeddedFlavor { vcpus, extra_specs };
        CountedServer { id: "s".into(), status: status.into(), tenant_id: "p".into(), task_state: None, flavor }
    }

    #[test]
    fn servers_without_cores_in_placement_show_how_nova_counts() {
        let ordinary = server("ACTIVE", 4, &[]);
        for odd in [server("SHELVED_OFFLOADED", 2, &[]), server("ACTIVE", 2, &[("resources:VCPU", "0")])] {
            let servers = [ordinary.clone(), odd];
            assert_eq!(counted(&servers, 6), Counted::InFull);
            assert_eq!(counted(&servers, 4), Counted::FromPlacement);
            assert_eq!(counted(&servers, 5), Counted::Undecided, "a third number is not explained away");
        }
        assert_eq!(counted(std::slice::from_ref(&ordinary), 4), Counted::Undecided);
        assert_eq!(counted(&[], 0), Counted::Undecided);
        let moving = CountedServer { task_state: Some("shelving".into()), ..server("ACTIVE", 2, &[("resources:VCPU", "0")]) };
        assert_eq!(counted(&[ordinary, moving], 6), Counted::Undecided);
    }
}
