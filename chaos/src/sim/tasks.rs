//! Tasks of the harness. Few of them are awaited, and one that panics sees nothing any more of what it was to look at: the run has
//! then no verdict.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, resume_unwind};

use anyhow::{Result, bail};
use futures::FutureExt;
use tokio::task::JoinHandle;

thread_local! {
    static PANICKED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Starts one.
pub fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(AssertUnwindSafe(task).catch_unwind().map(|ended| {
        ended.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            PANICKED.with_borrow_mut(|panicked| panicked.push(text.unwrap_or_else(|| "a value".to_owned())));
            resume_unwind(panic)
        })
    }))
}

/// A run begins.
pub fn begin() {
    PANICKED.with_borrow_mut(Vec::clear);
}

/// Whether all that were started since went on as they should.
///
/// # Errors
/// What the first one panicked with.
pub fn judge() -> Result<()> {
    match PANICKED.with_borrow(|panicked| panicked.first().cloned()) {
        None => Ok(()),
        Some(text) => bail!("a task of the harness panicked: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_nobody_awaits_is_heard_when_it_panics() {
        begin();
        assert_eq!(spawn(async { 7 }).await.expect("it ends"), 7);
        assert!(judge().is_ok());
        drop(spawn(async { panic!("the state is gone") }));
        tokio::task::yield_now().await;
        assert!(judge().is_err_and(|error| error.to_string().ends_with("the state is gone")));
        begin();
        assert!(judge().is_ok());
    }
}
