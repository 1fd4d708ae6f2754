//! A state from its rows, in any order.
//!
//! Leases are by far the most rows. What is derived from them is gathered when all are there, sorted once and built at once: a
//! restart with a million leases must be a matter of seconds. `invariants.rs` then holds it against the rows.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::{Archive, StoredRow, archivable_since};
use super::bookings::lease_bookings;
use super::change::{begun_hosts, bound_hosts, may_give_way, row_hash};
use super::due::lease_due;
use super::journal::JournalRow;
use super::table::Row;
use super::{Calendar, KeyRow, Meta, State};
use crate::model::{Actuation, Host, HostId, Lease, LeaseId, ProjectId, QuotaRow};
use crate::mutant;
use crate::storage::codec::{CodecError, check_version, decode};
use crate::storage::keys::RowId;

/// Why rows make no state.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// A value does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A key names no row, or not the row it holds.
    #[error("row {0:02x?} is not where it belongs")]
    Misplaced(Vec<u8>),
}

/// A state whose rows are coming. Each row comes once.
#[derive(Default)]
pub(crate) struct Loader {
    state: State,
    leases: Vec<(LeaseId, Box<Row<Lease>>)>,
    archived: Vec<StoredRow>,
}

impl Loader {
    /// Takes one row in.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let misplaced = || LoadError::Misplaced(key.to_vec());
        let hash = row_hash(key, value);
        let state = &mut self.state;
        let fits = match RowId::from_bytes(key).ok_or_else(misplaced)? {
            RowId::Meta => {
                state.meta = decode::<Meta>("meta", value)?;
                state.meta_hash = hash;
                true
            }
            RowId::Lease(id) => {
                let mut row = Box::new(Row { value: decode::<Lease>("lease", value)?, hash });
                state.shared.take(&mut row.value);
                let fits = row.value.id == id;
                self.leases.push((id, row));
                fits
            }
            RowId::Host(id) => {
                let host: Host = decode("host", value)?;
                let fits = host.id == id;
                state.reindex_host(None, Some(&host));
                state.hosts.insert(id, host, hash);
                fits
            }
            RowId::Actuation(id) => {
                let row: Actuation = decode("actuation", value)?;
                let fits = row.id == id;
                state.open_rows.entry(row.lease_id).or_default().insert(id);
                state.actuations.insert(id, row, hash);
                fits
            }
            RowId::Key(project, id) => {
                let row: KeyRow = decode("idempotency key", value)?;
                state.key_expiry.insert((row.valid_until, project.clone(), id));
                *state.keys_of.entry(project.clone()).or_default() += 1;
                state.keys.insert((id, project), row, hash);
                true
            }
            RowId::Quota(project) => {
                state.quotas.insert(project, decode::<QuotaRow>("quota", value)?, hash);
                true
            }
            // What is behind the version is known to be what was written by its hash alone: nobody may ever ask for it.
            RowId::Archived(project, id, mark) => {
                check_version("lease", value)?;
                self.archived.push((project, id, mark, hash));
                true
            }
            RowId::Change(index, place) => {
                state.changes.insert((index, place), JournalRow::stored(value)?, hash);
                true
            }
        };
        if !fits {
            return Err(misplaced());
        }
        self.state.hash = self.state.hash.wrapping_add(hash);
        Ok(())
    }

    /// After the last row.
    pub fn finish(self) -> State {
        let Loader { mut state, leases, archived } = self;
        state.archive = Archive::load(archived);
        // What grows as it is filled is copied on the way, and there is a lot of it.
        let some = leases.len();
        let (mut bookings, mut due) = (Vec::with_capacity(some), Vec::with_capacity(some));
        let (mut on_host, mut begun_on) = (Vec::with_capacity(some), Vec::new());
        let mut by_flavor = Vec::with_capacity(some);
        let (mut by_series, mut degraded, mut waitlist, mut ended) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut preemptible = Vec::new();
        let mut by_project: BTreeMap<ProjectId, Vec<LeaseId>> = BTreeMap::new();
        for (id, row) in &leases {
            let lease = &row.value;
            bookings.extend(lease_bookings(lease));
            due.extend(lease_due(lease).map(|at| (at, *id)));
            on_host.extend(bound_hosts(lease).into_iter().map(|host| (host, *id)));
            begun_on.extend(begun_hosts(lease).into_iter().map(|host| (host, *id)));
            by_flavor.extend(lease.reservations.iter().map(|reservation| (reservation.flavor(), *id)));
            by_series.extend(lease.series_id().map(|series| (series, *id)));
            degraded.extend(lease.degraded.then_some(*id));
            ended.extend(archivable_since(lease).map(|at| (at, *id)));
            preemptible.extend(may_give_way(lease).then_some(*id));
            waitlist.extend(lease.wait.as_ref().map(|wait| (wait.since, *id)));
            by_project.entry(lease.project_id.clone()).or_default().push(*id);
        }
        state.leases.load(leases);
        state.calendar = Calendar::of(bookings);
        let is_declared = |host: &&Host| !host.downtimes.is_empty() || host.upgrade.is_some();
        let declared: Vec<Host> = state.hosts.values().filter(is_declared).cloned().collect();
        declared.iter().for_each(|host| state.reindex_declared(None, Some(host)));
        state.due = due.into_iter().collect();
        state.on_host = index_of(on_host);
        state.begun_on = index_of(begun_on);
        state.by_flavor = by_flavor.into_iter().collect();
        state.by_series = by_series.into_iter().collect();
        state.degraded = degraded.into_iter().collect();
        state.preemptible = preemptible.into_iter().collect();
        state.waitlist = waitlist.into_iter().collect();
        state.ended = ended.into_iter().collect();
        state.by_project = by_project.into_iter().map(|(project, leases)| (project, leases.into_iter().collect())).collect();
        state.count_all_use();
        // Planted bug: what is due is forgotten.
        mutant!("M24", { state.due.clear() });
        state
    }
}

/// Pairs of a key and a lease, as an index.
fn index_of(mut pairs: Vec<(HostId, LeaseId)>) -> BTreeMap<HostId, BTreeSet<LeaseId>> {
    pairs.sort_unstable();
    let by_key = pairs.chunk_by(|one, other| one.0 == other.0);
    by_key.map(|of_one| (of_one[0].0, of_one.iter().map(|(_, lease)| *lease).collect())).collect()
}

/// The same state as a restart makes it.
#[cfg(test)]
impl State {
    pub(crate) fn from_rows_of(state: &State) -> State {
        let mut loader = Loader::default();
        for (key, value) in state.rows() {
            loader.row(&key, &value).expect("rows of a state make a state");
        }
        loader.finish()
    }
}
