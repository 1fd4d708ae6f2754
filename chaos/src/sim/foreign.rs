//! What is another's in the cloud, and looks much like ours: the flavor of a reservation of another Leasehold, one that an
//! operator named alike, and the class of a reservation that has no flavor. Nobody may touch it (A8).

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;

use leasehold_ledger::model::{LeaseId, ReservationId};
use leasehold_node::leader::names::Names;
use uuid::Uuid;

use super::cloud::SimCloud;
use super::trace::Trace;

/// Names and marks; both ids are UUIDs, as those of reservations are.
const FLAVORS: [(&str, Option<&str>); 2] = [
    ("1d7a9c52-0000-4000-8000-000000000001", Some("0f0e0d0c-0000-4000-8000-00000000000b")),
    ("1d7a9c52-0000-4000-8000-000000000002", None),
];

/// Blazar's, or another Leasehold's whose flavor is still to come.
const CLASS: &str = "/placement/resource_classes/CUSTOM_RESERVATION_1D7A9C52_0000_4000_8000_000000000003";

/// The server group of a reservation of another Leasehold with the same service project.
fn group() -> String {
    let id = |last: u128| Uuid::from_u128(0x1d7a_9c52_0000_4000_8000_0000_0000_0000 | last);
    Names::new(id(0xb)).server_group(LeaseId(id(4)), ReservationId(id(5)))
}

/// Puts it there.
///
/// # Errors
/// When the cloud does not take it.
pub fn put(cloud: &SimCloud) -> Result<()> {
    let token = cloud.token("admin").context("a token of the operator")?;
    for (id, mark) in FLAVORS {
        let body = json!({"flavor": {"id": id, "name": format!("reservation:{id}"), "vcpus": 1, "ram": 64, "disk": 1}});
        let (status, answer) = cloud.tenant(Method::POST, "/compute/v2.1/flavors", &token, Some(&body));
        ensure!(status == 200, "a foreign flavor: {status} {answer}");
        if let Some(mark) = mark {
            let body = json!({"extra_specs": {"leasehold:cluster": mark}});
            let (status, answer) =
                cloud.tenant(Method::POST, &format!("/compute/v2.1/flavors/{id}/os-extra_specs"), &token, Some(&body));
            ensure!(status == 200, "a foreign flavor's mark: {status} {answer}");
        }
    }
    let (status, answer) = cloud.tenant(Method::PUT, CLASS, &token, None);
    ensure!(status == 201, "a foreign class: {status} {answer}");
    let body = json!({"server_group": {"name": group(), "policy": "affinity"}});
    let (status, answer) = cloud.tenant(Method::POST, GROUPS, &token, Some(&body));
    ensure!(status == 200, "a foreign server group: {status} {answer}");
    Ok(())
}

const GROUPS: &str = "/compute/v2.1/os-server-groups";

/// A8: it is still there.
///
/// # Errors
/// When the cloud does not answer.
pub fn judge(cloud: &SimCloud, trace: &Trace) -> Result<()> {
    let token = cloud.token("admin").context("a token of the operator")?;
    for (id, _) in FLAVORS {
        let (status, _) = cloud.tenant(Method::GET, &format!("/compute/v2.1/flavors/{id}"), &token, None);
        if status != 200 {
            trace.finding("A8", format!("flavor {id} of somebody else is gone ({status})"));
        }
    }
    let (status, _) = cloud.tenant(Method::GET, CLASS, &token, None);
    if status != 200 {
        trace.finding("A8", format!("{CLASS} of somebody else is gone ({status})"));
    }
    let (status, answer) = cloud.tenant(Method::GET, GROUPS, &token, None);
    let name = group();
    if !answer["server_groups"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == name.as_str())) {
        trace.finding("A8", format!("server group {name} of somebody else is gone ({status})"));
    }
    Ok(())
}
