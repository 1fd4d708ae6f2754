//! Offers: a lease that is booked and held, and of which nothing more is done until it is claimed. One that is not
//! claimed in time goes with the clock, one that its owner does not want as any lease does (`delete_lease.rs`).

use super::archive_leases::visible_lease;
use super::delete_lease::delete_lease;
use super::withdraw_lease::withdraw;
use crate::model::{LeaseId, LeaseStatus, Offer, Reason, ReasonCode, Timestamp};
use crate::mutant;
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// Makes an offer a lease like any other: its events, which waited, are due from now on. Claiming again changes nothing.
///
/// The entry's time decides: at the second of its expiry an offer is over, whether the clock has dropped it or not. One whose
/// bindings just move to other hosts, and which waits for their hold, is claimed as any.
/// Rejections, in this order: those of `visible_lease`, `NotAnOffer`, `OfferExpired`.
pub(super) fn claim_offer(state: &mut State, now: Timestamp, id: LeaseId) -> Result<Reply, Rejection> {
    let mut lease = visible_lease(state, id)?.clone();
    let Some(offer) = lease.offer.as_deref().copied() else { return Err(Rejection::NotAnOffer(id)) };
    if offer.claimed_at.is_some() {
        return Ok(Reply::OfferClaimed { lease_id: id });
    }
    if offer.expires_at.timestamp() <= now && !mutant!("N04") {
        return Err(Rejection::OfferExpired(id));
    }
    lease.offer = Some(Box::new(Offer { claimed_at: Some(now), ..offer }));
    // The patience for a hold counts from here.
    if lease.status != LeaseStatus::Updating {
        lease.updated_at = Some(now);
    }
    state.put_lease(lease);
    Ok(Reply::OfferClaimed { lease_id: id })
}

/// Whether a lease is an offer that was not claimed.
pub(super) fn is_unclaimed(state: &State, id: LeaseId) -> bool {
    state.lease(id).is_some_and(|lease| lease.unclaimed_until().is_some())
}

/// Drops the offers whose time is over, those among the first `limit` leases that are due.
pub(super) fn withdraw_expired(state: &mut State, now: Timestamp, limit: usize) {
    let is_expired = |id: &LeaseId| {
        let expires_at = state.lease(*id).and_then(|lease| lease.unclaimed_until());
        expires_at.is_some_and(|expires_at| expires_at.timestamp() <= now)
    };
    let expired: Vec<LeaseId> = state.due_leases(now).take(limit).filter(is_expired).collect();
    for id in expired {
        if state.lease(id).is_some_and(|lease| lease.status == LeaseStatus::Creating) {
            let text = "the offer expired before the cloud confirmed its capacity".to_owned();
            withdraw(state, now, id, &Reason { code: ReasonCode::CloudUnavailable, text });
        } else {
            delete_lease(state, now, id).expect("what is due is there");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::apply::script::check;
    use crate::model::Lease;
    use crate::plan::crowd::{Random, crowded};
    use crate::storage::codec::{decode, encode};

    #[test]
    fn the_row_of_a_lease_that_is_no_offer_is_as_it_was_before_there_were_offers() {
        let state = crowded(5, 40, &mut Random(3));
        let lease = state.leases().next().unwrap();
        let bytes = encode(lease);
        assert!(!bytes.windows(5).any(|window| window == b"offer"));
        assert_eq!(decode::<Lease>("lease", &bytes).unwrap().offer, None);
    }

    #[test]
    fn an_offer_is_booked_and_nothing_more_until_it_is_claimed() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 12:00..14:00 n=3 offer=11:30 -> PENDING h1*3
               10:00 offer A -> until 11:30
               10:00 booked h1 12:00 -> 3 vcpus 3 slots
               10:00 lease B 13:00..14:00 n=2 -> no room short=1 largest=1 tightest=VCPU next=14:00
               10:00 next -> 11:30
               11:10 clock -> nothing
               11:10 events A -> start=12:00:UNDONE end=14:00:UNDONE prepare=11:00:UNDONE
               11:10 claim A -> PENDING
               11:10 offer A -> claimed at 11:10
               11:10 next -> 11:00
               11:10 clock -> prepare A
               11:11 done prepare A -> A PENDING pending:Prepared
               12:00 clock -> start A
               12:00 done start A -> A ACTIVE active:Open",
        );
    }

    #[test]
    fn what_is_not_claimed_in_time_is_free_again() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 12:00..14:00 n=3 offer=11:30 key=1 -> PENDING h1*3
               10:00 lease B 12:00..14:00 valid=7200 -> PENDING h1*1
               11:29:59 clock -> nothing
               11:29:59 status A -> A PENDING pending:Booked
               11:30 clock -> nothing
               11:30 status A -> A gone
               11:30 booked h1 12:00 -> 1 vcpus 1 slots
               11:30 claim A -> refused LeaseNotFound
               11:30 delete A -> refused LeaseNotFound
               12:00 clock -> nothing
               12:00 status B -> B gone
               12:00 next -> never",
        );
    }

    #[test]
    fn the_ledger_s_time_decides_what_was_claimed_in_time() {
        check(
            "10:00 hosts h1
               10:00 lease A 12:00..14:00 offer=12:00 -> PENDING h1*1
               10:00 lease B 12:00..14:00 offer=12:00 -> PENDING h1*1
               11:59:59 claim A -> PENDING
               12:00 claim B -> refused OfferExpired
               11:59:59 claim B -> refused OfferExpired
               12:00 status B -> B PENDING pending:Booked
               12:00 clock -> start A
               12:00 status B -> B gone",
        );
    }

    #[test]
    fn an_offer_may_be_claimed_again_and_again() {
        check(
            "10:00 hosts h1
               10:00 lease A 12:00..14:00 offer=12:00 -> PENDING h1*1
               10:00 claim A key=1 -> PENDING
               10:01 claim A key=1 -> PENDING
               10:01 claim A key=2 -> PENDING
               10:01 claim A -> PENDING
               10:01 offer A -> claimed at 10:00
               10:01 claim B key=1 -> refused RequestIdReused
               12:00 clock -> start A
               12:00 claim A -> STARTING
               12:00 done start A -> A ACTIVE active:Open
               12:01 claim A key=1 -> ACTIVE
               12:01 delete A -> booked, row stays
               12:01 claim A -> refused LeaseNotFound
               12:01 lease C 13:00..14:00 -> PENDING h1*1
               12:01 claim C -> refused NotAnOffer
               12:01 claim D -> refused LeaseNotFound",
        );
    }

    #[test]
    fn an_offer_takes_no_changes_and_is_dropped_as_a_lease_is_deleted() {
        check(
            "10:00 hosts h1
               10:00 lease A 12:00..14:00 offer=12:00 -> PENDING h1*1
               10:00 update A n=2 plan=h1*2 -> refused OfferUnclaimed
               10:00 update A name=B -> refused OfferUnclaimed
               10:00 delete A -> free, row gone
               10:00 claim A -> refused LeaseNotFound
               10:00 lease B 12:00..14:00 offer=12:00 -> PENDING h1*1
               10:00 claim B -> PENDING
               10:00 update B n=2 -> PENDING h1*2",
        );
    }

    #[test]
    fn an_offer_must_stand_for_a_while_and_by_its_start_at_most() {
        check(
            "10:00 hosts h1
               10:00:30 lease A 12:00..14:00 offer=10:00:29 -> refused Invalid offer.expires_at
               10:00:30 lease A 12:00..14:00 offer=10:00:30 -> refused Invalid offer.expires_at
               10:00:30 lease A 12:00..14:00 offer=12:00:01 -> refused Invalid offer.expires_at
               10:00:30 lease A 12:00..14:00 valid=0 -> refused Invalid offer.valid_s
               10:00:30 lease A 12:00..14:00 valid=7171 -> refused Invalid offer.valid_s
               10:00:30 lease A now..14:00 valid=1 -> refused Invalid offer.valid_s
               10:00:30 lease A 12:00..14:00 valid=7170 -> PENDING h1*1
               10:00:30 offer A -> until 12:00",
        );
    }

    #[test]
    fn a_start_that_is_left_open_is_none_within_the_offer() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A now..10:30 n=2 latest=13:00 offer=11:00 -> PENDING 11:00..11:30 h1*2
               10:00 lease B now..10:30 n=3 latest=13:00 offer=11:00 key=1 -> PENDING 11:30..12:00 h1*3
               10:00 lease B now..10:30 n=3 latest=13:00 offer=11:00 key=1 -> PENDING 11:30..12:00 h1*3
               10:00 lease C now..10:30 n=2 latest=13:00 valid=3600 -> PENDING 12:00..12:30 h1*2
               10:00 lease D 12:40..13:00 n=1 latest=13:00 valid=3600 -> PENDING h1*1
               10:00 lease E 11:00..12:00 n=1 latest=13:00 offer=13:00:01 -> refused Invalid offer.expires_at
               10:00 lease E 11:00..12:00 n=1 latest=13:00 offer=12:00 plan=h1*1 -> refused PlanStale
               10:00 lease E 11:00..12:00 n=1 latest=13:00 offer=12:00 plan=h1*1 moved=11:59 -> refused PlanStale
               10:00 lease E 11:00..12:00 n=4 latest=11:30 offer=11:10 -> no room short=3 largest=1 tightest=VCPU next=13:00",
        );
    }

    #[test]
    fn an_offer_on_shared_hosts_waits_for_its_hold_but_not_beyond_its_end() {
        check(
            "10:00 hosts s1 shared vcpus=4
               10:00 lease A 12:00..14:00 n=2 offer=11:00 key=1 -> CREATING s1*2
               10:00 claim A -> refused LeaseNotFound
               10:00 next -> 10:00:10
               10:00:01 held A -> A PENDING pending:Booked
               10:00:01 next -> 11:00
               10:00:02 lease B 12:00..14:00 n=2 valid=5 key=2 -> CREATING s1*2
               10:00:02 next -> 10:00:07
               10:00:07 clock -> nothing
               10:00:07 status B -> B gone
               10:00:07 key 2 until=24:00 -> unknown
               10:00:07 rows -> none
               10:00:07 booked s1 12:00 -> 2 vcpus 2 slots
               10:00:08 lease C 12:00..14:00 n=2 valid=60 -> CREATING s1*2
               10:00:18 clock -> nothing
               10:00:18 status C -> C gone
               10:00:19 lease D 12:00..14:00 n=2 valid=5 -> CREATING s1*2
               10:00:20 refused D -> D gone
               10:00:20 lease E 12:00..14:00 n=2 valid=5 -> CREATING s1*2
               10:00:25 probe -> done
               10:00:25 held E -> E PENDING pending:Booked
               10:00:25 claim E -> refused OfferExpired
               10:00:25 clock -> nothing
               10:00:25 status E -> E gone",
        );
    }

    #[test]
    fn an_offer_that_moves_to_another_host_is_claimed_or_dropped_meanwhile() {
        check(
            "10:00 hosts s1 s2 s3 shared vcpus=4
               10:00 lease A 12:00..14:00 n=4 offer=10:01 -> CREATING s1*4
               10:00 held A -> A PENDING pending:Booked
               10:00 lease B 12:00..14:00 n=4 offer=10:01 -> CREATING s2*4
               10:00 held B -> B PENDING pending:Booked
               10:00:55 rebind A s1 -> UPDATING s3*4
               10:00:56 claim A -> UPDATING
               10:00:56 next -> 10:01
               10:00:57 held A -> A PENDING pending:Booked
               10:00:57 rebind B s2 -> UPDATING s1*4
               10:01 clock -> nothing
               10:01 status B -> B gone
               10:01 rows -> none
               10:01 booked s1 12:00 -> 0 vcpus 0 slots
               10:01 booked s2 12:00 -> 0 vcpus 0 slots
               10:02 lease C 12:00..14:00 n=4 offer=11:00 -> CREATING s1*4
               10:02 held C -> C PENDING pending:Booked
               10:02 rebind C s1 -> UPDATING s2*4
               10:02:10 clock -> nothing
               10:02:10 show C -> C 12:00..14:00 s1*4
               10:02:10 offer C -> until 11:00
               10:02:10 next -> 11:00",
        );
    }

    #[test]
    fn one_that_is_claimed_within_its_staging_window_is_staged_from_then_on() {
        check(
            "10:00 hosts h1
               10:00 lease A 12:00..14:00 staging=10:30..11:30 offer=12:00 -> PENDING staging:h1*1 h1*1
               10:30 clock -> nothing
               10:40 status A -> A PENDING pending:Booked
               10:40 claim A -> PENDING
               10:40 clock -> open A
               10:41 lease B 12:00..14:00 staging=10:45..11:00 margin=0 offer=12:00 -> PENDING staging:h1*1 h1*1
               11:50 claim B -> PENDING
               11:50 clock -> close B, close A",
        );
    }
}
