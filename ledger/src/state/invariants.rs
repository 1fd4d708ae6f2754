//! What must hold between any two entries. Runs after every entry in tests and chaos, and after open and install.
//!
//! L1 is recomputed from the leases alone, second border by second border, not read from the calendar.

mod capacity;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::State;
use super::archive::archivable_since;
use super::change::{bound_hosts, may_give_way};
use super::due::lease_due;
use super::host_index::HostIndex;
use crate::model::{
    Amounts, Binding, EventKind, EventStatus, Expiry, Host, HostId, Interval, Lease, LeaseId, LeaseStatus, Phase, ProjectId,
    Reservation, ReservationId, ReservationStatus, SeriesId, Stage, Step, Timestamp,
};
use capacity::{booked, check_capacity};

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: &'static str,
    /// Where, and what was found.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.found)
    }
}

/// Everything that does not hold; empty when all is well.
pub fn check(state: &State) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut found = FromLeases::of_about(state.leases.len());
    for (_, row) in state.leases.iter() {
        found.add(&row.value, row.hash);
        check_lease(state, &row.value, &mut violations);
    }
    check_capacity(state, std::mem::take(&mut found.booked), &mut violations);
    check_flavors(&mut found.flavors, &mut violations);
    check_series(state, &mut found.series, &mut violations);
    check_rows(state, &mut violations);
    check_derived(state, found, &mut violations);
    violations
}

/// What the leases say that something else must agree with. There may be a million of them, so they are gone through once.
struct FromLeases<'a> {
    booked: Vec<(HostId, Interval, Amounts)>,
    /// Of each reservation, and whether it is not over.
    flavors: Vec<(ReservationId, LeaseId, bool)>,
    series: Vec<(SeriesId, LeaseId)>,
    degraded: Vec<LeaseId>,
    preemptible: Vec<LeaseId>,
    waitlist: Vec<(u64, LeaseId)>,
    ended: Vec<(Timestamp, LeaseId)>,
    due: Vec<(Timestamp, LeaseId)>,
    on_host: Vec<(HostId, LeaseId)>,
    begun_on: Vec<(HostId, LeaseId)>,
    by_project: Vec<(&'a ProjectId, LeaseId)>,
    hash: u128,
}

impl<'a> FromLeases<'a> {
    fn of_about(leases: usize) -> FromLeases<'a> {
        FromLeases {
            booked: Vec::with_capacity(leases),
            flavors: Vec::with_capacity(leases),
            series: Vec::new(),
            degraded: Vec::new(),
            preemptible: Vec::new(),
            waitlist: Vec::new(),
            ended: Vec::new(),
            due: Vec::with_capacity(leases),
            on_host: Vec::with_capacity(leases),
            begun_on: Vec::new(),
            by_project: Vec::with_capacity(leases),
            hash: 0,
        }
    }

    fn add(&mut self, lease: &'a Lease, hash: u128) {
        for reservation in &lease.reservations {
            self.flavors.push((reservation.flavor(), lease.id, !lease.is_over(reservation)));
            if reservation.status != ReservationStatus::Deleted {
                booked(lease, reservation, &mut self.booked);
            }
        }
        self.degraded.extend(lease.degraded.then_some(lease.id));
        self.preemptible.extend(may_give_way(lease).then_some(lease.id));
        self.waitlist.extend(lease.wait.as_ref().map(|wait| (wait.since, lease.id)));
        self.ended.extend(archivable_since(lease).map(|at| (at, lease.id)));
        self.series.extend(lease.series_id().map(|series| (series, lease.id)));
        self.due.extend(lease_due(lease).map(|at| (at, lease.id)));
        let begun = lease.reservations.iter().any(|reservation| reservation.stage != Stage::Booked);
        for host in bound_hosts(lease) {
            self.on_host.push((host, lease.id));
            self.begun_on.extend(begun.then_some((host, lease.id)));
        }
        self.by_project.push((&lease.project_id, lease.id));
        self.hash = self.hash.wrapping_add(hash);
    }
}

fn violated(violations: &mut Vec<Violation>, rule: &'static str, found: String) {
    violations.push(Violation { rule, found });
}

fn check_lease(state: &State, lease: &Lease, violations: &mut Vec<Violation>) {
    let id = lease.id;
    let event = |kind| lease.event(kind).map(|event| event.status);
    let (Some(start), Some(end)) = (event(EventKind::StartLease), event(EventKind::EndLease)) else {
        violated(violations, "events", format!("lease {id} lacks its start or end"));
        return;
    };
    if lease.start >= lease.end {
        violated(violations, "interval", format!("lease {id} is empty"));
    }
    // What expired alone is over before its lease.
    let others = lease.reservations.iter().filter(|one| !(lease.status == LeaseStatus::Active && one.expired_alone()));
    if !legal(lease.status, start, end, others.map(|reservation| reservation.status)) {
        let statuses: Vec<_> = lease.reservations.iter().map(|reservation| reservation.status).collect();
        violated(violations, "statuses", format!("lease {id}: {:?} {start:?} {end:?} {statuses:?}", lease.status));
    }
    if lease.deleted != (lease.status == LeaseStatus::Deleting) {
        violated(violations, "statuses", format!("lease {id}: deleted and DELETING go together"));
    }
    if lease.deleted && state.actuations_of(id).next().is_none() {
        violated(violations, "deleted", format!("lease {id} stays without work"));
    }
    for reservation in &lease.reservations {
        check_reservation(state, lease, reservation, violations);
    }
    check_offer(lease, violations);
    check_wait(state, lease, violations);
    check_preempted(state, lease, violations);
    check_expiry(state, lease, violations);
}

/// While it is counted, tokens are closed of what is open, and somebody is at work on it.
fn check_expiry(state: &State, lease: &Lease, violations: &mut Vec<Violation>) {
    if lease.deleted {
        return;
    }
    let counts = |id| state.open_row(lease.id, id).is_some_and(|row| row.step == Step::Expire);
    let counting = lease.reservations.iter().any(|one| counts(one.id));
    let under_way = lease.event(EventKind::Expiry).is_some_and(|event| event.status == EventStatus::InProgress);
    if counting != under_way {
        violated(violations, "expiry", format!("lease {}: its expiry is under way, and nobody counts, or it is not", lease.id));
    }
    let ends = |one: &Reservation| state.open_row(lease.id, one.id).is_some_and(|row| row.step == Step::End);
    let left = |one: &Reservation| one.stage == Stage::Ended && one.status == ReservationStatus::Active && !ends(one);
    if matches!(lease.status, LeaseStatus::Active | LeaseStatus::Updating) && lease.reservations.iter().any(left) {
        violated(violations, "expiry", format!("lease {}: a reservation of it ended, and nobody sees to that", lease.id));
    }
    for one in lease.reservations.iter().filter(|one| one.is_expiring() || counts(one.id)) {
        let well = counting && one.stage == Stage::Open && (one.expiry == Some(Expiry::Counting)) == counts(one.id);
        if !well || !matches!(lease.status, LeaseStatus::Active | LeaseStatus::Error) {
            violated(violations, "expiry", format!("reservation {}: {:?} at {:?}", one.id, one.expiry, one.stage));
        }
    }
}

/// What lost its room books nothing, never began, and has work in the cloud for as long as something of it may be left there.
fn check_preempted(state: &State, lease: &Lease, violations: &mut Vec<Violation>) {
    let Some(preempted) = lease.preempted.as_deref() else { return };
    let given_up = lease.reservations.iter().all(|one| one.status == ReservationStatus::Deleted);
    let never_began = lease.event(EventKind::StartLease).is_some_and(|event| event.status == EventStatus::Error);
    if !given_up || !never_began || !matches!(lease.status, LeaseStatus::Error | LeaseStatus::Deleting) {
        violated(violations, "preempted", format!("lease {}: it has something, or began", lease.id));
    }
    let ending = state.actuations_of(lease.id).filter(|row| row.step == Step::End).count();
    if preempted.cleaned != (ending == 0) || ending != state.actuations_of(lease.id).count() {
        violated(violations, "preempted", format!("lease {}: what is left of it is not being removed", lease.id));
    }
}

/// An offer that was not claimed is booked and no more, and is over before its lease begins.
fn check_offer(lease: &Lease, violations: &mut Vec<Violation>) {
    let Some(expires_at) = lease.unclaimed_until() else { return };
    if expires_at > lease.start {
        violated(violations, "offer", format!("lease {}: it would stand for longer than until its start", lease.id));
    }
    let booked = lease.reservations.iter().all(|one| one.stage == Stage::Booked);
    if !booked || lease.events.iter().any(|event| event.status != EventStatus::Undone) {
        violated(violations, "offer", format!("lease {}: something was done for it that was not claimed", lease.id));
    }
}

/// What waits for room is bound to no host and nothing is done for it; one that is being promoted waits for its hold.
fn check_wait(state: &State, lease: &Lease, violations: &mut Vec<Violation>) {
    let waits = lease.status == LeaseStatus::Waiting;
    let Some(wait) = lease.wait.as_deref() else {
        if waits {
            violated(violations, "wait", format!("lease {}: it waits, and nobody knows until when", lease.id));
        }
        return;
    };
    let last = wait.latest.unwrap_or(wait.first);
    if wait.until > last || lease.start < wait.first || lease.start > last || (waits && lease.start != wait.first) {
        violated(violations, "wait", format!("lease {}: it would wait or start too late, or start too early", lease.id));
    }
    if !waits && lease.status != LeaseStatus::Updating {
        violated(violations, "wait", format!("lease {}: it is {:?}, and would wait still", lease.id, lease.status));
    }
    let rows = state.actuations_of(lease.id).count();
    let bound = lease.reservations.iter().any(|one| !one.bindings.is_empty());
    if lease.reservations.iter().any(|one| one.stage != Stage::Booked) || (waits && (bound || rows > 0)) {
        violated(violations, "wait", format!("lease {}: something is booked or was done for it", lease.id));
    }
}

/// Blazar's table of legal combinations (blazar-api §12). An ended lease whose start or end failed stays ERROR, with
/// reservations that are gone already.
fn legal(
    lease: LeaseStatus,
    start: EventStatus,
    end: EventStatus,
    mut reservations: impl Iterator<Item = ReservationStatus>,
) -> bool {
    use EventStatus::{Done, Error, InProgress, Undone};
    use ReservationStatus as R;
    match lease {
        LeaseStatus::Creating | LeaseStatus::Pending | LeaseStatus::Waiting => {
            start == Undone && end == Undone && reservations.all(|one| one == R::Pending)
        }
        LeaseStatus::Starting => start == InProgress && end == Undone && reservations.all(|one| one != R::Deleted),
        LeaseStatus::Active => start == Done && end == Undone && reservations.all(|one| one == R::Active),
        LeaseStatus::Terminating => {
            matches!(start, Done | Error) && end == InProgress && reservations.all(|one| one != R::Pending)
        }
        LeaseStatus::Terminated => start == Done && end == Done && reservations.all(|one| one == R::Deleted),
        LeaseStatus::Updating => start != InProgress && end != InProgress,
        LeaseStatus::Deleting => true,
        LeaseStatus::Error => matches!(start, Done | Error) && end != InProgress,
    }
}

/// All servers of a flavor belong to the one reservation that has it and is not over.
fn check_flavors(flavors: &mut [(ReservationId, LeaseId, bool)], violations: &mut Vec<Violation>) {
    flavors.sort_unstable();
    let mut last = None;
    for (flavor, _, _) in flavors.iter().filter(|(_, _, alive)| *alive) {
        if last.replace(flavor) == Some(flavor) {
            violated(violations, "flavor", format!("two reservations have the flavor of {flavor}"));
        }
    }
}

/// A series is of one project, has each occurrence once, and is promised as a whole; until then it waits for the cloud.
fn check_series(state: &State, series: &mut [(SeriesId, LeaseId)], violations: &mut Vec<Violation>) {
    series.sort_unstable();
    let twice = |mut numbers: Vec<u32>| {
        numbers.sort_unstable();
        numbers.windows(2).any(|pair| pair[0] == pair[1])
    };
    for (id, left) in state.archive.series() {
        if twice(left.iter().map(|(_, number)| *number).collect()) {
            violated(violations, "series", format!("series {id}: an occurrence left memory twice"));
        }
    }
    for of_one in series.chunk_by(|one, other| one.0 == other.0) {
        let id = of_one[0].0;
        let leases: Vec<&Lease> = of_one.iter().filter_map(|(_, lease)| state.lease(*lease)).collect();
        let left = state.archive.members(id);
        let members = leases.iter().filter_map(|lease| lease.series.as_ref());
        let numbers = members.map(|member| member.number).chain(left.iter().map(|(_, number)| *number)).collect();
        let owner = state.archive.owner_of(id).unwrap_or(&leases[0].project_id);
        if twice(numbers) || leases.iter().any(|one| one.project_id != *owner) {
            violated(violations, "series", format!("series {id}: an occurrence is there twice, or not of its project"));
        }
        let waiting = leases.iter().filter(|lease| lease.status == LeaseStatus::Creating);
        let held = |lease: &&Lease| state.actuations_of(lease.id).all(|row| row.step != Step::Hold);
        let in_part = waiting.clone().count() < leases.len() || !left.is_empty();
        if waiting.clone().count() > 0 && (in_part || waiting.copied().all(|lease| held(&lease))) {
            violated(violations, "series", format!("series {id}: promised in part, or waits for nothing"));
        }
    }
}

fn check_reservation(state: &State, lease: &Lease, reservation: &Reservation, violations: &mut Vec<Violation>) {
    let (id, wish) = (reservation.id, reservation.wish.instance());
    let key = |binding: &Binding| (binding.phase, binding.host);
    if !reservation.bindings.is_sorted_by(|a, b| key(a) < key(b)) || reservation.bindings.iter().any(|one| one.slots == 0) {
        violated(violations, "bindings", format!("reservation {id}: not sorted, or empty"));
    }
    let slots = |phase| reservation.bindings.iter().filter(|one| one.phase == phase).map(|one| u64::from(one.slots)).sum::<u64>();
    let staged = if reservation.staging.is_some() { u64::from(wish.amount) } else { 0 };
    // Once staging has begun an update changes the amount of the main window only.
    let staging_counts = reservation.stage < Stage::Staging;
    // `check_wait` says what is so of them.
    let waits = lease.status == LeaseStatus::Waiting;
    if !waits && (slots(Phase::Main) != u64::from(wish.amount) || (staging_counts && slots(Phase::Staging) != staged)) {
        violated(violations, "bindings", format!("reservation {id}: slots differ from the amount {}", wish.amount));
    }
    let one_host = reservation.bindings.iter().filter(|one| one.phase == Phase::Main).count() == 1;
    let apart = reservation.bindings.iter().all(|one| one.slots == 1);
    if (wish.affinity == Some(true) && !one_host && !waits) || (wish.affinity == Some(false) && !apart) {
        violated(violations, "affinity", format!("reservation {id}"));
    }
    let differ = |bindings: &[Binding]| {
        let mut anchors = bindings.iter().filter_map(|binding| state.host(binding.host)).map(|host| host.description.anchor);
        anchors.next().is_some_and(|first| anchors.any(|anchor| anchor != first))
    };
    let previous = reservation.previous.iter().map(|previous| previous.bindings.as_slice());
    if previous.chain([reservation.bindings.as_slice()]).any(differ) {
        violated(violations, "anchor", format!("reservation {id}: one flavor on hosts with different anchors"));
    }
    if reservation.staging.is_some_and(|staging| staging.booked().end > lease.start) {
        violated(violations, "staging", format!("reservation {id}: its window reaches into the lease"));
    }
    if reservation.previous.is_some() && lease.status != LeaseStatus::Updating {
        violated(violations, "previous", format!("reservation {id}: kept while the lease is {:?}", lease.status));
    }
    let row = state.open_row(lease.id, id).map(|row| row.step);
    if reservation.status == ReservationStatus::Active && reservation.stage < Stage::Open {
        violated(violations, "stage", format!("reservation {id}: active at {:?}", reservation.stage));
    }
    let fits = match row {
        None => true,
        Some(Step::Hold) => matches!(lease.status, LeaseStatus::Creating | LeaseStatus::Updating),
        Some(Step::Prepare) => reservation.stage == Stage::Prepared,
        Some(Step::StagingOpen) => reservation.stage == Stage::Staging,
        Some(Step::StagingClose) => reservation.stage == Stage::Parking,
        Some(Step::Start) => reservation.stage == Stage::Open,
        Some(Step::Adjust) => reservation.stage >= Stage::Staging && reservation.stage < Stage::Ended,
        Some(Step::Expire) => reservation.expiry == Some(Expiry::Counting),
        Some(Step::BeforeEnd) => false,
        Some(Step::End) => reservation.stage == Stage::Ended,
    };
    if !fits {
        violated(violations, "stage", format!("reservation {id}: row {row:?} at {:?}", reservation.stage));
    }
}

fn check_rows(state: &State, violations: &mut Vec<Violation>) {
    let mut seen = BTreeSet::new();
    for row in state.actuations() {
        let lease = state.lease(row.lease_id);
        if lease.and_then(|lease| lease.reservation(row.reservation_id)).is_none() {
            violated(violations, "rows", format!("row {} belongs to no reservation", row.id));
        }
        if lease.is_some_and(|lease| lease.revision != row.revision) {
            violated(violations, "rows", format!("row {} has an old revision", row.id));
        }
        if !seen.insert(row.reservation_id) {
            violated(violations, "rows", format!("reservation {} has two rows", row.reservation_id));
        }
        if row.id.0 > state.meta.last_actuation {
            violated(violations, "rows", format!("row {} was never counted", row.id));
        }
    }
    for ((id, project), row) in state.keys.iter() {
        if let super::KeyFate::Pending { lease_id, .. } = &row.value.fate {
            let waits = state.lease(*lease_id).is_some_and(|lease| {
                let creating = lease.status == LeaseStatus::Creating;
                let key = if creating { lease.key.as_ref() } else { lease.update_key.as_deref() };
                key.is_some_and(|key| key.id == *id && key.project_id == *project)
            });
            if !waits {
                violated(violations, "keys", format!("key {id} of {project} waits for nothing"));
            }
        }
    }
}

/// The changes kept for subscribers; gives the sum of their hashes, so that this longest table is gone through once.
fn check_journal(state: &State, violations: &mut Vec<Violation>) -> u128 {
    let mut sum = 0u128;
    for ((index, _), row) in state.changes.iter() {
        if *index > state.ledger_index() || *index < state.meta.journal_from {
            violated(violations, "journal", format!("a change of index {index}"));
        }
        sum = sum.wrapping_add(row.hash);
    }
    sum
}

/// What is derived of leases, hosts and keys equals its recomputation, and the hash is the sum of the rows' hashes.
fn check_derived(state: &State, mut found: FromLeases<'_>, violations: &mut Vec<Violation>) {
    found.due.sort_unstable();
    if !found.due.iter().eq(&state.due) {
        violated(violations, "due queue", "differs from the leases".to_owned());
    }
    let by_host = |index: Vec<_>, kept: &BTreeMap<HostId, _>| is_index(index, kept.iter().map(|(host, leases)| (*host, leases)));
    let hosts_agree = by_host(found.on_host, &state.on_host) && by_host(found.begun_on, &state.begun_on);
    let projects_agree = is_index(found.by_project, state.by_project.iter());
    // `check_flavors` has sorted them.
    let mut by_flavor: Vec<_> = found.flavors.into_iter().map(|(flavor, lease, _)| (flavor, lease)).collect();
    by_flavor.dedup();
    // `check_series` has sorted them.
    let series_agree = found.series.iter().eq(&state.by_series);
    found.waitlist.sort_unstable();
    let degraded_agree = found.degraded.iter().eq(&state.degraded) && found.waitlist.iter().eq(&state.waitlist);
    let preemptible_agree = found.preemptible.iter().eq(&state.preemptible);
    if !series_agree
        || !degraded_agree
        || !preemptible_agree
        || !hosts_agree
        || !projects_agree
        || !by_flavor.iter().eq(&state.by_flavor)
    {
        violated(
            violations,
            "indexes",
            "leases by host, project, flavor or series, or those that lack a host, wait for room or may give way, differ"
                .to_owned(),
        );
    }
    let names: BTreeMap<_, _> = state.hosts().map(|host| (host.description.hypervisor_hostname.clone(), host.id)).collect();
    if names != state.by_name || names.len() != state.hosts.len() {
        violated(violations, "indexes", "hosts by name differ".to_owned());
    }
    let mut host_index = HostIndex::default();
    state.hosts().for_each(|host| host_index.reindex(None, Some(host)));
    if host_index != state.host_index {
        violated(violations, "indexes", "hosts by zone, trait or property differ".to_owned());
    }
    let mut keys_of: BTreeMap<&ProjectId, usize> = BTreeMap::new();
    let mut key_expiry = Vec::with_capacity(state.key_expiry.len());
    for ((id, project), row) in state.keys.iter() {
        *keys_of.entry(project).or_default() += 1;
        key_expiry.push((row.value.valid_until, project, *id));
    }
    key_expiry.sort_unstable();
    let counts_agree = keys_of.into_iter().eq(state.keys_of.iter().map(|(project, count)| (project, *count)));
    let expiry = state.key_expiry.iter().map(|(at, project, id)| (*at, project, *id));
    if !counts_agree || !key_expiry.into_iter().eq(expiry) {
        violated(violations, "indexes", "keys by project or expiry differ".to_owned());
    }
    let ends: BTreeSet<_> =
        state.hosts.values().flat_map(|host| host.downtimes.iter().map(|one| (one.interval.end, host.id))).collect();
    if ends != state.downtime_ends {
        violated(violations, "indexes", "the ends of downtimes differ".to_owned());
    }
    let of_upgrade = |host: &Host| host.upgrade.map(|upgrade| (upgrade.start, host.id));
    if state.hosts.values().filter_map(of_upgrade).collect::<BTreeSet<_>>() != state.upgrade_starts {
        violated(violations, "indexes", "the starts of upgrades differ".to_owned());
    }
    found.ended.sort_unstable();
    if !found.ended.iter().eq(&state.ended) || !state.archive.agrees() {
        violated(violations, "archive", "leases that have ended, or those that left memory, by project, differ".to_owned());
    }
    if let Some(id) = state.archived_twice() {
        violated(violations, "archive", format!("lease {id} left memory and is there"));
    }
    if let Some(project) = state.miscounted_use() {
        violated(violations, "use", format!("what project {project} has reserved differs from its leases"));
    }
    let hashes = [
        state.meta_hash,
        found.hash,
        state.hosts.iter().map(|(_, row)| row.hash).fold(0, u128::wrapping_add),
        state.actuations.iter().map(|(_, row)| row.hash).fold(0, u128::wrapping_add),
        state.keys.iter().map(|(_, row)| row.hash).fold(0, u128::wrapping_add),
        check_journal(state, violations),
        state.quotas.iter().map(|(_, row)| row.hash).fold(0, u128::wrapping_add),
        state.archive.sum(),
    ];
    if hashes.into_iter().fold(0, u128::wrapping_add) != state.hash {
        violated(violations, "hash", "is not the sum of the rows' hashes".to_owned());
    }
}

/// Whether an index has these pairs and no others, and no entry without leases.
fn is_index<'a, K: Ord + Copy>(
    pairs: Vec<(K, LeaseId)>,
    index: impl Iterator<Item = (K, &'a BTreeSet<LeaseId>)> + Clone,
) -> bool {
    let mut leases_of: BTreeMap<K, Vec<LeaseId>> = BTreeMap::new();
    for (key, lease) in pairs {
        leases_of.entry(key).or_default().push(lease);
    }
    // Pairs mostly come by lease, so that little is left to be sorted.
    leases_of.values_mut().for_each(|leases| {
        leases.sort_unstable();
        leases.dedup();
    });
    leases_of.len() == index.clone().count()
        && leases_of.into_iter().zip(index).all(|((key, leases), (of, kept))| key == of && leases.iter().eq(kept))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::journal::JournalRow;
    use super::*;
    use crate::storage::keys::Mark;

    /// The rules that an empty state breaks after this.
    fn broken<T>(change: impl FnOnce(&mut State) -> T) -> Vec<&'static str> {
        let mut state = State::default();
        change(&mut state);
        check(&state).into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn indexes_that_are_not_those_of_the_rows_are_found() {
        let (project, lease) = (ProjectId("p".into()), LeaseId(Uuid::from_u128(1)));
        assert_eq!(broken(|_| {}), [] as [&str; 0]);
        assert_eq!(broken(|state| state.by_project.insert(project.clone(), [lease].into())), ["indexes"]);
        assert_eq!(broken(|state| state.on_host.insert(HostId(1), [lease].into())), ["indexes"]);
        assert_eq!(broken(|state| state.on_host.insert(HostId(1), BTreeSet::new())), ["indexes"], "nobody is there");
        assert_eq!(broken(|state| state.begun_on.insert(HostId(1), [lease].into())), ["indexes"]);
        assert_eq!(broken(|state| state.keys_of.insert(project.clone(), 1)), ["indexes"]);
        assert_eq!(broken(|state| state.key_expiry.insert((Timestamp(1), project.clone(), lease.0))), ["indexes"]);
    }

    #[test]
    fn an_occurrence_that_left_memory_twice_is_found() {
        let (project, series) = (ProjectId("p".into()), SeriesId(Uuid::from_u128(9)));
        let left = |numbers: [u32; 2]| {
            broken(|state| {
                for (id, number) in (1..).zip(numbers) {
                    let mark = Mark { series: Some((series, number)), failed: number == 2, flavors: Vec::new() };
                    state.archive.insert(&project, LeaseId(Uuid::from_u128(id)), mark, 0);
                }
            })
        };
        assert_eq!(left([1, 2]), [] as [&str; 0]);
        assert_eq!(left([2, 2]), ["series"]);
    }

    #[test]
    fn an_index_has_every_pair_once_and_no_other() {
        let (a, b) = (LeaseId(Uuid::from_u128(1)), LeaseId(Uuid::from_u128(2)));
        let index: BTreeMap<u8, BTreeSet<LeaseId>> = [(1, [a, b].into()), (2, [b].into())].into();
        let is = |pairs: &[(u8, LeaseId)]| is_index(pairs.to_vec(), index.iter().map(|(key, leases)| (*key, leases)));
        assert!(is(&[(2, b), (1, b), (1, a), (1, a)]));
        assert!(!is(&[(1, a), (1, b)]));
        assert!(!is(&[(1, a), (1, b), (2, b), (2, a)]));
        assert!(!is(&[(1, a), (2, b)]));
    }

    #[test]
    fn the_journal_is_held_against_its_keys_and_its_hashes_are_in_the_sum() {
        let row = || JournalRow::stored(&[1]).expect("its version is known");
        assert_eq!(broken(|state| state.changes.insert((5, 0), row(), 0)), ["journal"], "of the future");
        let dropped = |state: &mut State| {
            state.meta.journal_from = 1;
            state.changes.insert((0, 0), row(), 0)
        };
        assert_eq!(broken(dropped), ["journal"], "one that was dropped");
        assert_eq!(broken(|state| state.changes.insert((0, 0), row(), 7)), ["hash"]);
    }
}
