//! Writes run on the leader. Elsewhere the whole call travels over the peer channel, and its answer back.

use std::sync::Arc;
use std::time::Duration;

use leasehold_client::{BookedSeries, DeletedSeries};
use leasehold_ledger::command::{Command, FoundGroup, LeaseChange, LeaseWish, SeriesWish, StartWish};
use leasehold_ledger::listing::Quota;
use leasehold_ledger::model::{
    DowntimeId, Host, HostId, Lease, LeaseId, LimitKind, Limits, ProjectId, RequestKey, ReservationId, Seconds, SeriesId,
    Upgrade, Withheld,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;
use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

use super::{
    Actor, Answer, ClusterChange, ClusterStatus, HostRequest, KeyState, OperationError, Operations, Result, Unavailable,
};
use crate::raft::{ForwardError, Leadership};
use crate::seams::Clock;
use crate::telemetry::request_id;

/// How long a call looks for a leader before it gives up: longer than an election with default timeouts.
pub(super) const FIND_LEADER: Duration = Duration::from_secs(8);
/// How long a forwarded call may take: deleting waits 60 s for the cloud (architecture D19).
const FORWARDED: Duration = Duration::from_secs(75);

/// A call that only the leader can carry out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Call {
    /// Of the request that it serves, for the logs of both nodes.
    #[serde(default)]
    pub request_id: Option<String>,
    pub actor: Actor,
    pub key: Option<RequestKey>,
    pub request: Request,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    CreateLease {
        wish: LeaseWish,
        caller_makes_groups: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Box<LeaseWish>>,
    },
    CreateSeries {
        wish: SeriesWish,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Box<LeaseWish>>,
    },
    DeleteSeries {
        series_id: SeriesId,
    },
    UpdateLease {
        lease_id: LeaseId,
        change: LeaseChange,
        caller_makes_groups: bool,
    },
    RecordServerGroups {
        lease_id: LeaseId,
        groups: BTreeMap<ReservationId, FoundGroup>,
    },
    ClaimOffer {
        lease_id: LeaseId,
    },
    DeleteLease {
        lease_id: LeaseId,
    },
    LookUpKey,
    RegisterHost(HostRequest),
    UpdateHost {
        host_id: HostId,
        properties: BTreeMap<String, String>,
        reservable: Option<bool>,
    },
    SetDowntime {
        host_id: HostId,
        downtime_id: DowntimeId,
        start: Option<StartWish>,
        end: Seconds,
        withheld: Withheld,
    },
    DropDowntime {
        host_id: HostId,
        downtime_id: DowntimeId,
    },
    SetUpgrade {
        host_id: HostId,
        upgrade: Upgrade,
    },
    DropUpgrade {
        host_id: HostId,
    },
    DeleteHost {
        host_id: HostId,
    },
    SetQuota {
        project_id: Option<ProjectId>,
        set: Limits,
        unset: BTreeSet<LimitKind>,
    },
    Probe {
        payload: Vec<u8>,
    },
    ChangeCluster(ClusterChange),
}

/// What a [`Call`] gives.
// Made and taken apart once a call; a box would only cost an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Given {
    Lease(Answer<Lease>),
    /// Booked at this index; the node that took the request is to make its server groups, and waits for it then.
    Booked(Answer<Lease>),
    /// Reservations that do not take the group that was made for them.
    Groups(Vec<ReservationId>),
    Series(Box<Answer<BookedSeries>>),
    DeletedSeries(Answer<DeletedSeries>),
    Host(Answer<Host>),
    Key(Answer<KeyState>),
    Quota(Answer<Quota>),
    Done(Answer<()>),
    Cluster(Box<ClusterStatus>),
}

/// What came of one try on one node.
// Made and taken apart once a call; a box would only cost an allocation.
#[allow(clippy::large_enum_variant)]
enum Tried {
    Answered(Result<Given>),
    /// Certainly not carried out, because this or that node does not lead.
    NotLeader,
}

/// Makes `operations` answer what other nodes forward to this one.
pub(super) fn receive_forwarded_calls(operations: &Operations) {
    // Weak: the handler lives in the Raft handle, which the operations hold.
    let inner = Arc::downgrade(&operations.inner);
    operations.inner.raft.on_forward(Arc::new(move |bytes| {
        let inner = inner.clone();
        Box::pin(async move {
            let Some(inner) = inner.upgrade() else { return encode(&Err(OperationError::Unavailable(Unavailable::Stopping))) };
            let answer = match rmp_serde::from_slice::<Call>(&bytes) {
                Ok(call) => {
                    let request_id = call.request_id.clone().unwrap_or_default();
                    let span = tracing::info_span!("forwarded", request_id, project_id = %call.actor.project_id,
                        lease_id = Empty, key = Empty, term = Empty, log_index = Empty);
                    let operations = Operations { inner };
                    request_id::within(request_id, operations.carry_out(call)).instrument(span).await
                }
                Err(problem) => Err(OperationError::Internal(format!("a forwarded call does not decode: {problem}"))),
            };
            encode(&answer)
        })
    }));
}

/// Waits until leadership has moved, but not for long: the news may be that the same leader is ready now.
pub(super) async fn news_of(leadership: &mut watch::Receiver<Leadership>, clock: &Arc<dyn Clock>) -> Result<()> {
    let pause = clock.sleep(Duration::from_millis(50));
    tokio::select! {
        biased;
        changed = leadership.changed() => changed.map_err(|_| OperationError::Unavailable(Unavailable::Stopping)),
        () = pause => Ok(()),
    }
}

fn encode(answer: &Result<Given>) -> Vec<u8> {
    rmp_serde::to_vec_named(answer).expect("an answer always encodes")
}

impl Operations {
    /// Carries a call out on the leader, wherever that is, and waits out an election.
    pub(super) async fn on_leader(&self, call: Call) -> Result<Given> {
        let clock = &self.inner.seams.clock;
        let give_up = clock.mono().after(FIND_LEADER);
        let mut leadership = self.inner.raft.leadership();
        loop {
            let seen = *leadership.borrow_and_update();
            match self.try_once(&seen, &call).await {
                Tried::Answered(answer) => return answer,
                Tried::NotLeader if clock.mono() >= give_up => {
                    // Elections take less: a node that finds none for so long is cut off, or too few nodes live.
                    return Err(OperationError::Unavailable(Unavailable::NoQuorum));
                }
                Tried::NotLeader => news_of(&mut leadership, clock).await?,
            }
        }
    }

    async fn try_once(&self, leadership: &Leadership, call: &Call) -> Tried {
        match leadership {
            Leadership::Leading { .. } => match self.carry_out(call.clone()).await {
                Err(OperationError::Unavailable(Unavailable::NoLeader)) => Tried::NotLeader,
                answer => Tried::Answered(answer),
            },
            Leadership::Following { leader: None } => Tried::NotLeader,
            Leadership::Following { leader: Some(leader) } => {
                let bytes = rmp_serde::to_vec_named(call).expect("a call always encodes");
                match self.inner.raft.forward(*leader, bytes, FORWARDED).await {
                    Ok(bytes) => match rmp_serde::from_slice::<Result<Given>>(&bytes) {
                        Ok(Err(OperationError::Unavailable(Unavailable::NoLeader))) => Tried::NotLeader,
                        Ok(answer) => Tried::Answered(answer),
                        Err(problem) => Tried::Answered(Err(OperationError::Internal(format!(
                            "a forwarded answer does not decode: {problem}"
                        )))),
                    },
                    Err(ForwardError::NotSent(_)) => Tried::NotLeader,
                    Err(ForwardError::Unknown(_)) => Tried::Answered(Err(OperationError::Unknown)),
                }
            }
        }
    }

    /// Carries a call out here. `Unavailable(NoLeader)`: certainly not carried out.
    async fn carry_out(&self, call: Call) -> Result<Given> {
        let Call { request_id: _, actor, key, request } = call;
        if let Some(key) = &key {
            Span::current().record("key", display(key.id));
        }
        if let Request::UpdateLease { lease_id, .. } | Request::ClaimOffer { lease_id } | Request::DeleteLease { lease_id } =
            &request
        {
            Span::current().record("lease_id", display(lease_id));
        }
        match request {
            Request::CreateLease { wish, caller_makes_groups, asked } => {
                self.create_here(key, wish, asked, caller_makes_groups).await
            }
            Request::CreateSeries { wish, asked } => {
                self.create_series_here(key, wish, asked).await.map(|booked| Given::Series(Box::new(booked)))
            }
            Request::DeleteSeries { series_id } => {
                self.delete_series_here(&actor, key, series_id).await.map(Given::DeletedSeries)
            }
            Request::UpdateLease { lease_id, change, caller_makes_groups } => {
                self.update_here(&actor, key, lease_id, change, caller_makes_groups).await
            }
            Request::RecordServerGroups { lease_id, groups } => {
                self.record_groups_here(lease_id, groups).await.map(Given::Groups)
            }
            Request::ClaimOffer { lease_id } => self.claim_here(&actor, key, lease_id).await.map(Given::Lease),
            Request::DeleteLease { lease_id } => self.delete_here(&actor, key, lease_id).await.map(Given::Done),
            Request::LookUpKey => self.look_up_here(key).await.map(Given::Key),
            Request::RegisterHost(request) => self.register_here(key, request).await.map(Given::Host),
            Request::UpdateHost { host_id, properties, reservable } => {
                self.update_host_here(key, host_id, properties, reservable).await.map(Given::Host)
            }
            Request::SetDowntime { host_id, downtime_id, start, end, withheld } => {
                let command = Command::SetDowntime { host_id, downtime_id, start, end, withheld };
                self.change_host_here(key, host_id, command).await.map(Given::Host)
            }
            Request::DropDowntime { host_id, downtime_id } => {
                let command = Command::DropDowntime { host_id, downtime_id };
                self.change_host_here(key, host_id, command).await.map(Given::Host)
            }
            Request::SetUpgrade { host_id, upgrade } => {
                let command = Command::SetUpgrade { host_id, upgrade };
                self.change_host_here(key, host_id, command).await.map(Given::Host)
            }
            Request::DropUpgrade { host_id } => {
                let command = Command::DropUpgrade { host_id };
                self.change_host_here(key, host_id, command).await.map(Given::Host)
            }
            Request::DeleteHost { host_id } => self.delete_host_here(key, host_id).await.map(Given::Done),
            Request::SetQuota { project_id, set, unset } => {
                self.set_quota_here(key, project_id, set, unset).await.map(Given::Quota)
            }
            Request::Probe { payload } => self.probe_here(payload).await.map(Given::Done),
            Request::ChangeCluster(change) => {
                self.change_cluster_here(change).await.map(|status| Given::Cluster(Box::new(status)))
            }
        }
    }
}

macro_rules! expect_given {
    ($name:ident, $variant:ident, $value:ty) => {
        impl Given {
            /// The answer this call always has; another one is our bug, or a peer's.
            pub(super) fn $name(self) -> Result<$value> {
                match self {
                    Given::$variant(value) => Ok(value),
                    other => Err(OperationError::Internal(format!("unexpected answer {other:?}"))),
                }
            }
        }
    };
}
impl Given {
    /// See above; of a series.
    pub(super) fn series(self) -> Result<Answer<BookedSeries>> {
        self.boxed_series().map(|booked| *booked)
    }
}
expect_given!(boxed_series, Series, Box<Answer<BookedSeries>>);
expect_given!(lease, Lease, Answer<Lease>);
expect_given!(groups, Groups, Vec<ReservationId>);
expect_given!(deleted_series, DeletedSeries, Answer<DeletedSeries>);
expect_given!(host, Host, Answer<Host>);
expect_given!(key, Key, Answer<KeyState>);
expect_given!(quota, Quota, Answer<Quota>);
expect_given!(done, Done, Answer<()>);
expect_given!(cluster, Cluster, Box<ClusterStatus>);
