//! Leases of every shape, and who stands where.

use http::Method;
use leasehold_cloudsim::Request;
use leasehold_ledger::command::{Command, LeaseChange, ReservationChange, UpdateLease};
use leasehold_ledger::model::{Comparison, InstanceWish, LeaseId, OnEnd, Requirement, Timestamp};
use leasehold_ledger::plan::{Overlay, Tell, plan_update};
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

    fn shape(&self, instance: &mut InstanceWish) {
        let only =
            |name: &str| Requirement { key: "hypervisor_hostname".into(), comparison: Comparison::Equal, value: name.to_owned() };
        instance.affinity = self.affinity;
        instance.requirements = self.host.map(only).into_iter().collect();
    }
}

impl World {
    /// Books a lease; there must be room.
    pub fn ask(&mut self, ask: &Ask<'_>) -> LeaseId {
        let set = |instance: &mut InstanceWish| ask.shape(instance);
        let wish = self.wish(ask.amount, (ask.start, ask.end), ask.staging, ask.on_end, set);
        self.propose(wish, None).expect("there is room").unwrap()
    }

    /// Changes the amount of a lease.
    pub fn resize(&mut self, lease_id: LeaseId, ask: &Ask<'_>) -> Result<Reply, Rejection> {
        let id = self.lease(lease_id).unwrap().reservations[0].id;
        let wish = self.wish(ask.amount, (ask.start, ask.end), None, ask.on_end, |instance| ask.shape(instance));
        let resource = wish.reservations[0].resource.clone();
        let change = LeaseChange {
            reservations: vec![ReservationChange { reservation_id: id, resource, on_end: None }],
            ..LeaseChange::default()
        };
        let now = Timestamp(self.clock.wall_ms());
        let planned = self.ledger.look(|state| plan_update(state, &Overlay::default(), lease_id, &change, now, Tell::WhatFits));
        let planned = planned.expect("there is room").expect("it books anew");
        let update = UpdateLease {
            lease_id,
            change,
            plan: planned.reservations,
            planned_at: planned.planned_at,
            caller_makes_groups: self.callers,
        };
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
