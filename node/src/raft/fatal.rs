//! The reason why this node must end. The first one stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// A place for the reason; clones are the same place.
#[derive(Clone, Debug)]
pub struct Fatal {
    reason: Arc<watch::Sender<Option<String>>>,
    silent: Arc<AtomicBool>,
}

impl Default for Fatal {
    fn default() -> Self {
        Self { reason: Arc::new(watch::Sender::new(None)), silent: Arc::default() }
    }
}

impl Fatal {
    /// States the reason, unless there is one already.
    pub fn raise(&self, reason: String) {
        self.reason.send_if_modified(|stated| {
            if stated.is_some() || self.silent.load(Ordering::SeqCst) {
                return false;
            }
            tracing::error!(%reason, "this node must end");
            *stated = Some(reason);
            true
        });
    }

    /// The node is being stopped on purpose: what breaks from now on is no reason.
    pub(super) fn silence(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// The reason, if there is one.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.reason.borrow().clone()
    }

    /// Completes with the reason when there is one. Whoever runs the process then stops everything, prints it as the
    /// last line and exits non-zero; the supervisor restarts.
    pub async fn raised(&self) -> String {
        let mut reason = self.reason.subscribe();
        loop {
            if let Some(reason) = reason.borrow_and_update().clone() {
                return reason;
            }
            if reason.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
