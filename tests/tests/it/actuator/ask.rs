//! Leases of every shape, and who stands where.

use http::Method;
use leasehold_cloudsim::Request;
use leasehold_ledger::command::{
    BeforeEndWish, Command, CreateLease, LeaseChange, LeaseWish, ReservationChange, ReservationWish, StagingWish, StartWish,
    UpdateLease,
};
use leasehold_ledger::model::{
    Comparison, EventId, InstanceWish, LeaseId, OnEnd, ProjectId, Requirement, ReservationId, ResourceWish, Timestamp, UserId,
};
use leasehold_ledger::plan::{Overlay, plan_create, plan_update};
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_node::leader::names::Names;
use leasehold_node::seams::Clock;
use serde_json::Value;

use super::world::World;

/// A lease of servers of 2 CPUs and 1 GiB. Times are seconds from now.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub amount: u32,
    pub start: u32,
    pub end: u32,
    pub staging: Option<(u32, u32)>,
    pub on_end: OnEnd,
    pub affinity: Option<bool>,
    /// The only host that will do.
    pub host: Option<&'a str>,
}

impl Ask<'_> {
    pub fn new(amount: u32, start: u32, end: u32) -> Self {
        Self { amount, start, end, staging: None, on_end: OnEnd::Delete, affinity: None, host: None }
    }

    fn instance(&self) -> InstanceWish {
        let only =
            |name: &str| Requirement { key: "hypervisor_hostname".into(), comparison: Comparison::Equal, value: name.to_owned() };
        InstanceWish {
            vcpus: 2,
            memory_mb: 1024,
            disk_gb: 5,
            amount: self.amount,
            affinity: self.affinity,
            zone: None,
            pool: None,
            required_traits: Default::default(),
            forbidden_traits: Default::default(),
            requirements: self.host.map(only).into_iter().collect(),
            resource_properties: String::new(),
        }
    }
}

impl World {
    /// Books a lease; there must be room.
    pub fn ask(&mut self, ask: &Ask<'_>) -> LeaseId {
        let now = self.now();
        let at = |after: u32| now.plus(after);
        let staging =
            ask.staging.map(|(from, until)| StagingWish { start: Some(at(from)), end: Some(at(until)), park_margin_s: 60 });
        let wish = LeaseWish {
            name: "lease".into(),
            project_id: ProjectId(self.tenant_project.clone()),
            user_id: UserId("u".into()),
            start: StartWish::At(at(ask.start)),
            end: at(ask.end),
            before_end: BeforeEndWish::Never,
            reservations: vec![ReservationWish {
                resource: ResourceWish::Instance(ask.instance()),
                staging,
                on_end: ask.on_end,
                servers: Default::default(),
            }],
        };
        let lease_id = LeaseId(self.number());
        let reservation_id = ReservationId(self.number());
        let event_ids = (0..6).map(|_| EventId(self.number())).collect();
        let now = Timestamp(self.clock.wall_ms());
        let planned = self
            .ledger
            .look(|state| plan_create(state, &Overlay::default(), &wish, &[reservation_id], now))
            .expect("there is room");
        let create = CreateLease {
            wish,
            lease_id,
            event_ids,
            plan: planned.reservations,
            resource_ids: vec![self.number()],
            planned_at: planned.planned_at,
            adoptions: Default::default(),
        };
        self.ledger.apply(Command::CreateLease(Box::new(create))).unwrap();
        lease_id
    }

    /// Changes the amount of a lease.
    pub fn resize(&mut self, lease_id: LeaseId, ask: &Ask<'_>) -> Result<Reply, Rejection> {
        let id = self.lease(lease_id).unwrap().reservations[0].id;
        let resource = ResourceWish::Instance(ask.instance());
        let change = LeaseChange {
            reservations: vec![ReservationChange { reservation_id: id, resource, on_end: None }],
            ..LeaseChange::default()
        };
        let now = Timestamp(self.clock.wall_ms());
        let planned = self.ledger.look(|state| plan_update(state, &Overlay::default(), lease_id, &change, now));
        let planned = planned.expect("there is room").expect("it books anew");
        let update = UpdateLease { lease_id, change, plan: planned.reservations, planned_at: planned.planned_at };
        self.ledger.apply(Command::UpdateLease(Box::new(update)))
    }

    /// Boots a server and waits until it runs.
    pub async fn boot_up(&self, lease: LeaseId, name: &str) -> String {
        let id = self.boot(lease, name).unwrap();
        self.until("it runs", 10, || self.server_status(&id) == "ACTIVE").await;
        id
    }

    /// Where a server stands.
    pub fn host_of(&self, server: &str) -> String {
        self.state()["servers"][server]["host"].as_str().unwrap_or_default().to_owned()
    }

    /// A pattern of all calls on a host's reservation provider.
    pub fn tokens_path(&self, host: &str) -> String {
        let root = self.ledger.look(|state| state.host_by_name(host).unwrap().description.root_provider);
        format!("/resource_providers/{}", Names::new(self.cluster_id).reservation_provider(root))
    }

    /// Somebody removes a host's reservation provider.
    pub fn remove_tokens_of(&self, host: &str) {
        let request = Request::new(Method::DELETE, &format!("/placement{}", self.tokens_path(host))).token(&self.admin_token());
        let answer = self.sim.lock().handle(self.clock.wall_ms(), request).answer().unwrap();
        assert_eq!(answer.status, 204, "{}", answer.json());
    }

    /// An action of the cloud's operator on a server.
    pub fn act(&self, server: &str, action: Value) {
        self.admin(Method::POST, &format!("/servers/{server}/action"), Some(action));
    }
}
