//! What happens after Nova has said 202: builds, shelves, unshelves, deletions, uploads, migrations.
//!
//! Each step checks the epoch of its server: a verb accepted later outdates it. A step that needs a compute whose
//! process is dead waits for it, as a message in a queue would.

use serde_json::{Value, json};

use super::scheduler::{self, NoHost};
use super::{ActionEvent, CONTROL_HOST, InstanceAction, Server, ServerFault};
use crate::message::Request;
use crate::world::World;

/// Queued work.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// The next step of a verb on a server.
    Server { id: String, epoch: u64, action: usize, step: Step },
    /// A compute writes its inventory as it sees it.
    RestoreInventory { host: String },
    /// A call that a fault has held back: it takes effect now. `of` is its line in the record.
    Late { request: Request, of: u64 },
}

/// The steps, each named after what it does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Build {
        doomed: bool,
    },
    Built,
    ShelvePending,
    ShelveUpload,
    Shelved,
    OffloadLater,
    Offload,
    Unshelve {
        doomed: bool,
    },
    Unshelved,
    Stop,
    Start,
    Delete,
    Snapshot {
        image: String,
    },
    SnapshotDone {
        image: String,
    },
    /// An image cannot be stored: it goes again, and the server is as before.
    UploadFailed {
        image: String,
        event: &'static str,
    },
    Migrate {
        migration: u64,
        live: bool,
    },
}

/// How long a step waits before it looks again for a dead compute.
const RETRY_MS: u64 = 500;
/// Nova's `max_attempts` of a build.
const ATTEMPTS: u32 = 3;

/// Accepts a verb: outdates the work before it and opens its line in the instance actions.
pub(crate) fn begin(world: &mut World, id: &str, action: &'static str) -> (u64, usize) {
    let Some(server) = world.nova.servers.get_mut(id) else { return (0, 0) };
    server.epoch += 1;
    let epoch = server.epoch;
    let cause = &world.cause;
    let line = InstanceAction {
        action,
        request_id: cause.request_id.clone(),
        user_id: cause.user_id.clone(),
        project_id: cause.project_id.clone(),
        start_ms: world.now,
        updated_ms: world.now,
        message: None,
        events: Vec::new(),
    };
    let lines = world.nova.actions.entry(id.to_owned()).or_default();
    lines.push(line);
    (epoch, lines.len() - 1)
}

/// A server's figures for the record.
pub(crate) fn facts_of(server: &Server, action: &str) -> Value {
    json!({
        "action": action, "name": server.name, "project_id": server.project_id, "status": server.status(),
        "flavor_id": server.flavor.id, "vcpus": server.flavor.vcpus, "ram": server.flavor.ram,
        "disk": server.flavor.disk, "tags": server.tags,
    })
}

/// One step of one verb at its instant.
pub(crate) struct Turn<'a> {
    world: &'a mut World,
    id: String,
    epoch: u64,
    action: usize,
    verb: &'static str,
}

/// Does a step, if its server still exists and no later verb was accepted.
pub(crate) fn run(world: &mut World, id: String, epoch: u64, action: usize, step: Step) {
    let Some(server) = world.nova.servers.get(&id).filter(|server| server.epoch == epoch) else { return };
    let dead_host = server.host.as_ref().and_then(|host| world.nova.hosts.get(host)).is_some_and(|host| !host.alive);
    if dead_host && !matches!(step, Step::Delete) {
        let cause = world.cause.clone();
        world.after_exactly(RETRY_MS, Work::Server { id, epoch, action, step }, cause);
        return;
    }
    let verb = world.nova.actions.get(&id).and_then(|lines| lines.get(action)).map_or("", |line| line.action);
    let mut turn = Turn { world, id, epoch, action, verb };
    match step {
        Step::Build { doomed } => turn.build(doomed),
        Step::Built => turn.built(),
        Step::ShelvePending => {
            turn.set(|server| server.task_state = Some("shelving_image_pending_upload"));
            let half = turn.world.config.timings.pending_upload_ms / 2;
            turn.then(half, Step::ShelveUpload);
        }
        Step::ShelveUpload => turn.shelve_upload(),
        Step::Shelved => turn.shelved(),
        Step::OffloadLater => {
            turn.set(|server| server.task_state = Some("shelving_offloading"));
            let after = turn.world.config.timings.offload_ms;
            turn.then(after, Step::Offload);
        }
        Step::Offload => turn.offload(),
        Step::Unshelve { doomed } => turn.unshelve(doomed),
        Step::Unshelved => turn.unshelved(),
        Step::Stop => turn.settle("stopped", 4, "server.stopped", "compute_stop_instance"),
        Step::Start => turn.settle("active", 1, "server.active", "compute_start_instance"),
        Step::Delete => turn.delete(),
        Step::Snapshot { image } => {
            turn.set(|server| server.task_state = Some("image_uploading"));
            crate::glance::start_upload(turn.world, &image);
            let after = turn.world.config.timings.upload_ms;
            turn.then(after, Step::SnapshotDone { image });
        }
        Step::SnapshotDone { image } => {
            turn.set(|server| server.task_state = None);
            crate::glance::finish_upload(turn.world, &image);
            turn.event("compute_snapshot_instance", None);
        }
        Step::UploadFailed { image, event } => {
            turn.set(|server| server.task_state = None);
            crate::glance::drop_failed(turn.world, &image);
            turn.event(event, Some("Image storage failed"));
        }
        Step::Migrate { migration, live } => turn.migrate(migration, live),
    }
}

impl Turn<'_> {
    fn server(&self) -> &Server {
        &self.world.nova.servers[&self.id]
    }

    fn set(&mut self, change: impl FnOnce(&mut Server)) {
        let now = self.world.now;
        if let Some(server) = self.world.nova.servers.get_mut(&self.id) {
            change(server);
            server.updated_ms = now;
        }
    }

    fn then(&mut self, after_ms: u64, step: Step) {
        let work = Work::Server { id: self.id.clone(), epoch: self.epoch, action: self.action, step };
        self.world.after(after_ms, work);
    }

    /// Notes an event of the instance action; with `failure` the action has failed.
    fn event(&mut self, event: &'static str, failure: Option<&str>) {
        let now = self.world.now;
        // What the conductor does is its own host's event.
        let by_conductor = matches!(event, "schedule_instances" | "get_image_info" | "conductor_schedule_and_build_instances");
        let host = self.server().host.clone().filter(|_| !by_conductor).unwrap_or_else(|| CONTROL_HOST.to_owned());
        let Some(line) = self.world.nova.actions.get_mut(&self.id).and_then(|lines| lines.get_mut(self.action)) else {
            return;
        };
        line.updated_ms = now;
        if failure.is_some() {
            line.message = Some("Error".to_owned());
        }
        line.events.push(ActionEvent {
            event,
            start_ms: now,
            finish_ms: now,
            success: failure.is_none(),
            host,
            details: failure.map(str::to_owned),
        });
    }

    /// Tells the record what the server has become.
    fn tell(&mut self, what: &str, text: &str) {
        let (facts, host) = (facts_of(self.server(), self.verb), self.server().host.clone());
        let id = self.id.clone();
        self.world.change(what, &id, host.as_deref(), text.to_owned(), facts);
    }

    fn place(&mut self, doomed: bool) -> Result<String, NoHost> {
        if doomed {
            return Err(NoHost::NoCandidate);
        }
        let server = self.server().clone();
        scheduler::place(self.world, &server)
    }

    fn release(&mut self) {
        if let Some(had) = self.world.placement.forget(&self.id) {
            let id = self.id.clone();
            crate::placement::note_removed(self.world, &id, &had);
        }
    }

    fn build(&mut self, doomed: bool) {
        match self.place(doomed) {
            Ok(host) => {
                self.set(|server| {
                    server.host = Some(host);
                    server.task_state = Some("spawning");
                    server.attempts += 1;
                });
                self.event("conductor_schedule_and_build_instances", None);
                self.tell("server.scheduled", "a host is chosen");
                let after = self.world.config.timings.spawn_ms;
                self.then(after, Step::Built);
            }
            Err(why) => {
                let message = if self.server().attempts > 0 {
                    format!(
                        "Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures \
                         for instance {}.",
                        self.id
                    )
                } else {
                    why.message().to_owned()
                };
                self.fail_build(&message);
            }
        }
    }

    fn fail_build(&mut self, message: &str) {
        let now = self.world.now;
        self.release();
        self.set(|server| {
            server.vm_state = "error";
            server.task_state = None;
            server.host = None;
            server.fault = Some(ServerFault { code: 500, message: message.to_owned(), created_ms: now });
        });
        self.event("schedule_instances", Some(message));
        self.tell("server.error", message);
    }

    fn on_broken_host(&self) -> bool {
        let host = self.server().host.as_ref().and_then(|host| self.world.nova.hosts.get(host));
        host.is_some_and(|host| self.world.now < host.broken_until_ms)
    }

    fn built(&mut self) {
        if self.on_broken_host() {
            self.release();
            let attempts = self.server().attempts;
            self.set(|server| {
                server.tried.extend(server.host.take());
                server.task_state = Some("scheduling");
            });
            if attempts < ATTEMPTS {
                let after = self.world.config.timings.schedule_ms;
                self.then(after, Step::Build { doomed: false });
            } else {
                let text = "Exceeded maximum number of retries. Exceeded max scheduling attempts 3.";
                self.fail_build(text);
            }
            return;
        }
        let now = self.world.now;
        self.set(|server| server.launched_ms = Some(now));
        self.settle("active", 1, "server.active", "compute__do_build_and_run_instance");
    }

    /// The end of a verb that leaves the server where it is.
    fn settle(&mut self, vm_state: &'static str, power: u8, what: &str, event: &'static str) {
        self.set(|server| {
            server.vm_state = vm_state;
            server.power_state = power;
            server.task_state = None;
        });
        self.event(event, None);
        self.tell(what, vm_state);
    }

    fn shelve_upload(&mut self) {
        self.set(|server| server.task_state = Some("shelving_image_uploading"));
        if let Some(image) = self.server().shelved_image.clone() {
            crate::glance::start_upload(self.world, &image);
        }
        let after = self.world.config.timings.upload_ms;
        self.then(after, Step::Shelved);
    }

    fn shelved(&mut self) {
        if let Some(image) = self.server().shelved_image.clone() {
            crate::glance::finish_upload(self.world, &image);
        }
        let offload_after = self.world.config.timings.offload_after_ms;
        self.set(|server| {
            server.vm_state = "shelved";
            server.power_state = 4;
            server.task_state = (offload_after == 0).then_some("shelving_offloading");
        });
        self.event("compute_shelve_instance", None);
        self.tell("server.shelved", "shelved, still on its host");
        match u64::try_from(offload_after) {
            Ok(0) => {
                let after = self.world.config.timings.offload_ms;
                self.then(after, Step::Offload);
            }
            Ok(later) => self.then(later, Step::OffloadLater),
            // Negative: only `shelveOffload` does it.
            Err(_) => {}
        }
    }

    fn offload(&mut self) {
        self.release();
        let from = self.server().host.clone();
        self.event("compute_shelve_offload_instance", None);
        self.set(|server| {
            server.vm_state = "shelved_offloaded";
            server.task_state = None;
            server.host = None;
        });
        let (facts, id) = (facts_of(self.server(), self.verb), self.id.clone());
        self.world.change("server.shelved_offloaded", &id, from.as_deref(), "offloaded; holds nothing".to_owned(), facts);
    }

    fn unshelve(&mut self, doomed: bool) {
        self.event("get_image_info", None);
        match self.place(doomed) {
            Ok(host) => {
                self.set(|server| {
                    server.host = Some(host);
                    server.task_state = Some("spawning");
                });
                self.event("schedule_instances", None);
                self.tell("server.scheduled", "a host is chosen");
                let after = self.world.config.timings.spawn_ms;
                self.then(after, Step::Unshelved);
            }
            Err(why) => self.fail_unshelve("schedule_instances", why.message()),
        }
    }

    /// Back to SHELVED_OFFLOADED, without a fault; only the instance action tells why.
    fn fail_unshelve(&mut self, event: &'static str, why: &str) {
        self.event(event, Some(why));
        self.release();
        self.set(|server| {
            server.task_state = None;
            server.host = None;
            server.forced_host = None;
        });
        self.tell("server.unshelve_failed", why);
    }

    fn unshelved(&mut self) {
        if self.server().vm_state == "shelved_offloaded" && self.on_broken_host() {
            self.fail_unshelve("compute_unshelve_instance", "Build of instance aborted: provider conflict");
            return;
        }
        let now = self.world.now;
        let image = self.server().shelved_image.clone();
        self.set(|server| {
            server.launched_ms = Some(now);
            server.shelved_image = None;
            server.forced_host = None;
        });
        if let Some(image) = image {
            crate::glance::drop_shelved(self.world, &image);
        }
        self.settle("active", 1, "server.active", "compute_unshelve_instance");
    }

    fn delete(&mut self) {
        self.release();
        if let Some(image) = self.server().shelved_image.clone() {
            crate::glance::drop_shelved(self.world, &image);
        }
        self.event("compute_terminate_instance", None);
        self.tell("server.deleted", "the server is gone");
        if let Some(server) = self.world.nova.servers.remove(&self.id) {
            self.world.nova.gone.insert(server.id, server.project_id);
        }
    }

    fn migrate(&mut self, migration: u64, live: bool) {
        let mut target = self.server().clone();
        let source = target.host.clone().unwrap_or_default();
        target.tried.insert(source);
        let row = self.world.nova.migrations.iter().position(|one| one.id == migration);
        let Some(row) = row else { return };
        let (uuid, wanted) = {
            let known = &self.world.nova.migrations[row];
            (known.uuid.clone(), known.dest.clone())
        };
        let before = self.world.placement.consumers.get(&self.id).map(|consumer| consumer.allocations.clone());
        let placed = match wanted {
            Some(host) => scheduler::place_on(self.world, &target, &host).map(|()| host),
            None => scheduler::place(self.world, &target),
        };
        let now = self.world.now;
        self.world.nova.migrations[row].updated_ms = now;
        let host = match placed {
            Ok(host) => host,
            Err(why) => {
                self.world.nova.migrations[row].status = "error";
                self.set(|server| server.task_state = None);
                self.event("cold_migrate", Some(why.message()));
                self.tell("server.migration_failed", why.message());
                return;
            }
        };
        self.world.nova.migrations[row].dest = Some(host.clone());
        self.world.nova.migrations[row].status = if live { "completed" } else { "finished" };
        if !live && let Some(held) = before {
            // Until it is confirmed, the migration itself holds the source.
            scheduler::hold_for_migration(self.world, &uuid, &target, held);
        }
        self.set(|server| {
            server.host = Some(host);
            server.task_state = None;
            if !live {
                server.vm_state = "resized";
            }
        });
        self.event(if live { "compute_live_migration" } else { "compute_finish_resize" }, None);
        self.tell("server.migrated", "on another host now");
    }
}
