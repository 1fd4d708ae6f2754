//! Measures how long writes take, at an even pace, and asks for many at once: for V3 and V4.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold_node::operations::OperationError;
use parking_lot::Mutex;

use crate::record::{Answered, Metered};
use crate::sim::tasks;
use crate::sim::world::{World, admin};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Default)]
pub struct Meter {
    lines: Mutex<Vec<Metered>>,
    over: AtomicBool,
}

impl Meter {
    /// Nothing more is asked for: at rest all nodes are to have one state.
    pub fn stop(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// In the order of the answers.
    pub fn lines(&self) -> Vec<Metered> {
        self.lines.lock().clone()
    }
}

/// Writes every so often until [`Meter::stop`]; nothing if the plan does not want it.
pub async fn run(world: Arc<World>) {
    let every = Duration::from_millis(world.plan.sim.meter_ms);
    while !every.is_zero() && !world.meter.over.load(Ordering::SeqCst) {
        tasks::spawn(write(world.clone(), false));
        tokio::time::sleep(every).await;
    }
}

/// Asks for many writes at once, and waits until each has its answer.
pub async fn burst(world: &Arc<World>, many: u32) {
    let asked: Vec<_> = (0..many).map(|_| tasks::spawn(write(world.clone(), true))).collect();
    for one in asked {
        // The run may end first; a panic of the harness must not be lost.
        if let Err(error) = one.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// One small command, on whoever leads.
async fn write(world: Arc<World>, burst: bool) {
    let began = world.trace.now_ns();
    let leader = world.leader();
    let node = leader.as_ref().map_or(0, |(index, _)| world.machines[*index].id);
    let answer = match leader {
        None => Answered::Refused,
        Some((_, life)) => {
            let operations = life.operations.clone();
            let asked = life.group.spawn("meter", async move { operations.probe(&admin(), vec![0; 16]).await });
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(Ok(_))) => Answered::Ok,
                Ok(Ok(Err(OperationError::Unavailable(_)))) => Answered::Refused,
                Ok(Ok(Err(OperationError::Unknown)) | Err(_)) => Answered::Unknown,
                Ok(Ok(Err(error))) => {
                    world.trace.finding("R1", format!("a small write was answered with {error}"));
                    Answered::Unknown
                }
                Err(_) => Answered::Never,
            }
        }
    };
    let took_ns = world.trace.now_ns() - began;
    world.trace.note("metered", node, u64::from(burst), took_ns);
    world.meter.lines.lock().push(Metered { at_ns: began, took_ns, node, burst, answer });
}
