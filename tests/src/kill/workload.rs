//! The clients: each creates, renames, deletes and lists leases of its own, one call at a time, and remembers what it was
//! told. Leases lie in the next days, so that only the ledger is at work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use leasehold_client::{Client, Error, Key, NewLease};
use leasehold_ledger::command::{BeforeEndWish, LeaseChange, ReservationWish, StartWish};
use leasehold_ledger::model::{InstanceWish, LeaseId, OnEnd, PoolKind, ResourceWish, Seconds};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::history::{History, Invoked};
use super::progress::Progress;
use crate::caller::{Ending, ending};
use crate::draw::Draw;
use crate::wait::wall_ms;

/// Between two calls of a client.
const THINK: Duration = Duration::from_millis(40);
/// So many hours, from tomorrow on, are reserved in: few enough that clients compete for hosts.
const SLOTS: u64 = 48;

/// What a client knows of a lease it may have made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its id, if the create was acknowledged.
    pub id: Option<LeaseId>,
    /// Names it may carry now: that of the last acknowledged change and those of changes with unknown outcome.
    pub names: Vec<String>,
    /// What is known of its deletion.
    pub deletion: Deletion,
    /// The key it was created with.
    pub key: Option<Key>,
}

/// Whether a lease was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deletion {
    /// Nobody asked.
    #[default]
    No,
    /// Asked, outcome unknown.
    Maybe,
    /// Acknowledged.
    Yes,
}

/// What one client knows, by the name each lease was made with.
pub type Knowledge = BTreeMap<String, Known>;

/// What all clients share.
#[derive(Debug)]
pub struct Shared {
    /// Where operations are written down.
    pub history: History,
    /// Counters.
    pub progress: Progress,
}

/// One client.
pub struct Worker {
    number: u32,
    client: Client,
    shared: Arc<Shared>,
    draw: Draw,
    first_s: u64,
    made: u64,
    knowledge: Knowledge,
}

impl Worker {
    /// The client `number` of a run.
    pub fn new(number: u32, client: Client, shared: Arc<Shared>, seed: u64) -> Worker {
        let first_s = (wall_ms() / 1000 / 3600 + 24) * 3600;
        let draw = Draw::new(seed, 100 + u64::from(number));
        Worker { number, client, shared, draw, first_s, made: 0, knowledge: Knowledge::new() }
    }

    /// Works until told to stop; answers what it knows.
    pub async fn work(mut self, stop: watch::Receiver<bool>) -> Result<(Client, Knowledge)> {
        while !*stop.borrow() {
            let mine: Vec<String> = self
                .knowledge
                .iter()
                .filter(|(_, known)| known.id.is_some() && known.deletion == Deletion::No)
                .map(|(name, _)| name.clone())
                .collect();
            match self.draw.between(0, 99) {
                _ if mine.is_empty() => self.create().await?,
                0..50 => self.create().await?,
                50..65 => {
                    let name = self.draw.one_of(&mine).clone();
                    self.rename(&name).await?;
                }
                65..90 => {
                    let name = self.draw.one_of(&mine).clone();
                    self.delete(&name).await?;
                }
                _ => self.list(&mine).await?,
            }
            tokio::time::sleep(THINK).await;
        }
        Ok((self.client, self.knowledge))
    }

    fn wish(&mut self, name: &str) -> Result<NewLease> {
        let start = self.first_s + 3600 * self.draw.between(0, SLOTS - 1);
        let end = start + 3600 * self.draw.between(1, 4);
        let second = |unix_s: u64| Seconds::from_unix_s(unix_s as i64).context("a second of the calendar");
        let instance = InstanceWish {
            pool: Some(PoolKind::Dedicated),
            ..InstanceWish::anywhere(
                self.draw.between(1, 4) as u32,
                1024 * self.draw.between(1, 4) as u32,
                1,
                self.draw.between(1, 3) as u32,
            )
        };
        Ok(NewLease {
            name: name.to_owned(),
            start: StartWish::At(second(start)?),
            end: second(end)?,
            before_end: BeforeEndWish::Never,
            offer: None,
            wait: None,
            precedence: Default::default(),
            expiry_s: None,
            ignore_quota: false,
            reservations: vec![ReservationWish {
                resource: ResourceWish::Instance(instance.into()),
                staging: None,
                on_end: OnEnd::Delete,
                servers: Default::default(),
            }],
        })
    }

    async fn create(&mut self) -> Result<()> {
        self.made += 1;
        let name = format!("c{}-{}", self.number, self.made);
        let wish = self.wish(&name)?;
        let asked = json!({"name": name, "wish": format!("{wish:?}")});
        let (invoked, key) = (self.shared.history.invoke(self.number, "create"), self.client.new_key());
        let answer = self.client.create_lease(key, wish).await;
        let known = Known { names: vec![name.clone()], key: Some(key), ..Known::default() };
        match answer {
            Ok(answer) => {
                self.shared.progress.acknowledged(true);
                let body = json!({"asked": asked, "lease_id": answer.value.id.to_string()});
                self.shared.history.returned(invoked, Some(key), Ending::Ok, Some(answer.ledger_index), body)?;
                self.knowledge.insert(name, Known { id: Some(answer.value.id), ..known });
            }
            Err(error) => {
                if self.failed(invoked, key, asked, &error)? == Ending::Info {
                    self.knowledge.insert(name, known);
                }
            }
        }
        Ok(())
    }

    async fn rename(&mut self, name: &str) -> Result<()> {
        let Some(known) = self.knowledge.get_mut(name) else { return Ok(()) };
        let Some(id) = known.id else { return Ok(()) };
        let new = format!("{name}.{}", self.draw.between(1, 1_000_000));
        let asked = json!({"lease_id": id.to_string(), "name": new});
        let (invoked, key) = (self.shared.history.invoke(self.number, "update"), self.client.new_key());
        let change = LeaseChange { name: Some(new.clone()), ..LeaseChange::default() };
        match self.client.update_lease(key, id, change).await {
            Ok(answer) => {
                self.shared.progress.acknowledged(false);
                // Changes with unknown outcome stay possible: one may still be under way.
                known.names.remove(0);
                known.names.insert(0, new);
                self.shared.history.returned(invoked, Some(key), Ending::Ok, Some(answer.ledger_index), asked)?;
            }
            Err(error) => {
                if ending(&error) == Ending::Info {
                    known.names.push(new);
                }
                self.failed(invoked, key, asked, &error)?;
            }
        }
        Ok(())
    }

    async fn delete(&mut self, name: &str) -> Result<()> {
        let Some(known) = self.knowledge.get_mut(name) else { return Ok(()) };
        let Some(id) = known.id else { return Ok(()) };
        let asked = json!({"lease_id": id.to_string()});
        let (invoked, key) = (self.shared.history.invoke(self.number, "delete"), self.client.new_key());
        match self.client.delete_lease(key, id).await {
            Ok(answer) => {
                self.shared.progress.acknowledged(false);
                known.deletion = Deletion::Yes;
                self.shared.history.returned(invoked, Some(key), Ending::Ok, Some(answer.ledger_index), asked)?;
            }
            Err(error) => {
                if ending(&error) == Ending::Info {
                    known.deletion = Deletion::Maybe;
                }
                self.failed(invoked, key, asked, &error)?;
            }
        }
        Ok(())
    }

    /// Reads all leases: every one of `mine` must be there, because reads see what was acknowledged before.
    async fn list(&mut self, mine: &[String]) -> Result<()> {
        let invoked = self.shared.history.invoke(self.number, "list");
        match self.client.list_leases(Default::default()).await {
            Ok(answer) => {
                let listed: std::collections::BTreeSet<LeaseId> = answer.value.iter().map(|lease| lease.id).collect();
                for name in mine {
                    let id = self.knowledge.get(name).and_then(|known| known.id).context("an acknowledged lease")?;
                    anyhow::ensure!(listed.contains(&id), "client {}: {name} ({id}) is acknowledged and not listed", self.number);
                }
                let body = json!({"leases": listed.len()});
                self.shared.history.returned(invoked, None, Ending::Ok, Some(answer.ledger_index), body)
            }
            Err(error) => {
                // A read that fails has changed nothing.
                self.shared.history.returned(invoked, None, Ending::Fail, None, json!({"error": error.to_string()}))
            }
        }
    }

    /// Writes a failed write down and counts it.
    fn failed(&self, invoked: Invoked, key: Key, asked: Value, error: &Error) -> Result<Ending> {
        let ending = ending(error);
        match ending {
            Ending::Ok => {}
            Ending::Fail => self.shared.progress.refused(),
            Ending::Info => self.shared.progress.unknown(),
        }
        let body = json!({"asked": asked, "error": error.to_string()});
        self.shared.history.returned(invoked, Some(key), ending, None, body)?;
        Ok(ending)
    }
}
