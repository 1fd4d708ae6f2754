//! Places all reservations of a lease at the start that is asked for: one after the other, in the order given if that finds room, else
//! in others, else all at once (`together.rs`).

use super::room::View;
use super::search::search;
use super::together::{Part, Steps, Unplaced, in_some_order, together};
use super::{ENTRY_SLACK_S, Overlay, Planned};
use crate::apply::schedule::Schedule;
use crate::command::{LeaseWish, PlannedReservation};
use crate::model::{Anchor, Binding, HostId, InstanceWish, Interval, Phase, ReservationId, Seconds, Staging, Timestamp};
use crate::state::{Booking, State};

/// What a plan is made over, and what of it may cost.
#[derive(Clone, Copy)]
pub(super) struct Over<'a> {
    pub state: &'a State,
    pub overlay: &'a Overlay,
    pub now: Timestamp,
    pub steps: &'a Steps,
}

impl<'a> Over<'a> {
    pub fn view(self) -> View<'a> {
        View::new(self.state, self.overlay, self.now)
    }
}

/// Which reservation found no room, in which phase, with which kinds of anchor.
#[derive(Clone)]
pub(super) struct Short {
    pub reservation: usize,
    pub phase: Phase,
    pub interval: Interval,
    pub anchors: Vec<Anchor>,
    /// What the reservations before it would take.
    pub before: Vec<Booking>,
}

impl Short {
    /// What came further says what is missing; of two that came as far both do.
    fn merge(mut self, mut other: Short) -> Short {
        match (self.phase, other.phase) {
            (Phase::Main, Phase::Staging) => self,
            (Phase::Staging, Phase::Main) => other,
            (Phase::Main, Phase::Main) | (Phase::Staging, Phase::Staging) => {
                self.anchors.append(&mut other.anchors);
                self
            }
        }
    }
}

/// A plan for all of a wish at the times of its schedule, on hosts with the given kinds of anchor for each reservation.
pub(super) fn place(
    over: Over<'_>,
    wish: &LeaseWish,
    schedule: &Schedule,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
) -> Result<Planned, Short> {
    place_in(over.view(), wish, schedule, ids, anchors, over.steps)
}

/// See [`place`], in a view in which nothing is planned yet.
pub(super) fn place_in(
    mut view: View<'_>,
    wish: &LeaseWish,
    schedule: &Schedule,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
    steps: &Steps,
) -> Result<Planned, Short> {
    let phases = phases_of(wish, schedule);
    let in_turn = |order: &[usize]| {
        view.planned.clear();
        let mut bindings = vec![Vec::new(); phases.len()];
        for place in order {
            let one = |view: &mut View<'_>| place_phases(view, &phases[*place]);
            let found = view.with_one_anchor(&anchors[*place], one, Short::merge);
            steps.count(&view);
            let found = found.map_err(|short| (*place, Short { before: std::mem::take(&mut view.planned), ..short }));
            bindings[*place] = found?;
        }
        Ok(bindings)
    };
    let bindings = match in_some_order((0..phases.len()).collect(), steps, in_turn) {
        Ok((bindings, _)) => bindings,
        Err(Unplaced { error, alone: true }) => return Err(error),
        Err(Unplaced { error, alone: false }) => {
            view.planned.clear();
            let parts: Vec<Part<'_>> = phases.into_iter().flatten().collect();
            let Some(found) = together(&mut view, &parts, anchors, steps) else { return Err(error) };
            book_parts(&mut view, &parts, found, wish.reservations.len())
        }
    };
    let id = |place: usize| ids.get(place).copied().unwrap_or(ReservationId(uuid::Uuid::nil()));
    let planned = |(place, bindings)| PlannedReservation { reservation_id: id(place), bindings };
    let reservations = bindings.into_iter().enumerate().map(planned).collect();
    Ok(finished(view.state, reservations, &view.planned))
}

/// What is to be placed of each reservation, in the order of its phases.
fn phases_of<'a>(wish: &'a LeaseWish, schedule: &Schedule) -> Vec<Vec<Part<'a>>> {
    let of = |(place, (one, staging)): (usize, (&'a crate::command::ReservationWish, &Option<Staging>))| {
        let instance = one.resource.instance();
        let from_now = one.staging.is_some_and(|wish| wish.start.is_none());
        let staged = staging.map(|staging| staging_interval(staging, from_now, schedule.interval.start));
        let staged = staged.map(|interval| Part::new(place, Phase::Staging, instance, interval));
        staged.into_iter().chain([Part::new(place, Phase::Main, instance, schedule.interval)]).collect()
    };
    wish.reservations.iter().zip(&schedule.staging).enumerate().map(of).collect()
}

fn staging_interval(staging: Staging, from_now: bool, start: Seconds) -> Interval {
    let booked = staging.booked();
    if from_now { Interval { end: booked.end.plus(ENTRY_SLACK_S).min(start), ..booked } } else { booked }
}

fn place_phases(view: &mut View<'_>, phases: &[Part<'_>]) -> Result<Vec<Binding>, Short> {
    let mut bindings = Vec::new();
    for part in phases {
        let Part { reservation, phase, interval, .. } = *part;
        let hosts = search(view, part.wish, interval, part.amount, &[]).ok_or_else(|| Short {
            reservation,
            phase,
            interval,
            anchors: vec![view.anchor],
            before: Vec::new(),
        })?;
        book(view, part.wish, interval, &hosts);
        bindings.extend(hosts.into_iter().map(|(host, slots)| Binding { phase, host, slots }));
    }
    Ok(bindings)
}

/// Books what was found for parts; gives the bindings of each of so many reservations.
pub(super) fn book_parts(
    view: &mut View<'_>,
    parts: &[Part<'_>],
    found: Vec<Vec<(HostId, u32)>>,
    reservations: usize,
) -> Vec<Vec<Binding>> {
    let mut bindings = vec![Vec::new(); reservations];
    for (part, hosts) in parts.iter().zip(found) {
        book(view, part.wish, part.interval, &hosts);
        bindings[part.reservation].extend(hosts.into_iter().map(|(host, slots)| Binding { phase: part.phase, host, slots }));
    }
    bindings
}

pub(super) fn book(view: &mut View<'_>, wish: &InstanceWish, interval: Interval, hosts: &[(HostId, u32)]) {
    for (host, slots) in hosts {
        if let Some(amounts) = wish.need().checked_mul(*slots) {
            view.planned.push(Booking { host: *host, interval, amounts });
        }
    }
}

pub(super) fn finished(state: &State, reservations: Vec<PlannedReservation>, planned: &[Booking]) -> Planned {
    let bookings = planned.iter().map(|booking| (booking.host, booking.interval, booking.amounts)).collect();
    Planned { reservations, moved_to: None, victims: Vec::new(), planned_at: state.ledger_index(), bookings }
}
