//! Orders, and pages of them.

use std::cmp::Ordering;

use crate::model::{Host, Lease};

/// What leases are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseOrder {
    /// Id.
    #[default]
    Id,
    /// Name.
    Name,
    /// Status, by its spelling.
    Status,
    /// First second.
    Start,
    /// First second after; without end last.
    End,
    /// When it was created.
    CreatedAt,
}

/// What hosts are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostOrder {
    /// Number.
    #[default]
    Id,
    /// Hypervisor hostname.
    Name,
    /// Availability zone; without one first.
    Zone,
}

impl LeaseOrder {
    pub(super) fn compare(self, one: &Lease, other: &Lease) -> Ordering {
        let first = match self {
            LeaseOrder::Id => Ordering::Equal,
            LeaseOrder::Name => one.name.cmp(&other.name),
            LeaseOrder::Status => one.status.as_str().cmp(other.status.as_str()),
            LeaseOrder::Start => one.start.cmp(&other.start),
            LeaseOrder::End => one.end.cmp(&other.end),
            LeaseOrder::CreatedAt => one.created_at.cmp(&other.created_at),
        };
        first.then_with(|| one.id.cmp(&other.id))
    }
}

impl HostOrder {
    pub(super) fn compare(self, one: &Host, other: &Host) -> Ordering {
        let (about, beside) = (&one.description, &other.description);
        let first = match self {
            HostOrder::Id => Ordering::Equal,
            HostOrder::Name => about.hypervisor_hostname.cmp(&beside.hypervisor_hostname),
            HostOrder::Zone => about.zone.cmp(&beside.zone),
        };
        first.then_with(|| one.id.cmp(&other.id))
    }
}

/// The first `limit` behind `marker`, in an order in which no two are equal. What does not come on the page is not sorted.
pub(super) fn page<'a, T>(
    mut found: Vec<&'a T>,
    marker: Option<&T>,
    limit: usize,
    descending: bool,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Vec<&'a T> {
    let compare = |one: &T, other: &T| if descending { compare(other, one) } else { compare(one, other) };
    if let Some(marker) = marker {
        found.retain(|one| compare(marker, one).is_lt());
    }
    if limit < found.len() {
        found.select_nth_unstable_by(limit, |one, other| compare(one, other));
        found.truncate(limit);
    }
    found.sort_unstable_by(|one, other| compare(one, other));
    found
}
