//! Ended leases that left memory (docs/decisions/0022): of each only whose it is, what its key tells of it (`storage/keys/mark.rs`)
//! and the hash of its row stay here (`kept.rs`). The row itself is on the disk, in the snapshots and in the hash of the state, and
//! `storage/archive.rs` reads it.

mod kept;

use std::ops::Bound;

use super::State;
use super::due::lease_due;
use crate::model::{
    EventKind, EventStatus, Lease, LeaseId, LeaseStatus, OnEnd, ProjectId, ReservationId, SeriesId, Stage, Timestamp,
};
use crate::storage::keys::{FlavorSize, Mark, RowId};
pub(super) use kept::{Archive, StoredRow};

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
    /// What its key tells of it.
    pub mark: Mark,
    /// Of its row, by which what was read is known to be what was written.
    pub hash: u128,
}

impl Archived {
    /// The status it has for good.
    pub fn status(&self) -> LeaseStatus {
        if self.mark.failed { LeaseStatus::Error } else { LeaseStatus::Terminated }
    }

    /// Its row.
    pub(crate) fn row_id(&self) -> RowId {
        RowId::Archived(self.project_id.clone(), self.id, self.mark.clone())
    }

    /// The key of its row.
    pub(crate) fn key(&self) -> Vec<u8> {
        self.row_id().to_bytes()
    }
}

/// Some of the leases that left memory, by what is known of them there; without a word all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Among<'a> {
    /// Of one project.
    pub project: Option<&'a ProjectId>,
    /// Of one series.
    pub series: Option<SeriesId>,
    /// Only those in ERROR, or only those that are TERMINATED.
    pub failed: Option<bool>,
}

/// From when on a lease may leave memory: the time of its last change, or of its end. `None` while more may come of it.
pub(super) fn archivable_since(lease: &Lease) -> Option<Timestamp> {
    // What lacks a host is looked at once more after its end.
    let lacks_a_host = lease.reservations.iter().any(|one| one.missing_resources);
    // The key of its row has the length of the project's id.
    let has_key = lease.project_id.0.len() <= PROJECT_ID_BYTES_MAX;
    let waits = lease.update_key.is_some() || lease.before_update.is_some() || lease.wait.is_some();
    if !is_over(lease) || !has_key || waits || lacks_a_host {
        return None;
    }
    // One that gave way waits until its time is over: so what asks for leases of a time that is to come need read none of these.
    let last = lease.updated_at.unwrap_or(lease.created_at).max(lease.end.timestamp());
    let has_images = lease.reservations.iter().any(|one| one.on_end == OnEnd::Snapshot);
    Some(if has_images { last.plus_ms(IMAGES_SETTLE_MS) } else { last })
}

/// Whether nothing more comes of a lease, and its delete would find nothing to do.
fn is_over(lease: &Lease) -> bool {
    let given_up = lease.reservations.iter().all(|one| lease.is_over(one));
    let ended = lease.reservations.iter().all(|one| one.stage == Stage::Ended);
    match lease.status {
        LeaseStatus::Terminated => given_up && ended && !lease.deleted,
        // Its start failed, or its room was taken; where the end failed a reservation is left, whose end a delete tries again.
        LeaseStatus::Error => {
            let end_done = lease.event(EventKind::EndLease).is_some_and(|event| event.status == EventStatus::Done);
            given_up && end_done && lease_due(lease).is_none()
        }
        LeaseStatus::Creating
        | LeaseStatus::Pending
        | LeaseStatus::Waiting
        | LeaseStatus::Starting
        | LeaseStatus::Active
        | LeaseStatus::Updating
        | LeaseStatus::Terminating
        | LeaseStatus::Deleting => false,
    }
}

impl State {
    /// A lease that left memory. It is visible, TERMINATED or in ERROR, and over for good.
    pub fn archived(&self, id: LeaseId) -> Option<Archived> {
        self.archive.get(id)
    }

    /// How many leases left memory.
    pub fn archived_len(&self) -> usize {
        self.archive.len()
    }

    /// How many are among these at most.
    pub(crate) fn archived_count(&self, among: &Among<'_>) -> usize {
        self.archive.count(among)
    }

    /// Those among these with ids in a range, by id.
    pub fn archived_in<'a>(
        &'a self,
        among: &Among<'a>,
        range: (Bound<LeaseId>, Bound<LeaseId>),
    ) -> Box<dyn DoubleEndedIterator<Item = Archived> + 'a> {
        self.archive.among(among, range)
    }

    /// The leases of a series that left memory, by id, and their numbers in it. All of them have started.
    pub fn archived_of_series(&self, series: SeriesId) -> &[(LeaseId, u32)] {
        self.archive.members(series)
    }

    /// What leases that left memory say of the size of a flavor of which they parked servers, or took some over.
    pub(crate) fn archived_sizes(&self, flavor: ReservationId) -> impl Iterator<Item = FlavorSize> + '_ {
        self.archive.sizes_of(flavor)
    }

    /// Whose a series is that has leases which users may see, wherever they are.
    pub fn owner_of_series(&self, series: SeriesId) -> Option<&ProjectId> {
        let visible = self.leases_of_series(series).find(|lease| lease.visible()).map(|lease| &lease.project_id);
        visible.or_else(|| self.archive.owner_of(series))
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
