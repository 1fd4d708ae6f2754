//! How long what failed is left alone.
//!
//! Pauses of one host: whoever needs a host comes again by a pace of his own, and many need one host, so that what failed
//! there is paced here, once for all of them. And how long a service may put a step off.

use std::time::Duration;

use leasehold_ledger::model::Step;
use leasehold_ledger::mutant;
use parking_lot::Mutex;

use super::dispatch::is_urgent;
use crate::openstack::placement::ConsumerWrite;
use crate::seams::Mono;

/// Pause after a failure, doubled after each further one, and the longest: a start waits for it at most so long after the
/// cloud is well again.
const FIRST: Duration = Duration::from_millis(200);
const MAX: Duration = Duration::from_secs(1);

/// Longest `Retry-After` that is heeded by what nobody waits for, and by what is due.
pub const ASKED_MAX: Duration = Duration::from_secs(60);
const ASKED_MAX_DUE: Duration = Duration::from_secs(10);

/// How long a service may put a step off. It asks on its own behalf; what is due has a tenant waiting.
#[must_use]
pub fn asked_max(step: Step) -> Duration {
    if is_urgent(step) { ASKED_MAX_DUE } else { ASKED_MAX }
}

/// Failures in a row, and until when nothing is tried after the last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pause {
    failures: u32,
    until: Option<Mono>,
}

impl Pause {
    /// Notes a failure.
    pub fn lengthen(&mut self, now: Mono) {
        self.until = Some(now.after((FIRST * 2_u32.pow(self.failures.min(8))).min(MAX)));
        self.failures = self.failures.saturating_add(1);
    }

    /// What is left of it.
    #[must_use]
    pub fn left(&self, now: Mono) -> Duration {
        // Planted bug (with the one in actuator.rs): none.
        if mutant!("M23") {
            return Duration::ZERO;
        }
        self.until.map_or(Duration::ZERO, |until| until.since(now))
    }
}

/// A hold for which Placement had no room. The same one is not asked for again before its pause is over; another one is.
#[derive(Debug, Default)]
pub struct RefusedHold(Mutex<Option<(Vec<ConsumerWrite>, String, Pause)>>);

impl RefusedHold {
    /// Placement's text, if it refused just this a moment ago.
    #[must_use]
    pub fn lately(&self, hold: &[ConsumerWrite], now: Mono) -> Option<String> {
        let known = self.0.lock();
        let (_, text, _) = known.as_ref().filter(|(refused, _, pause)| refused == hold && pause.left(now) > Duration::ZERO)?;
        Some(text.clone())
    }

    /// Notes a refusal.
    pub fn note(&self, hold: Vec<ConsumerWrite>, text: String, now: Mono) {
        let mut known = self.0.lock();
        let mut pause = known.take().filter(|(refused, ..)| *refused == hold).map(|(.., pause)| pause).unwrap_or_default();
        pause.lengthen(now);
        *known = Some((hold, text, pause));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    #[test]
    fn a_pause_grows_with_every_failure_up_to_the_longest() {
        let mut pause = Pause::default();
        assert_eq!(pause.left(at(0)), Duration::ZERO);
        for wanted in [200, 400, 800, 1_000, 1_000] {
            pause.lengthen(at(5_000));
            assert_eq!(pause.left(at(5_000)), Duration::from_millis(wanted));
            assert_eq!(pause.left(at(5_000 + wanted)), Duration::ZERO);
        }
    }

    #[test]
    fn a_hold_that_was_refused_is_asked_for_again_later_and_another_one_at_once() {
        let hold = |vcpus| {
            let resources = BTreeMap::from([("VCPU".to_owned(), vcpus)]);
            vec![ConsumerWrite { consumer: Uuid::nil(), generation: Some(1), provider: Uuid::nil(), resources }]
        };
        let refused = RefusedHold::default();
        assert_eq!(refused.lately(&hold(4), at(0)), None);
        refused.note(hold(4), "full".to_owned(), at(0));
        assert_eq!(refused.lately(&hold(4), at(199)).as_deref(), Some("full"));
        assert_eq!(refused.lately(&hold(3), at(0)), None);
        assert_eq!(refused.lately(&hold(4), at(200)), None);
        refused.note(hold(4), "full".to_owned(), at(200));
        assert!(refused.lately(&hold(4), at(599)).is_some());
        refused.note(hold(3), "full".to_owned(), at(600));
        assert_eq!(refused.lately(&hold(3), at(800)), None);
    }
}
