//! Listings against what a naive reader of the same state would say.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::apply::apply;
use crate::apply::script::after;
use crate::command::{Command, Entry, Outcome};
use crate::model::{
    Adoption, Anchor, InstanceWish, Phase, PoolKind, Reservation, ReservationId, ResourceWish, SourceFlavor, Step,
};
use crate::plan::crowd::{DAY_S, ORIGIN_S, Random, crowded};

/// Some hundred leases, pending, active and over, of two names.
fn world(random: &mut Random) -> State {
    let mut state = crowded(120, 800, random);
    // What is prepared is visible; then two months pass.
    let later = Seconds(ORIGIN_S + 60 * DAY_S).timestamp();
    for proposed_at in [state.clock(), later] {
        for _ in 0..50 {
            apply(&mut state, &Entry { key: None, proposed_at, command: Command::AdvanceClock }).outcome.unwrap();
            let rows: Vec<_> = state.actuations().map(|row| (row.id, row.revision, row.step)).collect();
            for (actuation_id, revision, step) in rows {
                let held = Outcome::Held { server_group_id: Some(random.uuid()) };
                let outcome = if step == Step::Hold { held } else { Outcome::Done };
                let command = Command::RecordOutcome { actuation_id, revision, outcome };
                apply(&mut state, &Entry { key: None, proposed_at, command }).outcome.unwrap();
            }
        }
    }
    assert_eq!(state.clock(), later);
    let ids: Vec<LeaseId> = state.leases().map(|lease| lease.id).collect();
    assert!(ids.len() > 100, "{}", ids.len());
    state
}

fn ids(leases: &[&Lease]) -> Vec<LeaseId> {
    leases.iter().map(|lease| lease.id).collect()
}

/// Of a state whose leases are all in memory.
fn utilised(state: &State, wish: &UtilisationWish) -> Result<Utilisation, Rejection> {
    let draft = UtilisationDraft::begin(state, wish, 0)?;
    assert!(!draft.reads());
    Ok(draft.finish(&mut |_| panic!("nothing is to be read")).unwrap().unwrap())
}

/// Page by page.
fn walked(state: &State, filter: &LeaseFilter, limit: u32) -> Vec<LeaseId> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = ids(&leases(state, &LeaseFilter { after, limit: Some(limit), ..filter.clone() }).unwrap());
        all.extend(&page);
        if page.len() < limit as usize {
            return all;
        }
        after = page.last().copied();
    }
}

mod allocations;
mod archived;
mod downtimes;
mod quota;

#[test]
fn pages_put_together_are_the_whole_list_in_its_order() {
    let mut random = Random(5);
    let state = world(&mut random);
    for order in [LeaseOrder::Id, LeaseOrder::Name, LeaseOrder::Status, LeaseOrder::Start, LeaseOrder::End, LeaseOrder::CreatedAt]
    {
        for descending in [false, true] {
            for project_id in [None, Some(ProjectId("p".into()))] {
                let filter = LeaseFilter { order, descending, project_id, ..LeaseFilter::default() };
                let all = ids(&leases(&state, &filter).unwrap());
                let mut naive: Vec<&Lease> = state.leases().filter(|lease| lease.visible()).collect();
                naive.sort_by_key(|lease| {
                    let (mut number, mut text) = (0u64, "");
                    match order {
                        LeaseOrder::Id => {}
                        LeaseOrder::Name => text = &lease.name,
                        LeaseOrder::Status => text = lease.status.as_str(),
                        LeaseOrder::Start => number = u64::from(lease.start.0),
                        LeaseOrder::End => number = u64::from(lease.end.0),
                        LeaseOrder::CreatedAt => number = lease.created_at.0,
                    }
                    (number, text, lease.id)
                });
                if descending {
                    naive.reverse();
                }
                assert_eq!(all, ids(&naive), "{filter:?}");
                let limit = 1 + random.below(60);
                assert_eq!(walked(&state, &filter, limit), all, "{filter:?}, {limit} at a time");
            }
        }
    }
}

#[test]
fn a_page_goes_on_behind_a_lease_that_is_gone_only_by_id() {
    let mut state = world(&mut Random(6));
    let by_id = ids(&leases(&state, &LeaseFilter::default()).unwrap());
    let gone = by_id[10];
    let delete = Command::DeleteLease { lease_id: gone };
    let now = state.clock();
    apply(&mut state, &Entry { key: None, proposed_at: now, command: delete }).outcome.unwrap();
    let behind = LeaseFilter { after: Some(gone), ..LeaseFilter::default() };
    assert_eq!(ids(&leases(&state, &behind).unwrap()), by_id[11..]);
    let backwards = LeaseFilter { descending: true, ..behind.clone() };
    assert_eq!(ids(&leases(&state, &backwards).unwrap()), by_id[..10].iter().rev().copied().collect::<Vec<_>>());
    let refused = leases(&state, &LeaseFilter { order: LeaseOrder::Start, ..behind }).unwrap_err();
    assert!(
        matches!(&refused, Rejection::Invalid { field, problem } if field == "marker" && problem.contains(&gone.to_string()))
    );
    // A lease of others is not told of by its place either.
    let theirs = LeaseFilter { order: LeaseOrder::Start, project_id: Some(ProjectId("q".into())), ..LeaseFilter::default() };
    assert!(leases(&state, &LeaseFilter { after: Some(by_id[11]), ..theirs.clone() }).is_err());
    assert!(leases(&state, &theirs).unwrap().is_empty());
}

#[test]
fn windows_and_scopes_are_by_the_seconds_of_a_lease() {
    let mut random = Random(7);
    let state = world(&mut random);
    let mut found = [0; 3];
    for _ in 0..60 {
        let start = ORIGIN_S + random.below(120 * DAY_S);
        let window = Interval { start: Seconds(start), end: Seconds(start + 1 + random.below(40 * DAY_S)) };
        for (place, scope) in [Scope::Overlapping, Scope::Inclusive, Scope::Exclusive].into_iter().enumerate() {
            let filter = LeaseFilter { window: Some((window, scope)), ..LeaseFilter::default() };
            let within = |second: u32| window.start.0 <= second && second < window.end.0;
            let naive = state.leases().filter(|lease| {
                let (first, last) = (lease.start.0, lease.end.0 - 1);
                let open = lease.end == Seconds::OPEN_END;
                let starts_or_ends = [within(first), !open && within(last)];
                lease.visible()
                    && match scope {
                        Scope::Overlapping => first < window.end.0 && (open || last >= window.start.0),
                        Scope::Inclusive => starts_or_ends.contains(&true),
                        Scope::Exclusive => !starts_or_ends.contains(&false),
                    }
            });
            let naive: Vec<LeaseId> = naive.map(|lease| lease.id).collect();
            found[place] += naive.len();
            assert_eq!(ids(&leases(&state, &filter).unwrap()), naive, "{window:?} {scope:?}");
        }
    }
    assert!(found[0] > found[1] && found[1] > found[2] && found[2] > 0, "{found:?}");
}

#[test]
fn a_lease_ends_within_a_window_by_its_last_second() {
    let window = Interval { start: Seconds(100), end: Seconds(200) };
    let lease = |start, end| Interval { start: Seconds(start), end: Seconds(end) };
    for (lease, inclusive, exclusive) in [
        (lease(100, 200), true, true),
        (lease(50, 200), true, false),
        (lease(50, 100), false, false),
        (lease(50, 101), true, false),
        (lease(199, 300), true, false),
        (lease(200, 300), false, false),
        (lease(50, 300), false, false),
        (Interval { start: Seconds(150), end: Seconds::OPEN_END }, true, false),
    ] {
        assert_eq!(
            (Scope::Inclusive.takes(window, lease), Scope::Exclusive.takes(window, lease)),
            (inclusive, exclusive),
            "{lease:?}"
        );
    }
}

#[test]
fn leases_are_found_by_what_they_are_and_what_they_contain() {
    let state = world(&mut Random(8));
    let all: Vec<&Lease> = state.leases().filter(|lease| lease.visible()).collect();
    let some = |filter: LeaseFilter| ids(&leases(&state, &filter).unwrap());
    let naive =
        |takes: &dyn Fn(&Lease) -> bool| all.iter().filter(|lease| takes(lease)).map(|lease| lease.id).collect::<Vec<_>>();
    let is_on = |lease: &Lease, host: HostId| lease.reservations.iter().any(|one| one.bindings.iter().any(|b| b.host == host));

    let pending = LeaseFilter { statuses: [LeaseStatus::Pending].into(), ..LeaseFilter::default() };
    let expected = naive(&|lease| lease.status == LeaseStatus::Pending);
    assert!(!expected.is_empty() && expected.len() < all.len());
    assert_eq!(some(pending), expected);
    assert!(some(LeaseFilter { name: Some("crow".to_owned()), ..LeaseFilter::default() }).is_empty());
    assert_eq!(some(LeaseFilter { name: Some("crowd".to_owned()), ..LeaseFilter::default() }).len(), all.len());
    let zone_of = |host: HostId| state.host(host).unwrap().description.zone.clone();
    let in_a = naive(&|lease| {
        lease.reservations.iter().any(|one| {
            one.wish.instance().zone.as_deref() == Some("a")
                || one.bindings.iter().any(|b| zone_of(b.host).as_deref() == Some("a"))
        })
    });
    assert!(!in_a.is_empty() && in_a.len() < all.len());
    assert_eq!(some(LeaseFilter { zone: Some("a".to_owned()), ..LeaseFilter::default() }), in_a);

    // Two hosts that share a lease, so that any, all and none differ.
    let shared = all.iter().find_map(|lease| {
        let bindings = &lease.reservations[0].bindings;
        let other = bindings.iter().find(|binding| binding.host != bindings[0].host)?;
        Some([bindings[0].host, other.host])
    });
    let [one, other] = shared.unwrap();
    let elements: BTreeSet<Element> = [Element::Host(one), Element::Host(other)].into();
    let any = naive(&|lease| is_on(lease, one) || is_on(lease, other));
    let both = naive(&|lease| is_on(lease, one) && is_on(lease, other));
    let none = naive(&|lease| !is_on(lease, one) && !is_on(lease, other));
    assert!(!both.is_empty() && both.len() < any.len() && !none.is_empty());
    assert_eq!(some(LeaseFilter { with_any: elements.clone(), ..LeaseFilter::default() }), any);
    assert_eq!(some(LeaseFilter { with_all: elements.clone(), ..LeaseFilter::default() }), both);
    assert_eq!(some(LeaseFilter { without: elements, ..LeaseFilter::default() }), none);
    let reservation = Element::Id(all[3].reservations[0].id.0);
    assert_eq!(some(LeaseFilter { with_all: [reservation].into(), ..LeaseFilter::default() }), [all[3].id]);

    let many = (0..=ELEMENTS_MAX as u64).map(|id| Element::Host(HostId(id))).collect();
    let refused = leases(&state, &LeaseFilter { without: many, ..LeaseFilter::default() }).unwrap_err();
    assert_eq!(refused.to_string(), "without: 101 are named; at most 100 may be");
}

#[test]
fn each_sort_of_element_finds_the_leases_that_contain_it_and_no_others() {
    let world = world(&mut Random(8));
    let with = world.leases().filter(|lease| lease.visible() && !lease.reservations[0].bindings.is_empty());
    let [plain, like, group, adopting]: [Lease; 4] = with.take(4).cloned().collect::<Vec<_>>().try_into().unwrap();
    let id = |number| uuid::Uuid::from_u128(number);
    let marked = |mut lease: Lease, mark: &dyn Fn(&mut Reservation)| {
        lease.reservations.truncate(1);
        (lease.reservations[0].server_group_id, lease.reservations[0].adoption) = (None, None);
        mark(&mut lease.reservations[0]);
        lease
    };
    let source = |lease: Lease, id: &str| {
        marked(lease, &|one| {
            let flavor = Some(SourceFlavor { id: id.to_owned(), ..SourceFlavor::default() }.into());
            one.wish = ResourceWish::Instance(InstanceWish { flavor, ..one.wish.instance().clone() }.into());
        })
    };
    let plain = marked(plain, &|_| {});
    let (numbered, like) = (source(like.clone(), "42"), source(like, &id(1).to_string().to_uppercase()));
    let group = marked(group, &|one| one.server_group_id = Some(id(2)));
    let earlier = ReservationId(id(4));
    let adopting = marked(adopting, &|one| {
        one.adoption =
            Some(Box::new(Adoption { flavor_of: earlier, anchor: Anchor::default(), servers: [id(3)].into(), opened: false }));
    });
    let all = [&plain, &numbered, &like, &group, &adopting];
    let host = plain.reservations[0].bindings[0].host;
    let on_host = all.map(|lease| lease.reservations[0].bindings.iter().any(|binding| binding.host == host));
    let own = plain.reservations[0].flavor().0;
    for (text, expected) in [
        (host.to_string(), on_host),
        (format!("host:{host}"), on_host),
        (plain.reservations[0].id.to_string(), [true, false, false, false, false]),
        (format!("flavor:{own}"), [true, false, false, false, false]),
        ("flavor:42".to_owned(), [false, true, false, false, false]),
        ("flavor:4".to_owned(), [false; 5]),
        (id(1).to_string(), [false, false, true, false, false]),
        (format!("flavor:{}", id(1).to_string().to_uppercase()), [false, false, true, false, false]),
        (id(2).to_string(), [false, false, false, true, false]),
        (format!("flavor:{}", id(2)), [false; 5]),
        (id(3).to_string(), [false, false, false, false, true]),
        // The flavor with which its servers are booted is that of the earlier reservation.
        (id(4).to_string(), [false, false, false, false, true]),
        (format!("flavor:{}", id(4)), [false, false, false, false, true]),
        (id(5).to_string(), [false; 5]),
    ] {
        let element: Element = text.parse().unwrap();
        assert_eq!(all.map(|lease| element.is_in(lease)), expected, "{text}");
    }
    for wrong in ["", "x", "-1", "host:", "host:x", "flavor:", "server:1", &format!("flavor:{}", "x".repeat(256))] {
        assert_eq!(
            wrong.parse::<Element>().unwrap_err().to_string(),
            "write the number of a host, a UUID, host:NUMBER or flavor:ID"
        );
    }
}

#[test]
fn utilisation_is_what_the_leases_asked_for_at_each_second() {
    let mut random = Random(9);
    let state = world(&mut random);
    for statuses in [BTreeSet::new(), [LeaseStatus::Pending].into()] {
        let start = Seconds(ORIGIN_S + random.below(20 * DAY_S));
        let window = Interval { start, end: start.plus(DAY_S + random.below(80 * DAY_S)) };
        let filter = LeaseFilter { statuses, limit: Some(1), descending: true, ..LeaseFilter::default() };
        let told = utilised(&state, &UtilisationWish { filter: filter.clone(), window, steps_max: STEPS_MAX }).unwrap();
        let found = leases(&state, &LeaseFilter { limit: None, ..filter.clone() }).unwrap();
        assert_eq!(told.leases as usize, found.iter().filter(|lease| lease.interval().overlaps(window)).count());
        assert_eq!(told.steps[0].start, window.start);
        for _ in 0..500 {
            let at = Seconds(window.start.0 + random.below(window.end.0 - window.start.0));
            let naive: u64 = found
                .iter()
                .filter(|lease| lease.start <= at && at < lease.end)
                .flat_map(|lease| &lease.reservations)
                .map(|one| u64::from(one.wish.instance().vcpus) * u64::from(one.wish.instance().amount))
                .sum();
            let step = told.steps.iter().rev().find(|step| step.start <= at).unwrap();
            assert_eq!(step.reserved[0], naive, "{at:?}");
        }
        let figure = utilised(&state, &UtilisationWish { filter, window, steps_max: 1 }).unwrap();
        assert_eq!(figure.steps.len(), 1);
        assert_eq!(figure.steps[0].reserved[0], told.steps.iter().map(|step| step.reserved[0]).max().unwrap());
    }
    // With a scope only what lies so to the window.
    let window = Interval { start: Seconds(ORIGIN_S + 10 * DAY_S), end: Seconds(ORIGIN_S + 60 * DAY_S) };
    let counted = [Scope::Overlapping, Scope::Inclusive, Scope::Exclusive].map(|scope| {
        let filter = LeaseFilter { window: Some((window, scope)), ..LeaseFilter::default() };
        let told = utilised(&state, &UtilisationWish { filter: filter.clone(), window, steps_max: 1 }).unwrap();
        assert_eq!(told.leases as usize, leases(&state, &filter).unwrap().len(), "{scope:?}");
        told.leases
    });
    assert!(counted.is_sorted_by(|one, other| one >= other) && counted[0] > counted[2] && counted[2] > 0, "{counted:?}");
    let wish = |steps_max| UtilisationWish {
        filter: LeaseFilter::default(),
        window: Interval { start: Seconds(1), end: Seconds(2) },
        steps_max,
    };
    assert!(utilised(&state, &wish(0)).is_err() && utilised(&state, &wish(STEPS_MAX + 1)).is_err());
    let nothing = utilised(&state, &wish(1)).unwrap();
    assert_eq!((nothing.leases, nothing.steps[0].reserved), (0, [0; 4]));
}

#[test]
fn what_gave_way_to_another_is_not_counted_beside_it() {
    let state = after(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 n=4 preemptible -> PENDING h1*4
           10:00 lease B 12:00..14:00 n=3 priority=1 preempt -> PENDING h1*3 instead of A",
    );
    let window = state.leases().next().unwrap().interval();
    let told = utilised(&state, &UtilisationWish { filter: LeaseFilter::default(), window, steps_max: 1 }).unwrap();
    assert_eq!((leases(&state, &LeaseFilter::default()).unwrap().len(), told.leases), (2, 1));
    assert_eq!(told.steps[0].reserved[0], 3);
}

#[test]
fn hosts_are_filtered_sorted_and_paged_as_leases_are() {
    let state = world(&mut Random(10));
    let numbers = |listing: &HostListing| hosts(&state, listing).unwrap().iter().map(|host| host.id).collect::<Vec<_>>();
    for order in [HostOrder::Id, HostOrder::Name, HostOrder::Zone] {
        for descending in [false, true] {
            let listing = HostListing { order, descending, ..HostListing::default() };
            let all = numbers(&listing);
            let mut naive: Vec<&Host> = state.hosts().collect();
            naive.sort_by_key(|host| {
                let about = &host.description;
                let name = (order == HostOrder::Name).then_some(&about.hypervisor_hostname);
                (name, (order == HostOrder::Zone).then_some(&about.zone), host.id)
            });
            if descending {
                naive.reverse();
            }
            assert_eq!(all, naive.iter().map(|host| host.id).collect::<Vec<_>>(), "{listing:?}");
            let mut walked = Vec::new();
            while let page @ [_, ..] =
                &numbers(&HostListing { after: walked.last().copied(), limit: Some(7), ..listing.clone() })[..]
            {
                walked.extend(page);
            }
            assert_eq!(walked, all);
        }
    }
    let shared =
        HostListing { filter: HostFilter { pool: Some(PoolKind::Shared), ..HostFilter::default() }, ..HostListing::default() };
    let expected: Vec<HostId> =
        state.hosts().filter(|host| host.description.pool == PoolKind::Shared).map(|host| host.id).collect();
    assert!(!expected.is_empty() && expected.len() < 120);
    assert_eq!(numbers(&shared), expected);
    let closed: Vec<HostId> = state.hosts().filter(|host| !host.reservable).map(|host| host.id).collect();
    assert_eq!(numbers(&HostListing { reservable: Some(false), ..HostListing::default() }), closed);
    let unknown = HostListing { order: HostOrder::Name, after: Some(HostId(999)), ..HostListing::default() };
    assert!(hosts(&state, &unknown).unwrap_err().to_string().starts_with("marker: 999 is not there"));
    assert!(numbers(&HostListing { after: Some(HostId(999)), ..HostListing::default() }).is_empty());
}
