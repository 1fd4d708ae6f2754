//! Lists that reach leases which left memory (docs/decisions/0022). What stands in memory is taken while the state is looked at,
//! with the names of the rows that may belong to the answer; the rows are read afterwards, when nobody waits for the state any
//! more. The answer is of the one state that was looked at: a row never changes, and one that is gone by then is an error.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::{LeaseFilter, LeaseOrder, leases, no_marker};
use crate::apply::schedule::invalid;
use crate::model::{HostId, Interval, Lease, LeaseId, LeaseStatus};
use crate::mutant;
use crate::reply::Rejection;
use crate::state::{Among, Archived, State};
use crate::storage::archive::ArchiveError;

/// How many rows an answer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// A page by id names so many at first, or as many as it is long; it is begun again with more where those are too few.
    pub named: usize,
    /// So many are read for one answer at most, 1 or more. A page by id ends there, and says so; any other answer is refused.
    pub most: usize,
}

/// Reads a lease that left memory.
pub type Read<'a> = dyn FnMut(&Archived) -> Result<Lease, ArchiveError> + 'a;

/// An answer that may be waiting for rows.
pub trait Draft: Sized {
    /// What is asked for.
    type Value;

    /// Whether any row is to be read.
    fn reads(&self) -> bool;

    /// The answer; `None`: more rows than were named may belong to it.
    ///
    /// # Errors
    /// Those of `read`.
    fn finish(self, read: &mut Read<'_>) -> Result<Option<Self::Value>, ArchiveError>;
}

/// Why an answer that is no page by id and needs more than [`Reads::most`] rows is not given.
fn too_many_ended(most: usize) -> Rejection {
    let way = "ask for statuses other than TERMINATED and ERROR, for one project, or for a time that is not past; or list pages by id, with a \
               limit, which go on where they ended";
    invalid("statuses", format!("more than {most} leases that ended long ago would have to be read: {way}"))
}

/// Leases that left memory and may be of a filter.
pub(super) struct Unread {
    which: Vec<Archived>,
    /// There are others behind them.
    more: bool,
}

impl Unread {
    const NONE: Unread = Unread { which: Vec::new(), more: false };

    /// All of them. In the order of their rows, which is the fastest to read.
    pub fn all(state: &State, filter: &LeaseFilter, window: Option<Interval>, most: usize) -> Result<Unread, Rejection> {
        let Some(among) = among(state, filter, window) else { return Ok(Unread::NONE) };
        if state.archived_count(&among) > most {
            return Err(too_many_ended(most));
        }
        let mut which: Vec<Archived> = state.archived_in(&among, (Bound::Unbounded, Bound::Unbounded)).collect();
        // Those of one project are in that order.
        if filter.project_id.is_none() {
            which.sort_unstable_by(|one, other| (&one.project_id, one.id).cmp(&(&other.project_id, other.id)));
        }
        Ok(Unread { which, more: false })
    }

    /// Those that come on a page by id before the last of what is in memory, at most so many.
    fn of_page(state: &State, filter: &LeaseFilter, found: &[Lease], limit: usize, read_max: usize) -> Unread {
        let Some(among) = among(state, filter, None).filter(|_| limit > 0) else { return Unread::NONE };
        let behind = filter.after.map_or(Bound::Unbounded, Bound::Excluded);
        let last = found.last().filter(|_| found.len() >= limit).map_or(Bound::Unbounded, |last| Bound::Excluded(last.id));
        let mut which: Vec<Archived> = if filter.descending {
            state.archived_in(&among, (last, behind)).rev().take(read_max.saturating_add(1)).collect()
        } else {
            state.archived_in(&among, (behind, last)).take(read_max.saturating_add(1)).collect()
        };
        let more = which.len() > read_max;
        which.truncate(read_max);
        Unread { which, more }
    }

    pub fn reads(&self) -> bool {
        !self.which.is_empty()
    }

    /// Reads them, one by one, and shows those of the filter.
    pub fn each(&self, wanted: &Wanted, read: &mut Read<'_>, mut show: impl FnMut(Lease)) -> Result<(), ArchiveError> {
        for which in &self.which {
            let lease = read(which)?;
            if wanted.takes(&lease) {
                show(lease);
            }
        }
        Ok(())
    }
}

/// Which of those that left memory may be of a filter, as far as memory knows them; `None`: none of them. They are TERMINATED or in
/// ERROR, no offer that was not claimed, and their time is over.
fn among<'a>(state: &State, filter: &'a LeaseFilter, window: Option<Interval>) -> Option<Among<'a>> {
    let now = state.clock().floor_to_second();
    let is_past = |window: Interval| window.start < now;
    let of_time = window.is_none_or(is_past) && filter.window.is_none_or(|(window, _)| is_past(window));
    let takes = |status| filter.statuses.is_empty() || filter.statuses.contains(&status);
    let (ended, failed) = (takes(LeaseStatus::Terminated), takes(LeaseStatus::Error));
    // Planted bug: what left memory is left out.
    if !of_time || filter.offers || !(ended || failed) || mutant!("E01") {
        return None;
    }
    let failed = (ended != failed).then_some(failed);
    Some(Among { project: filter.project_id.as_ref(), series: filter.series, failed })
}

/// A filter, with all that it needs of the state.
pub(super) struct Wanted {
    filter: LeaseFilter,
    /// Hosts of its zone.
    of_zone: BTreeSet<HostId>,
}

impl Wanted {
    pub fn new(state: &State, filter: &LeaseFilter) -> Wanted {
        Wanted { filter: filter.clone(), of_zone: filter.hosts_of_zone(state) }
    }

    fn takes(&self, lease: &Lease) -> bool {
        self.filter.takes(&self.of_zone, lease)
    }
}

/// A list of leases, or a page of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeasePage {
    /// In its order.
    pub leases: Vec<Lease>,
    /// The page ends before it is full, as so many ended leases were read for it as may be: it goes on behind this one, which need not be
    /// of the list. `None`: one that is shorter than its limit is the last.
    pub next: Option<LeaseId>,
}

/// What a list of leases is made of.
pub struct LeaseList {
    wanted: Wanted,
    /// Of memory, in order; a page at most, unless the marker left memory.
    found: Vec<Lease>,
    marker: Marker,
    unread: Unread,
    /// No more rows may be named.
    is_last_try: bool,
}

enum Marker {
    /// None, or its place is known by its id.
    No,
    There(Box<Lease>),
    /// It left memory.
    Left(Archived),
}

impl LeaseList {
    /// What the state has of the leases of a filter.
    ///
    /// # Errors
    /// `Invalid` (marker: a lease that is not there has no place in an order by something else than the id; `with_any`, `with_all`,
    /// `without`: too many; statuses: too many rows would have to be read).
    pub fn begin(state: &State, filter: &LeaseFilter, reads: Reads) -> Result<LeaseList, Rejection> {
        let wanted = Wanted::new(state, filter);
        let owned = |leases: Vec<&Lease>| leases.into_iter().cloned().collect::<Vec<Lease>>();
        if let (LeaseOrder::Id, Some(limit)) = (filter.order, filter.limit) {
            let found = owned(leases(state, filter)?);
            let read_max = reads.named.max(limit as usize).min(reads.most);
            let unread = Unread::of_page(state, filter, &found, limit as usize, read_max);
            return Ok(LeaseList { wanted, found, marker: Marker::No, unread, is_last_try: read_max == reads.most });
        }
        let mut unread = Unread::all(state, filter, None, reads.most)?;
        let is_last_try = true;
        if filter.order == LeaseOrder::Id {
            let is_behind =
                |id: LeaseId| filter.after.is_none_or(|after| if filter.descending { id < after } else { id > after });
            unread.which.retain(|which| is_behind(which.id));
            return Ok(LeaseList { wanted, found: owned(leases(state, filter)?), marker: Marker::No, unread, is_last_try });
        }
        let left = filter.after.and_then(|id| state.archived(id));
        if let Some(left) = left {
            if filter.project_id.as_ref().is_some_and(|project| *project != left.project_id) {
                return Err(no_marker(&left.id));
            }
            let whole = LeaseFilter { after: None, limit: None, ..filter.clone() };
            let found = owned(leases(state, &whole)?);
            return Ok(LeaseList { wanted, found, marker: Marker::Left(left), unread, is_last_try });
        }
        let found = owned(leases(state, filter)?);
        let marker = filter.after.and_then(|id| state.lease(id)).cloned();
        let marker = marker.map_or(Marker::No, |lease| Marker::There(Box::new(lease)));
        Ok(LeaseList { wanted, found, marker, unread, is_last_try })
    }

    fn limit(&self) -> usize {
        self.wanted.filter.limit.map_or(usize::MAX, |limit| limit as usize)
    }

    /// Whether `one` comes before `other` by id.
    fn comes_before(&self, one: LeaseId, other: LeaseId) -> bool {
        if self.wanted.filter.descending { one > other } else { one < other }
    }

    /// A page by id stops as soon as it is full, or where no more may be read.
    fn page_by_id(mut self, read: &mut Read<'_>) -> Result<Option<LeasePage>, ArchiveError> {
        let limit = self.limit();
        let (mut taken, mut is_full) = (Vec::new(), false);
        for which in &self.unread.which {
            let before = self.found.partition_point(|lease| self.comes_before(lease.id, which.id));
            is_full = before + taken.len() >= limit;
            if is_full {
                break;
            }
            let lease = read(which)?;
            if self.wanted.takes(&lease) {
                taken.push(lease);
            }
            is_full = before + taken.len() >= limit;
        }
        let next = self.unread.which.last().filter(|_| self.unread.more && !is_full).map(|last| last.id);
        if let Some(next) = next {
            if !self.is_last_try {
                return Ok(None);
            }
            // Others that left memory come before what is there behind it.
            let here = self.found.partition_point(|lease| self.comes_before(lease.id, next));
            self.found.truncate(here);
        }
        self.found.append(&mut taken);
        Ok(Some(LeasePage { leases: self.in_order(), next }))
    }

    fn in_order(self) -> Vec<Lease> {
        let LeaseFilter { order, descending, .. } = self.wanted.filter;
        let limit = self.limit();
        let mut found = self.found;
        found.sort_unstable_by(|one, other| if descending { order.compare(other, one) } else { order.compare(one, other) });
        found.truncate(limit);
        found
    }
}

impl Draft for LeaseList {
    type Value = LeasePage;

    fn reads(&self) -> bool {
        self.unread.reads() || matches!(self.marker, Marker::Left(_))
    }

    fn finish(mut self, read: &mut Read<'_>) -> Result<Option<LeasePage>, ArchiveError> {
        let LeaseFilter { order, descending, limit, .. } = self.wanted.filter;
        if order == LeaseOrder::Id && limit.is_some() {
            return self.page_by_id(read);
        }
        let marker = match std::mem::replace(&mut self.marker, Marker::No) {
            Marker::No => None,
            Marker::There(lease) => Some(*lease),
            Marker::Left(which) => Some(read(&which)?),
        };
        let is_behind = |lease: &Lease| match &marker {
            Some(marker) if descending => order.compare(marker, lease).is_gt(),
            Some(marker) => order.compare(marker, lease).is_lt(),
            None => true,
        };
        self.found.retain(is_behind);
        let mut found = std::mem::take(&mut self.found);
        self.unread.each(&self.wanted, read, |lease| found.extend(Some(lease).filter(|lease| is_behind(lease))))?;
        self.found = found;
        Ok(Some(LeasePage { leases: self.in_order(), next: None }))
    }
}
