//! `POST /servers/{id}/action`: what is allowed in which state, and the work it starts.

use serde_json::{Value, json};

use super::api::admin;
use super::servers::{found, refuse_locked};
use super::work::{Step, Work, begin, facts_of};
use super::{Migration, Server, quota};
use crate::reply::{Api, Reply, nova as error, nova_empty, ok};
use crate::world::{Call, World};

const RUNNING: [&str; 4] = ["active", "stopped", "paused", "suspended"];

/// One action on one server.
pub(crate) fn handle(world: &mut World, call: &Call, id: &str) -> Api {
    let server = found(world, &call.who, id)?;
    let (verb, given) = call
        .body
        .as_object()
        .and_then(|body| body.iter().next())
        .map(|(verb, given)| (verb.clone(), given.clone()))
        .ok_or_else(|| error(400, "Malformed request body"))?;
    if verb != "lock" && verb != "unlock" {
        refuse_locked(server, &call.who)?;
    }
    match verb.as_str() {
        "shelve" => {
            allow(server, "shelve", &RUNNING)?;
            shelve(world, call, id)
        }
        "shelveOffload" => {
            admin(call, "os_compute_api:os-shelve:shelve_offload")?;
            allow(server, "shelveOffload", &["shelved"])?;
            let after = world.config.timings.offload_ms;
            start(world, id, "shelveOffload", "shelving_offloading", after, Step::Offload)
        }
        "unshelve" => unshelve(world, call, id, &given),
        "createImage" => {
            allow(server, "createImage", &RUNNING)?;
            create_image(world, call, id, &given)
        }
        "os-stop" | "os-start" | "reboot" if server.host.is_none() => Err(error(409, format!("Instance {id} is not ready"))),
        "os-stop" => {
            allow(server, "stop", &["active", "error"])?;
            let after = world.config.timings.power_ms;
            start(world, id, "stop", "powering-off", after, Step::Stop)
        }
        "os-start" => {
            allow(server, "start", &["stopped"])?;
            let after = world.config.timings.power_ms;
            start(world, id, "start", "powering-on", after, Step::Start)
        }
        "reboot" => {
            allow(server, "reboot", &RUNNING)?;
            let after = world.config.timings.power_ms;
            start(world, id, "reboot", "rebooting", after, Step::Start)
        }
        "rescue" => {
            allow(server, "rescue", &["active", "stopped"])?;
            begin(world, id, "rescue");
            set(world, id, |server| server.vm_state = "rescued");
            ok(json!({"adminPass": "rescue"}))
        }
        "unrescue" => {
            allow(server, "unrescue", &["rescued"])?;
            begin(world, id, "unrescue");
            set(world, id, |server| server.vm_state = "active");
            nova_empty(202)
        }
        "os-migrateLive" => {
            admin(call, "os_compute_api:os-migrate-server:migrate_live")?;
            allow(server, "os-migrateLive", &["active", "paused"])?;
            migrate(world, call, id, true, given["host"].as_str())
        }
        "migrate" => {
            admin(call, "os_compute_api:os-migrate-server:migrate")?;
            allow(server, "migrate", &["active", "stopped"])?;
            migrate(world, call, id, false, given["host"].as_str())
        }
        "confirmResize" => {
            allow(server, "confirmResize", &["resized"])?;
            confirm(world, id);
            nova_empty(204)
        }
        "lock" | "unlock" => lock(world, call, id, verb == "lock", &given),
        "forceDelete" => {
            super::servers::start_delete(world, id);
            nova_empty(202)
        }
        "os-resetState" => {
            admin(call, "os_compute_api:os-admin-actions:reset_state")?;
            begin(world, id, "os-resetState");
            let state = if given["state"] == "active" { "active" } else { "error" };
            set(world, id, |server| {
                server.vm_state = state;
                server.task_state = None;
            });
            nova_empty(202)
        }
        _ => Err(error(400, format!("There is no such action: {verb}"))),
    }
}

/// 409 in Nova's words when the state does not allow the verb; the vm_state is looked at first.
fn allow(server: &Server, verb: &str, states: &[&str]) -> Result<(), Reply> {
    let conflict = |what: String| Err(error(409, format!("Cannot '{verb}' instance {} while it is in {what}", server.id)));
    if !states.contains(&server.vm_state) {
        return conflict(format!("vm_state {}", server.vm_state));
    }
    match server.task_state {
        Some(task) => conflict(format!("task_state {task}")),
        None => Ok(()),
    }
}

fn set(world: &mut World, id: &str, change: impl FnOnce(&mut Server)) {
    let now = world.now;
    if let Some(server) = world.nova.servers.get_mut(id) {
        change(server);
        server.updated_ms = now;
    }
}

/// Accepts a verb: its task begins, its work is queued, the record knows.
fn start(world: &mut World, id: &str, verb: &'static str, task: &'static str, after: u64, step: Step) -> Api {
    accept(world, id, verb, task, after, step);
    nova_empty(202)
}

fn accept(world: &mut World, id: &str, verb: &'static str, task: &'static str, after: u64, step: Step) {
    let (epoch, action) = begin(world, id, verb);
    set(world, id, |server| server.task_state = Some(task));
    let server = &world.nova.servers[id];
    let (facts, host) = (facts_of(server, verb), server.host.clone());
    world.change("server.accepted", id, host.as_deref(), format!("{verb} is accepted"), facts);
    world.after(after, Work::Server { id: id.to_owned(), epoch, action, step });
}

fn shelve(world: &mut World, call: &Call, id: &str) -> Api {
    let server = world.nova.servers[id].clone();
    let image = crate::glance::snapshot(world, &call.who, &server, &format!("{}-shelved", server.name));
    let after = world.config.timings.pending_upload_ms / 2;
    if world.doomed {
        let failed = Step::UploadFailed { image, event: "compute_shelve_instance" };
        return start(world, id, "shelve", "shelving", after, failed);
    }
    set(world, id, |server| server.shelved_image = Some(image));
    start(world, id, "shelve", "shelving", after, Step::ShelvePending)
}

fn unshelve(world: &mut World, call: &Call, id: &str, given: &Value) -> Api {
    let server = found(world, &call.who, id)?;
    let zone = given["availability_zone"].as_str().filter(|_| call.at_least(2, 77)).map(str::to_owned);
    let host = given["host"].as_str().filter(|_| call.at_least(2, 91)).map(str::to_owned);
    if host.is_some() {
        admin(call, "os_compute_api:os-shelve:unshelve_to_host")?;
    }
    if (zone.is_some() || host.is_some()) && server.vm_state == "shelved" {
        return Err(error(
            409,
            format!(
                "Specifying an availability zone or a host when unshelving server \"{id}\" with status \"shelved\" is \
                 not supported. The server status must be SHELVED_OFFLOADED."
            ),
        ));
    }
    allow(server, "unshelve", &["shelved", "shelved_offloaded"])?;
    if let Some(host) = host.as_ref().filter(|host| !world.nova.hosts.contains_key(*host)) {
        return Err(error(400, format!("Compute host {host} could not be found.")));
    }
    if let Some(zone) = &zone
        && !world.nova.hosts.keys().any(|host| world.nova.zone_of(host) == zone)
    {
        return Err(error(400, "The requested availability zone is not available"));
    }
    let offloaded = server.vm_state == "shelved_offloaded";
    if offloaded && world.config.count_usage_from_placement {
        quota::check_wake(world, &call.who.project_id, server)?;
    }
    let unpin = call.at_least(2, 91) && given.get("availability_zone").is_some_and(Value::is_null);
    set(world, id, |server| {
        if zone.is_some() || unpin {
            server.zone = zone;
        }
        server.forced_host = host;
        server.tried.clear();
        server.attempts = 0;
    });
    let doomed = world.doomed;
    let timings = &world.config.timings;
    let (after, step) =
        if offloaded { (timings.schedule_ms, Step::Unshelve { doomed }) } else { (timings.power_ms, Step::Unshelved) };
    start(world, id, "unshelve", "unshelving", after, step)
}

fn create_image(world: &mut World, call: &Call, id: &str, given: &Value) -> Api {
    let name = given["name"]
        .as_str()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| error(400, "Invalid input for field/attribute createImage. 'name' is a required property"))?;
    let server = world.nova.servers[id].clone();
    let image = crate::glance::snapshot(world, &call.who, &server, name);
    crate::glance::add_properties(world, &image, &given["metadata"]);
    let after = world.config.timings.pending_upload_ms;
    let step = match world.doomed {
        true => Step::UploadFailed { image: image.clone(), event: "compute_snapshot_instance" },
        false => Step::Snapshot { image: image.clone() },
    };
    accept(world, id, "createImage", "image_snapshot_pending", after, step);
    if call.at_least(2, 45) {
        return Ok(Reply::new(202, json!({"image_id": image})));
    }
    let location = format!("{}/image/v2/images/{image}", world.base_url());
    nova_empty(202).map(|reply| reply.with("location", location))
}

fn migrate(world: &mut World, call: &Call, id: &str, live: bool, host: Option<&str>) -> Api {
    if let Some(host) = host.filter(|host| !world.nova.hosts.contains_key(*host)) {
        return Err(error(400, format!("Compute host {host} could not be found.")));
    }
    let source = world.nova.servers[id].host.clone().unwrap_or_default();
    let row = world.nova.next_row();
    let migration = Migration {
        id: row,
        uuid: world.rng.uuid(),
        server: id.to_owned(),
        source,
        dest: host.map(str::to_owned),
        status: "running",
        kind: if live { "live-migration" } else { "migration" },
        user_id: call.who.user_id.clone(),
        project_id: call.who.project_id.clone(),
        created_ms: world.now,
        updated_ms: world.now,
    };
    world.nova.migrations.push(migration);
    let after = world.config.timings.migrate_ms;
    let (verb, task) = if live { ("live-migration", "migrating") } else { ("migrate", "resize_prep") };
    start(world, id, verb, task, after, Step::Migrate { migration: row, live })
}

/// Confirms a resize: the source's room is free.
pub(super) fn confirm(world: &mut World, id: &str) {
    begin(world, id, "confirmResize");
    let now = world.now;
    let pending: Vec<String> = world
        .nova
        .migrations
        .iter_mut()
        .filter(|one| one.server == id && one.status == "finished")
        .map(|one| {
            one.status = "confirmed";
            one.updated_ms = now;
            one.uuid.clone()
        })
        .collect();
    for migration in pending {
        if let Some(had) = world.placement.forget(&migration) {
            crate::placement::note_removed(world, &migration, &had);
        }
    }
    set(world, id, |server| {
        server.vm_state = if server.power_state == 4 { "stopped" } else { "active" };
        server.task_state = None;
    });
}

fn lock(world: &mut World, call: &Call, id: &str, lock: bool, given: &Value) -> Api {
    let server = found(world, &call.who, id)?;
    if !lock && server.locked_by_admin && !call.who.is_admin() {
        return Err(error(403, "Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be performed."));
    }
    let reason = given["locked_reason"].as_str().filter(|_| call.at_least(2, 73)).map(str::to_owned);
    begin(world, id, if lock { "lock" } else { "unlock" });
    let by_admin = lock && call.who.is_admin() && server_of_other(world, call, id);
    set(world, id, |server| {
        server.locked = lock;
        server.locked_by_admin = by_admin;
        server.locked_reason = if lock { reason } else { None };
    });
    let what = if lock { "server.locked" } else { "server.unlocked" };
    world.change(what, id, None, format!("server is {}locked", if lock { "" } else { "un" }), json!({}));
    nova_empty(202)
}

fn server_of_other(world: &World, call: &Call, id: &str) -> bool {
    world.nova.servers.get(id).is_some_and(|server| server.project_id != call.who.project_id)
}
