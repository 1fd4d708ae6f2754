//! Who may send what, asked in the poll that sends (architecture D6).
//!
//! [`LeaderPermit`]: this node leads and its leader lease holds. [`RowPermit`]: and the row the call is for is still open
//! at the revision that was read, so an accepted cancel is final. [`UnfencedRight`]: and the logged actuation lease is
//! held, for verbs that nothing in the cloud fences.

use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::command::Command;
use leasehold_ledger::model::{ActuationId, ActuationLease};
use leasehold_ledger::mutant;
use parking_lot::Mutex;

use super::ledger_port::{LedgerPort, ProposeError};
use crate::openstack::{Permit, Withheld};
use crate::seams::http::CONNECT_TIMEOUT;
use crate::seams::{Clock, Mono};

/// How long the logged actuation lease lasts, counted on monotonic clocks.
pub const ACTUATION_LEASE: Duration = Duration::from_secs(15);
/// Taken off by the holder: for clocks that run at different speeds, and because between the check and the bytes on the
/// wire a connection may have to be made.
const MARGIN: Duration = Duration::from_secs(2);
const _: () = assert!(MARGIN.as_millis() > CONNECT_TIMEOUT.as_millis(), "a connection is made within the margin");
/// With less left than this it is renewed before it is used.
const RENEW_BELOW: Duration = Duration::from_secs(5);

/// This node leads in this term.
pub struct LeaderPermit {
    ledger: Arc<dyn LedgerPort>,
    term: u64,
}

impl LeaderPermit {
    /// For one leader's term.
    #[must_use]
    pub fn new(ledger: Arc<dyn LedgerPort>, term: u64) -> Self {
        Self { ledger, term }
    }

    /// In which term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }
}

impl Permit for LeaderPermit {
    fn check(&self) -> Result<(), Withheld> {
        if self.ledger.may_act(self.term) { Ok(()) } else { Err(Withheld::NotLeading) }
    }
}

/// This node leads, and the row is open at this revision.
pub struct RowPermit<'a> {
    leader: &'a LeaderPermit,
    row: ActuationId,
    revision: u32,
}

impl<'a> RowPermit<'a> {
    /// For one row as it was read.
    #[must_use]
    pub fn new(leader: &'a LeaderPermit, row: ActuationId, revision: u32) -> Self {
        Self { leader, row, revision }
    }
}

impl Permit for RowPermit<'_> {
    fn check(&self) -> Result<(), Withheld> {
        self.leader.check()?;
        let open = self.leader.ledger.look(|state| state.actuation(self.row).is_some_and(|row| row.revision == self.revision));
        // Planted bug: a cancel does not stop what was begun.
        if open || mutant!("M13") { Ok(()) } else { Err(Withheld::Superseded) }
    }
}

/// Another permit, and a condition of its own on the state, in the same poll.
pub struct Provided<'a, F> {
    /// Asked first.
    pub inner: &'a dyn Permit,
    /// Asked then; `false` means superseded.
    pub condition: F,
}

impl<F: Fn() -> bool + Send + Sync> Permit for Provided<'_, F> {
    fn check(&self) -> Result<(), Withheld> {
        self.inner.check()?;
        if mutant!("M13") || (self.condition)() { Ok(()) } else { Err(Withheld::Superseded) }
    }
}

/// Another permit, and the actuation lease.
pub struct Unfenced<'a> {
    /// Asked first.
    pub inner: &'a dyn Permit,
    /// Asked then.
    pub right: &'a UnfencedRight,
}

impl Permit for Unfenced<'_> {
    fn check(&self) -> Result<(), Withheld> {
        self.inner.check()?;
        if self.right.held() { Ok(()) } else { Err(Withheld::NoActuationLease) }
    }
}

/// The logged actuation lease as this leader has it.
pub struct UnfencedRight {
    ledger: Arc<dyn LedgerPort>,
    clock: Arc<dyn Clock>,
    term: u64,
    elected_at: Mono,
    held_until: Mutex<Mono>,
    asking: tokio::sync::Mutex<()>,
}

impl UnfencedRight {
    /// Not held yet. `elected_at`: when this node became leader of `term`, or later.
    #[must_use]
    pub fn new(ledger: Arc<dyn LedgerPort>, clock: Arc<dyn Clock>, term: u64, elected_at: Mono) -> Self {
        let asking = tokio::sync::Mutex::new(());
        Self { ledger, clock, term, elected_at, held_until: Mutex::new(Mono::default()), asking }
    }

    /// Whether it is held right now.
    #[must_use]
    pub fn held(&self) -> bool {
        self.clock.mono() < *self.held_until.lock()
    }

    /// Sees to it that it is held for some time to come; `Some` is how long a predecessor's is still to be waited out,
    /// counted from our election, because he cannot have renewed it after.
    ///
    /// # Errors
    /// When the ledger takes no proposals.
    pub async fn acquire(&self) -> Result<Option<Duration>, ProposeError> {
        let ample = || self.clock.mono().after(RENEW_BELOW) < *self.held_until.lock();
        if ample() {
            return Ok(None);
        }
        let _one_asks = self.asking.lock().await;
        if ample() {
            return Ok(None);
        }
        let ours = ActuationLease { node_id: self.ledger.node_id(), term: self.term };
        let holder = self.ledger.look(|state| state.actuation_lease());
        let left = self.elected_at.after(ACTUATION_LEASE).since(self.clock.mono());
        // Ours by name is not ours if these tasks never took it: this node began to hand over in this term, stopped its
        // tasks, and leads on because nobody took over. Their calls may still be on their way.
        let taken_before = *self.held_until.lock() != Mono::default();
        // Planted bug: a predecessor's is not waited out.
        let wait = !mutant!("M12");
        if wait && holder.is_some_and(|holder| holder != ours || !taken_before) && !left.is_zero() {
            return Ok(Some(left));
        }
        let before = self.clock.mono();
        let command = Command::HoldActuationLease { node_id: ours.node_id, term: ours.term };
        match self.ledger.propose(command).await? {
            Ok(_) => {
                *self.held_until.lock() = before.after(ACTUATION_LEASE - MARGIN);
                Ok(None)
            }
            Err(rejection) => Err(ProposeError(rejection.to_string())),
        }
    }
}
