//! One pass of a row's step over the cloud: look, do what can be done now, and say whether the cloud is there.
//!
//! A pass never waits for the cloud; it says when to come back. So a worker can be stopped anywhere, and the next leader
//! does the same from the rows alone. Reads come before state verbs; verbs that nothing fences go under the actuation
//! lease (architecture D6).

mod end;
mod escalate;
mod expire;
mod hold;
mod leave;
mod open;
mod park;
mod prepare;
mod sendings;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use leasehold_ledger::command::{Command, FoundGroup, Outcome};
use leasehold_ledger::model::{Actuation, ActuationId, Anchor, HostId, Lease, Reason, ReasonCode, Reservation, Step, Timestamp};
use leasehold_ledger::mutant;

use super::ProposeError;
use super::cells::{Listed, Look};
use super::desired;
use super::dispatch::is_urgent;
use super::host_writer::HostView;
use super::names;
use super::pause;
use super::permits::{RowPermit, Unfenced};
use super::places::Seat;
use super::work::Work;
use crate::openstack::{Cloud, CloudError, Errand, Permit, Withheld};
use crate::seams::Mono;
use sendings::Sendings;

/// How soon to look again at something that Nova is doing.
const POLL: Duration = Duration::from_millis(250);

/// How soon to look again at what may be in a cell that does not answer.
const SILENT_AGAIN: Duration = Duration::from_secs(2);

/// Why a pass did not end the row.
#[derive(Debug)]
pub enum Setback {
    /// The cloud is on its way, or waits for something that is not a failure.
    NotYet {
        /// When to make the next pass.
        again_in: Duration,
        /// What to tell, if anything.
        reason: Option<Reason>,
    },
    /// A call failed.
    Cloud(CloudError),
    /// A command was not taken.
    Ledger(ProposeError),
}

impl From<CloudError> for Setback {
    fn from(error: CloudError) -> Self {
        Self::Cloud(error)
    }
}

impl From<ProposeError> for Setback {
    fn from(error: ProposeError) -> Self {
        Self::Ledger(error)
    }
}

impl Setback {
    fn poll() -> Self {
        Self::NotYet { again_in: POLL, reason: None }
    }

    fn waiting(code: ReasonCode, text: impl Into<String>) -> Self {
        Self::NotYet { again_in: POLL, reason: Some(Reason { code, text: text.into() }) }
    }
}

/// What a worker remembers between passes. Only saves calls and paces repetitions: losing it is harmless.
#[derive(Debug, Default)]
pub struct Memory {
    row: Option<(ActuationId, u32)>,
    /// The hold was seen on all hosts. It is booked from then on, and sinks for nothing but the lease's end.
    held: bool,
    /// All tokens were seen open.
    opened: bool,
    /// Tokens were seen open on one host at least.
    any_open: bool,
    /// All tokens were seen closed. Nobody opens them again while this row is there (a late call names a generation that is
    /// over), so that a look at the servers needs none at the hosts.
    closed: bool,
    /// The tenant was seen to have, or not to have, the flavor, as wanted.
    access_done: bool,
    /// Until when a service that was called for access wants no more of it, and what it said. The rest of a pass comes again sooner.
    access_paused: Option<(Mono, Reason)>,
    /// State verbs sent to servers; what Nova asked for is kept over rows.
    sent: Sendings,
    /// Nothing of the staging was seen left behind.
    left_staging: bool,
    /// The lease's own hosts that carried more servers than it has slots there.
    crowded: BTreeSet<HostId>,
    /// Since when tokens are in use by no server that Nova lists on a host that is being left.
    unaccounted: Option<Mono>,
    /// How servers were seen, and since when they are so.
    watched: BTreeMap<String, escalate::Watched>,
    /// What Nova said when it last refused a verb, by server.
    refusals: BTreeMap<String, Reason>,
    /// How the image of a server stands.
    images: BTreeMap<String, String>,
    /// Shelf images given to the tenant, by server.
    given: BTreeSet<String>,
    /// When the first pass of a count began.
    counting: Option<Mono>,
    /// Placement would not let the class go though no host of the reservation had it.
    class_refused: bool,
    /// Rebinds tried for this reservation; kept over rows.
    rebinds: u32,
    /// Hosts that refused a hold of this reservation; kept over rows.
    avoid: Vec<HostId>,
}

impl Memory {
    /// Begins anew for another row or revision; `true` if it is one.
    pub fn for_row(&mut self, row: &Actuation) -> bool {
        let now = (row.id, row.revision);
        let is_new = self.row != Some(now);
        if is_new {
            let (avoid, sent) = (std::mem::take(&mut self.avoid), std::mem::take(&mut self.sent));
            sent.for_row();
            let access_paused = self.access_paused.take();
            *self = Self { row: Some(now), rebinds: self.rebinds, avoid, access_paused, sent, ..Self::default() };
        }
        is_new
    }

    /// Whether all tokens were seen open for this row.
    #[must_use]
    pub fn has_opened(&self, row: &Actuation) -> bool {
        self.opened && self.row == Some((row.id, row.revision))
    }
}

/// Whether a step opens tokens before anything else.
#[must_use]
pub fn opens(step: Step) -> bool {
    matches!(step, Step::StagingOpen | Step::Start)
}

/// Hosts as they stand after a run over each.
#[derive(Default)]
struct Seen {
    views: Vec<Arc<HostView>>,
    /// Placement does not know the providers of one host any more, and so of no use of them.
    vanished: Option<CloudError>,
    /// The first of all other failures.
    failed: Option<CloudError>,
}

/// One row and what it is about, as read before the pass.
pub struct Job<'a> {
    work: &'a Work,
    row: &'a Actuation,
    lease: &'a Lease,
    reservation: &'a Reservation,
    permit: &'a RowPermit<'a>,
    seat: &'a Seat,
    errand: Errand<'a>,
    /// With calls in flight of their own for what somebody waits for.
    cloud: Cloud,
}

impl<'a> Job<'a> {
    /// A job for a row of this lease.
    #[must_use]
    pub fn new(work: &'a Work, row: &'a Actuation, lease: &'a Lease, permit: &'a RowPermit<'a>, seat: &'a Seat) -> Self {
        let reservation = lease.reservation(row.reservation_id).expect("a row's reservation is in its lease");
        let subject = format!("row/{}/{}/{}", row.id, row.revision, work.number());
        let cloud = if is_urgent(row.step) { work.cloud.urgent() } else { work.cloud.clone() };
        Self { work, row, lease, reservation, permit, seat, errand: Errand::new(subject, work.term, permit), cloud }
    }

    /// Whether it ends only when no server of the reservation can have been left out of Nova's list: parked ones show nowhere else.
    #[must_use]
    pub fn needs_whole_list(&self) -> bool {
        match self.row.step {
            Step::Start => self.reservation.staging.is_some() || self.reservation.adoption.is_some(),
            Step::Expire | Step::End => true,
            _ => false,
        }
    }

    /// `Ok` when a list that was read after this look had all servers.
    async fn list_was_whole(&self, before: Option<Look>) -> Result<(), Setback> {
        match self.work.cells.listed(self.work, before).await? {
            Listed::Whole => Ok(()),
            Listed::Unknown => Err(Setback::poll()),
            Listed::Partial(reason) => Err(Setback::NotYet { again_in: SILENT_AGAIN, reason: Some(reason) }),
        }
    }

    fn class(&self) -> String {
        names::class(self.reservation.flavor())
    }

    /// What its servers are anchored by. The kind does not change once the flavor is made.
    fn anchor(&self) -> Anchor {
        self.work.ledger.look(|state| desired::anchor(state, self.reservation))
    }

    fn flavor_id(&self) -> String {
        self.reservation.flavor().to_string()
    }

    /// Waits for nothing: when a predecessor's actuation lease still runs, says when to come back.
    async fn unfenced_right(&self) -> Result<(), Setback> {
        match self.work.unfenced.acquire().await? {
            None => Ok(()),
            Some(left) => Err(Setback::NotYet { again_in: left.min(Duration::from_millis(500)), reason: None }),
        }
    }

    /// The row's permit and the actuation lease in one.
    fn unfenced(&self) -> Unfenced<'_> {
        Unfenced { inner: self.permit, right: &self.work.unfenced }
    }

    /// Converges all these hosts at once; the first failure is the result.
    async fn converge(&self, hosts: &[HostId]) -> Result<Vec<Arc<HostView>>, Setback> {
        let seen = self.converge_each(hosts).await?;
        match seen.failed.or(seen.vanished) {
            Some(error) => Err(error.into()),
            None => Ok(seen.views),
        }
    }

    /// Converges all these hosts at once, each for itself: one that fails does not hide the others.
    async fn converge_each(&self, hosts: &[HostId]) -> Result<Seen, Setback> {
        // A call for a row that is gone would only be for the host; the row's own pass ends here.
        self.permit.check().map_err(CloudError::from)?;
        let mut runs = Vec::new();
        for host in hosts {
            runs.push(self.work.hosts.converge(self.work, *host).boxed());
        }
        let mut seen = Seen::default();
        for result in join_all(runs).await {
            match result {
                Ok(view) => seen.views.push(view),
                Err(error) if error.is_not_found() => seen.vanished = Some(error),
                Err(error) => seen.failed = seen.failed.or(Some(error)),
            }
        }
        Ok(seen)
    }

    /// Whether the ledger's clock has come to an instant; has it moved if it only stands for want of commands. Our own
    /// wall clock says when that is worth asking, and decides nothing.
    async fn has_come(&self, instant: Timestamp) -> Result<bool, ProposeError> {
        let has_come = || self.work.ledger.look(|state| state.clock() >= instant);
        if has_come() || self.work.now() < instant {
            return Ok(has_come());
        }
        match self.work.ledger.propose(Command::AdvanceClock).await? {
            Ok(_) => Ok(has_come()),
            Err(rejection) => Err(ProposeError(rejection.to_string())),
        }
    }

    /// Tells the ledger what became of the reservation's server group.
    async fn record_group(&self, found: FoundGroup) -> Result<(), Setback> {
        let groups = [(self.reservation.id, found)].into();
        let told = self.work.ledger.propose(Command::RecordServerGroups { lease_id: self.lease.id, groups }).await?;
        told.map(drop).map_err(|rejection| ProposeError(rejection.to_string()).into())
    }

    /// Waits for nothing: while a service wants no call for access, says when to come back.
    fn access_may_be_asked(&self, memory: &Memory) -> Result<(), Setback> {
        let now = self.work.clock.mono();
        match &memory.access_paused {
            Some((until, reason)) if now < *until => {
                Err(Setback::NotYet { again_in: until.since(now), reason: Some(reason.clone()) })
            }
            _ => Ok(()),
        }
    }

    /// Remembers what a service asked for that was called for access: others of the pass are waited for less.
    fn note_access(&self, memory: &mut Memory, done: Result<(), Setback>) -> Result<(), Setback> {
        if let Err(Setback::Cloud(error)) = &done
            && let Some(asked) = error.retry_after().filter(|_| !mutant!("C08"))
        {
            let until = self.work.clock.mono().after(asked.min(pause::asked_max(self.row.step)));
            memory.access_paused = Some((until, reason_of(error)));
        }
        done
    }

    /// Gives the tenant the flavor, or takes it away.
    async fn set_access(&self, memory: &mut Memory, wanted: bool) -> Result<(), Setback> {
        if memory.access_done {
            return Ok(());
        }
        self.access_may_be_asked(memory)?;
        let done = self.call_for_access(wanted).await;
        memory.access_done = done.is_ok();
        self.note_access(memory, done)
    }

    async fn call_for_access(&self, wanted: bool) -> Result<(), Setback> {
        let (id, project) = (self.flavor_id(), &self.lease.project_id.0);
        let nova = self.cloud.nova();
        if wanted {
            // Giving does not wait for a predecessor's actuation lease: a start must not be late for it. Given too late, it
            // opens nothing, because the tokens are closed (docs/decisions/0005).
            nova.add_flavor_access(&self.errand, &id, project).await?;
        } else {
            self.unfenced_right().await?;
            let permit = self.unfenced();
            nova.remove_flavor_access(&self.errand.under(&permit), &id, project).await?;
        }
        Ok(())
    }
}

/// One pass.
///
/// # Errors
/// Why the row cannot be settled yet.
pub async fn pass(job: &Job<'_>, memory: &mut Memory) -> Result<Outcome, Setback> {
    match job.row.step {
        Step::Hold => hold::pass(job, memory).await,
        Step::Prepare => prepare::pass(job).await,
        Step::StagingOpen => open::staging(job, memory).await,
        Step::StagingClose => park::pass(job, memory).await,
        Step::Start => open::start(job, memory).await,
        Step::Adjust => open::adjust(job).await,
        Step::Expire => expire::pass(job, memory).await,
        // For instances the event alone is the work.
        Step::BeforeEnd => Ok(Outcome::Done),
        Step::End => end::pass(job, memory).await,
    }
}

/// What a failed call says on the lease.
#[must_use]
pub fn reason_of(error: &CloudError) -> Reason {
    let quota = matches!(error.status(), Some(403 | 413)) && error.to_string().to_lowercase().contains("quota");
    let code = if quota { ReasonCode::Quota } else { ReasonCode::CloudUnavailable };
    Reason { code, text: error.to_string() }
}

/// A call that lost a race against Nova's own doing: the next look tells.
fn or_look_again(result: Result<(), CloudError>) -> Result<(), Setback> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
        // The lease ran out between asking and sending: the next pass asks again.
        Err(CloudError::Withheld(Withheld::NoActuationLease)) => Err(Setback::poll()),
        Err(error) => Err(error.into()),
    }
}
