//! What the leases of a series do together: they are promised together, or withdrawn.
//!
//! Until the cloud has settled every lease of it a series is CREATING as a whole, so that nobody sees a part of it. From then on
//! each lease goes its own way.

use super::keys;
use super::progress::{close_rows, has_rows, move_lease};
use super::schedule::invalid;
use crate::command::{SeriesWish, StartWish};
use crate::model::{
    Lease, LeaseId, LeaseStatus, OCCURRENCES_MAX, Occurrence, Reason, SERIES_SLOTS_MAX, Seconds, SeriesId, SeriesMember,
    SeriesMode, Step, Timestamp,
};
use crate::reply::Rejection;
use crate::state::State;

/// Reservations of all leases of a series: each may be a row for its hold, and all of them have ten seconds.
const SERIES_RESERVATIONS_MAX: u64 = 1_024;
/// What the leases of a series were asked for with, encoded, in bytes: they are booked by one entry on every replica.
const SERIES_BYTES_MAX: u64 = 4 << 20;
/// Longest rule, in bytes.
const RULE_BYTES_MAX: usize = 512;
/// Longest name of a time zone, in bytes.
const TIME_ZONE_BYTES_MAX: usize = 64;

/// Checks what a series may not ask for, and that the occurrences are those of one: numbered from 1, in order, all as long as the
/// first, which starts where the wish says.
///
/// Rejections: those of [`check_series_wish`], `Invalid` (the field).
pub(crate) fn check_series(wish: &SeriesWish, occurrences: impl Iterator<Item = Occurrence>) -> Result<(), Rejection> {
    let (start, length) = check_series_wish(wish)?;
    check_occurrences(start, length, occurrences, wish)
}

/// Checks what a series may not ask for; gives its first second and the length of each lease.
///
/// # Errors
/// `EndNotAfterStart`, `Invalid` (the field).
pub fn check_series_wish(wish: &SeriesWish) -> Result<(Seconds, u32), Rejection> {
    let StartWish::At(start) = wish.lease.start else {
        let problem = "a series needs the date of its first start; it must not be now, nor left open";
        return Err(invalid("start", problem.to_owned()));
    };
    if wish.lease.end == Seconds::OPEN_END {
        return Err(invalid("end", "the leases of a series need an end".to_owned()));
    }
    let length = wish.lease.end.0.checked_sub(start.0).filter(|length| *length > 0).ok_or(Rejection::EndNotAfterStart)?;
    if wish.lease.offer.is_some() {
        return Err(invalid("offer", "a series cannot be an offer".to_owned()));
    }
    if wish.lease.wait.is_some() {
        return Err(invalid("wait", "a series cannot wait for room".to_owned()));
    }
    if !wish.lease.precedence.ordinary() {
        let problem = "the leases of a series take room from nobody, and nobody takes theirs".to_owned();
        return Err(invalid("priority", problem));
    }
    let longest = |field: &str, text: &str, max: usize| match text.len() {
        length if length <= max => Ok(()),
        length => Err(invalid(field, format!("it has {length} bytes; it must have at most {max}"))),
    };
    longest("recurrence.rule", &wish.recurrence.rule, RULE_BYTES_MAX)?;
    longest("recurrence.time_zone", &wish.recurrence.time_zone, TIME_ZONE_BYTES_MAX)?;
    for one in &wish.lease.reservations {
        if one.staging.is_some() {
            return Err(invalid("staging", "the leases of a series cannot be staged".to_owned()));
        }
        if !one.servers.is_empty() {
            return Err(invalid("servers", "parked servers wake in one lease only; a series cannot have them".to_owned()));
        }
        if one.resource.instance().affinity.is_some() {
            let problem = "a series cannot have one: each of its leases would need a server group of its own";
            return Err(invalid("affinity", problem.to_owned()));
        }
    }
    Ok((start, length))
}

fn check_occurrences(
    start: Seconds,
    length: u32,
    occurrences: impl Iterator<Item = Occurrence>,
    wish: &SeriesWish,
) -> Result<(), Rejection> {
    let wrong = |problem: String| Err(invalid("occurrences", problem));
    let mut last: Option<Occurrence> = None;
    for occurrence in occurrences {
        let Occurrence { number, start: from, end } = occurrence;
        let expected = last.map_or(1, |last| last.number + 1);
        if expected as usize > OCCURRENCES_MAX {
            return Err(invalid("recurrence.rule", format!("it gives more than {OCCURRENCES_MAX} occurrences")));
        }
        if number != expected {
            return wrong(format!("number {number} comes where {expected} must"));
        }
        if end.0.checked_sub(from.0) != Some(length) {
            return wrong(format!("number {number} is not as long as the first one, {length} s"));
        }
        let in_order = match last {
            None => from == start,
            Some(last) => last.start < from,
        };
        if !in_order {
            return wrong(format!("number {number} does not start where it must"));
        }
        last = Some(occurrence);
    }
    let Some(last) = last else { return wrong("there are none; there must be one at least".to_owned()) };
    check_many("reservations", wish.lease.reservations.len(), last.number, SERIES_RESERVATIONS_MAX)?;
    // Each lease keeps the wish, in its row and in the journal of every change.
    let bytes = rmp_serde::to_vec_named(&wish.lease).map_or(u64::MAX, |wish| wish.len() as u64);
    if bytes * u64::from(last.number) > SERIES_BYTES_MAX {
        let problem = format!(
            "its {bytes} bytes, {} times, come to more than {SERIES_BYTES_MAX}; ask for less, or for fewer occurrences",
            last.number
        );
        return Err(invalid("reservations", problem));
    }
    let each = wish.lease.reservations.iter().map(|one| u64::from(one.resource.instance().amount)).sum();
    check_amount("amount", "instances", each, last.number)
}

/// How many reservations all occurrences have together; `what` they are. Rejections: `Invalid` (reservations).
pub(crate) fn check_many(what: &str, reservations: usize, occurrences: u32, most: u64) -> Result<(), Rejection> {
    check_in_all("reservations", what, reservations as u64, occurrences, most)
}

/// How much all occurrences have together, of what is asked for in a field. Rejections: `Invalid` (the field).
pub(crate) fn check_amount(field: &str, what: &str, each: u64, occurrences: u32) -> Result<(), Rejection> {
    check_in_all(field, what, each, occurrences, SERIES_SLOTS_MAX)
}

fn check_in_all(field: &str, what: &str, each: u64, occurrences: u32, most: u64) -> Result<(), Rejection> {
    let all = each.saturating_mul(u64::from(occurrences));
    if all <= most {
        return Ok(());
    }
    Err(invalid(field, format!("{occurrences} occurrences of {each} {what} are {all} in all; at most {most} are allowed")))
}

/// The leases of a series that wait to be promised.
fn waiting(state: &State, id: SeriesId) -> impl Iterator<Item = &Lease> + '_ {
    state.leases_of_series(id).filter(|lease| lease.status == LeaseStatus::Creating)
}

/// Promises a series when the cloud has settled every lease of it, and answers its key.
pub(super) fn settle(state: &mut State, now: Timestamp, id: SeriesId) {
    if waiting(state, id).any(|lease| has_rows(state, lease, Step::Hold)) {
        return;
    }
    let held: Vec<Lease> = waiting(state, id).cloned().collect();
    if let Some(key) = held.first().and_then(|lease| lease.key.as_ref()) {
        keys::answer_series(state, key);
    }
    for mut lease in held {
        move_lease(&mut lease, LeaseStatus::Pending, now);
        lease.reason = None;
        state.put_lease(lease);
    }
}

/// The cloud does not accept a lease of a series that is not promised yet: with all or nothing the series is withdrawn, with best
/// effort the lease is left out.
pub(super) fn withdraw_member(state: &mut State, now: Timestamp, id: LeaseId, member: SeriesMember, reason: &Reason) {
    let gone: Vec<LeaseId> = match member.mode {
        SeriesMode::AllOrNothing => waiting(state, member.id).map(|lease| lease.id).collect(),
        SeriesMode::BestEffort => vec![id],
    };
    remove(state, now, member.id, &gone, reason);
}

/// The cloud did not answer in time: as [`withdraw_member`], for every lease of the series that still waits for its hold.
pub(super) fn give_up(state: &mut State, now: Timestamp, id: SeriesId, reason: &Reason) {
    let goes = |lease: &&Lease| {
        let is_held = !has_rows(state, lease, Step::Hold);
        !(is_held && lease.series.as_ref().is_some_and(|member| member.mode == SeriesMode::BestEffort))
    };
    let gone: Vec<LeaseId> = waiting(state, id).filter(goes).map(|lease| lease.id).collect();
    remove(state, now, id, &gone, reason);
}

fn remove(state: &mut State, now: Timestamp, id: SeriesId, gone: &[LeaseId], reason: &Reason) {
    for lease_id in gone {
        let Some(lease) = state.lease(*lease_id).cloned() else { continue };
        // Without any lease left the key is free again.
        if let Some(key) = &lease.key {
            keys::leave_out(state, key, *lease_id, reason);
        }
        close_rows(state, &lease);
        state.remove_lease(*lease_id);
    }
    settle(state, now, id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{BeforeEndWish, LeaseWish, Recurrence, ReservationWish};
    use crate::model::{InstanceWish, OnEnd, ProjectId, ResourceWish, UserId};

    /// As many occurrences as many bytes allow are taken, and one more is not.
    #[test]
    fn what_a_series_keeps_is_bounded_in_bytes() {
        let (start, length) = (Seconds(1_000_000), 3_600);
        let instance = InstanceWish { resource_properties: "p".repeat(8_000), ..InstanceWish::anywhere(1, 64, 0, 1) };
        let reservation = ReservationWish {
            resource: ResourceWish::Instance(instance.into()),
            staging: None,
            on_end: OnEnd::Delete,
            servers: Default::default(),
        };
        let lease = LeaseWish {
            name: "a".to_owned(),
            project_id: ProjectId("p".into()),
            user_id: UserId("u".into()),
            start: StartWish::At(start),
            end: start.plus(length),
            before_end: BeforeEndWish::Never,
            reservations: vec![reservation; 8],
            offer: None,
            wait: None,
            precedence: Default::default(),
            expiry_s: None,
            ignore_quota: false,
        };
        let bytes = rmp_serde::to_vec_named(&lease).expect("it is plain data").len() as u64;
        let most = u32::try_from(SERIES_BYTES_MAX / bytes).expect("it is a small number");
        assert!((1..OCCURRENCES_MAX as u32).contains(&most), "{most}");
        let recurrence = Recurrence { rule: "x".to_owned(), time_zone: "UTC".to_owned(), mode: SeriesMode::AllOrNothing };
        let wish = SeriesWish { lease, recurrence };
        let check = |count: u32| {
            let occurrence = |number: u32| {
                let start = start.plus((number - 1) * length);
                Occurrence { number, start, end: start.plus(length) }
            };
            check_series(&wish, (1..=count).map(occurrence))
        };
        assert_eq!(check(most), Ok(()));
        let Err(Rejection::Invalid { field, problem }) = check(most + 1) else { panic!("it is too much") };
        assert_eq!(field, "reservations");
        assert!(problem.contains("come to more than 4194304"), "{problem}");
    }
}
