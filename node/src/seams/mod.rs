//! The only doors to the system: time, randomness, tasks, HTTP and disk.
//!
//! Everything else in the node takes these by value or reference and never asks the operating system itself, so that a
//! simulation can put its own in their place and a crash can drop one node whole (architecture D12). `clippy.toml`
//! refuses the direct calls elsewhere. Nothing here knows what a lease, a command or a Raft message is.
//!
//! Read on: [`clock`], [`rng`], [`spawn`], [`http`], [`disk`].
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
pub use rng::Rng;
pub use spawn::{Spawner, Stopped, Task};

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
        })
    }
}

impl std::fmt::Debug for Seams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seams").field("spawner", &self.spawner).finish_non_exhaustive()
    }
}
