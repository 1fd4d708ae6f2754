//! One simulated cloud, one ledger, and leaders that come and go; time is tokio's paused clock.

mod booking;
mod ledger;
mod transport;

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
    Adoption, EventId, HostId, InstanceWish, Lease, LeaseId, LeaseStatus, NodeId, OnEnd, PoolKind, ProjectId, ResourceWish,
    Seconds, Timestamp, UserId,
};
use leasehold_ledger::plan::{NoPlan, Overlay, Tell, plan_adopting};
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_ledger::state::State;
use leasehold_node::config::Secret;
use leasehold_node::leader::adopt;
use leasehold_node::leader::names::Names;
use leasehold_node::leader::onboard::{OnboardError, Visit, onboard};
use leasehold_node::leader::permits::LeaderPermit;
use leasehold_node::leader::{self, LeaderConfig, LeaderHandle, LedgerPort, Ports, ProposeError, Work};
use leasehold_node::openstack::keystone::{Credentials, Interface, KeystoneOptions, TokenSource};
use leasehold_node::openstack::{Cloud, Session};
use leasehold_node::operations::HostRequest;
use leasehold_node::seams::rng::{Rng, SystemRng};
use leasehold_node::seams::{Clock, Http, HttpError, HttpRequest, HttpResponse, Mono, Spawner};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use uuid::Uuid;

pub use ledger::MemoryLedger;
use ledger::NodeLedger;
pub use transport::Crash;
use transport::SimHttp;

/// When every test begins: 2026-01-01T00:00:00Z.
const BEGIN_MS: u64 = 1_767_225_600_000;
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
    /// Whether leases are asked for at a node that makes their server groups with the tenant's token.
    pub callers: bool,
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
            callers: false,
        };
        (world.tenant, world.tenant_project) = world.log_in("demo", "demo");
        world
    }

    /// A cloud of hosts that are all dedicated, with a leader.
    pub async fn dedicated(hosts: &[&str]) -> Self {
        let mut world = Self::new(hosts);
        for host in hosts {
            world.onboard(host, PoolKind::Dedicated).await;
        }
        world.lead();
        world
    }

    /// A cloud of shared hosts with room for five slots each, with a leader and ordinary flavors of 512 MiB with so many CPUs.
    pub async fn shared(hosts: &[&str], flavors: &[(&str, u32)]) -> Self {
        let mut world = Self::new(hosts);
        for (id, vcpus) in flavors {
            let flavor = json!({"flavor": {"name": id, "vcpus": vcpus, "ram": 512, "disk": 1, "id": id}});
            world.admin(Method::POST, "/flavors", Some(flavor));
        }
        for host in hosts {
            world.onboard(host, PoolKind::Shared).await;
        }
        world.lead();
        world.pass(1).await;
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
        let visit = Visit { permit: &permit, number: (&SystemRng as &dyn Rng).uuid_v4(), is_known: &is_known };
        onboard(&self.cloud(1), self.cluster_id, &visit, &request).await
    }

    pub fn now(&self) -> Seconds {
        Timestamp(self.clock.wall_ms()).floor_to_second()
    }

    pub fn number(&mut self) -> Uuid {
        self.numbers += 1;
        Uuid::from_u128(self.numbers << 64 | self.numbers)
    }

    pub fn lease(&self, id: LeaseId) -> Option<Lease> {
        self.ledger.state.lock().lease(id).cloned()
    }

    pub fn status(&self, id: LeaseId) -> Option<LeaseStatus> {
        self.lease(id).map(|lease| lease.status)
    }

    pub fn is_active(&self, id: LeaseId) -> bool {
        self.status(id) == Some(LeaseStatus::Active)
    }

    pub fn is_over(&self, id: LeaseId) -> bool {
        self.status(id) == Some(LeaseStatus::Terminated)
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
