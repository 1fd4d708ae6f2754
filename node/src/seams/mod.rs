//! The only doors to the system: time, randomness, tasks, HTTP, disk, and what the process takes.
//!
//! Everything else in the node takes these by value or reference and never asks the operating system itself, so that a
//! simulation can put its own in their place and a crash can drop one node whole (architecture D12). `clippy.toml`
//! refuses the direct calls elsewhere. Nothing here knows what a lease, a command or a Raft message is.
//!
//! Read on: [`clock`], [`rng`], [`spawn`], [`http`], [`disk`], [`process`].
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod clock;
pub mod disk;
pub mod fault;
pub mod http;
pub mod process;
pub mod rng;
pub mod spawn;

use std::sync::Arc;

pub use clock::{Clock, Elapsed, Mono};
pub use disk::{DiskUse, Disks, RocksDisks};
pub use http::{Http, HttpError, HttpOptions, HttpRequest, HttpResponse};
pub use process::Process;
pub use rng::Rng;
pub use spawn::{Gate, Spawner, Stopped, Task, long};

/// One node's doors to the system. Cheap to clone; clones share the same clock, randomness and task group.
#[derive(Clone)]
pub struct Seams {
    /// Time: monotonic, wall, and waiting.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The node's task group.
    pub spawner: Spawner,
    /// Calls to the cloud.
    pub http: Arc<dyn Http>,
    /// What the node's process takes.
    pub process: Arc<dyn Process>,
}

impl Seams {
    /// The real system: operating-system time and randomness, tokio tasks, HTTP over TCP.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up (no usable root certificates).
    pub fn system(options: &HttpOptions) -> Result<Self, http::HttpError> {
        Ok(Self {
            clock: Arc::new(clock::SystemClock::new()),
            rng: Arc::new(rng::SystemRng),
            spawner: Spawner::new(),
            http: Arc::new(http::SystemHttp::new(options)?),
            process: Arc::new(process::SystemProcess),
        })
    }
}

impl std::fmt::Debug for Seams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seams").field("spawner", &self.spawner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::{Path, PathBuf};

    fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
        for item in std::fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|end| end == "rs") {
                into.push(path);
            }
        }
    }

    /// Without `biased` the order is drawn from tokio's own randomness, which no seam seeds (chaos-design §2). Clippy can ban
    /// the macro, but not one way of using it.
    #[test]
    fn every_select_is_biased() {
        let mut files = Vec::new();
        for folder in ["src", "../client/src"] {
            sources(&Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join(folder), &mut files);
        }
        let opening = concat!("select", "! {");
        let mut seen = 0;
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for (at, _) in text.match_indices(opening) {
                let body = text[at + opening.len()..].trim_start();
                assert!(body.starts_with("biased;"), "{}: a select that is not biased", file.display());
                seen += 1;
            }
        }
        assert!(seen >= 10, "only {seen} found: does this still look at the right places?");
    }
}
