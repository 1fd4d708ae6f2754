//! Named points at which a test build can be made to end, as kill -9 would there (chaos-design §2). Without the feature
//! `simfaults` they are nothing: the release binary has no hooks.
//!
//! A process that is one node ends itself. A simulation, in which many nodes share a thread, registers who is asked
//! ([`watch`]), and ends the one node that got there.

/// Marks a point. `fault_point!("raft.log.after_append")` compiles to nothing without the feature `simfaults`.
#[macro_export]
macro_rules! fault_point {
    ($name:literal) => {
        #[cfg(feature = "simfaults")]
        $crate::seams::fault::reach($name);
    };
}

/// Says whether the node that just got to a point is to end there. It is asked in the middle of that node's step.
#[cfg(feature = "simfaults")]
pub type Watch = fn(&'static str) -> bool;

#[cfg(feature = "simfaults")]
static WATCH: std::sync::OnceLock<Watch> = std::sync::OnceLock::new();

/// Has this asked at every point from now on; the first one stays.
#[cfg(feature = "simfaults")]
pub fn watch(ask: Watch) {
    // Set already: a process has one simulation, which registers with each of its runs.
    let _ = WATCH.set(ask);
}

/// Hears the name of an attempt at a changing call of the cloud, in the step that hands it to the transport: what its id is made
/// of, so that the simulation can tell whose it is without asking the id.
#[cfg(feature = "simfaults")]
pub type Hear = fn(&str);

#[cfg(feature = "simfaults")]
static HEAR: std::sync::OnceLock<Hear> = std::sync::OnceLock::new();

/// Has this told of every attempt from now on; the first one stays.
#[cfg(feature = "simfaults")]
pub fn hear(tell: Hear) {
    let _ = HEAR.set(tell);
}

/// An attempt of this name is sent now.
#[cfg(feature = "simfaults")]
pub fn sends(name: &str) {
    if let Some(tell) = HEAR.get() {
        tell(name);
    }
}

/// Without the feature nobody hears of it.
#[cfg(not(feature = "simfaults"))]
pub fn sends(_: &str) {}

/// What unwinds a task that was to end at a point.
#[cfg(feature = "simfaults")]
struct Ended;

/// Whether a task ended because it was to end at a point, and not by a fault of its own.
#[cfg(feature = "simfaults")]
pub fn is_meant(panic: &(dyn std::any::Any + Send)) -> bool {
    panic.is::<Ended>()
}

/// Without the feature no task is made to end.
#[cfg(not(feature = "simfaults"))]
pub fn is_meant(_: &(dyn std::any::Any + Send)) -> bool {
    false
}

/// Ends the task that gets to the point the simulation waits for; what the task was doing stays as it is. Else ends the
/// process if this point is armed: `LEASEHOLD_FAULT=name` ends at the first visit, `name:5` at the fifth.
#[cfg(feature = "simfaults")]
pub fn reach(name: &'static str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let armed = std::env::var("LEASEHOLD_FAULT").ok()?;
        Some(match armed.rsplit_once(':') {
            Some((name, visit)) => (name.to_owned(), visit.parse().unwrap_or(1)),
            None => (armed, 1),
        })
    });
    static VISITS: AtomicU64 = AtomicU64::new(0);

    if WATCH.get().is_some_and(|ask| ask(name)) {
        // Past the panic hook: nothing went wrong. The group catches it, and the simulation ends the other tasks.
        std::panic::resume_unwind(Box::new(Ended));
    }
    if let Some((armed, visit)) = &*ARMED
        && armed == name
        && VISITS.fetch_add(1, Ordering::SeqCst) + 1 == *visit
    {
        std::process::abort();
    }
}
