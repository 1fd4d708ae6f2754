//! A project's client that follows its leases with the client library's watch, over nodes that come and go.

use std::sync::Arc;
use std::time::Duration;

use leasehold_client::Error;
use leasehold_ledger::state::ChangeSubject;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::clients::{Asked, Clients, Door};
use super::shapes;
use crate::plan::Draw;
use crate::record::Followed;
use crate::sim::rng::stream;
use crate::sim::tasks;
use crate::sim::world::World;

/// Number of this client among all.
const CLIENT: u32 = u32::MAX - 1;
/// How the library names that the journal does not reach back so far.
const FORGOTTEN: &str = "changes_forgotten";

/// Whoever follows, and what he was told.
pub struct Follower {
    lines: Arc<Mutex<Vec<Followed>>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Follows a project from the beginning.
    pub fn start(world: &Arc<World>, clients: Arc<Clients>, project: String) -> Follower {
        let lines = Arc::default();
        let task = tasks::spawn(follow(world.clone(), clients, project, Arc::clone(&lines)));
        Follower { lines, task }
    }

    /// No more; what was told is handed over.
    pub fn stop(self) -> Vec<Followed> {
        self.task.abort();
        std::mem::take(&mut *self.lines.lock())
    }
}

async fn follow(world: Arc<World>, clients: Arc<Clients>, project_id: String, lines: Arc<Mutex<Vec<Followed>>>) {
    let mut draw = Draw::new(world.plan.seed, stream("follow", &[]));
    let (mut after, mut watch) = (0, 0);
    loop {
        watch += 1;
        let nodes = world.nodes_from(world.member(draw.below(world.size())));
        let asked = Asked { door: Door::Library, client: CLIENT, nodes, project: &project_id, key: None };
        // Now and then he goes on with a watch of his own, and with the nodes that there are by then.
        let give_up = Instant::now() + Duration::from_millis(draw.between(5_000, 60_000));
        let mut changes = clients.client(&asked).watch(after);
        let line = |index: Option<u64>, change: Value| {
            let at_ns = world.trace.now_ns();
            lines.lock().push(Followed { at_ns, watch, after, project_id: project_id.clone(), index, change });
        };
        let forgotten = loop {
            match tokio::time::timeout_at(give_up, changes.next()).await {
                Ok(Ok(change)) => {
                    world.trace.note("followed", 0, u64::from(watch), change.ledger_index);
                    line(Some(change.ledger_index), shown(&change.subject));
                }
                Ok(Err(Error::Refused(refusal))) if refusal.code == FORGOTTEN => {
                    line(None, json!(refusal.message));
                    break true;
                }
                Ok(Err(error)) => {
                    clients.must_serve(&error);
                    break false;
                }
                Err(_) => break false,
            }
        };
        after = changes.position();
        if forgotten && let Some(index) = clients.index(&asked).await {
            after = index;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn shown(subject: &ChangeSubject) -> Value {
    match subject {
        ChangeSubject::Lease(lease) => json!({"lease": shapes::of_grpc(lease)}),
        ChangeSubject::LeaseRemoved { lease_id, .. } => json!({"lease_removed": lease_id}),
        // These no project is told of: the check finds them.
        ChangeSubject::Host(host) => json!({"host": host.id}),
        ChangeSubject::HostRemoved(id) => json!({"host_removed": id}),
    }
}
