//! Identities. All of them are chosen before the log, except [`HostId`] and [`ActuationId`], which the ledger counts.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Text, Timestamp};

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}", self.0) }
        }
        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> { Ok(Self(Uuid::parse_str(text)?)) }
        }
    };
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Text);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
    };
}

uuid_id!(/// A lease; what a tenant asks for and gets.
    LeaseId);
uuid_id!(/// A reservation inside a lease. Also the id of its flavor (architecture D7).
    ReservationId);
uuid_id!(/// An event of a lease.
    EventId);
uuid_id!(/// A series: leases that were asked for by one recurring request.
    SeriesId);
uuid_id!(/// A downtime of a host.
    DowntimeId);
number_id!(/// A host: a ledger sequence number, shown as digits (architecture D7).
    HostId);
number_id!(/// One piece of work owed to the cloud; counted by the ledger, never used twice.
    ActuationId);
number_id!(/// A member of the Raft cluster; never used again after its disk was lost.
    NodeId);
text_id!(/// A Keystone project.
    ProjectId);
text_id!(/// A Keystone user.
    UserId);

/// An idempotency key (architecture D18): unique per project, with the time until which the answer is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestKey {
    /// The project that made the key; keys of different projects never meet.
    pub project_id: ProjectId,
    /// Made once by the client and kept through every retry.
    pub id: Uuid,
    /// Part of the content: afterwards a retry or lookup answers `expired`.
    pub valid_until: Timestamp,
}
