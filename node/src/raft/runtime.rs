//! The engine's runtime: tokio, with every task of the engine in its node's group (architecture D12), so that stopping the
//! group drops a node whole, as a crash would, the engine included.
//!
//! The group travels with the task that starts another one, and the node's clock with it: by that the engine waits and counts. It is
//! tokio's own, which a paused runtime pauses for all, but for a machine that stood still (simulated ones do) and counts nothing of it.

// The engine takes its time from here, as the rest of the node does from the clock's seam.
#![allow(clippy::disallowed_methods)]

use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use openraft::OptionalSend;
use openraft_rt::AsyncRuntime;
use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime;

use crate::seams::{Clock, Rng, Spawner, Stopped, Task};

tokio::task_local! {
    static NODE: Node;
}

/// Whose tasks they are.
#[derive(Clone)]
struct Node {
    group: Spawner,
    clock: Arc<dyn Clock>,
}

/// Tokio in a node's group, with the engine's random numbers drawn from a seed of the node's own randomness.
pub type Runtime = DeterministicRng<GroupRuntime>;

/// Runs a call into the engine in the node's group, by its clock, with the seed its randomness starts from. Needed wherever the engine
/// starts a task.
pub(crate) fn scoped<F: Future>(
    group: &Spawner,
    clock: &Arc<dyn Clock>,
    rng: &dyn Rng,
    call: F,
) -> impl Future<Output = F::Output> + use<F> {
    let node = Node { group: group.clone(), clock: clock.clone() };
    NODE.scope(node, Runtime::scope(rng.next_u64(), call))
}

/// A stream of the engine's that goes by its node's clock, whoever polls it: it notes when it gave what, and the engine's own tasks
/// compare that with what they see. To be called in one of those.
pub(super) fn scoped_stream<S: Stream + Unpin>(mut items: S) -> impl Stream<Item = S::Item> {
    let node = NODE.try_with(Node::clone).expect("the engine hands its streams over in tasks of its own");
    stream::poll_fn(move |context| NODE.sync_scope(node.clone(), || items.poll_next_unpin(context)))
}

/// An instant as a node's clock counts: the runtime's, less what its machine stood still for by then. Those of one life of one node can be
/// compared with each other, others not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeInstant(tokio::time::Instant);

impl NodeInstant {
    /// Now, by a node's clock.
    pub(super) fn of(clock: &dyn Clock) -> NodeInstant {
        NodeInstant(tokio::time::Instant::now() - clock.stood_still())
    }
}

impl openraft::Instant for NodeInstant {
    /// By the clock of the node whose task asks; whoever is of none counts from here on only.
    fn now() -> Self {
        NODE.try_with(|node| NodeInstant::of(&*node.clock)).unwrap_or_else(|_| NodeInstant(tokio::time::Instant::now()))
    }
}

impl Add<Duration> for NodeInstant {
    type Output = NodeInstant;

    fn add(self, more: Duration) -> NodeInstant {
        NodeInstant(self.0 + more)
    }
}

impl AddAssign<Duration> for NodeInstant {
    fn add_assign(&mut self, more: Duration) {
        self.0 += more;
    }
}

impl Sub<Duration> for NodeInstant {
    type Output = NodeInstant;

    fn sub(self, less: Duration) -> NodeInstant {
        NodeInstant(self.0 - less)
    }
}

impl Sub for NodeInstant {
    type Output = Duration;

    fn sub(self, earlier: NodeInstant) -> Duration {
        self.0 - earlier.0
    }
}

impl SubAssign<Duration> for NodeInstant {
    fn sub_assign(&mut self, less: Duration) {
        self.0 -= less;
    }
}

/// Until an instant has come by the node's clock.
#[derive(Debug)]
pub struct NodeSleep {
    until: NodeInstant,
    inner: Pin<Box<tokio::time::Sleep>>,
}

impl Future for NodeSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.inner.as_mut().poll(context));
            // What the machine stood still for is still to be waited.
            let left = openraft::Instant::saturating_duration_since(&self.until, openraft::Instant::now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.inner.as_mut().reset(tokio::time::Instant::now() + left);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct GroupRuntime(TokioRuntime);

impl AsyncRuntime for GroupRuntime {
    type JoinError = Stopped;
    type JoinHandle<T: OptionalSend + 'static> = Task<T>;
    type Sleep = NodeSleep;
    type Instant = NodeInstant;
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
        let node = NODE.try_with(Node::clone).expect("whoever has the engine start a task is in `scoped`");
        node.group.clone().spawn("engine", NODE.scope(node, future))
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Self::sleep_until(<NodeInstant as openraft::Instant>::now() + duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        let left = openraft::Instant::saturating_duration_since(&deadline, openraft::Instant::now());
        NodeSleep { until: deadline, inner: Box::pin(tokio::time::sleep(left)) }
    }

    /// This and the next count what the machine stands still for, so that they may be over early by the node's clock.
    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        let left = openraft::Instant::saturating_duration_since(&deadline, openraft::Instant::now());
        TokioRuntime::timeout(left, future)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::future::BoxFuture;
    use parking_lot::Mutex;

    use super::*;
    use crate::seams::Mono;
    use crate::seams::rng::SystemRng;

    /// A clock of a machine that has stood still for so long.
    #[derive(Default)]
    struct Stands(Mutex<Duration>);

    impl Clock for Stands {
        fn mono(&self) -> Mono {
            Mono::default()
        }

        fn wall_ms(&self) -> u64 {
            0
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }

        fn stood_still(&self) -> Duration {
            *self.0.lock()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_engine_s_tasks_wait_and_count_by_their_node_s_clock() {
        let (group, stands) = (Spawner::new(), Arc::new(Stands::default()));
        let clock: Arc<dyn Clock> = stands.clone();
        let begun = tokio::time::Instant::now();
        let waits = scoped(&group, &clock, &SystemRng, async {
            let waits = GroupRuntime::spawn(async {
                let from = <NodeInstant as openraft::Instant>::now();
                GroupRuntime::sleep(Duration::from_secs(10)).await;
                <NodeInstant as openraft::Instant>::now() - from
            });
            waits.await.unwrap()
        });
        let stand_still = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            *stands.0.lock() = Duration::from_secs(30);
        };
        let early = scoped(&group, &clock, &SystemRng, async { GroupRuntime::sleep(Duration::from_secs(2)).await });
        early.await;
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        let (waited, ()) = tokio::join!(waits, stand_still);
        assert_eq!((waited, begun.elapsed()), (Duration::from_secs(10), Duration::from_secs(42)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_engine_hands_over_goes_by_its_node_s_clock_whoever_polls_it() {
        let stands = Arc::new(Stands(Mutex::new(Duration::from_secs(30))));
        let clock: Arc<dyn Clock> = stands.clone();
        let handed_over = scoped(&Spawner::new(), &clock, &SystemRng, async {
            scoped_stream(stream::repeat_with(<NodeInstant as openraft::Instant>::now))
        });
        let told = handed_over.await.next().await.unwrap();
        assert_eq!(told, NodeInstant::of(&*stands));
    }
}
