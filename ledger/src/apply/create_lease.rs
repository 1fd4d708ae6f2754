//! Books a new lease.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::adoption::check_adoptions;
use super::preempt::{check_victims, give_way};
use super::progress::open_row;
use super::quota::check_new;
use super::schedule::{Schedule, invalid, moved, new_events, resolve_create};
use super::verify::{check_anchors, check_hosts, check_room, check_shape, needs_hold, stale};
use super::waitlist;
use crate::command::{CreateLease, LeaseWish, PlannedReservation};
use crate::model::{
    Adoption, EventId, Lease, LeaseId, LeaseStatus, Offer, RequestKey, Reservation, ReservationId, ReservationStatus,
    SeriesMember, Stage, Step, Timestamp,
};
use crate::mutant;
use crate::reply::{Rejection, Reply};
use crate::state::{State, lease_bookings};

/// Ids of events that a command brings: start, end, before_end, prepare and two for staging.
const EVENT_IDS: usize = 6;

/// Books the planned hosts for a new lease over `[start, end)`.
///
/// Times are whole seconds UTC. `end` is exclusive: a lease may start at the instant another ends. Where the cloud must agree
/// first (architecture D24) the lease is CREATING with `Hold` rows, else PENDING at once.
/// Rejections, in this order: `PlanStale` (nothing looked up), `Invalid` (ids), those of `moved`, those of `resolve_create`, where it
/// is to wait those of `enlist`, `QuotaExceeded`,
/// those of `check_adoptions`, `PlanStale`.
/// Source: Blazar API v1, `POST /v1/leases`.
pub(super) fn create_lease(
    state: &mut State,
    now: Timestamp,
    create: &CreateLease,
    key: Option<&RequestKey>,
) -> Result<Reply, Rejection> {
    // Sent for a stored answer that is there no more: no flavor was looked up and nothing planned.
    if create.asked.is_some() && create.plan.is_empty() {
        return Err(stale("its flavors were not looked up"));
    }
    check_ids(state, create)?;
    let moved = create.moved_to.map(|to| moved(&create.wish, to, now)).transpose()?;
    let wish = moved.as_ref().unwrap_or(&create.wish);
    let schedule = resolve_create(wish, now)?;
    if moved.is_none() && schedule.starts_within_offer() {
        return Err(stale("the offer would stand for longer than until the planned start"));
    }
    if create.waits {
        return waitlist::enlist(state, now, create, &schedule, key);
    }
    // Planted bug: a plan is taken to have looked at the quota, whatever came in between.
    if !mutant!("Q01") {
        check_new(state, wish, &schedule, now)?;
    }
    if create.plan.len() != wish.reservations.len() {
        return Err(stale("the plan has another number of reservations"));
    }
    let adoption_of = |id: ReservationId| create.adoptions.get(&id);
    let adopting = create.plan.iter().zip(&wish.reservations).map(|(planned, wish)| (wish, adoption_of(planned.reservation_id)));
    check_adoptions(state, &wish.project_id, adopting)?;
    let draft = Draft {
        wish,
        schedule: &schedule,
        plan: &create.plan,
        lease_id: create.lease_id,
        event_ids: &create.event_ids,
        resource_ids: &create.resource_ids,
        adoptions: &create.adoptions,
        caller_makes_groups: create.caller_makes_groups,
        series: None,
    };
    draft.check_plan(state)?;
    let mut lease = draft.lease(now, key);
    let given_way = if create.victims.is_empty() {
        check_room(state, &[], &lease_bookings(&lease), now)?;
        Vec::new()
    } else {
        check_victims(state, &create.victims, &lease, now)?
    };

    // From here the lease must be created.
    for victim in given_way {
        give_way(state, now, victim, lease.id);
    }
    let prepared = !open_holds(state, &lease, now);
    if prepared {
        lease.status = LeaseStatus::Pending;
    }
    let lease_id = lease.id;
    state.put_lease(lease);
    Ok(Reply::LeaseCreated { lease_id, prepared })
}

/// A new lease with its times fixed, and its plan, which is still to be verified.
pub(super) struct Draft<'a> {
    pub wish: &'a LeaseWish,
    pub schedule: &'a Schedule,
    pub plan: &'a [PlannedReservation],
    pub lease_id: LeaseId,
    pub event_ids: &'a [EventId],
    pub resource_ids: &'a [Uuid],
    pub adoptions: &'a BTreeMap<ReservationId, Adoption>,
    pub caller_makes_groups: bool,
    pub series: Option<SeriesMember>,
}

impl Draft<'_> {
    /// Everything of the plan but the room. Rejections: `PlanStale`.
    pub fn check_plan(&self, state: &State) -> Result<(), Rejection> {
        for ((planned, wish), staging) in self.plan.iter().zip(&self.wish.reservations).zip(&self.schedule.staging) {
            let instance = wish.resource.instance();
            check_shape(instance, *staging, &planned.bindings, true)?;
            check_hosts(state, instance, &planned.bindings, None)?;
            let adoption = self.adoptions.get(&planned.reservation_id);
            check_anchors(state, &planned.bindings, adoption.map(|adoption| adoption.anchor))?;
        }
        Ok(())
    }

    /// The lease as planned, CREATING.
    pub fn lease(&self, now: Timestamp, key: Option<&RequestKey>) -> Lease {
        let ids = self.schedule.staging.iter().zip(self.resource_ids);
        let reservations: Vec<Reservation> = (self.plan.iter().zip(&self.wish.reservations).zip(ids))
            .map(|((planned, wish), (staging, resource_id))| Reservation {
                id: planned.reservation_id,
                resource_id: *resource_id,
                wish: wish.resource.clone(),
                staging: *staging,
                on_end: wish.on_end,
                status: ReservationStatus::Pending,
                stage: Stage::Booked,
                bindings: planned.bindings.clone(),
                previous: None,
                booked_end: None,
                releasing: Vec::new(),
                server_group_id: None,
                group_awaited: self.caller_makes_groups && wish.resource.instance().affinity.is_some(),
                server_group_problem: None,
                adoption: self.adoptions.get(&planned.reservation_id).cloned().map(Box::new),
                expiry: None,
                missing_resources: false,
                resources_changed: false,
                created_at: now,
                updated_at: None,
            })
            .collect();
        Lease {
            id: self.lease_id,
            name: self.wish.name.clone(),
            project_id: self.wish.project_id.clone(),
            user_id: self.wish.user_id.clone(),
            start: self.schedule.interval.start,
            end: self.schedule.interval.end,
            status: LeaseStatus::Creating,
            degraded: false,
            reason: None,
            events: new_events(self.schedule, &reservations, self.event_ids, now),
            reservations,
            revision: 1,
            deleted: false,
            key: key.cloned(),
            update_key: None,
            before_update: None,
            offer: self.schedule.offer.map(|expires_at| Box::new(Offer { expires_at, claimed_at: None })),
            series: self.series.map(Box::new),
            wait: None,
            precedence: self.wish.precedence,
            expiry_s: self.wish.expiry_s,
            preempted: None,
            created_at: now,
            updated_at: None,
            ledger_index: 0,
        }
    }
}

/// Opens the rows of a new lease that the cloud must agree to; gives whether there are any.
pub(super) fn open_holds(state: &mut State, lease: &Lease, now: Timestamp) -> bool {
    let to_hold: Vec<ReservationId> = lease.reservations.iter().filter(|one| needs_hold(state, one)).map(|one| one.id).collect();
    for reservation in &to_hold {
        open_row(state, lease, *reservation, Step::Hold, now, now);
    }
    !to_hold.is_empty()
}

fn check_ids(state: &State, create: &CreateLease) -> Result<(), Rejection> {
    check_lease_ids(state, create.lease_id, &create.event_ids, &create.resource_ids, create.wish.reservations.len())?;
    check_reservation_ids(create.plan.iter().map(|planned| planned.reservation_id).collect())
}

/// Rejections: `Invalid` (the field).
pub(super) fn check_lease_ids(
    state: &State,
    lease_id: LeaseId,
    event_ids: &[EventId],
    resource_ids: &[Uuid],
    reservations: usize,
) -> Result<(), Rejection> {
    if state.lease(lease_id).is_some() || state.archived(lease_id).is_some() {
        return Err(invalid("lease_id", format!("{lease_id} is in use already")));
    }
    if event_ids.len() != EVENT_IDS {
        return Err(invalid("event_ids", format!("there are {}; there must be {EVENT_IDS}", event_ids.len())));
    }
    if resource_ids.len() != reservations {
        let ids = resource_ids.len();
        let problem = format!("there are {ids} for {reservations} reservations; there must be one per reservation");
        return Err(invalid("resource_ids", problem));
    }
    Ok(())
}

/// Rejections: `Invalid` (`reservation_id`).
pub(super) fn check_reservation_ids(mut ids: Vec<ReservationId>) -> Result<(), Rejection> {
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(invalid("reservation_id", format!("{} is given twice; each reservation has its own", pair[0]))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn overlapping_leases_never_share_a_slot_of_a_host() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 lease A 12:00..14:00 n=6 -> PENDING h1*4 h2*2
               10:00 lease B 13:00..15:00 n=3 -> no room short=1 largest=2 tightest=VCPU next=14:00
               10:00 lease C 14:00..15:00 n=8 -> PENDING h1*4 h2*4
               10:00 lease D 13:00..14:00 n=2 -> PENDING h2*2
               10:00 booked h1 13:59 -> 4 vcpus 4 slots
               10:00 booked h2 14:00 -> 4 vcpus 4 slots",
        );
    }

    #[test]
    fn a_lease_whose_start_is_open_gets_the_first_one_with_room_and_moves_as_a_whole() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 12:00..14:00 n=3 -> PENDING h1*3
               10:00 lease B 11:30..12:30 n=2 latest=14:00 before=12:00 key=1 -> PENDING 14:00..15:00 h1*2
               10:00 events B -> start=14:00:UNDONE end=15:00:UNDONE before_end=14:30:UNDONE prepare=13:00:UNDONE
               10:00 lease B 11:30..12:30 n=2 latest=14:00 before=12:00 key=1 -> PENDING 14:00..15:00 h1*2
               10:00 lease C 11:30..12:30 n=2 latest=13:59:59 -> no room short=1 largest=1 tightest=VCPU next=14:00
               10:00 lease C 11:00..12:00 n=2 latest=14:00 -> PENDING h1*2
               10:00 lease D now..10:30 n=3 latest=10:10 -> PENDING h1*3
               10:00 lease E now..10:20 n=3 latest=11:00 -> PENDING 10:30..10:50 h1*3
               10:00 lease F 12:00..open n=3 latest=16:00 -> PENDING 15:00..open h1*3
               10:00 lease G 11:00..12:00 n=1 latest=10:59 -> refused Invalid latest_start
               10:00 lease G 09:00..12:00 n=1 latest=11:00 -> refused StartInPast
               10:00 lease G 13:00..14:00 n=1 plan=h1*1 moved=13:30 -> refused PlanStale
               10:00 lease G 13:00..14:00 n=1 plan=h1*1 moved=13:30 latest=13:29 -> refused PlanStale
               10:00 lease G 13:00..14:00 n=1 plan=h1*1 moved=12:59 latest=13:29 -> refused PlanStale
               10:00 lease G 12:30..13:30 n=2 plan=h1*2 moved=13:00 latest=13:29 -> refused PlanStale",
        );
    }

    #[test]
    fn a_staging_window_moves_with_its_lease() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 12:00..14:00 n=3 -> PENDING h1*3
               10:00 lease B 12:00..13:00 n=2 latest=20:00 staging=11:00..11:30 margin=0 -> PENDING 15:00..16:00 staging:h1*2 h1*2
               10:00 events B -> start=15:00:UNDONE end=16:00:UNDONE prepare=14:00:UNDONE open=14:00:UNDONE close=14:30:UNDONE
               10:00 lease C 12:30..13:00 n=2 latest=20:00 staging=.. margin=0 -> PENDING 14:00..14:30 staging:h1*2 h1*2
               10:00 lease D 12:30..13:00 n=2 latest=20:00 staging=..10:50 margin=0 -> PENDING 14:30..15:00 staging:h1*2 h1*2
               10:00 events D -> start=14:30:UNDONE end=15:00:UNDONE prepare=10:00:UNDONE open=10:00:UNDONE close=10:50:UNDONE",
        );
    }

    #[test]
    fn every_rejection_has_its_cause() {
        check(
            "10:00 hosts h1 vcpus=4 zone=a traits=T prop=rack:r1
               10:00:30 lease A 10:00..11:00 -> PENDING h1*1
               10:01 lease B 10:00..11:00 -> refused StartInPast
               10:01 lease B 11:00..11:00 -> refused EndNotAfterStart
               10:01:30 lease B 10:01..10:01:20 -> refused EndInPast
               10:01 lease B 11:00..900000:00 -> refused EndBeyondCalendar
               10:01 lease B 11:00..12:00 n=0 -> refused Invalid amount
               10:01 lease B 11:00..12:00 vcpus=0 -> refused Invalid vcpus
               10:01 lease B 11:00..12:00 memory=0 -> refused Invalid memory_mb
               10:01 lease B 11:00..12:00 n=4000000000 vcpus=2 -> refused Invalid amount
               10:01 lease B 11:00..12:00 reservations=65 -> refused Invalid reservations
               10:01 lease B 11:00..12:00 name= -> refused Invalid name
               10:01 lease B 11:00..12:00 before=12:00 -> refused BeforeEndOutside
               10:01 lease B 11:00..12:00 staging=10:05..10:55 -> refused StagingOutside
               10:01 lease B 11:00..12:00 staging=09:05..10:25 -> refused StagingOutside
               10:01 lease B 10:10..12:00 staging=.. -> refused StagingOutside
               10:01 lease B 10:05..12:00 staging=.. margin=4000000000 -> refused StagingOutside
               10:01 lease B 11:00..12:00 n=2 plan=h1*1 -> refused PlanStale
               10:01 lease B 11:00..12:00 n=2 plan=h1*1,h1*1 -> refused PlanStale
               10:01 lease B 11:00..12:00 n=1 plan=h1*1,h1*0 -> refused PlanStale
               10:01 lease B 11:00..12:00 n=1 plan=h9*1 -> refused PlanStale
               10:01 lease B 11:00..12:00 n=5 plan=h1*5 -> refused PlanStale
               10:01 lease B 11:00..12:00 n=1 plan=staging:h1*1,h1*1 -> refused PlanStale
               10:01 lease B 11:00..12:00 zone=b plan=h1*1 -> refused PlanStale
               10:01 lease B 11:00..12:00 traits=X plan=h1*1 -> refused PlanStale
               10:01 lease B 11:00..12:00 without=T plan=h1*1 -> refused PlanStale
               10:01 lease B 11:00..12:00 pool=shared plan=h1*1 -> refused PlanStale
               10:01 lease B 11:00..12:00 need=rack:eq:r2 plan=h1*1 -> refused PlanStale
               10:01 lease B 11:00..12:00 n=2 affinity=false plan=h1*2 -> refused PlanStale
               10:01 lease B 11:00..12:00 zone=a traits=T without=X pool=dedicated need=rack:eq:r1 -> PENDING h1*1",
        );
    }

    #[test]
    fn affinity_binds_to_one_host_or_to_different_ones_and_waits_for_its_server_group() {
        check(
            "10:00 hosts h1 h2 h3 vcpus=4
               10:00 lease A 12:00..14:00 n=3 affinity=true -> CREATING h1*3
               10:00 lease B 12:00..14:00 n=3 affinity=false -> CREATING h1*1 h2*1 h3*1
               10:00 lease C 12:00..14:00 n=4 affinity=true -> no room short=1 largest=3 tightest=VCPU next=14:00
               10:00 lease D 12:00..14:00 n=4 affinity=false -> no room short=2 largest=2 tightest=VCPU next=-
               10:00:01 held A group -> A PENDING pending:Booked
               10:00:01 rows -> hold B
               10:00:10 clock -> nothing
               10:00:10 status B -> B gone
               10:00:10 status A -> A PENDING pending:Booked",
        );
    }

    #[test]
    fn shared_hosts_are_promised_when_placement_accepted_the_hold() {
        check(
            "10:00 hosts s1 s2 shared vcpus=4
               10:00 lease A 12:00..14:00 n=2 key=1 -> CREATING s1*2
               10:00 key 1 until=24:00 -> pending
               10:00 lease A 12:00..14:00 n=2 key=1 -> CREATING s1*2
               10:00 next -> 10:00:10
               10:00:01 held A -> A PENDING pending:Booked
               10:00:01 key 1 until=24:00 -> answered at 5
               10:00:01 lease B 12:00..14:00 n=2 key=2 -> CREATING s1*2
               10:00:02 refused B -> B gone
               10:00:02 key 2 until=24:00 -> unknown
               10:00:02 booked s1 12:00 -> 2 vcpus 2 slots",
        );
    }

    #[test]
    fn one_reservation_has_one_kind_of_anchor() {
        check(
            "10:00 hosts s1 shared vcpus=4
               10:00 hosts c1 c2 shared anchored vcpus=3
               10:00 lease A 12:00..14:00 n=5 plan=s1*4,c1*1 -> refused PlanStale
               10:00 lease A 12:00..14:00 n=5 plan=c1*3,s1*2 -> refused PlanStale
               10:00 lease A 12:00..14:00 n=2 plan=staging:c1*2,s1*2 staging=.. -> refused PlanStale
               10:00 lease A 12:00..14:00 n=5 -> CREATING c1*3 c2*2
               10:00 lease B 12:00..14:00 n=5 -> no room short=1 largest=4 tightest=VCPU next=14:00
               10:00 lease B 12:00..14:00 n=2 affinity=true -> CREATING s1*2
               10:00 lease C 12:00..14:00 n=2 affinity=false -> no room short=1 largest=1 tightest=VCPU next=14:00
               10:00 lease D 12:00..14:00 n=1 staging=.. plan=staging:c1*1,c2*1 -> CREATING staging:c1*1 c2*1
               10:00 lease E 12:00..14:00 n=4 staging=.. -> no room short=2 largest=2 tightest=VCPU next=14:00",
        );
    }

    #[test]
    fn what_is_missing_is_counted_beside_the_other_reservations_of_the_lease() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 12:00..14:00 n=3 reservations=2 -> no room short=2 largest=1 tightest=VCPU next=-
               10:00 lease B 12:00..14:00 n=2 reservations=2 -> PENDING h1*2 h1*2
               10:00 lease C 13:00..14:00 n=2 reservations=2 -> no room short=2 largest=0 tightest=VCPU next=14:00",
        );
    }

    #[test]
    fn staging_is_booked_capacity_before_the_start() {
        check("10:00 hosts h1 vcpus=4
               10:00 lease A 12:00..14:00 n=2 staging=.. -> PENDING staging:h1*2 h1*2
               10:00 booked h1 10:39:59 -> 2 vcpus 2 slots
               10:00 booked h1 10:40 -> 0 vcpus 0 slots
               10:00 events A -> start=12:00:UNDONE end=14:00:UNDONE prepare=10:00:UNDONE open=10:00:UNDONE close=10:30:UNDONE
               10:00 lease B 10:25..11:00 n=3 -> no room short=1 largest=2 tightest=VCPU next=10:40
               10:00 lease C 11:00..11:30 n=3 staging=.. -> no room short=1 largest=2 tightest=VCPU next=- staging
               10:00 lease D 12:00..13:00 n=1 staging=10:05..10:10 margin=0 -> PENDING staging:h1*1 h1*1
               10:00 lease E 16:00..17:00 n=3 staging=10:20..10:30 margin=0 -> no room short=1 largest=2 tightest=VCPU next=10:40 staging");
    }
}
