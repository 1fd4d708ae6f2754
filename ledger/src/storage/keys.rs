//! Every key, byte by byte. Numbers are big-endian, so that the order of the bytes is the order of the rows.
//!
//! | first byte | then | row |
//! |---|---|---|
//! | `00` | – | applied position: opaque bytes of the caller, not hashed |
//! | `01` | – | state hash: 16 bytes, big-endian, not hashed |
//! | `10` | – | [`Meta`](crate::state::Meta) |
//! | `20` | lease id, 16 bytes | [`Lease`](crate::model::Lease) |
//! | `21` | host number, 8 bytes | [`Host`](crate::model::Host) |
//! | `22` | actuation number, 8 bytes | [`Actuation`](crate::model::Actuation) |
//! | `23` | length of project id, 2 bytes; project id; key id, 16 bytes | [`KeyRow`](crate::state::KeyRow) |
//! | `24` | ledger index, 8 bytes; place in its entry, 4 bytes | [`Change`](crate::state::Change) |
//! | `25` | length of project id, 2 bytes; project id, none for the defaults | [`QuotaRow`](crate::model::QuotaRow) |
//! | `26` | length of project id, 2 bytes; project id; lease id, 16 bytes; [`Mark`] | [`Lease`](crate::model::Lease) that left memory |
//!
//! A new table takes a new first byte. A byte is never given another meaning.

mod mark;

use uuid::Uuid;

use crate::model::{ActuationId, HostId, LeaseId, ProjectId};
pub use mark::{FlavorSize, Mark};

/// Applied position.
pub const POSITION: u8 = 0x00;
/// State hash.
pub const HASH: u8 = 0x01;
/// The one row of counters and clock.
pub const META: u8 = 0x10;
/// Leases.
pub const LEASE: u8 = 0x20;
/// Hosts.
pub const HOST: u8 = 0x21;
/// Open actuations.
pub const ACTUATION: u8 = 0x22;
/// Idempotency keys.
pub const KEY: u8 = 0x23;
/// Journal of changes.
pub const CHANGE: u8 = 0x24;

/// Quotas.
pub const QUOTA: u8 = 0x25;
/// Ended leases that left memory.
pub const ARCHIVED: u8 = 0x26;

/// Names one hashed row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowId {
    /// The one row of counters and clock.
    Meta,
    /// A lease.
    Lease(LeaseId),
    /// A host.
    Host(HostId),
    /// An open actuation.
    Actuation(ActuationId),
    /// An idempotency key.
    Key(ProjectId, Uuid),
    /// A change of the journal: ledger index and place in its entry.
    Change(u64, u32),
    /// The quota of a project; `None`: the defaults for all.
    Quota(Option<ProjectId>),
    /// An ended lease that left memory.
    Archived(ProjectId, LeaseId, Mark),
}

impl RowId {
    /// The key of the row.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            RowId::Meta => vec![META],
            RowId::Lease(id) => join(LEASE, &[id.0.as_bytes()]),
            RowId::Host(id) => join(HOST, &[&id.0.to_be_bytes()]),
            RowId::Actuation(id) => join(ACTUATION, &[&id.0.to_be_bytes()]),
            RowId::Key(project, id) => {
                // Project ids are bounded where keys are accepted (`apply::keys`), so the length always fits.
                let length = u16::try_from(project.0.len()).unwrap_or(u16::MAX);
                join(KEY, &[&length.to_be_bytes(), project.0.as_bytes(), id.as_bytes()])
            }
            RowId::Quota(project) => {
                // Bounded where quotas are set and where leases are made.
                let id = project.as_ref().map_or("", |project| &project.0);
                let length = u16::try_from(id.len()).unwrap_or(u16::MAX);
                join(QUOTA, &[&length.to_be_bytes(), id.as_bytes()])
            }
            RowId::Change(index, place) => join(CHANGE, &[&index.to_be_bytes(), &place.to_be_bytes()]),
            RowId::Archived(project, id, mark) => {
                // Bounded where leases are made.
                let length = u16::try_from(project.0.len()).unwrap_or(u16::MAX);
                join(ARCHIVED, &[&length.to_be_bytes(), project.0.as_bytes(), id.0.as_bytes(), &mark.to_bytes()])
            }
        }
    }

    /// The inverse; `None` for bytes that name no hashed row.
    pub fn from_bytes(key: &[u8]) -> Option<RowId> {
        let (&tag, rest) = key.split_first()?;
        match tag {
            META => rest.is_empty().then_some(RowId::Meta),
            LEASE => Some(RowId::Lease(LeaseId(Uuid::from_slice(rest).ok()?))),
            HOST => Some(RowId::Host(HostId(u64::from_be_bytes(rest.try_into().ok()?)))),
            ACTUATION => Some(RowId::Actuation(ActuationId(u64::from_be_bytes(rest.try_into().ok()?)))),
            KEY => of_project(rest).filter(|(_, _, rest)| rest.is_empty()).map(|(project, id, _)| RowId::Key(project, id)),
            ARCHIVED => {
                let (project, id, mark) = of_project(rest)?;
                Some(RowId::Archived(project, LeaseId(id), Mark::from_bytes(mark)?))
            }
            QUOTA => {
                let (length, id) = rest.split_first_chunk::<2>()?;
                let id = std::str::from_utf8(id).ok().filter(|id| id.len() == usize::from(u16::from_be_bytes(*length)))?;
                Some(RowId::Quota((!id.is_empty()).then(|| ProjectId(id.into()))))
            }
            CHANGE => {
                let (index, place) = rest.split_first_chunk::<8>()?;
                Some(RowId::Change(u64::from_be_bytes(*index), u32::from_be_bytes(place.try_into().ok()?)))
            }
            _ => None,
        }
    }
}

/// Length of project id, project id, id, and what is behind it.
fn of_project(rest: &[u8]) -> Option<(ProjectId, Uuid, &[u8])> {
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (project, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let project = ProjectId(std::str::from_utf8(project).ok()?.into());
    Some((project, Uuid::from_bytes(*id), rest))
}

fn join(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(tag);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::{ReservationId, SeriesId};

    #[test]
    fn every_key_reads_back_and_sorts_as_its_row() {
        let of_series = Mark { series: Some((SeriesId(Uuid::from_u128(3)), 128)), ..Mark::default() };
        let size = |flavor| FlavorSize { flavor: ReservationId(Uuid::from_u128(flavor)), vcpus: 1, memory_mb: 2, disk_gb: 3 };
        let parked = Mark { flavors: vec![size(4), size(5)], ..Mark::default() };
        let rows = [
            RowId::Meta,
            RowId::Lease(LeaseId(Uuid::from_u128(7))),
            RowId::Host(HostId(3)),
            RowId::Host(HostId(256)),
            RowId::Actuation(ActuationId(1)),
            RowId::Key(ProjectId("p".into()), Uuid::from_u128(9)),
            RowId::Change(5, 0),
            RowId::Change(5, 1),
            RowId::Quota(None),
            RowId::Quota(Some(ProjectId("p".into()))),
            RowId::Archived(ProjectId("p".into()), LeaseId(Uuid::from_u128(7)), Mark::default()),
            RowId::Archived(ProjectId("p".into()), LeaseId(Uuid::from_u128(8)), Mark { failed: true, ..Mark::default() }),
            RowId::Archived(ProjectId("p".into()), LeaseId(Uuid::from_u128(8)), of_series.clone()),
            RowId::Archived(ProjectId("p".into()), LeaseId(Uuid::from_u128(8)), Mark { failed: true, ..of_series.clone() }),
            RowId::Archived(ProjectId("p".into()), LeaseId(Uuid::from_u128(8)), parked.clone()),
            RowId::Archived(ProjectId("p".into()), LeaseId(Uuid::from_u128(8)), Mark { failed: true, ..parked.clone() }),
            RowId::Archived(
                ProjectId("p".into()),
                LeaseId(Uuid::from_u128(8)),
                Mark { failed: true, series: of_series.series, ..parked },
            ),
        ];
        let keys: Vec<_> = rows.iter().map(RowId::to_bytes).collect();
        assert!(keys.is_sorted());
        for (row, key) in rows.iter().zip(&keys) {
            assert_eq!(RowId::from_bytes(key).as_ref(), Some(row));
        }
    }

    #[test]
    fn rows_of_leases_that_left_memory_keep_their_keys() {
        let key = |mark| RowId::Archived(ProjectId("p".into()), LeaseId(Uuid::from_u128(0xab)), mark).to_bytes();
        let plain = [&[0x26, 0, 1, b'p'][..], &[0; 15], &[0xab]].concat();
        assert_eq!(key(Mark::default()), plain);
        let of_series = Mark { series: Some((SeriesId(Uuid::from_u128(0xcd)), 0x102)), ..Mark::default() };
        assert_eq!(key(of_series.clone()), [&plain[..], &[2], &[0; 15], &[0xcd, 0, 0, 1, 2]].concat());
        assert_eq!(key(Mark { failed: true, ..Mark::default() }), [&plain[..], &[1]].concat());
        assert_eq!(key(Mark { failed: true, ..of_series }), [&plain[..], &[3], &[0; 15], &[0xcd, 0, 0, 1, 2]].concat());
        let size = FlavorSize { flavor: ReservationId(Uuid::from_u128(0xef)), vcpus: 1, memory_mb: 0x203, disk_gb: 4 };
        let numbers = [0, 0, 0, 1, 0, 0, 2, 3, 0, 0, 0, 4];
        let parked = Mark { flavors: vec![size], ..Mark::default() };
        assert_eq!(key(parked), [&plain[..], &[4], &[0; 15], &[0xef], &numbers].concat());
    }

    #[test]
    fn foreign_bytes_name_no_row() {
        for key in
            [&b""[..], b"\x00", b"\x01", b"\x99abc", b"\x20short", b"\x23\x00\x09p", b"\x10x", b"\x25\x00\x02p", b"\x26\x00\x01p"]
        {
            assert_eq!(RowId::from_bytes(key), None);
        }
        let plain = RowId::Archived(ProjectId("p".into()), LeaseId(Uuid::from_u128(7)), Mark::default()).to_bytes();
        for mark in [&[0][..], &[1, 0], &[2], &[3], &[4], &[4; 28], &[6; 21], &[2; 20], &[2; 22], &[8; 21]] {
            assert_eq!(RowId::from_bytes(&[&plain, mark].concat()), None, "{mark:?}");
        }
        let key = RowId::Key(ProjectId("p".into()), Uuid::from_u128(9)).to_bytes();
        assert_eq!(RowId::from_bytes(&[&key[..], &[0]].concat()), None);
    }
}
