//! What clients and the operator ask for, and how the record words it.

use std::collections::BTreeSet;

use leasehold_client::{BookedSeries, DeletedSeries, Density, DensityWish, WhatIf};
use leasehold_ledger::command::{LeaseChange, LeaseWish, SeriesWish};
use leasehold_ledger::model::{LeaseId, LimitKind, Limits, ProjectId, SeriesId, Timestamp};
use leasehold_node::operations::Actor;
use serde_json::{Value, json};

use crate::sim::world::json as as_json;

/// What a client asks for.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A lease.
    Create(Box<LeaseWish>),
    /// Another one of what was booked.
    Update {
        /// Which.
        lease_id: LeaseId,
        /// How.
        change: LeaseChange,
    },
    /// A lease of an offer.
    Claim {
        /// Which.
        lease_id: LeaseId,
    },
    /// No lease any more.
    Delete {
        /// Which.
        lease_id: LeaseId,
    },
    /// A lease as it is.
    Get {
        /// Which.
        lease_id: LeaseId,
    },
    /// All leases of the project, or all of its offers that nobody has claimed.
    List {
        /// The offers.
        offers: bool,
    },
    /// All leases of the project that wait for room.
    Waiting,
    /// A lease that comes again.
    CreateSeries(Box<SeriesWish>),
    /// None of its leases that have not started.
    DeleteSeries {
        /// Which.
        series_id: SeriesId,
    },
    /// Its leases.
    ListSeries {
        /// Which.
        series_id: SeriesId,
    },
    /// What a lease would come to.
    WhatIf(Box<LeaseWish>),
    /// How many instances fit.
    Density(Box<DensityWish>),
    /// Other limits: what an operator asks for.
    SetQuota {
        /// Of a project; `None`: of all that have none of their own.
        of: Option<ProjectId>,
        /// To be set.
        set: Limits,
        /// To be taken back.
        unset: BTreeSet<LimitKind>,
    },
    /// The limits, and what is used of them.
    GetQuota {
        /// As above.
        of: Option<ProjectId>,
    },
}

impl Wanted {
    /// Whether it changes the ledger, so that it has a key.
    pub fn writes(&self) -> bool {
        match self {
            Wanted::Create(_)
            | Wanted::Update { .. }
            | Wanted::Claim { .. }
            | Wanted::Delete { .. }
            | Wanted::CreateSeries(_)
            | Wanted::DeleteSeries { .. }
            | Wanted::SetQuota { .. } => true,
            Wanted::Get { .. }
            | Wanted::List { .. }
            | Wanted::Waiting
            | Wanted::ListSeries { .. }
            | Wanted::WhatIf(_)
            | Wanted::Density(_)
            | Wanted::GetQuota { .. } => false,
        }
    }

    /// Its name and its request, as the record has them.
    pub fn request(&self, who: &Actor, valid_until: Timestamp) -> (&'static str, Value) {
        let (op, mut request) = match self {
            Wanted::Create(wish) => ("create", json!({"wish": as_json(wish)})),
            Wanted::Update { lease_id, change } => ("update", json!({"lease_id": lease_id, "change": as_json(change)})),
            Wanted::Claim { lease_id } => ("claim", json!({"lease_id": lease_id})),
            Wanted::Delete { lease_id } => ("delete", json!({"lease_id": lease_id})),
            Wanted::Get { lease_id } => ("get", json!({"lease_id": lease_id})),
            Wanted::List { offers } => (if *offers { "offers" } else { "list" }, json!({})),
            Wanted::Waiting => ("waiting", json!({})),
            Wanted::CreateSeries(wish) => ("create_series", json!({"wish": as_json(wish)})),
            Wanted::DeleteSeries { series_id } => ("delete_series", json!({"series_id": series_id})),
            Wanted::ListSeries { series_id } => ("list_series", json!({"series_id": series_id})),
            Wanted::WhatIf(wish) => ("what_if", json!({"wish": as_json(wish)})),
            Wanted::Density(wish) => {
                let DensityWish { instance, window, .. } = wish.as_ref();
                let (start, end) = (as_json(&window.start), as_json(&window.end));
                ("density", json!({"wish": {"instance": as_json(instance), "start": start, "end": end}}))
            }
            Wanted::SetQuota { of, set, unset } => ("set_quota", json!({"of": of, "set": as_json(set), "unset": as_json(unset)})),
            Wanted::GetQuota { of } => ("quota", json!({"of": of})),
        };
        request["project_id"] = json!(who.project_id);
        request["valid_until_ms"] = json!(valid_until);
        (op, request)
    }
}

/// A series that was booked, as the record has it; its first lease as far as it was told.
pub fn booked(series: &BookedSeries, first: Value) -> Value {
    let BookedSeries { id, first: _, leases, left_out } = series;
    json!({"series_id": id, "first": first, "leases": as_json(leases), "left_out": as_json(left_out)})
}

/// What became of the leases of a series, as the record has it.
pub fn deleted(series: &DeletedSeries) -> Value {
    json!({"deleted": as_json(&series.deleted), "kept": as_json(&series.kept)})
}

/// What a lease would come to, as the record has it.
pub fn would_be(what: &WhatIf) -> Value {
    json!({"fits": !matches!(what, WhatIf::NoRoom(_))})
}

/// How many fit, as the record has it.
pub fn fitting(density: &Density) -> Value {
    json!({"largest_amount": density.fits.largest_amount})
}
