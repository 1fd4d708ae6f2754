//! What the key of a lease that left memory tells of it.

use uuid::Uuid;

use crate::model::{Lease, LeaseStatus, OnEnd, Reservation, ReservationId, SeriesId};

/// What the key of an ended lease tells of it behind its id, so that nobody need read the row for it.
///
/// In the key it is nothing, of most leases; else a byte of bits, and behind it what they say is there:
///
/// | bit | what follows |
/// |---|---|
/// | `01` | it is in ERROR, and not TERMINATED: nothing |
/// | `02` | it is of a series: series id, 16 bytes; number of the occurrence, 4 bytes |
/// | `04` | it parked servers at its end or had taken some over: of each such reservation the [`FlavorSize`], 28 bytes, to the end |
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The series it is an occurrence of, and its number there.
    pub series: Option<(SeriesId, u32)>,
    /// It is in ERROR, and not TERMINATED.
    pub failed: bool,
    /// Of its reservations that parked servers at their end or took some over, in their order.
    pub flavors: Vec<FlavorSize>,
}

/// A flavor and what one server of it has: asked for where parked servers are taken over (docs/decisions/0011).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlavorSize {
    /// The reservation that it was made for.
    pub flavor: ReservationId,
    /// Processors.
    pub vcpus: u32,
    /// Memory, MiB.
    pub memory_mb: u32,
    /// Disk, GiB.
    pub disk_gb: u32,
}

/// Bytes of one in a key.
const SIZE_BYTES: usize = 28;

const FAILED: u8 = 0x01;
const OF_SERIES: u8 = 0x02;
const PARKED: u8 = 0x04;

impl Mark {
    /// Of an ended lease.
    pub fn of(lease: &Lease) -> Mark {
        let series = lease.series.as_ref().map(|member| (member.id, member.number));
        let asked_for = |one: &&Reservation| one.on_end == OnEnd::Shelve || one.adoption.is_some();
        let flavors = lease.reservations.iter().filter(asked_for).map(FlavorSize::of).collect();
        Mark { series, failed: lease.status == LeaseStatus::Error, flavors }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let bits = [(self.failed, FAILED), (self.series.is_some(), OF_SERIES), (!self.flavors.is_empty(), PARKED)];
        let bits = bits.into_iter().filter(|(is_so, _)| *is_so).fold(0, |bits, (_, bit)| bits | bit);
        if bits == 0 {
            return Vec::new();
        }
        let mut bytes = vec![bits];
        if let Some((series, number)) = self.series {
            bytes.extend_from_slice(series.0.as_bytes());
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for FlavorSize { flavor, vcpus, memory_mb, disk_gb } in &self.flavors {
            bytes.extend_from_slice(flavor.0.as_bytes());
            [vcpus, memory_mb, disk_gb].into_iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Mark> {
        let Some((&bits, mut rest)) = bytes.split_first() else { return Some(Mark::default()) };
        if bits == 0 || bits & !(FAILED | OF_SERIES | PARKED) != 0 {
            return None;
        }
        let mut series = None;
        if bits & OF_SERIES != 0 {
            let (id, behind) = rest.split_first_chunk::<16>()?;
            let (number, behind) = behind.split_first_chunk::<4>()?;
            series = Some((SeriesId(Uuid::from_bytes(*id)), u32::from_be_bytes(*number)));
            rest = behind;
        }
        let flavors = rest.chunks(SIZE_BYTES).map(FlavorSize::from_bytes).collect::<Option<Vec<FlavorSize>>>()?;
        let is_parked = bits & PARKED != 0;
        (is_parked != flavors.is_empty()).then_some(Mark { series, failed: bits & FAILED != 0, flavors })
    }
}

impl FlavorSize {
    /// Of a reservation.
    pub fn of(reservation: &Reservation) -> FlavorSize {
        let wish = reservation.wish.instance();
        let (vcpus, memory_mb, disk_gb) = (wish.vcpus, wish.memory_mb, wish.disk_gb);
        FlavorSize { flavor: reservation.flavor(), vcpus, memory_mb, disk_gb }
    }

    fn from_bytes(bytes: &[u8]) -> Option<FlavorSize> {
        let (flavor, rest) = bytes.split_first_chunk::<16>()?;
        let (vcpus, rest) = rest.split_first_chunk::<4>()?;
        let (memory_mb, disk_gb) = rest.split_first_chunk::<4>()?;
        Some(FlavorSize {
            flavor: ReservationId(Uuid::from_bytes(*flavor)),
            vcpus: u32::from_be_bytes(*vcpus),
            memory_mb: u32::from_be_bytes(*memory_mb),
            disk_gb: u32::from_be_bytes(disk_gb.try_into().ok()?),
        })
    }
}
