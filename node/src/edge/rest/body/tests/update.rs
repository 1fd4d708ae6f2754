//! Bodies that change a lease.

use super::*;

#[test]
fn an_update_holds_only_what_is_to_change() {
    let lease = sample();
    assert_eq!(updated(json!({}), V1_0, &lease).unwrap(), None);
    assert_eq!(updated(json!({"colour": "blue", "project_id": "stolen", "degraded": true}), V1_0, &lease).unwrap(), None);
    assert_eq!(updated(json!({"expiry_s": 900}), V1_0, &lease).unwrap(), None, "1.0 does not know it");
    let shown = json!({"reservations": [{"id": id(2).to_string(), "released": 0}]});
    assert_eq!(updated(shown, V1_1, &lease).unwrap(), None, "it may be sent back");
    let same = json!({"name": "il", "start_date": "2026-11-22 10:36", "reservations": [{"id": id(2).to_string(), "amount": 3}]});
    assert_eq!(updated(same, V1_0, &lease).unwrap(), None);
    let change =
        updated(json!({"name": "new", "end_date": "2026-11-22 15:00", "before_end_date": null}), V1_0, &lease).unwrap().unwrap();
    let wanted =
        LeaseChange { name: Some("new".into()), end: Some(EndWish::At(at("2026-11-22 15:00:00"))), ..LeaseChange::default() };
    assert_eq!(change, wanted);
    let change = updated(json!({"end_date": "now"}), V1_0, &lease).unwrap().unwrap();
    assert_eq!(change.end, Some(EndWish::Now));
    assert_eq!(updated(json!({"end_date": null}), V1_0, &lease).unwrap(), None);
    assert_eq!(updated(json!({"end_date": null}), V1_1, &lease).unwrap().unwrap().end, Some(EndWish::At(Seconds::OPEN_END)));
}

#[test]
fn changed_fields_of_a_reservation_are_merged_onto_its_wish() {
    let lease = sample();
    let body = json!({"reservations": [{"id": id(2).to_string(), "amount": 5, "resource_type": "virtual:instance"}]});
    let change = updated(body.clone(), V1_0, &lease).unwrap().unwrap();
    let wish = change.reservations[0].resource.instance();
    let current = lease.reservations[0].wish.instance();
    assert_eq!(*wish, InstanceWish { amount: 5, ..current.clone() });
    // Sent again with its key after it was carried out, it is the same request.
    let mut done = lease.clone();
    done.reservations[0].wish = change.reservations[0].resource.clone();
    assert_eq!(updated(body.clone(), V1_0, &done).unwrap(), None);
    assert_eq!(update(&body, V1_0, &done, true).unwrap().unwrap(), update(&body, V1_0, &lease, true).unwrap().unwrap());
}

#[test]
fn a_started_lease_may_be_sent_back_the_start_it_was_shown() {
    let mut lease = sample();
    lease.start = at("2026-11-22 10:36:41");
    lease.status = LeaseStatus::Active;
    assert_eq!(updated(json!({"start_date": "2026-11-22 10:36"}), V1_0, &lease).unwrap(), None);
    assert_eq!(updated(json!({"start_date": "2026-11-22T10:36:41.000000"}), V1_1, &lease).unwrap(), None);
    assert!(updated(json!({"start_date": "2026-11-22 10:37"}), V1_0, &lease).unwrap().is_some());
    lease.status = LeaseStatus::Pending;
    assert!(updated(json!({"start_date": "2026-11-22 10:36"}), V1_0, &lease).unwrap().is_some());
}

#[test]
fn a_keyed_update_of_the_start_is_the_same_wish_when_it_was_carried_out() {
    let before = sample();
    let body = json!({"start_date": "2026-11-22 11:00"});
    let first = update(&body, V1_0, &before, true).unwrap().unwrap();
    assert_eq!(first.start, Some(StartWish::At(at("2026-11-22 11:00:00"))));
    let mut done = before;
    done.start = at("2026-11-22 11:00:00");
    for status in [LeaseStatus::Pending, LeaseStatus::Active, LeaseStatus::Terminated] {
        done.status = status;
        assert_eq!(update(&body, V1_0, &done, true).unwrap().as_ref(), Some(&first), "{status:?}");
    }
    // Begun with seconds: the minute that 1.0 can say means the start as it is.
    done.status = LeaseStatus::Active;
    done.start = at("2026-11-22 11:00:23");
    assert_eq!(update(&body, V1_0, &done, true).unwrap().unwrap().start, Some(StartWish::At(done.start)));
}

#[test]
fn a_staging_window_may_be_sent_back_as_it_was_shown_and_not_otherwise() {
    let before = sample();
    let body = |change: Value| {
        let mut staging = lease(&before, V1_1)["reservations"][0]["staging"].clone();
        staging.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"reservations": [{"id": id(2).to_string(), "staging": staging}]})
    };
    assert_eq!(updated(body(json!({})), V1_1, &before).unwrap(), None);
    let others = [json!({"park_margin": 601}), json!({"start_date": "now"}), json!({"end_date": "2026-11-22 10:05"})];
    for other in others {
        let (status, text) = refused(updated(body(other), V1_1, &before));
        assert!(status == 409 && text.contains("staging cannot be updated"), "{status} {text}");
    }
    let mut without = before.clone();
    without.reservations[0].staging = None;
    assert_eq!(refused(updated(body(json!({})), V1_1, &without)).0, 409);
}

const WHOLE_HOSTS: &str = "The physical:host resource type is not supported by this version of Leasehold, virtual:instance and flavor:instance are; POST /v1/leases/what-if tells whether there would be hosts";

#[test]
fn every_bad_update_is_refused_with_blazars_text() {
    let lease = sample();
    let of = |keys: Value| {
        let mut reservation = json!({"id": id(2).to_string()});
        change(&mut reservation, &keys);
        json!({"reservations": [reservation]})
    };
    let cases = vec![
        (json!({"end_date": "soon"}), V1_0, 400, "soon is an invalid date. Required format: %Y-%m-%d %H:%M"),
        (json!({"start_date": "2019-01-01 00:00"}), V1_0, 400, "Start date must be later than current date"),
        (json!({"end_date": "2019-01-01 00:00"}), V1_0, 400, "End date must be later than current and start date"),
        (json!({"reservations": [{"amount": 2}]}), V1_0, 400, "Missing parameter reservation ID"),
        (
            json!({"reservations": [{"id": "nope"}, {"id": 7}]}),
            V1_0,
            400,
            "Please enter valid reservation IDs. Invalid reservation IDs are: nope,7",
        ),
        (of(json!({"amount": 0})), V1_0, 400, "amount must be >= 1"),
        (of(json!({"resource_type": "virtual:floatingip"})), V1_0, 409, "resource_type cannot be updated"),
        (of(json!({"resource_type": "physical:host"})), V1_0, 501, WHOLE_HOSTS),
        (of(json!({"resource_type": "physical:host", "min": 1, "max": 2})), V1_0, 501, WHOLE_HOSTS),
        (of(json!({"resource_type": "physical:host", "min": 1, "max": 2})), V1_1, 501, WHOLE_HOSTS),
        (json!({"reservations": [{"resource_type": "physical:host"}]}), V1_1, 501, WHOLE_HOSTS),
        (
            of(json!({"zone": "az2"})),
            V1_0,
            400,
            "reservations[0].zone needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1",
        ),
        (
            of(json!({"staging": {}})),
            V1_1,
            409,
            "staging cannot be updated: a staging window stands from creation on; delete the lease and make another",
        ),
        (
            json!({"expiry_s": 900}),
            V1_1,
            400,
            "expiry_s is 900; it stands from creation on; leave it out, or delete the lease and make another",
        ),
        (
            json!({"expiry_s": null}),
            V1_1,
            400,
            "expiry_s is null; it stands from creation on; leave it out, or delete the lease and make another",
        ),
        (
            json!({"prolong_for": "1h"}),
            V1_1,
            400,
            "prolong_for is unknown; known are before_end_date, created_at, degraded, end_date, events, id, ignore_quota, name, project_id, reservations, start_date, status, status_reason, trust_id, updated_at, user_id",
        ),
    ];
    for (body, version, status, text) in cases {
        assert_eq!(refused(updated(body, version, &lease)), (status, text.to_owned()));
    }
    let twice = json!({"reservations": [{"id": id(2).to_string()}, {"id": id(2).to_string()}]});
    assert!(refused(updated(twice, V1_0, &lease)).1.contains("named twice"));
}

#[test]
fn under_1_0_an_active_reservation_only_grows_and_under_1_1_the_ledger_decides() {
    let mut lease = sample();
    lease.reservations[0].status = ReservationStatus::Active;
    let of = |keys: Value| {
        let mut reservation = json!({"id": id(2).to_string()});
        change(&mut reservation, &keys);
        json!({"reservations": [reservation]})
    };
    assert!(updated(of(json!({"amount": 4})), V1_0, &lease).unwrap().is_some());
    assert_eq!(updated(of(json!({"vcpus": 2})), V1_0, &lease).unwrap(), None);
    let shrunk = refused(updated(of(json!({"amount": 2})), V1_0, &lease));
    assert_eq!(shrunk, (409, "Instance reservation doesn't allow to reduce/replace reserved instance slots when the reservation is in active status.".to_owned()));
    let resized = refused(updated(of(json!({"vcpus": 4})), V1_0, &lease));
    assert_eq!(resized, (409, "An active reservation only accepts to update amount.".to_owned()));
    assert!(updated(of(json!({"amount": 2})), V1_1, &lease).unwrap().is_some());
    lease.reservations[0].status = ReservationStatus::Error;
    assert_eq!(refused(updated(of(json!({"amount": 4})), V1_0, &lease)).0, 409);
}
