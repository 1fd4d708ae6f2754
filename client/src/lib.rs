//! Leasehold's public contract and its Rust client.
//!
//! [`Client`] has one method per operation. It finds the leader, rotates over the members, and sends a request again with
//! the same idempotency [`Key`] until it is answered or its deadline passes, so that a request happens once whatever dies
//! on the way. `wire` is the protobuf contract (`proto/leasehold/v1/`), generated once for client and node.
//!
//! ```no_run
//! use leasehold_client::{Client, NewLease, command::*, model::*};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder(["127.0.0.1:1235", "127.0.0.1:2235", "127.0.0.1:3235"]).build()?;
//!
//! // Two servers of 2 vCPUs and 4 GiB for an hour, on different hosts, from now on.
//! let servers = InstanceWish { affinity: Some(false), ..InstanceWish::anywhere(2, 4096, 10, 2) };
//! let resource = ResourceWish::Instance(servers.into());
//! let wish = NewLease {
//!     name: "night build".into(),
//!     start: StartWish::Now,
//!     end: Seconds::from_unix_s(1_900_000_000).ok_or("out of the calendar")?,
//!     before_end: BeforeEndWish::SecondsBefore(600),
//!     offer: None,
//!     wait: None,
//!     precedence: Default::default(),
//!     expiry_s: None,
//!     ignore_quota: false,
//!     reservations: vec![ReservationWish { resource, staging: None, on_end: OnEnd::Delete, servers: Default::default() }],
//! };
//!
//! // The key is made once; keep it if you want to ask later what became of the request.
//! let booked = client.create_lease(client.new_key(), wish).await?;
//! println!("{} is {}", booked.value.id, booked.value.status.as_str());
//!
//! // Everything that happens from that answer on, without gaps, whatever node serves it.
//! let mut watch = client.watch(booked.ledger_index);
//! loop {
//!     let change = watch.next().await?;
//!     println!("{}: {:?}", change.ledger_index, change.subject);
//! }
//! # }
//! ```
//!
//! Must not know: how a node works inside. Read next: `client.rs`, then `retry.rs`.

mod answer;
mod client;
mod cluster;
mod connect;
mod connector;
mod endpoints;
mod error;
mod retry;
mod system;
mod token;
mod watch;
pub mod wire;

pub use answer::{Answer, BookedSeries, DeletedSeries, Key, KeyState};
pub use client::Client;
pub use connect::{Builder, TlsOptions};
pub use connector::{Bytes, Connector};
pub use error::{Error, Offer, OfferedQuota, Refusal, RefusalKind};
pub use leasehold_ledger::listing::{
    AllocationFilter, DowntimeListing, DowntimeName, DowntimeOrder, Element, HostAllocation, HostDowntime, HostListing,
    HostOrder, LeaseFilter, LeaseOrder, Quota, QuotaListing, ReservedInterval, ReservedName, ReservedPage, Scope, Utilisation,
    UtilisationStep, UtilisationWish,
};
pub use leasehold_ledger::plan::{
    Capacity, CapacityWish, Density, DensityWish, HostAmount, HostCount, HostFilter, HostReservation, NoRoom, OccurrenceHosts,
    Piece, Preempts, Sums, WhatFits, WhatIf, WhatIfHosts, WindowWish,
};
pub use leasehold_ledger::{command, model, state};
pub use system::{RealSystem, System};
pub use token::{FixedToken, NoToken, TokenError, TokenSource};
pub use watch::Watch;
pub use wire::convert::{BadValue, HostChange, NewDowntime, NewHost, NewLease};

/// Metadata the contract names.
pub mod metadata {
    /// Token of the caller, on requests.
    pub const TOKEN: &str = "x-auth-token";
    /// Address of the leader, on every answer of a node that is not.
    pub const LEADER: &str = "leasehold-leader";
    /// Stable code of a refusal, for programs.
    pub const REJECTION: &str = "leasehold-rejection";
    /// What would fit, JSON, where there was no room.
    pub const OFFER: &str = "leasehold-offer";
}
