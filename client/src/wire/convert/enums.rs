//! Enumerations, one line per value. 0 is "unspecified" on the wire and nothing in the model.

use leasehold_ledger::listing::{DowntimeOrder, HostOrder, LeaseOrder, Scope};
use leasehold_ledger::model::{
    Anchor, Class, Comparison, EventKind, EventStatus, LeaseStatus, OnEnd, Phase, PoolKind, ReasonCode, ReservationStatus,
    SeriesMode, Stage,
};

use super::{BadValue, Result};
use crate::wire::v1;

/// An enumeration of the model and its number on the wire.
pub(super) trait Enumeration: Copy {
    /// The number.
    fn encode(self) -> i32;
    /// The value; `field` is named when there is none.
    fn decode(field: &str, number: i32) -> Result<Self>;
}

/// 0 is `None`.
pub(super) fn optional<E: Enumeration>(field: &str, number: i32) -> Result<Option<E>> {
    if number == 0 { Ok(None) } else { E::decode(field, number).map(Some) }
}

macro_rules! enumeration {
    ($name:ident, $expected:literal, $($variant:ident),+) => {
        impl Enumeration for $name {
            fn encode(self) -> i32 {
                match self {
                    $($name::$variant => v1::$name::$variant.into(),)+
                }
            }

            fn decode(field: &str, number: i32) -> Result<Self> {
                match v1::$name::try_from(number) {
                    $(Ok(v1::$name::$variant) => Ok($name::$variant),)+
                    Ok(v1::$name::Unspecified) | Err(_) => Err(BadValue::new(field, &number.to_string(), $expected)),
                }
            }
        }
    };
}

enumeration!(
    LeaseStatus,
    "a LeaseStatus of leasehold.v1 (is the server newer?)",
    Creating,
    Pending,
    Starting,
    Active,
    Updating,
    Terminating,
    Terminated,
    Deleting,
    Error,
    Waiting
);
enumeration!(ReservationStatus, "a ReservationStatus of leasehold.v1 (is the server newer?)", Pending, Active, Deleted, Error);
enumeration!(EventStatus, "an EventStatus of leasehold.v1 (is the server newer?)", Undone, InProgress, Done, Error);
enumeration!(
    EventKind,
    "an EventKind of leasehold.v1 (is the server newer?)",
    StartLease,
    BeforeEndLease,
    EndLease,
    Prepare,
    StagingOpen,
    StagingClose,
    Expiry
);
enumeration!(Stage, "a Stage of leasehold.v1 (is the server newer?)", Booked, Prepared, Staging, Parking, Parked, Open, Ended);
enumeration!(Phase, "a Phase of leasehold.v1 (is the server newer?)", Staging, Main);
enumeration!(
    ReasonCode,
    "a ReasonCode of leasehold.v1 (is the server newer?)",
    WaitingForEnd,
    Late,
    CloudUnavailable,
    Quota,
    ServerFailed,
    CloudRefused,
    Preempted,
    Expired
);
enumeration!(OnEnd, "1 (delete), 2 (shelve) or 3 (snapshot)", Delete, Shelve, Snapshot);
enumeration!(SeriesMode, "1 (all or nothing) or 2 (best effort)", AllOrNothing, BestEffort);
enumeration!(Anchor, "1 (memory) or 2 (class)", Memory, Class);
enumeration!(Class, "a Class of leasehold.v1 (is the server newer?)", Vcpu, MemoryMb, DiskGb, Slot);
enumeration!(PoolKind, "1 (dedicated) or 2 (shared)", Dedicated, Shared);
enumeration!(Scope, "1 (overlapping), 2 (inclusive) or 3 (exclusive)", Overlapping, Inclusive, Exclusive);
enumeration!(
    LeaseOrder,
    "1 (id), 2 (name), 3 (status), 4 (start), 5 (end) or 6 (created_at)",
    Id,
    Name,
    Status,
    Start,
    End,
    CreatedAt
);
enumeration!(HostOrder, "1 (number), 2 (name) or 3 (zone)", Id, Name, Zone);
enumeration!(DowntimeOrder, "1 (host and id), 2 (start) or 3 (end)", Id, Start, End);
enumeration!(Comparison, "1 (==), 2 (!=), 3 (>=), 4 (<=), 5 (>) or 6 (<)", Equal, NotEqual, AtLeast, AtMost, Above, Below);
