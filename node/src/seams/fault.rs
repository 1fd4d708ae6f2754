//! Named points at which a test build can be made to end, as kill -9 would there (chaos-design §2). Without the feature
//! `simfaults` they are nothing: the release binary has no hooks.

/// Marks a point. `fault_point!("raft.log.after_append")` compiles to nothing without the feature `simfaults`.
#[macro_export]
macro_rules! fault_point {
    ($name:literal) => {
        #[cfg(feature = "simfaults")]
        $crate::seams::fault::reach($name);
    };
}

/// Ends the process if this point is armed: `LEASEHOLD_FAULT=name` ends at the first visit, `name:5` at the fifth.
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

    if let Some((armed, visit)) = &*ARMED
        && armed == name
        && VISITS.fetch_add(1, Ordering::SeqCst) + 1 == *visit
    {
        std::process::abort();
    }
}
