//! One subscriber that follows all changes, over nodes that come and go, resuming where it was.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use leasehold_ledger::state::ChangeSubject;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::world::{World, admin, json as as_json};
use crate::plan::Draw;
use crate::record::Watched;
use crate::sim::tasks;

/// The subscriber and what it was told.
pub struct Watches {
    lines: Arc<Mutex<Vec<Watched>>>,
    task: JoinHandle<()>,
}

impl Watches {
    /// Follows from the beginning.
    pub fn start(world: &Arc<World>) -> Watches {
        let lines = Arc::default();
        let task = tasks::spawn(follow(world.clone(), Arc::clone(&lines)));
        Watches { lines, task }
    }

    /// No more.
    pub async fn stop(&self) {
        self.task.abort();
    }

    /// What it was told; the lines are handed over.
    pub fn lines(&self) -> Vec<Watched> {
        std::mem::take(&mut *self.lines.lock())
    }
}

async fn follow(world: Arc<World>, lines: Arc<Mutex<Vec<Watched>>>) {
    let mut draw = Draw::new(world.plan.seed, 30);
    let (mut after, mut subscription) = (0, 0);
    loop {
        let machine = &world.machines[world.member(draw.below(world.size()))];
        // Now and then a subscriber moves on by itself.
        let patience = Duration::from_millis(draw.between(5_000, 60_000));
        if let Some(life) = machine.life() {
            subscription += 1;
            let begun_after = after;
            let line = |index: Option<u64>, change: Value| Watched {
                at_ns: world.trace.now_ns(),
                client: 0,
                subscription,
                node: machine.id,
                after: begun_after,
                index,
                change,
            };
            let (send, mut told) = mpsc::unbounded_channel();
            let operations = life.operations.clone();
            let from = after;
            drop(life.group.spawn("watcher", async move {
                let mut stream = match operations.watch(&admin(), from).await {
                    Ok(stream) => stream,
                    Err(error) => return drop(send.send(Err(error.to_string()))),
                };
                loop {
                    let item = tokio::select! {
                        biased;
                        () = send.closed() => return,
                        item = stream.next() => item,
                    };
                    let Some(item) = item else { return };
                    if send.send(item.map_err(|error| error.to_string())).is_err() {
                        return;
                    }
                }
            }));
            let give_up = tokio::time::Instant::now() + patience;
            loop {
                match tokio::time::timeout_at(give_up, told.recv()).await {
                    Ok(Some(Ok(change))) => {
                        after = change.ledger_index;
                        world.trace.note("watched", machine.id, u64::from(subscription), after);
                        lines.lock().push(line(Some(change.ledger_index), shown(&change.subject)));
                    }
                    Ok(Some(Err(error))) => {
                        lines.lock().push(line(None, json!(error)));
                        break;
                    }
                    Ok(None) | Err(_) => break,
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn shown(subject: &ChangeSubject) -> Value {
    match subject {
        ChangeSubject::Lease(lease) => json!({"lease": as_json(lease)}),
        ChangeSubject::LeaseRemoved { lease_id, .. } => json!({"lease_removed": lease_id}),
        ChangeSubject::Host(host) => json!({"host": as_json(host)}),
        ChangeSubject::HostRemoved(id) => json!({"host_removed": id}),
    }
}
