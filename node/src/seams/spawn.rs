//! Tasks, in groups. A node owns one group; everything it starts is in it or in a child of it, so that stopping the
//! group stops the node whole, at whatever point each task has reached, as a crash would.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A task ended without an answer: its group was stopped, it was aborted, or it panicked (which the group reports).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task was stopped")]
pub struct Stopped;

/// A group of tasks that stop together. Clones are the same group.
#[derive(Clone, Debug)]
pub struct Spawner {
    tracker: TaskTracker,
    stop: CancellationToken,
    tasks: Arc<Tasks>,
    panicked: Arc<watch::Sender<Option<&'static str>>>,
    gate: Option<Arc<dyn Gate>>,
    /// One holder for each task of the group, its parents and its children, and one for each group.
    alive: Arc<()>,
}

/// The tasks of one group, to stop them all. A step of a task costs one look at a flag, not a place in a queue of those who
/// wait for the end.
#[derive(Debug, Default)]
struct Tasks {
    stopped: AtomicBool,
    open: Mutex<Open>,
    children: Mutex<Vec<Weak<Tasks>>>,
    /// Kept for as long as there is a child: who stops the parent's parent gets to the child through it.
    _parent: Option<Arc<Tasks>>,
}

#[derive(Debug, Default)]
struct Open {
    /// Tasks ever started.
    started: u64,
    /// By the order of their start; `None`: just being started.
    tasks: BTreeMap<u64, Option<AbortHandle>>,
}

impl Tasks {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// From now on no task of the group or of its children takes a step.
    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let open: Vec<AbortHandle> = self.open.lock().tasks.values().flatten().cloned().collect();
        open.iter().for_each(AbortHandle::abort);
        let children: Vec<_> = self.children.lock().iter().filter_map(Weak::upgrade).collect();
        children.iter().for_each(|child| child.stop());
    }

    /// A place for a task that is about to be started; given back when the task is gone.
    fn place(self: &Arc<Self>) -> Place {
        let mut open = self.open.lock();
        let number = open.started;
        open.started += 1;
        open.tasks.insert(number, None);
        Place { tasks: self.clone(), number }
    }

    /// The task of a place runs. It may be over by now, or the group was stopped before its handle was there.
    fn runs(&self, number: u64, task: AbortHandle) {
        if let Some(place) = self.open.lock().tasks.get_mut(&number) {
            *place = Some(task.clone());
        }
        if self.is_stopped() {
            task.abort();
        }
    }

    fn child(self: &Arc<Self>) -> Arc<Tasks> {
        let child = Arc::new(Tasks { _parent: Some(self.clone()), ..Tasks::default() });
        let mut children = self.children.lock();
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(&child));
        drop(children);
        if self.is_stopped() {
            child.stop();
        }
        child
    }
}

/// See [`Tasks::place`].
struct Place {
    tasks: Arc<Tasks>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not under the lock: a task's handle may be the last of it.
        let gone = self.tasks.open.lock().tasks.remove(&self.number);
        drop(gone);
    }
}

/// Stands before every step of every task of a group: a simulation's way to hold a node still, as a stopped process is. The
/// system's groups have none.
pub trait Gate: Send + Sync + std::fmt::Debug {
    /// Whether a task may take its step now. If not, the context's waker is woken when it may.
    fn may_step(&self, context: &mut Context<'_>) -> bool;

    /// The gate of a group that is begun within the one behind this gate.
    fn within(self: Arc<Self>) -> Arc<dyn Gate>;
}

impl Default for Spawner {
    fn default() -> Self {
        Self::new()
    }
}

impl Spawner {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        let (tasks, panicked) = (Arc::default(), Arc::new(watch::Sender::new(None)));
        Self { tracker: TaskTracker::new(), stop: CancellationToken::new(), tasks, panicked, gate: None, alive: Arc::new(()) }
    }

    /// An empty group behind a gate, its children too.
    #[must_use]
    pub fn behind(gate: Arc<dyn Gate>) -> Self {
        Self { gate: Some(gate), ..Self::new() }
    }

    /// Starts a task in this group. On a stopped group the task ends before its first step.
    ///
    /// `name` tells which task panicked. Dropping the returned [`Task`] lets the task run on.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (panicked, gate, alive, place) = (self.panicked.clone(), self.gate.clone(), self.alive.clone(), self.tasks.place());
        let number = place.number;
        // Put on the heap once: what is large would be copied with the task at each of a dozen calls between here and its end.
        let mut future = Box::pin(AssertUnwindSafe(future).catch_unwind());
        let task = self.tracker.spawn(async move {
            // Dropped with the task: at its end, or when it is stopped.
            let (_alive, place) = (alive, place);
            let step = |context: &mut Context<'_>| {
                if place.tasks.is_stopped() {
                    return Poll::Ready(None);
                }
                match &gate {
                    Some(gate) if !gate.may_step(context) => Poll::Pending,
                    _ => future.as_mut().poll(context).map(Some),
                }
            };
            match std::future::poll_fn(step).await? {
                Ok(output) => Some(output),
                Err(panic) => {
                    if !super::fault::is_meant(panic.as_ref()) {
                        tracing::error!(task = name, "a task panicked");
                    }
                    panicked.send_replace(Some(name));
                    None
                }
            }
        });
        self.tasks.runs(number, task.abort_handle());
        Task { task }
    }

    /// A group of its own that also stops when this one does, and is awaited by this one's [`shutdown`](Self::shutdown).
    #[must_use]
    pub fn child(&self) -> Self {
        let (stop, tasks, gate) = (self.stop.child_token(), self.tasks.child(), self.gate.clone().map(Gate::within));
        let child = Self { tracker: TaskTracker::new(), stop, tasks, gate, ..self.clone() };
        let (tracker, stop) = (child.tracker.clone(), child.stop.clone());
        self.tracker.spawn(async move {
            stop.cancelled().await;
            tracker.close();
            tracker.wait().await;
        });
        child
    }

    /// Stops every task of the group and of its children at its next step, and waits until all are gone.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.stop();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Tasks of this group, its parents and its children, and handles of these groups: it must not grow for ever.
    #[must_use]
    pub fn open(&self) -> usize {
        Arc::strong_count(&self.alive)
    }

    /// Completes when the group is being stopped. For work that wants to end in order rather than be dropped.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the group is being stopped.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Completes with the name of the first task of this group, its parents or children that panicked. A panic is our
    /// bug: who owns the node ends the process.
    pub async fn panicked(&self) -> &'static str {
        let mut panicked = self.panicked.subscribe();
        loop {
            if let Some(name) = *panicked.borrow_and_update() {
                return name;
            }
            if panicked.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Runs something that takes its time without waiting for anybody, as making a list of all leases: other tasks of this
/// thread go on on another one meanwhile, heartbeats among them. On a runtime of one thread, a simulation's, it just runs.
pub fn long<R>(work: impl FnOnce() -> R) -> R {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// A started task: await it for its output, or let it go.
#[derive(Debug)]
pub struct Task<T> {
    task: JoinHandle<Option<T>>,
}

impl<T> Task<T> {
    /// Stops the task at its next step.
    pub fn abort(&self) {
        self.task.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.task.poll_unpin(context).map(|ended| ended.ok().flatten().ok_or(Stopped))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct SetOnDrop(Arc<AtomicBool>);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn shutdown_drops_the_tasks_of_the_group_and_of_its_children() {
        let group = Spawner::new();
        let child = group.child();
        let dropped = Arc::new(AtomicBool::new(false));
        let guard = SetOnDrop(dropped.clone());
        let stuck = child.spawn("stuck", async move {
            std::future::pending::<()>().await;
            drop(guard);
        });
        assert_eq!(group.spawn("quick", async { 5 }).await, Ok(5));
        group.shutdown().await;
        assert!(dropped.load(Ordering::SeqCst));
        assert_eq!(stuck.await, Err(Stopped));
        assert!(child.is_stopping());
    }

    #[tokio::test]
    async fn a_group_stops_with_its_parents_parent_even_when_nothing_is_left_between_them() {
        let group = Spawner::new();
        let stuck = group.child().child().spawn("stuck", std::future::pending::<()>());
        group.shutdown().await;
        assert_eq!(stuck.await, Err(Stopped));
    }

    #[tokio::test]
    async fn stopping_a_child_leaves_its_parent_running() {
        let group = Spawner::new();
        let child = group.child();
        child.shutdown().await;
        assert_eq!(child.spawn("late", async { 1 }).await, Err(Stopped));
        assert_eq!(group.spawn("alive", async { 1 }).await, Ok(1));
        group.shutdown().await;
    }

    #[derive(Debug, Default)]
    struct Barrier {
        closed: AtomicBool,
        waiting: std::sync::Mutex<Vec<std::task::Waker>>,
    }
    impl Gate for Barrier {
        fn may_step(&self, context: &mut Context<'_>) -> bool {
            let closed = self.closed.load(Ordering::SeqCst);
            if closed {
                self.waiting.lock().unwrap().push(context.waker().clone());
            }
            !closed
        }
        fn within(self: Arc<Self>) -> Arc<dyn Gate> {
            self
        }
    }

    #[tokio::test]
    async fn tasks_behind_a_closed_gate_stand_still_until_it_opens_and_stop_all_the_same() {
        let barrier = Arc::new(Barrier::default());
        barrier.closed.store(true, Ordering::SeqCst);
        let group = Spawner::behind(barrier.clone());
        let mut held = group.child().spawn("held", async { 7 });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(futures::poll!(&mut held).is_pending());
        barrier.closed.store(false, Ordering::SeqCst);
        barrier.waiting.lock().unwrap().drain(..).for_each(std::task::Waker::wake);
        assert_eq!(held.await, Ok(7));
        barrier.closed.store(true, Ordering::SeqCst);
        let stuck = group.spawn("stuck", async { 1 });
        group.shutdown().await;
        assert_eq!(stuck.await, Err(Stopped));
    }

    #[tokio::test]
    async fn open_tasks_are_counted_over_all_groups_and_ended_ones_are_not() {
        let group = Spawner::new();
        let child = group.child();
        let before = group.open();
        let held: Vec<_> = (0..5).map(|_| child.spawn("held", std::future::pending::<()>())).collect();
        assert_eq!(group.open(), before + 5);
        held[0].abort();
        while group.open() == before + 5 {
            tokio::task::yield_now().await;
        }
        assert_eq!(group.open(), before + 4);
        group.shutdown().await;
        assert_eq!(group.open(), before);
    }

    #[tokio::test]
    async fn a_panic_is_reported_by_name() {
        let group = Spawner::new();
        let task = group.child().spawn("broken", async { panic!("on purpose") });
        assert_eq!(task.await, Err(Stopped));
        assert_eq!(group.panicked().await, "broken");
    }

    #[tokio::test]
    async fn an_aborted_task_ends_alone() {
        let group = Spawner::new();
        let task = group.spawn("endless", std::future::pending::<()>());
        task.abort();
        assert_eq!(task.await, Err(Stopped));
        assert!(!group.is_stopping());
    }
}
