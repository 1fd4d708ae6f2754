//! What memory keeps of leases that left it. There may be millions of them, so that every byte of one counts: what many have in
//! common, their project and their series, stands here once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use uuid::Uuid;

use super::{Among, Archived};
use crate::model::{LeaseId, ProjectId, ReservationId, SeriesId};
use crate::storage::keys::{FlavorSize, Mark};

/// All of them.
#[derive(Clone, Debug, Default)]
pub(in crate::state) struct Archive {
    rows: BTreeMap<LeaseId, Kept>,
    of: BTreeMap<ProjectId, Theirs>,
    series: BTreeMap<SeriesId, Members>,
    /// Those in ERROR, of which there are few.
    failed: BTreeSet<LeaseId>,
    /// Of those that parked servers or took some over.
    flavors: BTreeMap<LeaseId, Box<[FlavorSize]>>,
    by_flavor: BTreeSet<(ReservationId, LeaseId)>,
}

/// What leases of one project, or of one series, have in common.
#[derive(Debug, PartialEq, Eq)]
struct Kin {
    project: ProjectId,
    series: Option<SeriesId>,
}

/// The hash as bytes: as a number it would be padded to twice its length.
#[derive(Clone, Debug)]
struct Kept {
    kin: Arc<Kin>,
    hash: [u8; 16],
}

/// The leases of a project.
#[derive(Clone, Debug)]
struct Theirs {
    /// Of those of no series.
    kin: Arc<Kin>,
    leases: BTreeSet<LeaseId>,
    /// Those of them in ERROR.
    failed: BTreeSet<LeaseId>,
}

impl Theirs {
    fn of(project: &ProjectId) -> Theirs {
        let kin = Arc::new(Kin { project: project.clone(), series: None });
        Theirs { kin, leases: BTreeSet::new(), failed: BTreeSet::new() }
    }
}

/// The leases of a series, a hundred or so at most, by id, and their numbers in it.
#[derive(Clone, Debug)]
struct Members {
    kin: Arc<Kin>,
    leases: Vec<(LeaseId, u32)>,
}

/// A row, as the disk has it.
pub(in crate::state) type StoredRow = (ProjectId, LeaseId, Mark, u128);

/// Some of them by id, from both ends.
pub(super) type ById<'a> = Box<dyn DoubleEndedIterator<Item = Archived> + 'a>;

impl Archive {
    pub fn insert(&mut self, project: &ProjectId, id: LeaseId, mark: Mark, hash: u128) {
        let theirs = self.of.entry(project.clone()).or_insert_with(|| Theirs::of(project));
        theirs.leases.insert(id);
        self.rows.insert(id, Kept { kin: theirs.kin.clone(), hash: hash.to_be_bytes() });
        self.mark(id, mark);
    }

    /// Of one that is there, and has no mark yet.
    fn mark(&mut self, id: LeaseId, mark: Mark) {
        let Some(kept) = self.rows.get_mut(&id) else { return };
        if mark.failed {
            self.failed.insert(id);
            if let Some(theirs) = self.of.get_mut(&kept.kin.project) {
                theirs.failed.insert(id);
            }
        }
        if !mark.flavors.is_empty() {
            self.by_flavor.extend(mark.flavors.iter().map(|one| (one.flavor, id)));
            self.flavors.insert(id, mark.flavors.into());
        }
        if let Some((series, number)) = mark.series {
            let kin = || Arc::new(Kin { project: kept.kin.project.clone(), series: Some(series) });
            let members = self.series.entry(series).or_insert_with(|| Members { kin: kin(), leases: Vec::new() });
            let place = members.leases.partition_point(|(other, _)| *other < id);
            members.leases.insert(place, (id, number));
            kept.kin = members.kin.clone();
        }
    }

    pub fn remove(&mut self, id: LeaseId) {
        let Some(Kept { kin, .. }) = self.rows.remove(&id) else { return };
        self.failed.remove(&id);
        for one in self.flavors.remove(&id).iter().flatten() {
            self.by_flavor.remove(&(one.flavor, id));
        }
        if let Some(theirs) = self.of.get_mut(&kin.project) {
            theirs.leases.remove(&id);
            theirs.failed.remove(&id);
            if theirs.leases.is_empty() {
                self.of.remove(&kin.project);
            }
        }
        if let Some((series, members)) = kin.series.and_then(|series| Some((series, self.series.get_mut(&series)?))) {
            members.leases.retain(|(other, _)| *other != id);
            if members.leases.is_empty() {
                self.series.remove(&series);
            }
        }
    }

    pub fn set_hash(&mut self, id: LeaseId, hash: u128) {
        if let Some(kept) = self.rows.get_mut(&id) {
            kept.hash = hash.to_be_bytes();
        }
    }

    pub fn get(&self, id: LeaseId) -> Option<Archived> {
        self.rows.get(&id).map(|kept| self.shown(id, kept))
    }

    fn shown(&self, id: LeaseId, kept: &Kept) -> Archived {
        let member = |series: SeriesId| Some((series, number_of(self.members(series), id)?));
        let flavors = self.flavors.get(&id).map_or_else(Vec::new, |flavors| flavors.to_vec());
        let mark = Mark { series: kept.kin.series.and_then(member), failed: self.failed.contains(&id), flavors };
        Archived { id, project_id: kept.kin.project.clone(), mark, hash: u128::from_be_bytes(kept.hash) }
    }

    /// Fills an empty archive at once; rows of one project mostly come one after the other.
    pub fn load(rows: Vec<StoredRow>) -> Archive {
        let mut archive = Archive::default();
        let mut by_id = Vec::with_capacity(rows.len());
        for of_one in rows.chunk_by(|one, other| one.0 == other.0) {
            let project = &of_one[0].0;
            let theirs = archive.of.entry(project.clone()).or_insert_with(|| Theirs::of(project));
            let ids = of_one.iter().map(|(_, id, _, _)| *id);
            if theirs.leases.is_empty() {
                theirs.leases = ids.collect();
            } else {
                theirs.leases.extend(ids);
            }
            let kept = |hash: u128| Kept { kin: theirs.kin.clone(), hash: hash.to_be_bytes() };
            by_id.extend(of_one.iter().map(|(_, id, _, hash)| (*id, kept(*hash))));
        }
        archive.rows = by_id.into_iter().collect();
        for (_, id, mark, _) in rows.into_iter().filter(|(_, _, mark, _)| *mark != Mark::default()) {
            archive.mark(id, mark);
        }
        archive
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The leases of a series, by id, and their numbers in it.
    pub fn members(&self, series: SeriesId) -> &[(LeaseId, u32)] {
        self.series.get(&series).map_or(&[], |members| &members.leases)
    }

    /// The sizes that leases of this flavor say it has.
    pub fn sizes_of(&self, flavor: ReservationId) -> impl Iterator<Item = FlavorSize> + '_ {
        let all = (flavor, LeaseId(Uuid::nil()))..=(flavor, LeaseId(Uuid::max()));
        let of = move |(_, id): &(ReservationId, LeaseId)| self.flavors.get(id)?.iter().find(|one| one.flavor == flavor).copied();
        self.by_flavor.range(all).filter_map(of)
    }

    /// Whose a series is.
    pub fn owner_of(&self, series: SeriesId) -> Option<&ProjectId> {
        self.series.get(&series).map(|members| &members.kin.project)
    }

    /// Every series that has leases here, with their numbers.
    pub fn series(&self) -> impl Iterator<Item = (SeriesId, &[(LeaseId, u32)])> + '_ {
        self.series.iter().map(|(series, members)| (*series, members.leases.as_slice()))
    }

    /// How many are among these; of a series it may be less.
    pub fn count(&self, among: &Among<'_>) -> usize {
        let (all, failed) = match (among.series, among.project) {
            (Some(series), _) => return self.members(series).len(),
            (None, Some(project)) => self.of.get(project).map_or((0, 0), |theirs| (theirs.leases.len(), theirs.failed.len())),
            (None, None) => (self.rows.len(), self.failed.len()),
        };
        match among.failed {
            None => all,
            Some(true) => failed,
            Some(false) => all - failed,
        }
    }

    /// Those among these with ids in a range, by id.
    pub fn among<'a>(&'a self, among: &Among<'a>, range: (Bound<LeaseId>, Bound<LeaseId>)) -> ById<'a> {
        if is_empty(&range) {
            return Box::new(std::iter::empty());
        }
        let (project, failed) = (among.project, among.failed);
        let only_failed = failed == Some(true);
        let found: ById<'a> = match (among.series, project) {
            (Some(series), _) => {
                let within = self.members(series).iter().filter(move |(id, _)| range.contains(id));
                let all = within.filter_map(|(id, _)| self.get(*id));
                Box::new(all.filter(move |one| project.is_none_or(|project| one.project_id == *project)))
            }
            (None, Some(project)) => {
                let theirs = self.of.get(project).into_iter();
                let ids = theirs.flat_map(move |one| if only_failed { &one.failed } else { &one.leases }.range(range));
                Box::new(ids.filter_map(|id| self.get(*id)))
            }
            (None, None) if only_failed => Box::new(self.failed.range(range).filter_map(|id| self.get(*id))),
            (None, None) => Box::new(self.rows.range(range).map(|(id, kept)| self.shown(*id, kept))),
        };
        Box::new(found.filter(move |one| failed.is_none_or(|failed| one.mark.failed == failed)))
    }

    /// The sum of the hashes of their rows.
    pub fn sum(&self) -> u128 {
        self.rows.values().map(|kept| u128::from_be_bytes(kept.hash)).fold(0, u128::wrapping_add)
    }

    /// Whether the leases by project, by series, by flavor and in ERROR are those there are.
    pub fn agrees(&self) -> bool {
        let all = self.of.values().map(|theirs| theirs.leases.len()).sum::<usize>() == self.rows.len();
        let kin_of = |id: &LeaseId| self.rows.get(id).map(|kept| &*kept.kin);
        let of_project = |(project, theirs): (&ProjectId, &Theirs)| {
            let is_theirs = |id: &LeaseId| kin_of(id).is_some_and(|kin| kin.project == *project);
            let failed = theirs.failed.iter().all(|id| self.failed.contains(id) && theirs.leases.contains(id));
            !theirs.leases.is_empty() && theirs.leases.iter().all(is_theirs) && failed
        };
        let failed = self.of.values().map(|theirs| theirs.failed.len()).sum::<usize>() == self.failed.len();
        let of_series = |(series, members): (&SeriesId, &Members)| {
            let is_theirs = |(id, _): &(LeaseId, u32)| kin_of(id) == Some(&*members.kin);
            let well = !members.leases.is_empty() && members.leases.is_sorted_by(|one, other| one.0 < other.0);
            well && members.kin.series == Some(*series) && members.leases.iter().all(is_theirs)
        };
        let members = self.series.values().map(|members| members.leases.len()).sum::<usize>();
        let in_series = self.rows.values().filter(|kept| kept.kin.series.is_some()).count();
        let by_flavor = self.flavors.iter().flat_map(|(id, flavors)| flavors.iter().map(|one| (one.flavor, *id)));
        let flavors = by_flavor.collect::<BTreeSet<_>>() == self.by_flavor && self.flavors.keys().all(|id| kin_of(id).is_some());
        all && failed && flavors && members == in_series && self.of.iter().all(of_project) && self.series.iter().all(of_series)
    }

    pub fn ids(&self) -> impl Iterator<Item = &LeaseId> + '_ {
        self.rows.keys()
    }
}

fn number_of(members: &[(LeaseId, u32)], id: LeaseId) -> Option<u32> {
    let place = members.binary_search_by_key(&id, |(member, _)| *member).ok()?;
    Some(members[place].1)
}

/// A range of a tree must not begin behind its end.
fn is_empty(range: &(Bound<LeaseId>, Bound<LeaseId>)) -> bool {
    match (range.start_bound(), range.end_bound()) {
        (Bound::Excluded(from), Bound::Excluded(until)) => from >= until,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(until) | Bound::Excluded(until)) => from > until,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
