//! Ended leases that left memory (docs/decisions/0022): of each only whose it is and the hash of its row stay here. The row
//! itself is on the disk, in the snapshots and in the hash of the state, and `storage/archive.rs` reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::State;
use crate::model::{Lease, LeaseId, LeaseStatus, OnEnd, ProjectId, Reservation, ReservationStatus, Stage, Timestamp};
use crate::storage::keys::RowId;

/// A second image of a server's end is removed while the ledger knows the lease: that long it stays at least, ms.
const IMAGES_SETTLE_MS: u64 = 3_600_000;

/// Longest project id of a row; Keystone's are 32 characters.
const PROJECT_ID_BYTES_MAX: usize = 255;

/// A lease that left memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// Which.
    pub id: LeaseId,
    /// Whose.
    pub project_id: ProjectId,
    /// Of its row, by which what was read is known to be what was written.
    pub hash: u128,
}

impl Archived {
    /// The key of its row.
    pub(crate) fn key(&self) -> Vec<u8> {
        RowId::Archived(self.project_id.clone(), self.id).to_bytes()
    }
}

/// All of them. There may be millions, so that every byte of one counts: a project's id stands here once.
#[derive(Clone, Debug, Default)]
pub(super) struct Archive {
    rows: BTreeMap<LeaseId, Kept>,
    of: BTreeMap<ProjectId, Theirs>,
}

/// The hash as bytes: as a number it would be padded to twice its length.
#[derive(Clone, Debug)]
struct Kept {
    project: Arc<ProjectId>,
    hash: [u8; 16],
}

#[derive(Clone, Debug)]
struct Theirs {
    project: Arc<ProjectId>,
    leases: BTreeSet<LeaseId>,
}

impl Kept {
    fn shown(&self, id: LeaseId) -> Archived {
        Archived { id, project_id: (*self.project).clone(), hash: u128::from_be_bytes(self.hash) }
    }
}

impl Archive {
    pub fn insert(&mut self, id: LeaseId, project: &ProjectId, hash: u128) {
        let begin = || Theirs { project: Arc::new(project.clone()), leases: BTreeSet::new() };
        let theirs = self.of.entry(project.clone()).or_insert_with(begin);
        theirs.leases.insert(id);
        self.rows.insert(id, Kept { project: theirs.project.clone(), hash: hash.to_be_bytes() });
    }

    pub fn remove(&mut self, id: LeaseId) {
        let Some(kept) = self.rows.remove(&id) else { return };
        if let Some(theirs) = self.of.get_mut(&*kept.project) {
            theirs.leases.remove(&id);
            if theirs.leases.is_empty() {
                self.of.remove(&*kept.project);
            }
        }
    }

    pub fn set_hash(&mut self, id: LeaseId, hash: u128) {
        if let Some(kept) = self.rows.get_mut(&id) {
            kept.hash = hash.to_be_bytes();
        }
    }

    pub fn get(&self, id: LeaseId) -> Option<Archived> {
        self.rows.get(&id).map(|kept| kept.shown(id))
    }

    /// Fills an empty archive at once; rows of one project mostly come one after the other.
    pub fn load(rows: Vec<(ProjectId, LeaseId, u128)>) -> Archive {
        let mut archive = Archive::default();
        let mut by_id = Vec::with_capacity(rows.len());
        for of_one in rows.chunk_by(|one, other| one.0 == other.0) {
            let project = &of_one[0].0;
            let begin = || Theirs { project: Arc::new(project.clone()), leases: BTreeSet::new() };
            let theirs = archive.of.entry(project.clone()).or_insert_with(begin);
            let ids = of_one.iter().map(|(_, id, _)| *id);
            if theirs.leases.is_empty() {
                theirs.leases = ids.collect();
            } else {
                theirs.leases.extend(ids);
            }
            let kept = |hash: u128| Kept { project: theirs.project.clone(), hash: hash.to_be_bytes() };
            by_id.extend(of_one.iter().map(|(_, id, hash)| (*id, kept(*hash))));
        }
        archive.rows = by_id.into_iter().collect();
        archive
    }

    /// The sum of the hashes of their rows.
    pub fn sum(&self) -> u128 {
        self.rows.values().map(|kept| u128::from_be_bytes(kept.hash)).fold(0, u128::wrapping_add)
    }

    /// Whether the leases by project are those there are.
    pub fn agrees(&self) -> bool {
        let all = self.of.values().map(|theirs| theirs.leases.len()).sum::<usize>() == self.rows.len();
        let each = |(project, theirs): (&ProjectId, &Theirs)| {
            let theirs_alone = |id: &LeaseId| self.rows.get(id).is_some_and(|kept| *kept.project == *project);
            !theirs.leases.is_empty() && theirs.leases.iter().all(theirs_alone)
        };
        all && self.of.iter().all(each)
    }

    fn ids(&self) -> impl Iterator<Item = &LeaseId> + '_ {
        self.rows.keys()
    }
}

/// From when on a lease may leave memory: the time of its last change, or of its end. `None` while more may come of it, or
/// something still asks the memory for it: parked servers may be adopted by its flavor, and a series is looked at as a whole.
pub(super) fn archivable_since(lease: &Lease) -> Option<Timestamp> {
    let over = |one: &Reservation| {
        let nobody_asks = one.on_end != OnEnd::Shelve && one.adoption.is_none() && !one.missing_resources;
        one.status == ReservationStatus::Deleted && one.stage == Stage::Ended && nobody_asks
    };
    // The key of its row has the length of the project's id.
    let has_key = lease.project_id.0.len() <= PROJECT_ID_BYTES_MAX;
    let is_over = lease.status == LeaseStatus::Terminated && !lease.deleted && lease.reservations.iter().all(over);
    let waits = lease.update_key.is_some() || lease.before_update.is_some() || lease.wait.is_some();
    if !is_over || !has_key || waits || lease.series.is_some() {
        return None;
    }
    let last = lease.updated_at.unwrap_or(lease.created_at).max(lease.end.timestamp());
    let has_images = lease.reservations.iter().any(|one| one.on_end == OnEnd::Snapshot);
    Some(if has_images { last.plus_ms(IMAGES_SETTLE_MS) } else { last })
}

impl State {
    /// A lease that left memory. It is visible, TERMINATED and over for good.
    pub fn archived(&self, id: LeaseId) -> Option<Archived> {
        self.archive.get(id)
    }

    /// How many leases left memory.
    pub fn archived_len(&self) -> usize {
        self.archive.rows.len()
    }

    /// How many of a project did, or of all.
    pub(crate) fn archived_of(&self, project: Option<&ProjectId>) -> usize {
        match project {
            None => self.archived_len(),
            Some(project) => self.archive.of.get(project).map_or(0, |theirs| theirs.leases.len()),
        }
    }

    /// Those of one project, or of all, with ids in a range, by id.
    pub fn archived_in<'a>(
        &'a self,
        project: Option<&ProjectId>,
        range: (Bound<LeaseId>, Bound<LeaseId>),
    ) -> Box<dyn DoubleEndedIterator<Item = Archived> + 'a> {
        if is_empty(&range) {
            return Box::new(std::iter::empty());
        }
        match project {
            None => Box::new(self.archive.rows.range(range).map(|(id, kept)| kept.shown(*id))),
            Some(project) => {
                let theirs = self.archive.of.get(project).map(|theirs| theirs.leases.range(range));
                Box::new(theirs.into_iter().flatten().filter_map(|id| self.archived(*id)))
            }
        }
    }

    /// Leases that may leave memory: over for good, with nothing of them open, and not changed after `ended_before`; the longest
    /// unchanged first.
    pub fn archivable(&self, ended_before: Timestamp) -> impl Iterator<Item = LeaseId> + '_ {
        let old = self.ended.iter().take_while(move |(at, _)| *at <= ended_before).map(|(_, id)| *id);
        old.filter(|id| self.actuations_of(*id).next().is_none())
    }

    /// A lease that is in memory and in the archive.
    pub(super) fn archived_twice(&self) -> Option<&LeaseId> {
        self.archive.ids().find(|id| self.leases.get(*id).is_some())
    }
}

/// A range of a tree must not begin behind its end.
fn is_empty(range: &(Bound<LeaseId>, Bound<LeaseId>)) -> bool {
    match (range.start_bound(), range.end_bound()) {
        (Bound::Excluded(from), Bound::Excluded(until)) => from >= until,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(until) | Bound::Excluded(until)) => from > until,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
