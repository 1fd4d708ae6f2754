//! Clients at the wire level: they ask over REST, over gRPC on one node, or through the client library with all nodes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use leasehold_client::{Answer, Bytes, Client, Connector, Error, Key, KeyState, LeaseFilter, NewLease, RefusalKind, System};
use leasehold_ledger::command::{LeaseWish, SeriesWish};
use leasehold_ledger::model::{Lease, LeaseStatus, ProjectId, RequestKey, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::super::network::CLIENTS;
use super::super::rng::{at, stream};
use super::super::trace::Trace;
use super::super::world::json as as_json;
use super::rest::Rest;
use super::tokens::Tokens;
use super::{GRPC, Tcp, address, place, shapes};
use crate::record::Refusal;
use crate::rows::Rows;
use crate::sim::cloud::SimCloud;
use crate::workload::{Wanted, wanted};

/// Lane of connections of gRPC clients.
const LANE: u64 = 21;
/// How long the library tries before it says that it did not succeed.
const DEADLINE: Duration = Duration::from_secs(30);

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// One node, by Blazar's API.
    Rest,
    /// One node, by gRPC.
    Grpc,
    /// Whoever serves, by the client library.
    Library,
}

impl Door {
    /// The door of all attempts under one key: what a request means is not worded alike at both edges, and a key belongs to one
    /// wording.
    pub fn drawn(number: u64) -> Door {
        [Door::Rest, Door::Grpc, Door::Library][(number % 3) as usize]
    }

    /// The door of what is asked for: quotas, and what is asked without booking, come through gRPC or the library.
    pub fn asked(wanted: &Wanted, number: u64) -> Door {
        match (wanted, Door::drawn(number)) {
            (Wanted::SetQuota { .. } | Wanted::GetQuota { .. } | Wanted::WhatIf(_) | Wanted::Density(_), Door::Rest) => {
                Door::Library
            }
            (_, door) => door,
        }
    }

    /// As the record names it.
    pub fn name(self) -> &'static str {
        match self {
            Door::Rest => "rest",
            Door::Grpc => "grpc",
            Door::Library => "library",
        }
    }
}

/// Who asks what, where.
pub struct Asked<'a> {
    /// How.
    pub door: Door,
    /// Which client.
    pub client: u32,
    /// Nodes, the first of which is asked first.
    pub nodes: Vec<u64>,
    /// Whose.
    pub project: &'a str,
    /// Of a write.
    pub key: Option<RequestKey>,
}

/// What came of it: reply, index, and the lease as the client has it.
pub type Answered = Result<(Value, u64, Option<Lease>), Refused>;

/// An answer that is none of what was asked for.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What it means.
    pub refusal: Refusal,
    /// For people, as the node worded it.
    pub text: String,
    /// What the ledger rejected, as the record has it.
    pub rejection: Value,
    /// Of a refusal for lack of room.
    pub index: Option<u64>,
}

impl Refused {
    pub(super) fn plain(refusal: Refusal, text: impl Into<String>) -> Refused {
        Refused { refusal, text: text.into(), rejection: Value::Null, index: None }
    }
}

/// Whose: a client, a project, and the nodes that they were told of.
type Whose = (u32, String, Vec<u64>);

/// All clients' connections.
pub struct Clients {
    tcp: Arc<Tcp>,
    trace: Arc<Trace>,
    seed: u64,
    /// By project.
    tokens: BTreeMap<String, Tokens>,
    rest: Rest,
    /// Clients of the library keep their connections, as long as the cluster has these nodes.
    libraries: Mutex<BTreeMap<Whose, Client>>,
    made: AtomicU64,
}

impl Clients {
    /// Of projects with their users.
    pub fn new(
        tcp: Arc<Tcp>,
        cloud: &Arc<SimCloud>,
        trace: Arc<Trace>,
        seed: u64,
        projects: impl Iterator<Item = (String, &'static str)>,
    ) -> Clients {
        let tokens = projects.map(|(project, user)| (project, Tokens::new(cloud.clone(), user))).collect();
        let rest = Rest::new(tcp.clone(), trace.clone());
        Clients { tcp, trace, seed, tokens, rest, libraries: Mutex::default(), made: AtomicU64::new(0) }
    }

    /// Asks for an operation.
    pub async fn carry_out(&self, asked: &Asked<'_>, asked_for: Wanted, rows: &Rows) -> Answered {
        if asked.door == Door::Rest {
            let node = *asked.nodes.first().unwrap_or(&0);
            return self.rest.carry_out(node, self.tokens_of(asked.project), asked.key.as_ref(), asked_for, rows).await;
        }
        let client = self.client(asked);
        // Reads have no key; the library asks for one with writes only.
        let key = asked.key.as_ref().map_or(Key { id: uuid::Uuid::nil(), valid_until: Timestamp(0) }, key_of);
        let lease = |answer: Answer<Lease>| (shapes::of_grpc(&answer.value), answer.ledger_index, Some(answer.value));
        let answer = match asked_for {
            Wanted::Create(wish) => client.create_lease(key, new(*wish)).await.map(lease),
            Wanted::CreateSeries(wish) => {
                let SeriesWish { lease, recurrence } = *wish;
                client.create_series(key, new(lease), recurrence).await.map(|Answer { value, ledger_index }| {
                    let reply = wanted::booked(&value, shapes::of_grpc(&value.first));
                    (reply, ledger_index, Some(value.first))
                })
            }
            Wanted::DeleteSeries { series_id } => {
                let gone = client.delete_series(key, series_id).await;
                gone.map(|answer| (wanted::deleted(&answer.value), answer.ledger_index, None))
            }
            Wanted::ListSeries { series_id } => {
                let filter = LeaseFilter { series: Some(series_id), ..LeaseFilter::default() };
                client.list_leases(filter).await.map(|answer| {
                    let told = answer.value.iter().map(shapes::of_grpc);
                    (rows.name_told(told), answer.ledger_index, None)
                })
            }
            Wanted::WhatIf(wish) => {
                let told = client.what_if(new(*wish)).await;
                told.map(|answer| (wanted::would_be(&answer.value), answer.ledger_index, None))
            }
            Wanted::Density(wish) => {
                let told = client.density(*wish).await;
                told.map(|answer| (wanted::fitting(&answer.value), answer.ledger_index, None))
            }
            Wanted::SetQuota { of, set, unset } => {
                let settled = client.set_quota(key, named(of), set, unset).await;
                settled.map(|answer| (as_json(&answer.value), answer.ledger_index, None))
            }
            Wanted::GetQuota { of } => {
                client.quota(Some(named(of))).await.map(|answer| (as_json(&answer.value), answer.ledger_index, None))
            }
            Wanted::Update { lease_id, change } => client.update_lease(key, lease_id, change).await.map(lease),
            Wanted::Claim { lease_id } => client.claim_offer(key, lease_id).await.map(lease),
            Wanted::Delete { lease_id } => {
                client.delete_lease(key, lease_id).await.map(|answer| (Value::Null, answer.ledger_index, None))
            }
            Wanted::Get { lease_id } => client.get_lease(lease_id).await.map(lease),
            Wanted::Waiting => {
                let filter = LeaseFilter { statuses: [LeaseStatus::Waiting].into(), ..LeaseFilter::default() };
                client.list_leases(filter).await.map(|answer| {
                    let told = answer.value.iter().map(shapes::of_grpc);
                    (rows.name_told(told), answer.ledger_index, None)
                })
            }
            Wanted::List { offers } => client.list_leases(LeaseFilter { offers, ..LeaseFilter::default() }).await.map(|answer| {
                let told = answer.value.iter().map(shapes::of_grpc);
                (rows.name_told(told), answer.ledger_index, None)
            }),
        };
        answer.map_err(|error| self.refused(error))
    }

    /// What a key holds, as the record has it; `None`: nobody told.
    pub async fn look_up(&self, asked: &Asked<'_>) -> Option<Value> {
        let key = asked.key.as_ref()?;
        if asked.door == Door::Rest {
            let node = *asked.nodes.first().unwrap_or(&0);
            return self.rest.look_up(node, self.tokens_of(asked.project), key).await;
        }
        match self.client(asked).look_up_key(key_of(key)).await {
            Ok(answer) => Some(match answer.value {
                KeyState::Applied { lease_id, rejection, ledger_index } => {
                    json!({"applied": {"lease_id": lease_id, "rejection": rejection, "ledger_index": ledger_index}})
                }
                KeyState::Never => json!("never"),
                KeyState::Expired => json!("expired"),
                KeyState::Pending { .. } => json!("pending"),
            }),
            Err(error) => {
                tracing::debug!(%error, "a key was not looked up");
                None
            }
        }
    }

    /// The index of a list, from which a watch can go on; `None`: nobody told.
    pub async fn index(&self, asked: &Asked<'_>) -> Option<u64> {
        let listed = self.client(asked).list_leases(LeaseFilter::default()).await;
        listed.map_err(|error| self.must_serve(&error)).ok().map(|answer| answer.ledger_index)
    }

    /// An error of a watch that only faults may bring about, or a finding.
    pub fn must_serve(&self, error: &Error) {
        // A token that ended is told: whoever asks again gets another.
        let ended = matches!(error, Error::Refused(refusal) if refusal.kind == RefusalKind::Unauthenticated);
        if !ended && !matches!(error, Error::Unavailable { .. } | Error::OutcomeUnknown { .. }) {
            self.trace.finding("R1", format!("the client library: {error}"));
        }
    }

    fn tokens_of(&self, project: &str) -> &Tokens {
        self.tokens.get(project).expect("all projects are known from the start")
    }

    /// The library's client for this.
    pub fn client(&self, asked: &Asked<'_>) -> Client {
        let made = || {
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            let nodes: Vec<String> = asked.nodes.iter().map(|node| address(*node, GRPC)).collect();
            let builder = Client::builder(if asked.door == Door::Grpc { nodes[..1].to_vec() } else { nodes })
                .tokens(self.tokens_of(asked.project).clone())
                .deadline(DEADLINE)
                .system(SimSystem { trace: self.trace.clone(), seed: self.seed, client: number, drawn: AtomicU64::new(0) })
                .connector(Connecting(self.tcp.clone()));
            let builder = if asked.door == Door::Grpc { builder.only_named() } else { builder };
            builder.build().expect("addresses of nodes are good")
        };
        match asked.door {
            Door::Library => {
                let mut nodes = asked.nodes.clone();
                nodes.sort_unstable();
                let whose = (asked.client, asked.project.to_owned(), nodes);
                self.libraries.lock().entry(whose).or_insert_with(made).clone()
            }
            Door::Rest | Door::Grpc => made(),
        }
    }

    fn refused(&self, error: Error) -> Refused {
        let refusal = match error {
            Error::Refused(refusal) => refusal,
            Error::Unavailable { last, .. } => return Refused::plain(Refusal::Unavailable, last),
            Error::OutcomeUnknown { last, .. } => return Refused::plain(Refusal::Unknown, last),
            // Whatever it is, clients of the same release understand each other.
            error @ (Error::BadAnswer(_) | Error::Token(_) | Error::Setup(_)) => {
                self.trace.finding("R1", format!("the client library: {error}"));
                return Refused::plain(Refusal::Unknown, error.to_string());
            }
        };
        let text = refusal.message;
        let kind = match (refusal.code.as_str(), refusal.kind) {
            ("no_room", _) => {
                let index = refusal.offer.map(|offer| offer.ledger_index);
                return Refused { index, ..Refused::plain(Refusal::NoRoom, text) };
            }
            ("hold_refused", _) => Refusal::HoldRefused,
            ("forbidden", _) => Refusal::Forbidden,
            ("token_invalid" | "token_missing", _) => Refusal::Unavailable,
            ("malformed" | "", _) | (_, RefusalKind::Internal | RefusalKind::Unimplemented) => {
                self.trace.finding("R1", format!("gRPC answers {} {:?}: {text}", refusal.code, refusal.kind));
                Refusal::Unknown
            }
            _ => Refusal::Rejected,
        };
        let rejection = if kind == Refusal::Rejected { shapes::rejection(&refusal.code, &text) } else { Value::Null };
        Refused { rejection, ..Refused::plain(kind, text) }
    }
}

fn new(wish: LeaseWish) -> NewLease {
    let LeaseWish { name, start, end, before_end, reservations, offer, wait, precedence, expiry_s, ignore_quota, .. } = wish;
    NewLease { name, start, end, before_end, reservations, offer, wait, precedence, expiry_s, ignore_quota }
}

/// Whose quota, as the edges name it.
fn named(of: Option<ProjectId>) -> String {
    of.map_or_else(|| "default".to_owned(), |project| project.0.to_string())
}

fn key_of(key: &RequestKey) -> Key {
    Key { id: key.id, valid_until: key.valid_until }
}

/// Connections to nodes' gRPC edges.
struct Connecting(Arc<Tcp>);

impl Connector for Connecting {
    fn connect(&self, member: &str) -> BoxFuture<'static, io::Result<Box<dyn Bytes>>> {
        let (tcp, to) = (self.0.clone(), place(member));
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "dns error: nobody has this address");
        async move {
            let end = tcp.connect(CLIENTS, to.ok_or_else(unknown)?, LANE, None).await?;
            Ok(Box::new(end) as Box<dyn Bytes>)
        }
        .boxed()
    }
}

/// True time, and numbers of the seed.
struct SimSystem {
    trace: Arc<Trace>,
    seed: u64,
    client: u64,
    drawn: AtomicU64,
}

impl System for SimSystem {
    fn now(&self) -> Timestamp {
        Timestamp(self.trace.now_ms())
    }

    fn random(&self) -> u128 {
        let number = self.drawn.fetch_add(2, Ordering::Relaxed);
        let half = |number| u128::from(at(self.seed, stream("library", &[self.client]), number));
        half(number) << 64 | half(number + 1)
    }
}
