//! One simulated cloud, one ledger, and leaders that come and go; time is tokio's paused clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use leasehold_cloudsim::{Cloud as Sim, CloudConfig, HostSpec, Request, Response};
use leasehold_ledger::apply::apply;
use leasehold_ledger::command::{
    BeforeEndWish, Command, CreateLease, Entry, LeaseWish, RegisterHost, ReservationWish, StagingWish, StartWish,
};
use leasehold_ledger::effect::Effect;
use leasehold_ledger::model::{
    Adoption, EventId, HostId, InstanceWish, Lease, LeaseId, LeaseStatus, NodeId, OnEnd, PoolKind, ProjectId, ReservationId,
    ResourceWish, Seconds, Timestamp, UserId,
};
use leasehold_ledger::plan::{NoPlan, Overlay, plan_adopting};
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_ledger::state::State;
use leasehold_node::config::Secret;
use leasehold_node::leader::adopt;
use leasehold_node::leader::names::Names;
use leasehold_node::leader::onboard::{OnboardError, onboard};
use leasehold_node::leader::permits::LeaderPermit;
use leasehold_node::leader::{self, LeaderConfig, LeaderHandle, LedgerPort, Ports, ProposeError, Work};
use leasehold_node::openstack::keystone::{Credentials, Interface, KeystoneOptions, TokenSource};
use leasehold_node::openstack::{Cloud, Session};
use leasehold_node::operations::HostRequest;
use leasehold_node::seams::rng::SystemRng;
use leasehold_node::seams::{Clock, Http, HttpError, HttpRequest, HttpResponse, Mono, Spawner};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use uuid::Uuid;

/// When every test begins: 2026-01-01T00:00:00Z.
const BEGIN_MS: u64 = 1_767_225_600_000;
/// The way to the cloud and back.
const WAY: Duration = Duration::from_millis(2);

pub struct TestClock {
    begin: Instant,
}

impl Clock for TestClock {
    fn mono(&self) -> Mono {
        Mono(self.begin.elapsed())
    }
    fn wall_ms(&self) -> u64 {
        BEGIN_MS + u64::try_from(self.begin.elapsed().as_millis()).unwrap()
    }
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(d))
    }
}

/// At which mutating call of a leader its process dies, and whether the cloud has carried the call out.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    pub at: u64,
    pub applied: bool,
}

/// The way from one node to the cloud.
pub struct SimHttp {
    sim: Arc<Mutex<Sim>>,
    clock: Arc<TestClock>,
    crash: Arc<Mutex<Option<Crash>>>,
    writes: Arc<AtomicU64>,
    crashed: Arc<Notify>,
}

impl Http for SimHttp {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>> {
        let (sim, clock, crashed) = (self.sim.clone(), self.clock.clone(), self.crashed.clone());
        let is_write = request.method != Method::GET && !request.url.ends_with("/auth/tokens");
        let number = if is_write { self.writes.fetch_add(1, Ordering::SeqCst) } else { u64::MAX };
        let crash = self.crash.lock().filter(|crash| crash.at == number);
        Box::pin(async move {
            tokio::time::sleep(WAY).await;
            if crash.is_some_and(|crash| !crash.applied) {
                crashed.notify_one();
                return std::future::pending().await;
            }
            let response = sim.lock().handle(clock.wall_ms(), to_sim(&request));
            if crash.is_some() {
                crashed.notify_one();
                return std::future::pending().await;
            }
            tokio::time::sleep(WAY).await;
            match response {
                Response::Answer { after_ms, answer } => {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    let mut headers = HeaderMap::new();
                    for (name, value) in &answer.headers {
                        headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
                    }
                    Ok(HttpResponse { status: StatusCode::from_u16(answer.status).unwrap(), headers, body: answer.body })
                }
                Response::Lost { after_ms } => {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    Err(HttpError::Reset("the connection ended".into()))
                }
                Response::Hang => {
                    tokio::time::sleep(request.timeout).await;
                    Err(HttpError::Timeout)
                }
            }
        })
    }
}

fn to_sim(request: &HttpRequest) -> Request {
    let target = request.url.strip_prefix("http://cloud.sim").expect("every endpoint is in the simulated cloud");
    let mut to = Request::new(request.method.clone(), target);
    to.headers = request.headers.clone();
    to.body = request.body.clone();
    to
}

/// A ledger in memory: what Raft would replicate.
pub struct MemoryLedger {
    state: Mutex<State>,
    clock: Arc<TestClock>,
    applied: watch::Sender<u64>,
    effects: broadcast::Sender<Arc<[Effect]>>,
    /// Who leads.
    pub term: AtomicU64,
    no_actuation_lease: AtomicBool,
    no_effects: AtomicBool,
    looks: AtomicU64,
}

impl MemoryLedger {
    /// From now on nobody's actuation lease is committed, or again.
    pub fn refuse_actuation_lease(&self, refuse: bool) {
        self.no_actuation_lease.store(refuse, Ordering::SeqCst);
    }

    /// From now on nobody is told what was applied, or again.
    pub fn mute_effects(&self, mute: bool) {
        self.no_effects.store(mute, Ordering::SeqCst);
    }

    /// How often leaders looked at the state.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    pub fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.lock())
    }

    pub fn apply(&self, command: Command) -> Result<Reply, Rejection> {
        let mut state = self.state.lock();
        let entry = Entry { key: None, proposed_at: Timestamp(self.clock.wall_ms()), command };
        let applied = apply(&mut state, &entry);
        drop(state);
        self.applied.send_replace(applied.ledger_index);
        if !applied.effects.is_empty() && !self.no_effects.load(Ordering::SeqCst) {
            drop(self.effects.send(applied.effects.into()));
        }
        applied.outcome
    }
}

/// The ledger as one node has it.
struct NodeLedger {
    ledger: Arc<MemoryLedger>,
    node: u64,
}

impl LedgerPort for NodeLedger {
    fn read(&self, look: &mut dyn FnMut(&State)) {
        self.ledger.looks.fetch_add(1, Ordering::SeqCst);
        look(&self.ledger.state.lock());
    }
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Result<Reply, Rejection>, ProposeError>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let is_lease = matches!(command, Command::HoldActuationLease { .. });
            if is_lease && self.ledger.no_actuation_lease.load(Ordering::SeqCst) {
                return Err(ProposeError("no quorum".into()));
            }
            Ok(self.ledger.apply(command))
        })
    }
    fn applied(&self) -> watch::Receiver<u64> {
        self.ledger.applied.subscribe()
    }
    fn effects(&self) -> broadcast::Receiver<Arc<[Effect]>> {
        self.ledger.effects.subscribe()
    }
    fn may_act(&self, term: u64) -> bool {
        self.ledger.term.load(Ordering::SeqCst) == term
    }
    fn node_id(&self) -> NodeId {
        NodeId(self.node)
    }
}

pub struct World {
    pub sim: Arc<Mutex<Sim>>,
    pub clock: Arc<TestClock>,
    pub ledger: Arc<MemoryLedger>,
    pub cluster_id: Uuid,
    spawner: Spawner,
    leader: Option<LeaderHandle>,
    pub crash: Arc<Mutex<Option<Crash>>>,
    pub writes: Arc<AtomicU64>,
    pub crashed: Arc<Notify>,
    numbers: u128,
    tenant: String,
    pub tenant_project: String,
    /// Of the next leader.
    pub config: LeaderConfig,
}

impl World {
    /// A cloud of lab hosts, none of them onboarded.
    pub fn new(hosts: &[&str]) -> Self {
        Self::with(hosts, |_| {})
    }

    /// The same, of a cloud that is set up otherwise.
    pub fn with(hosts: &[&str], set_up: impl FnOnce(&mut CloudConfig)) -> Self {
        let clock = Arc::new(TestClock { begin: Instant::now() });
        let mut config = CloudConfig {
            hosts: hosts.iter().map(|name| HostSpec::new(name)).collect(),
            created_at_ms: BEGIN_MS,
            ..CloudConfig::default()
        };
        set_up(&mut config);
        let sim = Arc::new(Mutex::new(Sim::new(config)));
        let ledger = Arc::new(MemoryLedger {
            state: Mutex::new(State::default()),
            clock: clock.clone(),
            applied: watch::Sender::new(0),
            effects: broadcast::Sender::new(1024),
            term: AtomicU64::new(0),
            no_actuation_lease: AtomicBool::new(false),
            no_effects: AtomicBool::new(false),
            looks: AtomicU64::new(0),
        });
        let cluster_id = Uuid::from_u128(77);
        ledger.apply(Command::InitCluster { cluster_id }).unwrap();
        let mut world = Self {
            sim,
            clock,
            ledger,
            cluster_id,
            spawner: Spawner::new(),
            leader: None,
            crash: Arc::default(),
            writes: Arc::default(),
            crashed: Arc::default(),
            numbers: 1000,
            tenant: String::new(),
            tenant_project: String::new(),
            config: LeaderConfig::default(),
        };
        (world.tenant, world.tenant_project) = world.log_in("demo", "demo");
        world
    }

    pub fn admin_token(&self) -> String {
        self.log_in("admin", "admin").0
    }

    fn log_in(&self, user: &str, project: &str) -> (String, String) {
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {"name": user, "domain": {"id": "default"}, "password": "oslab"}}},
            "scope": {"project": {"name": project, "domain": {"id": "default"}}},
        }});
        let request = Request::new(Method::POST, "/identity/v3/auth/tokens").json(&body);
        let answer = self.sim.lock().handle(self.clock.wall_ms(), request).answer().unwrap();
        assert_eq!(answer.status, 201, "{}", answer.json());
        let project = answer.json()["token"]["project"]["id"].as_str().unwrap().to_owned();
        (answer.header("x-subject-token").unwrap().to_owned(), project)
    }

    fn cloud(&self, node: u64) -> Cloud {
        let http: Arc<dyn Http> = Arc::new(SimHttp {
            sim: self.sim.clone(),
            clock: self.clock.clone(),
            crash: self.crash.clone(),
            writes: self.writes.clone(),
            crashed: self.crashed.clone(),
        });
        let clock: Arc<dyn Clock> = self.clock.clone();
        let options = KeystoneOptions {
            auth_url: self.sim.lock().auth_url(),
            credentials: Credentials::Password {
                username: "leasehold".into(),
                user_domain_name: "Default".into(),
                password: Secret::new("oslab"),
                project_name: "service".into(),
                project_domain_name: "Default".into(),
            },
            region: None,
            interface: Interface::Public,
            endpoints: Default::default(),
            timeout: Duration::from_secs(10),
        };
        let tokens = Arc::new(TokenSource::new(options, http.clone(), clock.clone()));
        Cloud::new(Session::new(http, tokens, clock, node))
    }

    /// Makes another node lead in a higher term; the one before, if any, must have been stopped or have died.
    pub fn lead(&mut self) {
        let term = self.ledger.term.fetch_add(1, Ordering::SeqCst) + 1;
        self.leader = Some(leader::start(self.ports(term), self.config, &self.spawner, term));
    }

    fn ports(&self, term: u64) -> Ports {
        let ledger: Arc<dyn LedgerPort> = Arc::new(NodeLedger { ledger: self.ledger.clone(), node: term });
        Ports { ledger, cloud: self.cloud(term), clock: self.clock.clone(), rng: Arc::new(SystemRng) }
    }

    /// What the tasks of the leader of now share, for a look at one of them alone.
    pub fn work(&self) -> Work {
        let term = self.ledger.term.load(Ordering::SeqCst);
        let names = Names::new(self.cluster_id);
        Work::new(&self.ports(term), names, self.spawner.child(), term, self.config, self.clock.mono())
    }

    /// The leader is gone, at whatever step each of its tasks was.
    pub async fn kill(&mut self) {
        if let Some(leader) = self.leader.take() {
            leader.stop().await;
        }
    }

    /// Takes a host in, as the operation does.
    pub async fn onboard(&self, name: &str, pool: PoolKind) -> HostId {
        let register = self.take_in(name, pool).await;
        self.register(register)
    }

    /// Logs a host that was taken in.
    pub fn register(&self, register: RegisterHost) -> HostId {
        match self.ledger.apply(Command::RegisterHost(Box::new(register))) {
            Ok(Reply::HostRegistered { host_id }) => host_id,
            other => panic!("{other:?}"),
        }
    }

    /// The cloud's part of taking a host in; the ledger does not know it yet.
    pub async fn take_in(&self, name: &str, pool: PoolKind) -> RegisterHost {
        self.try_take_in(name, pool).await.unwrap()
    }

    /// The same, where it may be refused.
    pub async fn try_take_in(&self, name: &str, pool: PoolKind) -> Result<RegisterHost, OnboardError> {
        let term = self.ledger.term.load(Ordering::SeqCst);
        let ledger: Arc<dyn LedgerPort> = Arc::new(NodeLedger { ledger: self.ledger.clone(), node: 1 });
        let permit = LeaderPermit::new(ledger, term);
        let request = HostRequest { name: name.into(), pool, properties: Default::default() };
        let is_known = |root| self.ledger.look(|state| state.hosts().any(|host| host.description.root_provider == root));
        onboard(&self.cloud(1), self.cluster_id, &permit, &is_known, &request).await
    }

    pub fn now(&self) -> Seconds {
        Timestamp(self.clock.wall_ms()).floor_to_second()
    }

    pub fn number(&mut self) -> Uuid {
        self.numbers += 1;
        Uuid::from_u128(self.numbers << 64 | self.numbers)
    }

    /// Books a lease of `amount` servers of 2 CPUs and 1 GiB over `[start, end)`, seconds from now.
    pub fn book(&mut self, amount: u32, start: u32, end: u32, staging: Option<(u32, u32)>, on_end: OnEnd) -> LeaseId {
        self.try_book(amount, start, end, staging, on_end, |_| {}).expect("there is room")
    }

    /// The same, of another wish, where there may be no room.
    pub fn try_book(
        &mut self,
        amount: u32,
        start: u32,
        end: u32,
        staging: Option<(u32, u32)>,
        on_end: OnEnd,
        set: impl FnOnce(&mut InstanceWish),
    ) -> Result<LeaseId, NoPlan> {
        let wish = self.wish(amount, (start, end), staging, on_end, set);
        let lease_id = self.propose(wish, None)?.unwrap();
        Ok(lease_id)
    }

    /// Books `amount` slots like those of [`World::book`] for servers that are parked, as the operation does; answers why not.
    pub async fn adopt(
        &mut self,
        servers: &[String],
        amount: u32,
        start: u32,
        end: u32,
        on_end: OnEnd,
    ) -> Result<LeaseId, String> {
        self.adopt_with(servers, amount, start, end, on_end, |_| {}).await
    }

    /// The same, of another wish.
    pub async fn adopt_with(
        &mut self,
        servers: &[String],
        amount: u32,
        start: u32,
        end: u32,
        on_end: OnEnd,
        set: impl FnOnce(&mut LeaseWish),
    ) -> Result<LeaseId, String> {
        let mut wish = self.wish(amount, (start, end), None, on_end, |_| {});
        wish.reservations[0].servers = servers.iter().map(|id| id.parse().unwrap()).collect();
        set(&mut wish);
        let names = Names::new(self.cluster_id);
        let found = adopt::adoption(&self.cloud(1), &names, &wish.project_id, &wish.reservations[0]).await;
        let adoption = found.map_err(|refused| refused.to_string())?;
        let free = self.ledger.look(|state| adopt::check_free(state, &wish.project_id, adoption.as_ref()));
        free.map_err(|refused| refused.to_string())?;
        match self.propose(wish, adoption) {
            Ok(outcome) => outcome.map_err(|rejection| rejection.to_string()),
            Err(no_plan) => Err(format!("{no_plan:?}")),
        }
    }

    /// A wish for servers of 2 CPUs and 1 GiB over `[start, end)`, seconds from now.
    fn wish(
        &self,
        amount: u32,
        (start, end): (u32, u32),
        staging: Option<(u32, u32)>,
        on_end: OnEnd,
        set: impl FnOnce(&mut InstanceWish),
    ) -> LeaseWish {
        let now = self.now();
        let at = |after: u32| now.plus(after);
        let mut wish = InstanceWish {
            vcpus: 2,
            memory_mb: 1024,
            disk_gb: 5,
            amount,
            affinity: None,
            zone: None,
            pool: None,
            required_traits: Default::default(),
            forbidden_traits: Default::default(),
            requirements: Vec::new(),
            resource_properties: String::new(),
        };
        set(&mut wish);
        let staging = staging.map(|(from, until)| StagingWish { start: Some(at(from)), end: Some(at(until)), park_margin_s: 60 });
        LeaseWish {
            name: "lease".into(),
            project_id: ProjectId(self.tenant_project.clone()),
            user_id: UserId("u".into()),
            start: StartWish::At(at(start)),
            end: at(end),
            before_end: BeforeEndWish::Never,
            reservations: vec![ReservationWish {
                resource: ResourceWish::Instance(wish),
                staging,
                on_end,
                servers: Default::default(),
            }],
        }
    }

    /// Plans and logs a lease of one reservation.
    fn propose(&mut self, wish: LeaseWish, adoption: Option<Adoption>) -> Result<Result<LeaseId, Rejection>, NoPlan> {
        let lease_id = LeaseId(self.number());
        let reservation_id = ReservationId(self.number());
        let adoptions = adoption.map(|adoption| (reservation_id, adoption)).into_iter().collect();
        let event_ids = (0..6).map(|_| EventId(self.number())).collect();
        let now = Timestamp(self.clock.wall_ms());
        let planned = plan_adopting(&self.ledger.state.lock(), &Overlay::default(), &wish, &[reservation_id], &adoptions, now)?;
        let create = CreateLease {
            wish,
            lease_id,
            event_ids,
            plan: planned.reservations,
            resource_ids: vec![self.number()],
            planned_at: planned.planned_at,
            adoptions,
        };
        Ok(self.ledger.apply(Command::CreateLease(Box::new(create))).map(|_| lease_id))
    }

    pub fn lease(&self, id: LeaseId) -> Option<Lease> {
        self.ledger.state.lock().lease(id).cloned()
    }

    pub fn status(&self, id: LeaseId) -> Option<LeaseStatus> {
        self.lease(id).map(|lease| lease.status)
    }

    pub fn flavor(&self, id: LeaseId) -> String {
        self.lease(id).unwrap().reservations[0].id.to_string()
    }

    /// A call of the tenant.
    pub fn tenant(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = Request::new(method, &format!("/compute/v2.1{path}"))
            .token(&self.tenant)
            .header("OpenStack-API-Version", "compute 2.96")
            .caller("tenant");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = self.sim.lock().handle(self.clock.wall_ms(), request).answer().unwrap();
        (answer.status, answer.json())
    }

    /// Boots a server of a lease's flavor; answers its id, or the status of the refusal.
    pub fn boot(&self, id: LeaseId, name: &str) -> Result<String, u16> {
        let image = self.any_image();
        let body = json!({"server": {"name": name, "flavorRef": self.flavor(id), "imageRef": image, "networks": "none"}});
        match self.tenant(Method::POST, "/servers", Some(body)) {
            (202, answer) => Ok(answer["server"]["id"].as_str().unwrap().to_owned()),
            (status, _) => Err(status),
        }
    }

    /// The cloud's own image.
    pub fn any_image(&self) -> String {
        let state = self.state();
        let images = state["images"].as_object().unwrap();
        images.iter().find(|(_, image)| image["name"] == "cirros").map(|(id, _)| id.clone()).unwrap()
    }

    /// The cloud as it is now, with all work done that is due.
    pub fn state(&self) -> Value {
        let mut sim = self.sim.lock();
        sim.advance(self.clock.wall_ms());
        sim.state()
    }

    pub fn server_status(&self, id: &str) -> String {
        self.state()["servers"][id]["status"].as_str().unwrap_or("gone").to_owned()
    }

    /// Lets time pass until `condition` holds; fails when it does not within `limit_s`.
    pub async fn until(&self, what: &str, limit_s: u64, mut condition: impl FnMut() -> bool) {
        let limit = Instant::now() + Duration::from_secs(limit_s);
        while !condition() {
            assert!(Instant::now() < limit, "not within {limit_s} s: {what}\nrows: {:#?}", self.rows());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn rows(&self) -> Vec<String> {
        let state = self.ledger.state.lock();
        let reason = |id| state.lease(id).and_then(|lease| lease.reason.clone());
        state.actuations().map(|row| format!("{row:?} {:?}", reason(row.lease_id))).collect()
    }

    /// Lets a while pass.
    pub async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

impl World {
    /// A call of the cloud's operator to Nova.
    pub fn admin(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.call(("admin", "admin"), method, &format!("/compute/v2.1{path}"), body)
    }

    /// A call of a user in a project to any service.
    pub fn call(&self, (user, project): (&str, &str), method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let (token, _) = self.log_in(user, project);
        let mut request = Request::new(method, path)
            .token(&token)
            .header("OpenStack-API-Version", "compute 2.96, placement 1.39")
            .caller("operator");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = self.sim.lock().handle(self.clock.wall_ms(), request).answer().unwrap();
        assert!(answer.status < 300, "{path}: {}", answer.json());
        (answer.status, answer.json())
    }

    /// Boots an ordinary server, and tells what became of it.
    pub async fn boot_ordinary(&self, flavor: &str) -> String {
        let body = json!({"server": {"name": "ordinary", "flavorRef": flavor, "imageRef": self.any_image(), "networks": "none"}});
        let (status, answer) = self.tenant(Method::POST, "/servers", Some(body));
        assert_eq!(status, 202, "{answer}");
        let id = answer["server"]["id"].as_str().unwrap().to_owned();
        self.until("the boot ends", 10, || self.server_status(&id) != "BUILD").await;
        self.server_status(&id)
    }
}

impl World {
    /// What `nova-manage placement audit --delete` does to our holds.
    pub fn drop_holds(&self) {
        let (token, _) = self.log_in("admin", "admin");
        let state = self.state();
        let allocations = state["placement"]["allocations"].as_object().expect("allocations by consumer").clone();
        for (consumer, facts) in allocations.iter().filter(|(_, facts)| facts["consumer_type"] == "LEASEHOLD_HOLD") {
            let request = Request::new(Method::DELETE, &format!("/placement/allocations/{consumer}")).token(&token);
            let answer = self.sim.lock().handle(self.clock.wall_ms(), request).answer().unwrap();
            assert_eq!(answer.status, 204, "{facts}: {}", answer.json());
        }
    }
}
