//! What is another's in the cloud, and looks much like ours: flavors of reservations of another Leasehold, and one that an operator
//! named alike; the class of a reservation that has no flavor; a server group, an aggregate and two images of an end, all of that
//! other Leasehold in the same service project. Nobody may touch it: at the end it is word for word as it was put there (A8).
//! Each change of what is not ours is looked for in the cloud's record, too (`check/foreign.rs`).

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use http::Method;
use leasehold_ledger::model::{LeaseId, ReservationId};
use leasehold_node::leader::names::{FLAVOR_MARK, IMAGE_MARK, Names};
use serde_json::{Value, json};
use uuid::Uuid;

use super::cloud::SimCloud;
use super::trace::Trace;

/// Names and marks; ids are UUIDs, as those of reservations are.
const FLAVORS: [(&str, Option<&str>); 2] = [
    ("1d7a9c52-0000-4000-8000-000000000001", Some("0f0e0d0c-0000-4000-8000-00000000000b")),
    ("1d7a9c52-0000-4000-8000-000000000002", None),
];

/// One whose project may use it.
const GIVEN: (&str, &str) = ("1d7a9c52-0000-4000-8000-000000000006", "0f0e0d0c-0000-4000-8000-00000000000b");

/// Blazar's, or another Leasehold's whose flavor is still to come.
const CLASS: &str = "/placement/resource_classes/CUSTOM_RESERVATION_1D7A9C52_0000_4000_8000_000000000003";

/// Whose end the images are of.
const ENDED: &str = "1d7a9c52-0000-4000-8000-000000000007";

const FLAVOR_PATH: &str = "/compute/v2.1/flavors";
const GROUPS: &str = "/compute/v2.1/os-server-groups";
const AGGREGATES: &str = "/compute/v2.1/os-aggregates";
const IMAGES: &str = "/image/v2/images";

/// What this draws is drawn by nobody else.
const STREAM: u64 = 0x666f_7265_6967_6e00;

/// The server group of a reservation of another Leasehold with the same service project.
fn group() -> String {
    let id = |last: u128| Uuid::from_u128(0x1d7a_9c52_0000_4000_8000_0000_0000_0000 | last);
    Names::new(id(0xb)).server_group(LeaseId(id(4)), ReservationId(id(5)))
}

/// What was put there, as the cloud showed it then.
pub struct Foreign {
    token: String,
    shown: BTreeMap<String, Value>,
}

/// Puts it there.
///
/// # Errors
/// When the cloud does not take it.
pub fn put(cloud: &SimCloud) -> Result<Foreign> {
    let token = cloud.token("admin").context("a token of the operator")?;
    let made = |what: &str, (status, answer): (u16, Value)| {
        ensure!((200..300).contains(&status), "{what} of somebody else: {status} {answer}");
        Ok(answer)
    };
    let post = |what: &str, path: &str, body: Value| made(what, cloud.tenant(Method::POST, path, &token, Some(&body)));
    let mut paths = Vec::new();
    for (id, mark) in FLAVORS {
        let body = json!({"flavor": {"id": id, "name": format!("reservation:{id}"), "vcpus": 1, "ram": 64, "disk": 1}});
        post("a flavor", FLAVOR_PATH, body)?;
        if let Some(mark) = mark {
            post("a mark", &format!("{FLAVOR_PATH}/{id}/os-extra_specs"), json!({"extra_specs": {FLAVOR_MARK: mark}}))?;
        }
        paths.extend([format!("{FLAVOR_PATH}/{id}"), format!("{FLAVOR_PATH}/{id}/os-extra_specs")]);
    }
    made("a class", cloud.tenant(Method::PUT, CLASS, &token, None))?;
    paths.push(CLASS.to_owned());
    let body = json!({"server_group": {"name": group(), "policy": "affinity"}});
    let answer = post("a server group", GROUPS, body)?;
    paths.push(format!("{GROUPS}/{}", answer["server_group"]["id"].as_str().context("a group has an id")?));
    let shown = cloud.aside(STREAM, || {
        paths.extend(beside(cloud, &token)?);
        let look = |path: String| Ok((path.clone(), made(&path, cloud.tenant(Method::GET, &path, &token, None))?));
        paths.into_iter().map(look).collect::<Result<_>>()
    })?;
    Ok(Foreign { token, shown })
}

/// A flavor that its project may use, an aggregate, and two images of one server's end; where they are.
fn beside(cloud: &SimCloud, token: &str) -> Result<Vec<String>> {
    let post = |path: &str, body: Value| {
        let (status, answer) = cloud.tenant(Method::POST, path, token, Some(&body));
        ensure!((200..300).contains(&status), "{path} of somebody else: {status} {answer}");
        Ok(answer)
    };
    let (id, mark) = GIVEN;
    let flavor = format!("{FLAVOR_PATH}/{id}");
    post(
        FLAVOR_PATH,
        json!({"flavor": {"id": id, "name": format!("reservation:{id}"), "vcpus": 1, "ram": 64, "disk": 1, "os-flavor-access:is_public": false}}),
    )?;
    post(&format!("{flavor}/os-extra_specs"), json!({"extra_specs": {FLAVOR_MARK: mark}}))?;
    let (_, tenant) = cloud.login("demo").context("a tenant")?;
    post(&format!("{flavor}/action"), json!({"addTenantAccess": {"tenant": tenant}}))?;
    let mut paths = vec![flavor.clone(), format!("{flavor}/os-extra_specs"), format!("{flavor}/os-flavor-access")];
    let aggregate = post(AGGREGATES, json!({"aggregate": {"name": id}}))?;
    let aggregate = format!("{AGGREGATES}/{}", aggregate["aggregate"]["id"]);
    post(&format!("{aggregate}/action"), json!({"set_metadata": {"metadata": {FLAVOR_MARK: mark}}}))?;
    paths.push(aggregate);
    let service = cloud.project_of("nova", "service").context("the service project")?;
    for name in ["end-1", "end-2"] {
        let body = json!({"name": name, "owner": service, IMAGE_MARK: ENDED, "instance_uuid": GIVEN.0, "disk_format": "qcow2", "container_format": "bare"});
        let image = post(IMAGES, body)?;
        let image = format!("{IMAGES}/{}", image["id"].as_str().context("an image has an id")?);
        cloud.whole(&image, token);
        paths.push(image);
    }
    Ok(paths)
}

impl Foreign {
    /// A8: it is as it was.
    pub fn judge(&self, cloud: &SimCloud, trace: &Trace) {
        // The operator's token may have expired.
        let token = cloud.token("admin").unwrap_or_else(|| self.token.clone());
        for (path, before) in &self.shown {
            let (status, now) = cloud.tenant(Method::GET, path, &token, None);
            if status != 200 {
                trace.finding("A8", format!("{path} of somebody else is gone ({status})"));
            } else if now != *before {
                trace.finding("A8", format!("{path} of somebody else is {now}, and was {before}"));
            }
        }
    }
}
