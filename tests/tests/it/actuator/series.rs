//! Series in the cloud: promised when the holds of all of them are, withdrawn as a whole or in part when one is not; then each
//! lease starts and ends by itself.

use leasehold_ledger::command::{Command, CreateSeries, PlannedOccurrence, Recurrence, SeriesWish, StartWish};
use leasehold_ledger::model::{EventId, LeaseId, LeaseStatus, Occurrence, OnEnd, ReservationId, SeriesId, SeriesMode, Timestamp};
use leasehold_ledger::plan::{Overlay, Tell, Times, plan_series};
use leasehold_ledger::state::State;
use leasehold_node::leader::names::Names;
use leasehold_node::seams::Clock;

use super::judge;
use super::world::World;

/// One shared host, with a leader and a flavor for ordinary servers.
async fn shared() -> World {
    World::shared(&["cmp1"], &[("ord", 1)]).await
}

impl World {
    /// Books so many slots over `[start, end)`, three times, `every` seconds.
    fn series(&mut self, amount: u32, (start, end): (u32, u32), every: u32, mode: SeriesMode) -> Vec<LeaseId> {
        let lease = self.wish(amount, (start, end), None, OnEnd::Delete, |_| {});
        let StartWish::At(first) = lease.start else { panic!("it has a date") };
        let length = lease.end.0 - first.0;
        let occurrence = |number: u32| {
            let start = first.plus((number - 1) * every);
            Occurrence { number, start, end: start.plus(length) }
        };
        let occurrences: Vec<Occurrence> = (1..=3).map(occurrence).collect();
        let names = Names::new(self.cluster_id);
        let ids: Vec<Vec<ReservationId>> = (0..3).map(|_| vec![names.reservation(self.number())]).collect();
        let recurrence = Recurrence { rule: "x".to_owned(), time_zone: "UTC".to_owned(), mode };
        let wish = SeriesWish { lease, recurrence };
        let now = Timestamp(self.clock.wall_ms());
        let times = Times { asked: &occurrences, from: &|_| None };
        let plan = |state: &State| plan_series(state, &Overlay::default(), &wish, times, &ids, now, Tell::WhatFits);
        let planned = self.ledger.look(plan).unwrap();
        let occurrences: Vec<PlannedOccurrence> = (planned.occurrences.into_iter())
            .map(|one| PlannedOccurrence {
                occurrence: one.occurrence,
                lease_id: LeaseId(self.number()),
                event_ids: (0..6).map(|_| EventId(self.number())).collect(),
                resource_ids: vec![self.number()],
                plan: one.reservations,
            })
            .collect();
        let leases = occurrences.iter().map(|one| one.lease_id).collect();
        let series_id = SeriesId(self.number());
        let create = CreateSeries {
            wish,
            asked: None,
            series_id,
            occurrences,
            left_out: planned.left_out,
            planned_at: planned.planned_at,
        };
        self.ledger.apply(Command::CreateSeries(Box::new(create))).unwrap();
        leases
    }

    fn statuses(&self, leases: &[LeaseId]) -> Vec<Option<LeaseStatus>> {
        leases.iter().map(|lease| self.status(*lease)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_series_is_promised_at_once_and_each_lease_of_it_starts_and_ends() {
    let mut world = shared().await;
    let leases = world.series(5, (100, 160), 100, SeriesMode::AllOrNothing);
    assert_eq!(world.statuses(&leases), [Some(LeaseStatus::Creating); 3]);
    world.until("all of it is promised", 9, || world.status(leases[0]) == Some(LeaseStatus::Pending)).await;
    assert_eq!(world.statuses(&leases), [Some(LeaseStatus::Pending); 3]);
    assert_eq!(world.boot_ordinary("ord").await, "ERROR", "Placement holds it");
    for lease in &leases {
        world.until("it is active", 110, || world.is_active(*lease)).await;
        world.until("it is over", 90, || world.is_over(*lease)).await;
    }
    world.pass(3).await;
    judge::hold_covers_tokens(&world);
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_placement_refuses_leaves_nothing_of_a_series() {
    for mode in [SeriesMode::AllOrNothing, SeriesMode::BestEffort] {
        let mut world = shared().await;
        // The ledger has not heard of it yet.
        assert_eq!(world.boot_ordinary("ord").await, "ACTIVE");
        let leases = world.series(5, (100, 160), 100, mode);
        world.until("all of it is withdrawn", 12, || world.statuses(&leases) == [None; 3]).await;
        world.pass(3).await;
        judge::clean_at_rest(&world, 1, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_before_the_holds_is_replaced_and_the_series_stands() {
    let mut world = shared().await;
    world.kill().await;
    let leases = world.series(3, (100, 160), 100, SeriesMode::BestEffort);
    world.pass(2).await;
    assert_eq!(world.statuses(&leases), [Some(LeaseStatus::Creating); 3]);
    world.lead();
    world.until("all of it is promised", 9, || world.status(leases[2]) == Some(LeaseStatus::Pending)).await;
    assert_eq!(world.statuses(&leases), [Some(LeaseStatus::Pending); 3]);
}
