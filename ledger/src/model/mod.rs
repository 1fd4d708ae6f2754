//! The nouns of the ledger. They know nothing of commands, Raft, wire formats or the cloud's calls.

mod actuation;
mod amounts;
mod downtime;
mod eligibility;
mod expiry;
mod host;
mod ids;
mod lease;
mod precedence;
mod quota;
mod requirement;
mod series;
mod status;
mod text;
mod time;
mod upgrade;
mod wait;

pub use actuation::{Actuation, ActuationLease, Reason, ReasonCode, Step};
pub use amounts::{Amounts, Class};
pub use downtime::{DOWNTIMES_MAX, Downtime, Withheld};
pub use eligibility::{ColumnValue, Misfit, column_values, meets, misfit, value_meets};
pub use expiry::{EXPIRY_MIN_S, Expiry};
pub use host::{Anchor, Host, HostDescription, Observation, PoolKind};
pub use ids::{
    ActuationId, DowntimeId, EventId, HostId, LeaseId, NodeId, ProjectId, RequestKey, ReservationId, SeriesId, UserId,
};
pub use lease::{
    AMOUNT_MAX, Adoption, BeforeUpdate, Binding, Event, EventKind, InstanceWish, Lease, Offer, OnEnd, Phase, Previous,
    Reservation, ResourceWish, SourceFlavor, Stage, Staging,
};
pub use precedence::{FROZEN_S, PRIORITY_MAX, Precedence, Preempted, Victim};
pub use quota::{Excess, InForce, Limit, LimitKind, Limits, PERIOD_DEFAULT_S, PERIOD_MAX_S, PERIOD_MIN_S, QuotaRow, Spent};
pub use requirement::{Comparison, Requirement, VALUE_CHARS_MAX};
pub use series::{LeftOut, LeftOutReason, OCCURRENCES_MAX, Occurrence, SERIES_SLOTS_MAX, SeriesLease, SeriesMember, SeriesMode};
pub use status::{EventStatus, LeaseStatus, ReservationStatus};
pub use text::Text;
pub use time::{Interval, LEDGER_EPOCH_UNIX_S, Seconds, Timestamp};
pub use upgrade::Upgrade;
pub use wait::Wait;
