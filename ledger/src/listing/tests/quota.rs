//! The projects that have limits of their own.

use super::*;
use crate::model::{Limit, LimitKind};

fn set(state: &mut State, project: Option<&str>, limits: &[(LimitKind, Limit)], unset: &[LimitKind]) {
    let project_id = project.map(|id| ProjectId(id.into()));
    let (set, unset) = (limits.iter().copied().collect(), unset.iter().copied().collect());
    let proposed_at = state.clock();
    let command = Command::SetQuota { project_id, set, unset };
    apply(state, &Entry { key: None, proposed_at, command }).outcome.unwrap();
}

#[test]
fn only_projects_with_limits_of_their_own_are_listed_page_by_page() {
    let mut state = after("10:00 hosts h1");
    assert_eq!(quotas(&state, &QuotaListing::default()), []);
    set(&mut state, None, &[(LimitKind::Slots, Limit::Max(9)), (LimitKind::Vcpus, Limit::Max(8))], &[]);
    assert_eq!(quotas(&state, &QuotaListing::default()), [], "the defaults are not a project's own");
    for project in ["c", "a", "b"] {
        set(&mut state, Some(project), &[(LimitKind::Vcpus, Limit::Unlimited)], &[]);
    }
    set(&mut state, Some("d"), &[(LimitKind::Slots, Limit::Max(1))], &[]);
    set(&mut state, Some("d"), &[], &[LimitKind::Slots]);
    let listed = |after: Option<&str>, limit| {
        quotas(&state, &QuotaListing { after: after.map(|id| ProjectId(id.into())), limit, ..QuotaListing::default() })
    };
    let names = |found: Vec<Quota>| found.into_iter().map(|one| one.project_id.unwrap().to_string()).collect::<String>();
    assert_eq!(names(listed(None, None)), "abc");
    assert_eq!(names(listed(None, Some(2))), "ab");
    assert_eq!(names(listed(Some("b"), Some(2))), "c");
    assert_eq!(names(listed(Some("aa"), None)), "bc", "the one of before need not be there");
    let one = listed(None, Some(1)).remove(0);
    assert_eq!(
        (one.set, one.in_force, one.used),
        ([(LimitKind::Vcpus, Limit::Unlimited)].into(), [(LimitKind::Slots, 9)].into(), None)
    );
}

#[test]
fn projects_are_listed_either_way_round_and_by_the_kinds_of_limits_that_they_have() {
    let mut state = after("10:00 hosts h1");
    // The defaults are no project's, whatever they limit.
    set(&mut state, None, &[(LimitKind::DurationS, Limit::Max(9))], &[]);
    set(&mut state, Some("a"), &[(LimitKind::Slots, Limit::Max(1))], &[]);
    set(&mut state, Some("b"), &[(LimitKind::Slots, Limit::Unlimited), (LimitKind::Vcpus, Limit::Max(0))], &[]);
    set(&mut state, Some("c"), &[(LimitKind::Vcpus, Limit::Max(1))], &[]);
    set(&mut state, Some("d"), &[(LimitKind::Slots, Limit::Max(1)), (LimitKind::StartAheadS, Limit::Max(1))], &[]);
    set(&mut state, Some("d"), &[], &[LimitKind::Slots]);
    let told = |listing: QuotaListing| -> String {
        quotas(&state, &listing).into_iter().map(|one| one.project_id.unwrap().to_string()).collect()
    };
    let with = |kinds: &[LimitKind]| QuotaListing { set: kinds.iter().copied().collect(), ..QuotaListing::default() };
    for (kinds, expected) in [
        (&[][..], "abcd"),
        (&[LimitKind::Slots][..], "ab"),
        (&[LimitKind::Vcpus][..], "bc"),
        (&[LimitKind::StartAheadS, LimitKind::Slots][..], "abd"),
        (&[LimitKind::DurationS][..], ""),
    ] {
        assert_eq!(told(with(kinds)), expected);
        let backwards = QuotaListing { descending: true, ..with(kinds) };
        assert_eq!(told(backwards.clone()), expected.chars().rev().collect::<String>());
        for listing in [with(kinds), backwards] {
            let mut walked = String::new();
            loop {
                let after = walked.chars().last().map(|last| ProjectId(last.to_string().into()));
                let page = told(QuotaListing { after, limit: Some(1), ..listing.clone() });
                if page.is_empty() {
                    break;
                }
                walked += &page;
            }
            assert_eq!(walked, told(listing));
        }
    }
    let after = Some(ProjectId("bb".into()));
    assert_eq!(told(QuotaListing { descending: true, after, ..QuotaListing::default() }), "ba");
}
