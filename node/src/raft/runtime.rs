//! The engine's runtime: tokio, with every task of the engine in its node's group (architecture D12), so that stopping the
//! group drops a node whole, as a crash would, the engine included.
//!
//! The group travels with the task that starts another one. Time is tokio's own, which a paused runtime pauses for all.

use std::time::Duration;

use openraft::OptionalSend;
use openraft_rt::AsyncRuntime;
use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime;

use crate::seams::{Rng, Spawner, Stopped, Task};

tokio::task_local! {
    static GROUP: Spawner;
}

/// Tokio in a node's group, with the engine's random numbers drawn from a seed of the node's own randomness.
pub type Runtime = DeterministicRng<GroupRuntime>;

/// Runs a call into the engine in the node's group, with the seed its randomness starts from. Needed wherever the engine
/// starts a task.
pub(crate) fn scoped<F: Future>(group: &Spawner, rng: &dyn Rng, call: F) -> impl Future<Output = F::Output> + use<F> {
    GROUP.scope(group.clone(), Runtime::scope(rng.next_u64(), call))
}

/// See the module.
#[derive(Debug)]
pub struct GroupRuntime(TokioRuntime);

impl AsyncRuntime for GroupRuntime {
    type JoinError = Stopped;
    type JoinHandle<T: OptionalSend + 'static> = Task<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Task<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let group = GROUP.try_with(Spawner::clone).expect("whoever has the engine start a task is in `scoped`");
        group.clone().spawn("engine", GROUP.scope(group, future))
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    /// A panic is told by the group, which ends the node.
    fn is_panic(_: &Stopped) -> bool {
        false
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
