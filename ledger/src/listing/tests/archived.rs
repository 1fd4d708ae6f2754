//! A state that ended leases left answers as one that has them all.

use std::ops::Bound;

use super::*;
use crate::plan::crowd::twins::Twins;
use crate::state::Among;
use crate::storage::archive::ArchiveError;

/// More than there are.
const MANY: usize = 100_000;

/// What a node does: more rows until there are enough. Gives the list, and how many rows were read for it.
fn listed(twins: &Twins, filter: &LeaseFilter, most: usize) -> (Result<LeasePage, Rejection>, usize) {
    let (mut read, mut named) = (0, 3);
    loop {
        let list = match LeaseList::begin(&twins.state, filter, Reads { named, most }) {
            Ok(list) => list,
            Err(rejection) => return (Err(rejection), read),
        };
        let (reads, mut reader) = (list.reads(), twins.reader());
        let found = list.finish(&mut |which| {
            assert!(reads, "a list that reads says so");
            read += 1;
            reader.read(which)
        });
        match found.unwrap() {
            Some(found) => return (Ok(found), read),
            None => named *= 4,
        }
    }
}

fn same(twins: &Twins, filter: &LeaseFilter) -> usize {
    let expected = leases(&twins.whole, filter).map(|found| found.into_iter().cloned().collect::<Vec<_>>());
    let (page, read) = listed(twins, filter, MANY);
    assert!(page.as_ref().is_ok_and(|page| page.next.is_none()) || page.is_err());
    let found = page.map(|page| page.leases);
    let ids =
        |found: &Result<Vec<Lease>, Rejection>| found.clone().map(|found| found.iter().map(|one| one.id).collect::<Vec<_>>());
    assert_eq!(ids(&found), ids(&expected), "{filter:?}");
    assert!(found == expected, "other than they were: {filter:?}");
    read
}

#[test]
fn every_list_is_what_it_is_with_all_leases_in_memory() {
    let mut random = Random(21);
    let twins = Twins::after(90, 20, 700, &mut random);
    let all: Vec<Lease> = twins.whole.leases().cloned().collect();
    let (there, left) = (twins.state.leases_len(), twins.state.archived_len());
    assert!(there > 40 && left > 40, "{there} {left}");
    let orders =
        [LeaseOrder::Id, LeaseOrder::Name, LeaseOrder::Status, LeaseOrder::Start, LeaseOrder::End, LeaseOrder::CreatedAt];
    let (mut read, mut of_series, mut markers) = (0, 0, [0, 0]);
    for _ in 0..3_000 {
        let lease = &all[random.below(all.len() as u32) as usize];
        let binding = lease.reservations[0].bindings.first().copied();
        let elements = |random: &mut Random| -> BTreeSet<Element> {
            let host = binding.map(|binding| Element::Host(binding.host));
            let one = [host, Some(Element::Id(lease.reservations[0].id.0)), Some(Element::Id(random.uuid()))];
            one.into_iter().flatten().filter(|_| random.below(3) == 0).collect()
        };
        let start = ORIGIN_S + random.below(120 * DAY_S);
        let window = Interval { start: Seconds(start), end: Seconds(start + 1 + random.below(30 * DAY_S)) };
        let scope = random.one_of(&[Scope::Overlapping, Scope::Inclusive, Scope::Exclusive]);
        let statuses = [LeaseStatus::Terminated, LeaseStatus::Error, LeaseStatus::Active, LeaseStatus::Pending];
        let filter = LeaseFilter {
            project_id: random.one_of(&[None, Some("p"), Some("p"), Some("q")]).map(|id| ProjectId(id.into())),
            statuses: statuses.into_iter().filter(|_| random.below(4) == 0).collect(),
            name: random.one_of(&[None, None, None, Some("one"), Some("crowd")]).map(str::to_owned),
            zone: random.one_of(&[None, None, None, Some("a"), Some("none")]).map(str::to_owned),
            offers: random.below(20) == 0,
            series: lease.series_id().filter(|_| random.below(2) == 0),
            window: (random.below(3) == 0).then_some((window, scope)),
            with_any: if random.below(6) == 0 { elements(&mut random) } else { BTreeSet::new() },
            with_all: if random.below(6) == 0 { elements(&mut random) } else { BTreeSet::new() },
            without: if random.below(6) == 0 { elements(&mut random) } else { BTreeSet::new() },
            order: random.one_of(&orders),
            descending: random.below(2) == 0,
            after: (random.below(2) == 0).then_some(if random.below(9) == 0 { LeaseId(random.uuid()) } else { lease.id }),
            limit: (random.below(3) > 0).then(|| random.below(30)),
        };
        let rows = same(&twins, &filter);
        read += rows;
        of_series += if filter.series.is_some() { rows } else { 0 };
        if filter.after.is_some() && filter.order != LeaseOrder::Id {
            markers[usize::from(twins.state.archived(lease.id).is_some())] += 1;
        }
    }
    assert!(read > 1000 && of_series > 50 && markers[0] > 100 && markers[1] > 100, "{read} {of_series} {markers:?}");
}

#[test]
fn a_page_for_which_too_much_is_to_be_read_goes_on_where_it_ends_and_nothing_is_missed_or_comes_twice() {
    let mut random = Random(25);
    let twins = Twins::after(90, 20, 700, &mut random);
    let (mut cut, mut whole) = (0, 0);
    for _ in 0..400 {
        let most = 1 + random.below(20) as usize;
        let limit = 1 + random.below(12);
        let filter = LeaseFilter {
            project_id: random.one_of(&[None, Some("p")]).map(|id| ProjectId(id.into())),
            statuses: if random.below(2) == 0 { [LeaseStatus::Error, LeaseStatus::Pending].into() } else { BTreeSet::new() },
            name: random.one_of(&[None, Some("one"), Some("nobody")]).map(str::to_owned),
            descending: random.below(2) == 0,
            ..LeaseFilter::default()
        };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = LeaseFilter { after, limit: Some(limit), ..filter.clone() };
            let (page, read) = listed(&twins, &page, most);
            let page = page.unwrap();
            // Each try reads what the one before did, and more.
            assert!(read <= 3 * most, "{read} rows are read, {most} are the most");
            assert!(page.leases.len() <= limit as usize);
            let is_full = page.leases.len() == limit as usize;
            assert!(page.next.is_none() || !is_full, "one that is full goes on behind its last");
            after = page.next.or(page.leases.last().map(|last| last.id));
            let is_last = page.next.is_none() && !is_full;
            cut += usize::from(page.next.is_some());
            whole += usize::from(page.next.is_none());
            found.extend(page.leases);
            if is_last {
                break;
            }
        }
        let expected: Vec<Lease> = leases(&twins.whole, &filter).unwrap().into_iter().cloned().collect();
        assert!(found == expected, "{filter:?}, {limit} a page, {most} rows");
    }
    assert!(cut > 1_000 && whole > 1_000, "{cut} {whole}");
}

#[test]
fn what_is_no_page_by_id_is_refused_where_too_much_is_to_be_read() {
    let twins = Twins::after(90, 20, 700, &mut Random(26));
    let left = twins.state.archived_len();
    for filter in [
        LeaseFilter::default(),
        LeaseFilter { order: LeaseOrder::Start, limit: Some(3), ..LeaseFilter::default() },
        LeaseFilter { name: Some("one".into()), ..LeaseFilter::default() },
    ] {
        assert!(listed(&twins, &filter, left).0.is_ok());
        let refused = listed(&twins, &filter, left - 1).0.unwrap_err().to_string();
        assert!(
            refused.contains(&format!("statuses: more than {} leases", left - 1)) && refused.contains("with a limit"),
            "{refused}"
        );
    }
}

#[test]
fn only_rows_that_may_be_of_the_answer_are_read() {
    let twins = Twins::after(90, 20, 700, &mut Random(22));
    let reads = |filter: &LeaseFilter| same(&twins, filter);
    let of = |statuses: &[LeaseStatus]| LeaseFilter { statuses: statuses.iter().copied().collect(), ..LeaseFilter::default() };
    assert_eq!(reads(&of(&[])), twins.state.archived_len());
    assert_eq!(reads(&of(&[LeaseStatus::Active, LeaseStatus::Terminating])), 0);
    let failed = twins.archived().iter().filter(|one| one.mark.failed).count();
    assert!(failed > 5, "{failed}");
    assert_eq!(reads(&of(&[LeaseStatus::Error])), failed);
    assert_eq!(reads(&of(&[LeaseStatus::Terminated, LeaseStatus::Active])), twins.state.archived_len() - failed);
    assert_eq!(reads(&of(&[LeaseStatus::Terminated, LeaseStatus::Error])), twins.state.archived_len());
    let of_one = |statuses| LeaseFilter { project_id: Some(ProjectId("p".into())), limit: Some(100_000), ..of(statuses) };
    assert!(reads(&of_one(&[LeaseStatus::Error])) <= failed * 3);
    assert_eq!(reads(&LeaseFilter { series: Some(SeriesId(uuid::Uuid::nil())), ..of(&[]) }), 0);
    let of_series = twins.archived().iter().filter(|one| one.mark.series.is_some()).count();
    let mut series: Vec<SeriesId> = twins.archived().iter().filter_map(|one| Some(one.mark.series?.0)).collect();
    let each = |id: &SeriesId| reads(&LeaseFilter { series: Some(*id), ..of(&[]) });
    series.sort_unstable();
    series.dedup();
    let all = series.iter().map(each).sum::<usize>();
    assert!(all == of_series && all > 10, "its rows and no others: {all} of {of_series}");
    let theirs = LeaseFilter { project_id: Some(ProjectId("q".into())), series: Some(series[0]), ..of(&[]) };
    assert_eq!(reads(&theirs), 0, "nothing is read for another project");
    assert_eq!(reads(&LeaseFilter { project_id: Some(ProjectId("q".into())), ..of(&[]) }), 0);
    let now = twins.state.clock().floor_to_second();
    let ahead = Interval { start: now, end: Seconds::OPEN_END };
    assert_eq!(reads(&LeaseFilter { window: Some((ahead, Scope::Overlapping)), ..of(&[]) }), 0);
    let page = reads(&LeaseFilter { limit: Some(10), ..of(&[]) });
    // The first try takes too few.
    assert!((1..=30).contains(&page), "{page}");
}

#[test]
fn what_was_reserved_is_summed_over_all_that_was_ever_there() {
    let mut random = Random(23);
    let twins = Twins::after(90, 20, 700, &mut random);
    let mut read = 0;
    for _ in 0..200 {
        let start = ORIGIN_S + random.below(120 * DAY_S);
        let window = Interval { start: Seconds(start), end: Seconds(start + 1 + random.below(30 * DAY_S)) };
        let name = random.one_of(&[None, Some("one"), Some("crowd")]).map(str::to_owned);
        let filter = LeaseFilter { name, ..LeaseFilter::default() };
        let wish = UtilisationWish { filter, window, steps_max: 1 + random.below(20) };
        let mut reader = twins.reader();
        let draft = UtilisationDraft::begin(&twins.state, &wish, MANY).unwrap();
        let told = draft.finish(&mut |which| {
            read += 1;
            reader.read(which)
        });
        assert_eq!(told.unwrap().unwrap(), utilised(&twins.whole, &wish).unwrap());
    }
    assert!(read > 100, "{read}");
}

#[test]
fn a_row_that_is_gone_is_an_error_and_no_shorter_list() {
    let mut twins = Twins::after(90, 20, 700, &mut Random(24));
    let list = LeaseList::begin(&twins.state, &LeaseFilter::default(), Reads { named: 9, most: MANY }).unwrap();
    let (all, none) = ((Bound::Unbounded, Bound::Unbounded), Vec::new());
    let gone = twins.state.archived_in(&Among::default(), all).last().unwrap();
    twins.both(Command::DeleteLease { lease_id: gone.id }).unwrap();
    let mut reader = twins.reader();
    assert!(matches!(list.finish(&mut |which| reader.read(which)), Err(ArchiveError::Missing(id)) if id == gone.id));
    assert_eq!(
        twins.state.archived_in(&Among::default(), (Bound::Excluded(gone.id), Bound::Excluded(gone.id))).collect::<Vec<_>>(),
        none
    );
    same(&twins, &LeaseFilter::default());
}
