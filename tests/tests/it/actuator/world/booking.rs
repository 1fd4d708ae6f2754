//! Leases, planned and logged as the operations do it.

use super::*;

impl World {
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
    pub fn wish(
        &self,
        amount: u32,
        (start, end): (u32, u32),
        staging: Option<(u32, u32)>,
        on_end: OnEnd,
        set: impl FnOnce(&mut InstanceWish),
    ) -> LeaseWish {
        let now = self.now();
        let at = |after: u32| now.plus(after);
        let mut wish = InstanceWish::anywhere(2, 1024, 5, amount);
        set(&mut wish);
        let staging = staging.map(|(from, until)| StagingWish { start: Some(at(from)), end: Some(at(until)), park_margin_s: 60 });
        LeaseWish {
            name: "lease".into(),
            project_id: ProjectId(self.tenant_project.clone().into()),
            user_id: UserId("u".into()),
            start: StartWish::At(at(start)),
            end: at(end),
            before_end: BeforeEndWish::Never,
            offer: None,
            wait: None,
            precedence: Default::default(),
            expiry_s: None,
            ignore_quota: false,
            reservations: vec![ReservationWish {
                resource: ResourceWish::Instance(wish.into()),
                staging,
                on_end,
                servers: Default::default(),
            }],
        }
    }

    /// Plans and logs a lease; an adoption is that of its first reservation.
    pub fn propose(&mut self, wish: LeaseWish, adoption: Option<Adoption>) -> Result<Result<LeaseId, Rejection>, NoPlan> {
        let lease_id = LeaseId(self.number());
        let names = Names::new(self.cluster_id);
        let ids: Vec<_> = wish.reservations.iter().map(|_| names.reservation(self.number())).collect();
        let adoptions = adoption.map(|adoption| (ids[0], adoption)).into_iter().collect();
        let event_ids = (0..6).map(|_| EventId(self.number())).collect();
        let now = Timestamp(self.clock.wall_ms());
        let planned =
            plan_adopting(&self.ledger.state.lock(), &Overlay::default(), &wish, &ids, &adoptions, now, Tell::WhatFits)?;
        let create = CreateLease {
            wish,
            lease_id,
            event_ids,
            plan: planned.reservations,
            resource_ids: ids.iter().map(|_| self.number()).collect(),
            planned_at: planned.planned_at,
            moved_to: planned.moved_to,
            adoptions,
            caller_makes_groups: self.callers,
            waits: false,
            asked: None,
            victims: planned.victims,
        };
        Ok(self.ledger.apply(Command::CreateLease(Box::new(create))).map(|_| lease_id))
    }
}
