//! The only ways to write to a [`State`]. Every write is recorded; [`State::finish`] turns what one entry touched into a
//! [`Delta`] with one final value per row, keeps the hash, and writes the journal (`journal.rs`).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use super::archive::archivable_since;
use super::bookings::lease_bookings;
use super::due::lease_due;
use super::{Delta, KeyRow, Meta, State};
use crate::effect::Effect;
use crate::model::{
    Actuation, ActuationId, Host, HostId, Lease, LeaseId, LeaseStatus, ProjectId, Reservation, ReservationId, ReservationStatus,
    Stage, Timestamp,
};
use crate::mutant;
use crate::storage::codec::{encode, encode_into};
use crate::storage::disk::RowChange;
use crate::storage::keys::{self, Mark, RowId};

/// Bytes that most rows take at most.
const ROW_BYTES: usize = 4096;

/// What the entry being applied has touched.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder {
    /// Touched rows with the hash they had before, 0 for none.
    pub(super) rows: BTreeMap<RowId, u128>,
    /// Touched leases: the project, if users saw the lease before.
    pub(super) leases: BTreeMap<LeaseId, Option<ProjectId>>,
    /// Touched hosts.
    pub(super) hosts: BTreeSet<HostId>,
    /// Rows of leases that leave memory, as they are stored.
    archived: BTreeMap<LeaseId, Vec<u8>>,
    /// Hosts on which bookings changed.
    booked_hosts: BTreeSet<HostId>,
    opened: Vec<ActuationId>,
    next_due: Option<Timestamp>,
}

impl State {
    /// Begins an entry: the next index, the clock raised to `proposed_at` if it reads the time.
    pub(crate) fn begin(&mut self, proposed_at: Option<Timestamp>) -> Timestamp {
        debug_assert!(self.recorder.rows.is_empty(), "the entry before was finished");
        self.recorder.next_due = self.next_due();
        let mut meta = self.meta.clone();
        meta.ledger_index += 1;
        meta.clock = meta.clock.max(proposed_at.unwrap_or(meta.clock));
        // Planted bug: the clock follows the entries back.
        mutant!("M21", { meta.clock = proposed_at.unwrap_or(meta.clock) });
        let now = meta.clock;
        self.put_meta(meta);
        now
    }

    pub(crate) fn put_meta(&mut self, meta: Meta) {
        self.recorder.rows.entry(RowId::Meta).or_insert(self.meta_hash);
        self.meta = meta;
    }

    pub(crate) fn put_lease(&mut self, mut lease: Lease) {
        let id = lease.id;
        self.shared.take(&mut lease);
        self.touch_lease(id);
        let old = self.leases.remove(&id);
        self.recount_use(old.as_ref(), Some(&lease));
        self.reindex_lease(old.as_ref(), Some(&lease));
        old.iter().for_each(|old| self.shared.release(old));
        self.leases.insert(id, lease, 0);
    }

    pub(crate) fn remove_lease(&mut self, id: LeaseId) {
        self.touch_lease(id);
        let old = self.leases.remove(&id);
        self.recount_use(old.as_ref(), None);
        self.reindex_lease(old.as_ref(), None);
        old.iter().for_each(|old| self.shared.release(old));
    }

    /// Takes a lease that is over for good out of memory; its row goes on in the table of those. For its users nothing changes.
    pub(crate) fn archive_lease(&mut self, id: LeaseId) {
        let hash = self.leases.hash(&id);
        let Some(lease) = self.leases.remove(&id) else { return };
        self.recorder.rows.entry(RowId::Lease(id)).or_insert(hash);
        self.recount_use(Some(&lease), None);
        self.reindex_lease(Some(&lease), None);
        self.shared.release(&lease);
        let mark = Mark::of(&lease);
        self.recorder.rows.entry(RowId::Archived(lease.project_id.clone(), id, mark.clone())).or_insert(0);
        self.archive.insert(&lease.project_id, id, mark, 0);
        self.recorder.archived.insert(id, encode(&lease));
    }

    /// Takes it into memory again, as it was.
    pub(crate) fn recall_lease(&mut self, mut lease: Lease) {
        self.forget_archived(lease.id);
        let id = lease.id;
        self.recorder.rows.entry(RowId::Lease(id)).or_insert(0);
        self.shared.take(&mut lease);
        self.recount_use(None, Some(&lease));
        self.reindex_lease(None, Some(&lease));
        self.leases.insert(id, lease, 0);
    }

    /// A lease that left memory is deleted.
    pub(crate) fn remove_archived(&mut self, id: LeaseId) {
        let project = self.archived(id).map(|archived| archived.project_id);
        self.recorder.leases.entry(id).or_insert(project);
        self.forget_archived(id);
    }

    fn forget_archived(&mut self, id: LeaseId) {
        if let Some(archived) = self.archived(id) {
            self.recorder.rows.entry(archived.row_id()).or_insert(archived.hash);
            self.archive.remove(id);
        }
    }

    fn touch_lease(&mut self, id: LeaseId) {
        let hash = self.leases.hash(&id);
        self.recorder.rows.entry(RowId::Lease(id)).or_insert(hash);
        if !self.recorder.leases.contains_key(&id) {
            let seen = self.leases.get(&id).filter(|lease| lease.visible()).map(|lease| lease.project_id.clone());
            self.recorder.leases.insert(id, seen);
        }
    }

    /// Brings everything derived from a lease from its old to its new value. `load.rs` makes the same of many leases at once.
    fn reindex_lease(&mut self, old: Option<&Lease>, new: Option<&Lease>) {
        let Some(id) = new.or(old).map(|lease| lease.id) else { return };

        let (before, after) = (old.map(lease_bookings).unwrap_or_default(), new.map(lease_bookings).unwrap_or_default());
        if before != after {
            for booking in &before {
                self.calendar.remove(booking);
            }
            for booking in &after {
                self.calendar.add(booking);
            }
            self.recorder.booked_hosts.extend(before.iter().chain(&after).map(|booking| booking.host));
        }

        let (before, after) = (old.map(bound_hosts).unwrap_or_default(), new.map(bound_hosts).unwrap_or_default());
        for host in before.difference(&after) {
            remove_member(&mut self.on_host, host, &id);
        }
        for host in after.difference(&before) {
            self.on_host.entry(*host).or_default().insert(id);
        }

        let (before, after) = (old.map(begun_hosts).unwrap_or_default(), new.map(begun_hosts).unwrap_or_default());
        for host in before.difference(&after) {
            remove_member(&mut self.begun_on, host, &id);
        }
        for host in after.difference(&before) {
            self.begun_on.entry(*host).or_default().insert(id);
        }

        let (before, after) = (old.map(flavors).unwrap_or_default(), new.map(flavors).unwrap_or_default());
        for flavor in before.difference(&after) {
            self.by_flavor.remove(&(*flavor, id));
        }
        for flavor in after.difference(&before) {
            self.by_flavor.insert((*flavor, id));
        }

        let (before, after) = (old.and_then(Lease::series_id), new.and_then(Lease::series_id));
        if before != after {
            if let Some(series) = before {
                self.by_series.remove(&(series, id));
            }
            self.by_series.extend(after.map(|series| (series, id)));
        }

        if new.is_some_and(|lease| lease.degraded) {
            self.degraded.insert(id);
        } else {
            self.degraded.remove(&id);
        }

        let (before, after) = (old.and_then(archivable_since), new.and_then(archivable_since));
        if before != after {
            if let Some(at) = before {
                self.ended.remove(&(at, id));
            }
            self.ended.extend(after.map(|at| (at, id)));
        }

        if new.is_some_and(may_give_way) {
            self.preemptible.insert(id);
        } else {
            self.preemptible.remove(&id);
        }

        let place = |lease: &Lease| lease.wait.as_ref().map(|wait| (wait.since, id));
        let (before, after) = (old.and_then(place), new.and_then(place));
        if before != after {
            if let Some(place) = before {
                self.waitlist.remove(&place);
            }
            self.waitlist.extend(after);
        }

        let (before, after) = (old.and_then(lease_due), new.and_then(lease_due));
        if before != after {
            if let Some(at) = before {
                self.due.remove(&(at, id));
            }
            if let Some(at) = after {
                self.due.insert((at, id));
            }
        }

        match (old, new) {
            (None, Some(lease)) => {
                self.by_project.entry(lease.project_id.clone()).or_default().insert(id);
            }
            (Some(lease), None) => remove_member(&mut self.by_project, &lease.project_id, &id),
            (Some(old), Some(new)) => assert_eq!(old.project_id, new.project_id, "a lease keeps its project"),
            (None, None) => {}
        }
    }

    pub(crate) fn put_host(&mut self, host: Host) {
        let id = host.id;
        self.touch_host(id);
        let old = self.hosts.remove(&id);
        self.reindex_host(old.as_ref(), Some(&host));
        self.reindex_declared(old.as_ref(), Some(&host));
        self.hosts.insert(id, host, 0);
    }

    pub(crate) fn remove_host(&mut self, id: HostId) {
        self.touch_host(id);
        let old = self.hosts.remove(&id);
        self.reindex_host(old.as_ref(), None);
        self.reindex_declared(old.as_ref(), None);
    }

    fn touch_host(&mut self, id: HostId) {
        let hash = self.hosts.hash(&id);
        self.recorder.rows.entry(RowId::Host(id)).or_insert(hash);
        self.recorder.hosts.insert(id);
    }

    pub(super) fn reindex_host(&mut self, old: Option<&Host>, new: Option<&Host>) {
        self.host_index.reindex(old, new);
        if let Some(host) = old {
            self.by_name.remove(&host.description.hypervisor_hostname);
        }
        if let Some(host) = new {
            self.by_name.insert(host.description.hypervisor_hostname.clone(), host.id);
        }
    }

    /// Opens or replaces a row; the caller took its id from [`State::next_actuation`].
    pub(crate) fn put_actuation(&mut self, row: Actuation) {
        let id = row.id;
        let hash = self.actuations.hash(&id);
        self.recorder.rows.entry(RowId::Actuation(id)).or_insert(hash);
        let lease = row.lease_id;
        if self.actuations.insert(id, row, 0).is_none() {
            self.recorder.opened.push(id);
        }
        self.open_rows.entry(lease).or_default().insert(id);
    }

    pub(crate) fn close_actuation(&mut self, id: ActuationId) {
        let hash = self.actuations.hash(&id);
        self.recorder.rows.entry(RowId::Actuation(id)).or_insert(hash);
        if let Some(row) = self.actuations.remove(&id) {
            remove_member(&mut self.open_rows, &row.lease_id, &id);
        }
    }

    /// A number that no row had before.
    pub(crate) fn next_actuation(&mut self) -> ActuationId {
        let mut meta = self.meta.clone();
        meta.last_actuation += 1;
        let id = ActuationId(meta.last_actuation);
        self.put_meta(meta);
        id
    }

    pub(crate) fn put_key(&mut self, project: &ProjectId, id: Uuid, row: KeyRow) {
        self.touch_key(project, id);
        let (key, valid_until) = ((id, project.clone()), row.valid_until);
        match self.keys.insert(key, row, 0) {
            Some(old) => {
                self.key_expiry.remove(&(old.valid_until, project.clone(), id));
            }
            None => *self.keys_of.entry(project.clone()).or_default() += 1,
        }
        self.key_expiry.insert((valid_until, project.clone(), id));
    }

    pub(crate) fn remove_key(&mut self, project: &ProjectId, id: Uuid) {
        self.touch_key(project, id);
        if let Some(old) = self.keys.remove(&(id, project.clone())) {
            self.key_expiry.remove(&(old.valid_until, project.clone(), id));
            if let Some(count) = self.keys_of.get_mut(project) {
                *count -= 1;
                if *count == 0 {
                    self.keys_of.remove(project);
                }
            }
        }
    }

    fn touch_key(&mut self, project: &ProjectId, id: Uuid) {
        let hash = self.keys.hash(&(id, project.clone()));
        self.recorder.rows.entry(RowId::Key(project.clone(), id)).or_insert(hash);
    }

    /// Ends an entry: journal, encoded rows, hash, hints.
    pub(crate) fn finish(&mut self) -> (Delta, Vec<Effect>) {
        self.release_overcommitted();
        let mut recorder = std::mem::take(&mut self.recorder);
        let mut effects: Vec<Effect> = recorder.opened.iter().map(|id| Effect::ActuationOpened(*id)).collect();
        effects.extend(recorder.leases.keys().map(|id| Effect::LeaseChanged(*id)));
        effects.extend(recorder.hosts.union(&recorder.booked_hosts).map(|id| Effect::HostChanged(*id)));
        if recorder.next_due != self.next_due() {
            effects.push(Effect::NextDue(self.next_due()));
        }
        self.write_journal(&mut recorder);
        // Where values are encoded, which grow as they are written, to be copied at their length.
        let mut buffer = Vec::with_capacity(ROW_BYTES);
        let mut delta = Delta { rows: Vec::with_capacity(recorder.rows.len() + 1) };
        for (row, old_hash) in recorder.rows {
            let key = row.to_bytes();
            buffer.clear();
            let value = match &row {
                RowId::Archived(_, id, _) => recorder.archived.remove(id).filter(|_| self.archived(*id).is_some()),
                _ => self.encode_row(&row, &mut buffer).then(|| buffer.clone()),
            };
            let new_hash = value.as_ref().map_or(0, |value| row_hash(&key, value));
            self.set_row_hash(&row, new_hash);
            self.hash = self.hash.wrapping_sub(old_hash).wrapping_add(new_hash);
            if value.is_some() || old_hash != 0 {
                delta.rows.push(RowChange { key, value });
            }
        }
        delta.rows.push(RowChange { key: vec![keys::HASH], value: Some(self.hash.to_be_bytes().to_vec()) });
        (delta, effects)
    }

    /// A host that was overcommitted takes bookings again when what is left fits.
    fn release_overcommitted(&mut self) {
        // Planted bug (with the one in apply/verify.rs): a host on which too much was booked is said to have lost room.
        mutant!("C04", {
            for id in self.recorder.booked_hosts.clone() {
                let host = self.hosts.get(&id).filter(|host| !host.overcommitted && self.breaks_promise(host)).cloned();
                if let Some(host) = host {
                    self.put_host(Host { overcommitted: true, ..host });
                }
            }
        });
        let fitting: Vec<HostId> = self
            .recorder
            .booked_hosts
            .iter()
            .copied()
            .filter(|id| self.hosts.get(id).is_some_and(|host| host.overcommitted && !self.breaks_promise(host)))
            .collect();
        for id in fitting {
            if let Some(host) = self.hosts.get(&id) {
                let host = Host { overcommitted: false, updated_at: Some(self.meta.clock), ..host.clone() };
                self.put_host(host);
            }
        }
    }

    /// Whether more is booked on a host, now or later, than it has room for then (L1).
    pub(crate) fn breaks_promise(&self, host: &Host) -> bool {
        !self.calendar.peak_to_hold(host, self.meta.clock.floor_to_second()).fits_in(host.room())
    }

    /// Writes a row as it is stored; `false` where it is gone.
    fn encode_row(&self, row: &RowId, into: &mut Vec<u8>) -> bool {
        fn put<T: Serialize>(value: Option<&T>, into: &mut Vec<u8>) -> bool {
            value.map(|value| encode_into(value, into)).is_some()
        }
        match row {
            RowId::Meta => put(Some(&self.meta), into),
            RowId::Lease(id) => put(self.leases.get(id), into),
            RowId::Host(id) => put(self.hosts.get(id), into),
            RowId::Actuation(id) => put(self.actuations.get(id), into),
            RowId::Key(project, id) => put(self.key_row(project, *id), into),
            RowId::Quota(project) => put(self.quotas.get(project), into),
            // Memory does not have it; the entry that writes it does.
            RowId::Archived(..) => false,
            RowId::Change(index, place) => {
                self.changes.get(&(*index, *place)).map(|row| into.extend_from_slice(row.bytes())).is_some()
            }
        }
    }

    /// All rows as they are stored.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let leases = self.leases.iter().map(|(id, _)| RowId::Lease(*id));
        let hosts = self.hosts.iter().map(|(id, _)| RowId::Host(*id));
        let actuations = self.actuations.iter().map(|(id, _)| RowId::Actuation(*id));
        let keys = self.keys.iter().map(|((id, project), _)| RowId::Key(project.clone(), *id));
        let changes = self.changes.iter().map(|((index, place), _)| RowId::Change(*index, *place));
        let quotas = self.quotas.iter().map(|(project, _)| RowId::Quota(project.clone()));
        let all =
            std::iter::once(RowId::Meta).chain(leases).chain(hosts).chain(actuations).chain(keys).chain(changes).chain(quotas);
        let mut encoded = Vec::new();
        for row in all {
            let mut value = Vec::new();
            if self.encode_row(&row, &mut value) {
                encoded.push((row.to_bytes(), value));
            }
        }
        encoded
    }

    fn set_row_hash(&mut self, row: &RowId, hash: u128) {
        let place = match row {
            RowId::Meta => Some(&mut self.meta_hash),
            RowId::Lease(id) => self.leases.row_mut(id).map(|row| &mut row.hash),
            RowId::Host(id) => self.hosts.row_mut(id).map(|row| &mut row.hash),
            RowId::Actuation(id) => self.actuations.row_mut(id).map(|row| &mut row.hash),
            RowId::Key(project, id) => self.keys.row_mut(&(*id, project.clone())).map(|row| &mut row.hash),
            RowId::Quota(project) => self.quotas.row_mut(project).map(|row| &mut row.hash),
            RowId::Change(index, place) => self.changes.row_mut(&(*index, *place)).map(|row| &mut row.hash),
            RowId::Archived(_, id, _) => return self.archive.set_hash(*id, hash),
        };
        if let Some(place) = place {
            *place = hash;
        }
    }
}

/// The hash of one row: its key's length, key and value.
pub(crate) fn row_hash(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.digest128()
}

/// Flavors that the reservations of a lease have or had.
fn flavors(lease: &Lease) -> BTreeSet<ReservationId> {
    lease.reservations.iter().map(Reservation::flavor).collect()
}

/// Hosts on which a lease has, or may still have, something: all bindings until the end is confirmed; those of a deleted
/// lease until its row is gone, and of one whose room was taken until the cloud has confirmed that.
pub(super) fn bound_hosts(lease: &Lease) -> BTreeSet<HostId> {
    lease
        .reservations
        .iter()
        .filter(|reservation| lease.leaves_things() || reservation.status != ReservationStatus::Deleted)
        .flat_map(|reservation| {
            let previous = reservation.previous.iter().flat_map(|previous| &previous.bindings);
            reservation.bindings.iter().chain(&reservation.releasing).chain(previous)
        })
        .map(|binding| binding.host)
        .collect()
}

/// Whether a lease may lose its room to another before it begins.
pub(super) fn may_give_way(lease: &Lease) -> bool {
    // Planted bug (with the one in apply/preempt.rs): nobody is asked.
    let allowed = lease.precedence.preemptible || mutant!("Y01");
    allowed && lease.status == LeaseStatus::Pending
}

/// Those of [`bound_hosts`] where a lease is more than booked.
pub(super) fn begun_hosts(lease: &Lease) -> BTreeSet<HostId> {
    let begun = lease.reservations.iter().any(|reservation| reservation.stage != Stage::Booked);
    if begun { bound_hosts(lease) } else { BTreeSet::new() }
}

fn remove_member<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, key: &K, member: &V) {
    if let Some(members) = index.get_mut(key) {
        members.remove(member);
        if members.is_empty() {
            index.remove(key);
        }
    }
}
