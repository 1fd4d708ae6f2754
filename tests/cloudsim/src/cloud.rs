//! The cloud as one state machine: a call in, an answer out, and work that becomes due as time goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::config::CloudConfig;
use crate::faults::{Fault, FaultKind, Faults, Switch};
use crate::keystone::Who;
use crate::message::{Answer, REQUEST_ID, Request, Response, TOKEN};
use crate::nova::work::{self, Work};
use crate::record::{Cause, Kind, Log, Record};
use crate::reply::{self, Reply};
use crate::rng::Rng;
use crate::world::World;
use crate::{control, faults, glance, keystone, neutron, nova, placement};

/// Randomness that was laid aside.
#[derive(Debug)]
pub struct Laid(Rng);

/// A simulated Keystone, Nova, Placement, Glance and Neutron.
///
/// Deterministic: the same configuration and the same calls at the same instants give the same answers and the same
/// record. It reads no clock; time is what the callers say, and never goes back.
#[derive(Debug)]
pub struct Cloud {
    pub(crate) world: World,
    log: Log,
    faults: Faults,
}

impl Cloud {
    /// A cloud with its hosts up, its users known and one public image, `cirros`.
    pub fn new(config: CloudConfig) -> Self {
        let faults = Faults::new(config.seed);
        Self { world: World::new(config), log: Log::default(), faults }
    }

    /// Serves one call that arrives at `now_ms`, after all work that was due before it.
    pub fn handle(&mut self, now_ms: u64, request: Request) -> Response {
        self.advance(now_ms);
        if request.path == "/_sim" || request.path.starts_with("/_sim/") {
            return Response::Answer { after_ms: 0, answer: control::handle(self, &request) };
        }
        let service = service_of(&request.path);
        let caller = caller_of(&request);
        match self.faults.strike(service, &request, &caller) {
            None => {
                let answer = self.serve(&request, None, Some(0), false);
                Response::Answer { after_ms: 0, answer }
            }
            Some(kind) => self.strike(&kind, &request),
        }
    }

    /// Does all work that is due at `now_ms`, each piece at its own instant.
    pub fn advance(&mut self, now_ms: u64) {
        while let Some((due, work, cause)) = self.world.take_due(now_ms) {
            self.world.now = self.world.now.max(due);
            self.world.cause = cause.clone();
            match work {
                Work::Server { id, epoch, action, step } => {
                    work::run(&mut self.world, id, epoch, action, step);
                    self.note_event("compute", &cause);
                }
                Work::RestoreInventory { host } => {
                    nova::hosts::restore_inventory(&mut self.world, &host);
                    self.note_event("compute", &cause);
                }
                Work::Late { request, of } => self.serve_late(&request, of),
            }
        }
        self.world.now = self.world.now.max(now_ms);
    }

    /// When the next asynchronous work is due, for drivers that own the clock.
    pub fn next_due(&self) -> Option<u64> {
        self.world.next_due()
    }

    /// How many calls are held back and take effect later.
    pub fn held_back(&self) -> usize {
        self.world.held_back()
    }

    /// The cloud's record so far.
    pub fn record(&self) -> &[Record] {
        self.log.lines()
    }

    /// The record so far, handed over: what comes later is numbered on.
    pub fn take_record(&mut self) -> Vec<Record> {
        self.log.take()
    }

    /// All servers, flavors, aggregates, providers, inventories, allocations and images as JSON.
    pub fn state(&self) -> Value {
        control::state(&self.world)
    }

    /// Where Keystone is: the `OS_AUTH_URL` of this cloud.
    pub fn auth_url(&self) -> String {
        format!("{}/identity/v3", self.world.base_url())
    }

    /// The instant of the last call or work, ms since 1970.
    pub fn now_ms(&self) -> u64 {
        self.world.now
    }

    /// From now on draws from a stream of its own, by a number, until what is answered is taken back: what is drawn after that is
    /// what it would be without all that is done in between.
    pub fn lay_aside(&mut self, stream: u64) -> Laid {
        Laid(std::mem::replace(&mut self.world.rng, Rng::new(crate::rng::mix(stream))))
    }

    /// See [`lay_aside`](Self::lay_aside).
    pub fn take_back(&mut self, laid: Laid) {
        self.world.rng = laid.0;
    }

    /// Sets a fault; answers its id.
    pub fn add_fault(&mut self, fault: Fault) -> u64 {
        let text = faults::name(&fault.kind);
        let facts = serde_json::to_value(&fault).unwrap_or(Value::Null);
        let id = self.faults.add(fault);
        self.world.change("fault.set", &id.to_string(), None, text, facts);
        self.note_event("sim", &Cause::default());
        id
    }

    /// Takes one fault away; false if there is none of that id.
    pub fn remove_fault(&mut self, id: u64) -> bool {
        self.faults.remove(id)
    }

    /// Takes all faults away. Hosts that are down stay down.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
        self.world.change("fault.cleared", "", None, "all faults are gone".to_owned(), json!({}));
        self.note_event("sim", &Cause::default());
    }

    /// Ends or restores the compute process of a host; false if there is no such host.
    pub fn set_host_alive(&mut self, host: &str, alive: bool) -> bool {
        let known = nova::hosts::set_alive(&mut self.world, host, alive);
        self.note_event("sim", &Cause::default());
        known
    }

    /// Gives a host other CPUs: somebody opened it. False if there is no such host.
    pub fn set_host_vcpus(&mut self, host: &str, vcpus: u64) -> bool {
        let known = nova::hosts::set_vcpus(&mut self.world, host, vcpus);
        self.note_event("sim", &Cause::default());
        known
    }

    /// Ends the validity of every token now.
    pub fn expire_tokens(&mut self) {
        let now = self.world.now;
        self.world.keystone.expire_all(now);
        self.world.change("tokens.expired", "", None, "no token is valid any more".to_owned(), json!({}));
        self.note_event("sim", &Cause::default());
    }

    /// Takes a role from a user in every project; tokens that exist lose it too. False if there is no such user.
    pub fn revoke_role(&mut self, user: &str, role: &str) -> bool {
        let Some(id) = self.world.keystone.user_named(user) else { return false };
        for ((known, _), roles) in &mut self.world.keystone.assignments {
            if *known == id {
                roles.retain(|one| one != role);
            }
        }
        for token in self.world.keystone.tokens.values_mut().filter(|token| token.who.user_id == id) {
            Arc::make_mut(&mut token.who).roles.retain(|one| one != role);
        }
        self.world.change("role.revoked", &id, None, format!("{user} is no longer {role}"), json!({}));
        self.note_event("sim", &Cause::default());
        true
    }

    /// Gives a role to a user in every project in which he has another one; tokens that exist have it too, as roles are looked up
    /// whenever a token is validated. False if there is no such user.
    pub fn grant_role(&mut self, user: &str, role: &str) -> bool {
        let Some(id) = self.world.keystone.user_named(user) else { return false };
        let grant = |roles: &mut Vec<String>| {
            if !roles.iter().any(|one| one == role) {
                roles.push(role.to_owned());
            }
        };
        for ((known, _), roles) in &mut self.world.keystone.assignments {
            if *known == id {
                grant(roles);
            }
        }
        for token in self.world.keystone.tokens.values_mut().filter(|token| token.who.user_id == id) {
            grant(&mut Arc::make_mut(&mut token.who).roles);
        }
        self.world.change("role.granted", &id, None, format!("{user} is {role} again"), json!({}));
        self.note_event("sim", &Cause::default());
        true
    }

    /// Adds a service to the catalog, or changes its URL.
    pub fn set_endpoint(&mut self, service_type: &str, name: &str, url: &str) {
        self.world.keystone.set_endpoint(service_type, name, url);
    }

    /// Names of all hosts.
    pub fn hosts(&self) -> BTreeSet<String> {
        self.world.nova.hosts.keys().cloned().collect()
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Acts on a switch; false if it names nothing known.
    pub(crate) fn switch(&mut self, switch: Switch) -> bool {
        match switch {
            Switch::HostDown { host } => self.set_host_alive(&host, false),
            Switch::HostUp { host } => self.set_host_alive(&host, true),
            Switch::ExpireTokens => {
                self.expire_tokens();
                true
            }
            Switch::RevokeRole { user, role } => self.revoke_role(&user, &role),
            Switch::GrantRole { user, role } => self.grant_role(&user, &role),
        }
    }

    fn note_event(&mut self, service: &str, cause: &Cause) {
        let changes = std::mem::take(&mut self.world.changes);
        if !changes.is_empty() {
            self.log.event(self.world.now, service, cause, changes);
        }
    }

    /// A call on which a fault strikes.
    fn strike(&mut self, kind: &FaultKind, request: &Request) -> Response {
        let fault = Some(faults::name(kind));
        let at_once = |answer| Response::Answer { after_ms: 0, answer };
        match kind {
            FaultKind::Error { status, retry_after_s } => {
                let mut reply = refusal(service_of(&request.path), *status, "The fault was set.");
                if let Some(seconds) = retry_after_s {
                    reply = reply.with("retry-after", seconds.to_string());
                }
                at_once(self.refuse(request, reply, fault, true))
            }
            FaultKind::Conflict => {
                let reply = conflict(request);
                at_once(self.refuse(request, reply, fault, true))
            }
            FaultKind::LostAnswer { after_ms } => {
                self.serve(request, fault, None, false);
                Response::Lost { after_ms: *after_ms }
            }
            FaultKind::Late { after_ms, status } => {
                let of = self.log.next();
                let reply = refusal(service_of(&request.path), status.unwrap_or(504), "The server did not answer in time.");
                let answer = self.refuse(request, reply, fault, status.is_some());
                let work = Work::Late { request: request.clone(), of };
                self.world.after_exactly(*after_ms, work, Cause::default());
                match status {
                    Some(_) => at_once(answer),
                    None => Response::Lost { after_ms: 0 },
                }
            }
            FaultKind::Slow { after_ms } => {
                let answer = self.serve(request, fault, Some(*after_ms), false);
                Response::Answer { after_ms: *after_ms, answer }
            }
            FaultKind::Hang { applied: true } => {
                self.serve(request, fault, None, false);
                Response::Hang
            }
            FaultKind::Hang { applied: false } => {
                let reply = refusal(service_of(&request.path), 504, "No answer.");
                self.refuse(request, reply, fault, false);
                Response::Hang
            }
            FaultKind::Duplicate => {
                let of = self.log.next();
                let answer = self.serve(request, fault, Some(0), false);
                self.serve_late(request, of);
                at_once(answer)
            }
            FaultKind::Garbage => {
                let mut answer = self.serve(request, fault, Some(0), false);
                answer.body = Bytes::from_static(b"<html>{\"not\": json");
                at_once(answer)
            }
            FaultKind::Truncated => {
                let mut answer = self.serve(request, fault, Some(0), false);
                answer.body.truncate(answer.body.len() / 2);
                at_once(answer)
            }
            FaultKind::Partial => {
                let mut answer = self.serve(request, fault, Some(0), false);
                let mut body = answer.json();
                if let Some(servers) = body["servers"].as_array_mut() {
                    servers.retain(|server| is_up(server["id"].as_str().unwrap_or_default()));
                    answer.body = body.to_string().into();
                } else if let Some(services) = body["services"].as_array_mut() {
                    let is_compute = |service: &Value| service["binary"] == "nova-compute";
                    for service in services.iter_mut().filter(|service| is_compute(service)) {
                        if !is_up(service["host"].as_str().unwrap_or_default()) {
                            *service = json!({"binary": "nova-compute", "host": service["host"], "status": "UNKNOWN"});
                        }
                    }
                    answer.body = body.to_string().into();
                }
                at_once(answer)
            }
            FaultKind::AsyncFailure => at_once(self.serve(request, fault, Some(0), true)),
        }
    }

    /// Lets the service have the call and puts it in the record. `answered_after` is none when the caller gets no answer.
    fn serve(&mut self, request: &Request, fault: Option<String>, answered_after: Option<u64>, doomed: bool) -> Answer {
        let body = body_of(request);
        let cause = self.cause(request, self.log.next());
        let answer = self.execute(request, body.as_ref(), cause, doomed);
        let changes = std::mem::take(&mut self.world.changes);
        let reads = matches!(request.method.as_str(), "GET" | "HEAD");
        if !reads || self.world.config.record_reads || fault.is_some() {
            let mut line = line(self.world.now, request, body, fault, &self.world.cause);
            line.applied_at = Some(self.world.now);
            line.answered = answered_after.map(|after| self.world.now + after);
            line.status = answer.status;
            line.changes = changes;
            self.log.push(line);
        }
        answer
    }

    /// Puts a call in the record that the service never sees, or not yet.
    fn refuse(&mut self, request: &Request, reply: Reply, fault: Option<String>, answered: bool) -> Answer {
        let cause = self.cause(request, 0);
        let mut line = line(self.world.now, request, body_of(request), fault, &cause);
        line.status = reply.status;
        line.answered = answered.then_some(self.world.now);
        self.log.push(line);
        reply.with("x-openstack-request-id", cause.request_id).finish()
    }

    /// A call that was held back takes effect.
    fn serve_late(&mut self, request: &Request, of: u64) {
        let body = body_of(request);
        let cause = self.cause(request, of);
        let answer = self.execute(request, body.as_ref(), cause, false);
        let mut line = line(self.world.now, request, body, None, &self.world.cause);
        line.kind = Kind::Late;
        line.of = Some(of);
        line.received_at = None;
        line.applied_at = Some(self.world.now);
        line.status = answer.status;
        line.changes = std::mem::take(&mut self.world.changes);
        self.log.push(line);
    }

    /// Who calls, with an id for the call, which has line `n` of the record.
    fn cause(&mut self, request: &Request, n: u64) -> Cause {
        let request_id = format!("req-{}", self.world.rng.uuid());
        let token = request.get(&TOKEN).and_then(|token| self.world.keystone.tokens.get(token));
        let valid = token.filter(|token| self.world.now < token.expires_ms).map(|token| &*token.who);
        Cause {
            n,
            caller: caller_of(request),
            user: token.map(|token| token.who.user_name.clone()).unwrap_or_default(),
            global_request_id: request.get(&REQUEST_ID).unwrap_or_default().to_owned(),
            request_id,
            admin: valid.is_some_and(Who::is_admin),
            user_id: valid.map(|who| who.user_id.clone()).unwrap_or_default(),
            project_id: valid.map(|who| who.project_id.clone()).unwrap_or_default(),
        }
    }

    fn execute(&mut self, request: &Request, body: Option<&Value>, cause: Cause, doomed: bool) -> Answer {
        let world = &mut self.world;
        let request_id = cause.request_id.clone();
        world.cause = cause;
        world.doomed = doomed;
        let given = body.unwrap_or(&Value::Null);
        let service = service_of(&request.path);
        let below = if service.is_empty() { "" } else { &request.path[1 + service.len()..] };
        let reply = match service {
            "identity" => keystone::handle(world, request, below, given),
            "compute" => nova::handle(world, request, below, body, &request_id),
            "placement" => placement::handle(world, request, below, given, &request_id),
            "image" => glance::handle(world, request, below, given),
            "network" => neutron::handle(world, request, below),
            _ => reply::keystone(404, "There is no such service."),
        };
        world.doomed = false;
        let reply = if reply.unnamed { reply } else { reply.with("x-openstack-request-id", request_id) };
        let mut answer = reply.finish();
        if request.method == http::Method::HEAD {
            answer.body = Bytes::new();
        }
        answer
    }
}

/// Whether a server or a compute is in the cell that answers when the other one is down.
fn is_up(name: &str) -> bool {
    name.bytes().last().is_some_and(|byte| byte % 2 == 0)
}

/// The body as JSON, if it is some.
fn body_of(request: &Request) -> Option<Value> {
    // Most calls have none, and to say so with an error takes its time.
    if request.body.is_empty() { None } else { serde_json::from_slice(&request.body).ok() }
}

/// A call as it is received.
fn line(now: u64, request: &Request, body: Option<Value>, fault: Option<String>, cause: &Cause) -> Record {
    let service = service_of(&request.path);
    let path = &request.path[service.len().min(request.path.len() - 1) + 1..];
    let secret = service == "identity";
    Record {
        n: 0,
        at_ms: now,
        kind: Kind::Request,
        of: None,
        received_at: Some(now),
        applied_at: None,
        answered: None,
        service: service.to_owned(),
        method: request.method.as_str().to_owned(),
        path: if request.query.is_empty() { path.to_owned() } else { format!("{path}?{}", request.query) },
        status: 0,
        caller: cause.caller.clone(),
        user: cause.user.clone(),
        global_request_id: cause.global_request_id.clone(),
        request_id: cause.request_id.clone(),
        body: body.filter(|_| !secret).unwrap_or(Value::Null),
        fault,
        changes: Vec::new(),
    }
}

/// The service of a path by its first part; empty if there is none.
fn service_of(path: &str) -> &str {
    let first = path.get(1..).unwrap_or("").split('/').next().unwrap_or("");
    if matches!(first, "identity" | "compute" | "placement" | "image" | "network") { first } else { "" }
}

fn caller_of(request: &Request) -> String {
    if !request.caller.is_empty() {
        return request.caller.clone();
    }
    request.get("X-Leasehold-Node").or_else(|| request.get("User-Agent")).unwrap_or_default().to_owned()
}

/// An error in the words of the service.
fn refusal(service: &str, status: u16, message: &str) -> Reply {
    match service {
        "compute" => reply::nova(status, message),
        "placement" => reply::placement(status, message, "placement.undefined_code"),
        "image" => reply::glance(status, message),
        _ => reply::keystone(status, message),
    }
}

fn conflict(request: &Request) -> Reply {
    let service = service_of(&request.path);
    if service == "placement" {
        return reply::placement(409, "resource provider generation conflict", "placement.concurrent_update");
    }
    let below = faults::below(&request.path);
    let id = below.split('/').nth(2).unwrap_or("");
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let verb = body.as_object().and_then(|body| body.keys().next()).cloned().unwrap_or_default();
    let text = format!("Cannot '{verb}' instance {id} while it is in task_state updating_password");
    refusal(service, 409, &text)
}
