//! Everything replicated, in memory: one ordered map per table, private fields, changes recorded as they are made.
//!
//! Here are the reads. `change.rs` has the only ways to write, for `apply`; `load.rs` builds a state from rows. Indexes, the
//! calendar and the due queue are derived from the rows, rebuilt at load, never stored or hashed.

mod archive;
mod bookings;
mod calendar;
mod change;
mod declared;
mod delta;
mod due;
mod host_index;
pub mod invariants;
mod journal;
mod load;
mod profile;
mod rows;
mod shared;
mod table;
pub(crate) mod usage;
mod wide;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};

use uuid::Uuid;

pub use archive::{Among, Archived};
pub use bookings::{Booking, lease_bookings, reservation_bookings, segments, sum_at, wish_bookings};
pub use calendar::Calendar;
pub(crate) use calendar::{block_of, host_at};
pub use delta::Delta;
pub use due::PREPARE_TIMEOUT_MS;
pub use journal::JOURNAL_ROWS_MAX;
pub use load::LoadError;
pub(crate) use load::Loader;
pub use rows::{Change, ChangeSubject, JournalError, KeyFate, KeyLookup, KeyRow, Meta};

use crate::model::{
    Actuation, ActuationId, ActuationLease, Anchor, Binding, Host, HostId, InForce, Lease, LeaseId, ProjectId, QuotaRow,
    RequestKey, Reservation, ReservationId, Seconds, SeriesId, Timestamp,
};
use archive::Archive;
use change::Recorder;
pub(crate) use change::row_hash;
pub(crate) use host_index::{Block as HostBlock, HostIndex, Kind as HostKind};
use journal::JournalRow;
pub(crate) use profile::Profile;
use shared::Shared;
use table::Table;
pub(crate) use wide::{HOSTS, Window};

/// The replicated state.
#[derive(Clone, Debug, Default)]
pub struct State {
    // Rows.
    meta: Meta,
    meta_hash: u128,
    leases: Table<LeaseId, Lease>,
    hosts: Table<HostId, Host>,
    actuations: Table<ActuationId, Actuation>,
    /// The ids of keys are random and tell nearly all of them apart, so they are compared first.
    keys: Table<(Uuid, ProjectId), KeyRow>,
    changes: Table<(u64, u32), JournalRow>,
    /// Of projects, and the defaults under `None`.
    quotas: Table<Option<ProjectId>, QuotaRow>,
    /// Ended leases whose rows are on the disk alone.
    archive: Archive,
    /// Sum of the hashes of all rows.
    hash: u128,

    // Derived.
    by_project: BTreeMap<ProjectId, BTreeSet<LeaseId>>,
    by_flavor: BTreeSet<(ReservationId, LeaseId)>,
    by_series: BTreeSet<(SeriesId, LeaseId)>,
    degraded: BTreeSet<LeaseId>,
    /// Leases that may lose their room to another, by id.
    preemptible: BTreeSet<LeaseId>,
    /// Leases that may leave memory, by the time from which on they may.
    ended: BTreeSet<(Timestamp, LeaseId)>,
    /// By the index of the entry that put them there.
    waitlist: BTreeSet<(u64, LeaseId)>,
    by_name: BTreeMap<String, HostId>,
    on_host: BTreeMap<HostId, BTreeSet<LeaseId>>,
    begun_on: BTreeMap<HostId, BTreeSet<LeaseId>>,
    open_rows: BTreeMap<LeaseId, BTreeSet<ActuationId>>,
    due: BTreeSet<(Timestamp, LeaseId)>,
    key_expiry: BTreeSet<(Timestamp, ProjectId, Uuid)>,
    keys_of: BTreeMap<ProjectId, usize>,
    calendar: Calendar,
    /// When downtimes end.
    downtime_ends: BTreeSet<(Seconds, HostId)>,
    /// When upgrades are to have come.
    upgrade_starts: BTreeSet<(Seconds, HostId)>,
    host_index: HostIndex,
    shared: Shared,
    /// Of the projects whose use is limited, and no others.
    usage: BTreeMap<ProjectId, Profile>,

    // What the entry being applied has touched.
    recorder: Recorder,
}

impl State {
    /// How many commands were applied (architecture D17).
    pub fn ledger_index(&self) -> u64 {
        self.meta.ledger_index
    }

    /// The ledger's clock.
    pub fn clock(&self) -> Timestamp {
        self.meta.clock
    }

    /// 128-bit sum of row hashes (architecture D3).
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// Counters and clock.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The cluster's id, once initialised.
    pub fn cluster_id(&self) -> Option<Uuid> {
        self.meta.cluster_id
    }

    /// A lease, visible or not; not one that left memory ([`State::archived`]).
    pub fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// All leases in memory by id, visible or not.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> + '_ {
        self.leases.values()
    }

    /// How many leases are in memory, visible or not.
    pub fn leases_len(&self) -> usize {
        self.leases.len()
    }

    /// The leases of one project, by id.
    pub fn leases_of(&self, project: &ProjectId) -> impl Iterator<Item = &Lease> + '_ {
        self.by_project.get(project).into_iter().flatten().filter_map(|id| self.leases.get(id))
    }

    /// Leases of one project, or of all, with ids in a range, by id.
    pub(crate) fn leases_in<'a>(
        &'a self,
        project: Option<&ProjectId>,
        range: impl RangeBounds<LeaseId>,
    ) -> Box<dyn DoubleEndedIterator<Item = &'a Lease> + 'a> {
        match project {
            None => Box::new(self.leases.range(range).map(|(_, lease)| lease)),
            Some(project) => {
                let theirs = self.by_project.get(project).map(|ids| ids.range(range));
                Box::new(theirs.into_iter().flatten().filter_map(|id| self.leases.get(id)))
            }
        }
    }

    /// The reservations of all projects that have or had this flavor, with their leases, by lease. At most one is not over
    /// (docs/decisions/0011).
    pub fn reservations_of_flavor(&self, flavor: ReservationId) -> impl Iterator<Item = (&Lease, &Reservation)> + '_ {
        let all = (flavor, LeaseId(Uuid::nil()))..=(flavor, LeaseId(Uuid::max()));
        let leases = self.by_flavor.range(all).filter_map(|(_, id)| self.leases.get(id));
        let with_lease = leases.flat_map(|lease| lease.reservations.iter().map(move |one| (lease, one)));
        with_lease.filter(move |(_, one)| one.flavor() == flavor)
    }

    /// The leases of a series that are in memory, visible or not, by id; not those that left it ([`State::archived_of_series`]).
    pub fn leases_of_series(&self, series: SeriesId) -> impl Iterator<Item = &Lease> + '_ {
        let all = (series, LeaseId(Uuid::nil()))..=(series, LeaseId(Uuid::max()));
        self.by_series.range(all).filter_map(|(_, id)| self.leases.get(id))
    }

    /// Leases that were promised, have not begun and allow that others take their room, by id.
    pub fn preemptible_leases(&self) -> impl Iterator<Item = &Lease> + '_ {
        self.preemptible.iter().filter_map(|id| self.leases.get(id))
    }

    /// The leases that say that they lack a host, by id.
    pub fn degraded_leases(&self) -> impl Iterator<Item = &Lease> + '_ {
        self.degraded.iter().filter_map(|id| self.leases.get(id))
    }

    /// The leases that wait for room, or whose promotion waits for the cloud, the longest waiting first.
    pub fn waitlist(&self) -> impl Iterator<Item = &Lease> + '_ {
        self.waitlist.iter().filter_map(|(_, id)| self.leases.get(id))
    }

    /// Leases with a reservation bound to this host (any phase, also ended ones not yet confirmed), by id.
    pub fn leases_on(&self, host: HostId) -> impl Iterator<Item = &Lease> + '_ {
        self.on_host.get(&host).into_iter().flatten().filter_map(|id| self.leases.get(id))
    }

    /// A lease, if it is one of [`leases_on`](Self::leases_on) a host.
    pub(crate) fn lease_on(&self, host: HostId, lease: LeaseId) -> Option<&Lease> {
        self.on_host.get(&host).filter(|ids| ids.contains(&lease)).and_then(|_| self.leases.get(&lease))
    }

    /// Those of [`leases_on`](Self::leases_on) that have a reservation which is more than booked: of the others the cloud
    /// knows nothing yet. A host may be booked by thousands over the years, and a few at a time are in the cloud.
    pub fn leases_begun_on(&self, host: HostId) -> impl Iterator<Item = &Lease> + '_ {
        self.begun_on.get(&host).into_iter().flatten().filter_map(|id| self.leases.get(id))
    }

    /// A host.
    pub fn host(&self, id: HostId) -> Option<&Host> {
        self.hosts.get(&id)
    }

    /// What the servers of these bindings are anchored by: that of the first host, as all have the same (architecture D21).
    pub fn anchor_of(&self, bindings: &[Binding]) -> Option<Anchor> {
        bindings.iter().find_map(|binding| self.host(binding.host)).map(|host| host.description.anchor)
    }

    /// A host by `hypervisor_hostname`.
    pub fn host_by_name(&self, name: &str) -> Option<&Host> {
        self.hosts.get(self.by_name.get(name)?)
    }

    /// All hosts by number.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> + '_ {
        self.hosts.values()
    }

    /// Hosts with numbers in a range, by number.
    pub(crate) fn hosts_in(&self, range: impl RangeBounds<HostId>) -> impl DoubleEndedIterator<Item = &Host> + '_ {
        self.hosts.range(range).map(|(_, host)| host)
    }

    /// Kinds of anchor that hosts have, the one to plan with first in front; never none.
    pub fn anchors(&self) -> Vec<Anchor> {
        let there: Vec<Anchor> = Anchor::ALL.into_iter().filter(|anchor| self.host_index.has(*anchor)).collect();
        if there.is_empty() { vec![Anchor::default()] } else { there }
    }

    /// All open rows, oldest first.
    pub fn actuations(&self) -> impl Iterator<Item = &Actuation> + '_ {
        self.actuations.values()
    }

    /// One open row.
    pub fn actuation(&self, id: ActuationId) -> Option<&Actuation> {
        self.actuations.get(&id)
    }

    /// The open rows of one lease, oldest first. A reservation has at most one.
    pub fn actuations_of(&self, lease: LeaseId) -> impl Iterator<Item = &Actuation> + '_ {
        self.open_rows.get(&lease).into_iter().flatten().filter_map(|id| self.actuations.get(id))
    }

    /// The open row of one reservation.
    pub fn open_row(&self, lease: LeaseId, reservation: ReservationId) -> Option<&Actuation> {
        self.actuations_of(lease).find(|row| row.reservation_id == reservation)
    }

    /// Who may send unfenced calls.
    pub fn actuation_lease(&self) -> Option<ActuationLease> {
        self.meta.actuation_lease
    }

    /// When `AdvanceClock` has something to do next (events, creations to withdraw, upgrades that are to have come); keys to expire and
    /// downtimes that are over do not count.
    pub fn next_due(&self) -> Option<Timestamp> {
        let upgrade = self.upgrade_starts.first().map(|(at, _)| at.timestamp());
        self.due.first().map(|(at, _)| *at).into_iter().chain(upgrade).min()
    }

    /// Leases for which the clock has something to do at `now`, the longest due first.
    pub fn due_leases(&self, now: Timestamp) -> impl Iterator<Item = LeaseId> + '_ {
        self.due.iter().take_while(move |(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// What is stored of the quota of a project, or under `None` of the defaults.
    pub fn quota(&self, project: Option<&ProjectId>) -> Option<&QuotaRow> {
        self.quotas.get(&project.cloned())
    }

    /// All that is stored of quotas, the defaults first, then by project.
    pub fn quotas(&self) -> impl Iterator<Item = (Option<&ProjectId>, &QuotaRow)> + '_ {
        self.quotas.iter().map(|(project, row)| (project.as_ref(), &row.value))
    }

    /// What is stored of projects in a range, by project; not the defaults.
    pub(crate) fn quotas_in(
        &self,
        (from, to): (Bound<&ProjectId>, Bound<&ProjectId>),
    ) -> impl DoubleEndedIterator<Item = (&ProjectId, &QuotaRow)> + '_ {
        let row = |project: Bound<&ProjectId>| project.map(|project| Some(project.clone()));
        self.quotas.range((row(from), row(to))).filter_map(|(project, row)| Some((project.as_ref()?, row)))
    }

    /// How many rows of quotas are stored.
    pub fn quotas_len(&self) -> usize {
        self.quotas.len()
    }

    /// The limits that hold for a project.
    pub fn limits_of(&self, project: &ProjectId) -> InForce {
        if self.quotas.len() == 0 {
            return InForce::default();
        }
        InForce::of(self.quota(Some(project)).map(|row| &row.limits), self.quota(None).map(|row| &row.limits))
    }

    /// What is booked on whom, when.
    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// Which hosts are of which kind.
    pub(crate) fn host_index(&self) -> &HostIndex {
        &self.host_index
    }

    /// What is known of a key at the ledger's clock.
    pub fn key(&self, key: &RequestKey) -> KeyLookup {
        if key.valid_until <= self.meta.clock {
            return KeyLookup::Expired;
        }
        match self.key_row(&key.project_id, key.id) {
            None => KeyLookup::Unknown,
            Some(row) if row.valid_until <= self.meta.clock => KeyLookup::Expired,
            Some(row) => match &row.fate {
                KeyFate::Answered { outcome, ledger_index } => {
                    KeyLookup::Answered { outcome: outcome.clone(), ledger_index: *ledger_index }
                }
                KeyFate::Pending { lease_id, .. } => KeyLookup::Pending { lease_id: *lease_id },
                KeyFate::Forgotten => KeyLookup::Forgotten,
            },
        }
    }

    /// The stored row of a key, expired or not.
    pub fn key_row(&self, project: &ProjectId, id: Uuid) -> Option<&KeyRow> {
        self.keys.get(&(id, project.clone()))
    }

    /// How many keys of a project are stored.
    pub fn keys_stored(&self, project: &ProjectId) -> usize {
        self.keys_of.get(project).copied().unwrap_or(0)
    }

    /// Stored keys whose validity has passed at `now`, the oldest first.
    pub fn expired_keys(&self, now: Timestamp) -> impl Iterator<Item = (&ProjectId, Uuid)> + '_ {
        self.key_expiry.iter().take_while(move |(at, _, _)| *at <= now).map(|(_, project, id)| (project, *id))
    }
}
