//! The state of all services together, and what every handler needs: the instant, the seed, the queue of work.
//!
//! Nova claims in Placement and reads images of Glance within one call, so the services share one struct; each keeps
//! its own state in its own module.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::config::CloudConfig;
use crate::glance::Glance;
use crate::keystone::{Keystone, Who};
use crate::message::Request;
use crate::nova::Nova;
use crate::nova::work::Work;
use crate::placement::Placement;
use crate::query::Query;
use crate::record::{Cause, Change};
use crate::rng::Rng;

/// Everything but record and faults.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) config: CloudConfig,
    /// The instant of the call or of the work at hand.
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) keystone: Keystone,
    pub(crate) placement: Placement,
    pub(crate) nova: Nova,
    pub(crate) glance: Glance,
    /// Due work, in order of time and then of making.
    queue: BTreeMap<(u64, u64), (Work, Cause)>,
    queued: u64,
    /// What the call or work at hand has changed so far.
    pub(crate) changes: Vec<Change>,
    /// Who is behind the call or work at hand.
    pub(crate) cause: Cause,
    /// Verbs whose asynchronous part is to fail, drawn by the faults for the call at hand.
    pub(crate) doomed: bool,
}

impl World {
    pub(crate) fn new(config: CloudConfig) -> Self {
        let mut rng = Rng::new(config.seed);
        let keystone = Keystone::new(&config, &mut rng);
        let mut world = Self {
            now: config.created_at_ms,
            rng,
            keystone,
            placement: Placement::new(),
            nova: Nova::new(),
            glance: Glance::default(),
            queue: BTreeMap::new(),
            queued: 0,
            changes: Vec::new(),
            cause: Cause::default(),
            doomed: false,
            config,
        };
        for spec in world.config.hosts.clone() {
            crate::nova::hosts::add(&mut world, &spec);
        }
        crate::glance::seed(&mut world);
        // What is there from the start is no news.
        world.changes.clear();
        world
    }

    /// Notes a change for the record.
    pub(crate) fn change(&mut self, what: &str, id: &str, host: Option<&str>, text: String, facts: Value) {
        self.changes.push(Change { what: what.to_owned(), id: id.to_owned(), host: host.map(str::to_owned), text, facts });
    }

    /// Queues work `delay_ms` (plus jitter) from now, caused by the call or work at hand.
    pub(crate) fn after(&mut self, delay_ms: u64, work: Work) {
        let jitter = self.rng.below(delay_ms * self.config.timings.jitter_percent / 100 + 1);
        let cause = self.cause.clone();
        self.after_exactly(delay_ms + jitter, work, cause);
    }

    /// Queues work without jitter and for a given cause.
    pub(crate) fn after_exactly(&mut self, delay_ms: u64, work: Work, cause: Cause) {
        self.queued += 1;
        self.queue.insert((self.now + delay_ms, self.queued), (work, cause));
    }

    /// When the next work is due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.queue.keys().next().map(|(due, _)| *due)
    }

    /// Calls that a fault has held back.
    pub(crate) fn held_back(&self) -> usize {
        self.queue.values().filter(|(work, _)| matches!(work, Work::Late { .. })).count()
    }

    /// Takes the first work that is due at `now_ms`, with its instant.
    pub(crate) fn take_due(&mut self, now_ms: u64) -> Option<(u64, Work, Cause)> {
        let entry = self.queue.first_entry()?;
        let due = entry.key().0;
        if due > now_ms {
            return None;
        }
        let (work, cause) = entry.remove();
        Some((due, work, cause))
    }

    pub(crate) fn base_url(&self) -> &str {
        self.config.base_url.trim_end_matches('/')
    }
}

/// A microversion, major and minor.
pub(crate) type Version = (u32, u32);

/// One authenticated call on its way through a service.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a Request,
    /// The method in capitals.
    pub(crate) method: &'a str,
    /// The path below the service's version, split at slashes.
    pub(crate) path: Vec<&'a str>,
    pub(crate) query: Query,
    /// The body as JSON; null when there is none.
    pub(crate) body: &'a Value,
    pub(crate) version: Version,
    pub(crate) who: Arc<Who>,
}

impl Call<'_> {
    pub(crate) fn at_least(&self, major: u32, minor: u32) -> bool {
        self.version >= (major, minor)
    }
}
