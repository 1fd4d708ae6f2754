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
    let listed =
        |after: Option<&str>, limit| quotas(&state, &QuotaListing { after: after.map(|id| ProjectId(id.into())), limit });
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
