//! Which verbs were sent to which servers, and when each may be sent again.
//!
//! A pass over many servers tells one failure, and its worker backs off for that one. What Nova asked for beside each of the
//! others (`Retry-After`) is kept here, server by server.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_ledger::mutant;
use parking_lot::Mutex;

use super::Job;
use crate::leader::pause;
use crate::openstack::CloudError;
use crate::seams::Mono;

/// What is paced apart from other verbs for the same server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Unshelve.
    Wake,
    /// Shelve and offload.
    Park,
    /// Create an image.
    Image,
    /// Delete.
    Delete,
}

/// Calls of one kind for one server.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    /// When the last one was sent; when it was answered, once it was.
    at: Option<Mono>,
    times: u32,
    /// Until when Nova wants none.
    paused_until: Option<Mono>,
}

/// See the module. Losing it is harmless.
#[derive(Debug, Default)]
pub struct Sendings(Mutex<BTreeMap<(Kind, String), Sent>>);

impl Sendings {
    /// Begins anew for another row. What Nova asked for it asked for whatever the call was for.
    pub fn for_row(&self) {
        let mut all = self.0.lock();
        all.retain(|_, sent| sent.paused_until.is_some());
        all.values_mut().for_each(|sent| *sent = Sent { paused_until: sent.paused_until, ..Sent::default() });
    }

    /// Whether a call may be sent: never sent in this row, or at least `again` ago, and Nova did not ask for a longer pause.
    pub fn may_send(&self, kind: Kind, server: &str, now: Mono, again: Duration) -> bool {
        let all = self.0.lock();
        let Some(sent) = all.get(&(kind, server.to_owned())) else { return true };
        // Planted bug (with the one in actuator.rs): whatever was asked for.
        let paused = sent.paused_until.is_some_and(|until| now < until) && !mutant!("M23");
        !paused && sent.at.is_none_or(|at| now.since(at) >= again)
    }

    /// How many times it was sent in this row.
    pub fn times(&self, kind: Kind, server: &str) -> u32 {
        self.0.lock().get(&(kind, server.to_owned())).map_or(0, |sent| sent.times)
    }

    /// Sends, and notes that it was sent and what Nova asked for. Nothing is lost when it is dropped half way.
    pub async fn send<T>(
        &self,
        job: &Job<'_>,
        kind: Kind,
        server: &str,
        call: impl Future<Output = Result<T, CloudError>>,
    ) -> Result<T, CloudError> {
        let key = (kind, server.to_owned());
        let clock = &job.work.clock;
        self.note(&key, clock.mono(), true, None);
        let answer = call.await;
        let asked = answer.as_ref().err().and_then(CloudError::retry_after);
        self.note(&key, clock.mono(), false, asked.map(|asked| asked.min(pause::asked_max(job.row.step))));
        answer
    }

    fn note(&self, key: &(Kind, String), now: Mono, again: bool, pause: Option<Duration>) {
        let mut all = self.0.lock();
        let sent = all.entry(key.clone()).or_default();
        sent.at = Some(now);
        sent.times = sent.times.saturating_add(u32::from(again));
        sent.paused_until = pause.map(|pause| now.after(pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    #[test]
    fn a_pause_that_nova_asks_for_outlasts_the_usual_one_and_the_row() {
        let (sendings, again, key) = (Sendings::default(), Duration::from_secs(5), (Kind::Delete, "s".to_owned()));
        let may = |ms| sendings.may_send(Kind::Delete, "s", at(ms), again);
        assert!(may(0));
        sendings.note(&key, at(0), true, None);
        sendings.note(&key, at(200), false, Some(again));
        assert!(!may(5_000), "five seconds from its sending, and not from the answer that asks for them");
        assert!(may(5_200));
        assert!(sendings.may_send(Kind::Wake, "s", at(0), again) && sendings.may_send(Kind::Delete, "t", at(0), again));
        sendings.for_row();
        assert!(!may(5_199) && may(5_200));
        assert_eq!(sendings.times(Kind::Delete, "s"), 0);
        // What is answered otherwise asks for nothing any more.
        sendings.note(&key, at(5_200), true, None);
        sendings.for_row();
        assert!(may(5_200));
    }
}
