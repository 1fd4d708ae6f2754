//! Typed calls to the cloud's services over the HTTP seam: only what is used, with pinned microversions.
//!
//! One call in, one answer or [`CloudError`] out; nothing is repeated here but a call whose token had expired, because
//! a repeated call may not be harmless. Who may write is decided by the caller's [`Permit`], which is asked in the same
//! poll that sends (architecture D6). Must not know: leases, rows, Raft. Start with [`keystone`]: tokens and
//! endpoints, which every other service needs; then [`session`], [`nova`], [`placement`], [`glance`].

pub mod error;
pub mod glance;
pub mod keystone;
pub mod nova;
mod patience;
pub mod placement;
pub mod session;
pub mod versions;

use std::sync::Arc;

pub use error::{CloudError, Withheld};
pub use session::{Caller, CloudUser, Errand, Permit, Session};

/// The cloud as the leader and the operations use it. Cheap to clone; clones share the limits of calls in flight.
#[derive(Clone)]
pub struct Cloud {
    session: Arc<Session>,
    urgent: Arc<Session>,
    callers: Arc<Session>,
}

impl Cloud {
    /// The cloud behind a session.
    #[must_use]
    pub fn new(session: Session) -> Self {
        let (urgent, callers) = (Arc::new(session.beside()), Arc::new(session.beside()));
        Self { session: Arc::new(session), urgent, callers }
    }

    /// The same cloud with calls in flight of their own: those of work that can wait do not stand before them.
    #[must_use]
    pub fn urgent(&self) -> Self {
        Self { session: self.urgent.clone(), ..self.clone() }
    }

    /// The same cloud with the calls in flight that callers have, as [`Cloud::groups_of`].
    #[must_use]
    pub fn of_callers(&self) -> Self {
        Self { session: self.callers.clone(), ..self.clone() }
    }

    /// Compute.
    #[must_use]
    pub fn nova(&self) -> nova::Nova<'_> {
        nova::Nova::new(&self.session)
    }

    /// Server groups, as a caller has them: with calls in flight of their own, so that many callers do not hold up the
    /// leader's work.
    #[must_use]
    pub fn groups_of<'a>(&'a self, caller: Caller<'a>) -> nova::OwnGroups<'a> {
        nova::OwnGroups::new(&self.callers, caller)
    }

    /// Capacity.
    #[must_use]
    pub fn placement(&self) -> placement::Placement<'_> {
        placement::Placement::new(&self.session)
    }

    /// Images.
    #[must_use]
    pub fn glance(&self) -> glance::Glance<'_> {
        glance::Glance::new(&self.session)
    }

    /// The service user's token and the endpoints that it opens, for who wants to tell what Keystone said.
    #[must_use]
    pub fn tokens(&self) -> &keystone::TokenSource {
        self.session.tokens()
    }

    /// Which microversions a service has, and what its clock shows.
    ///
    /// # Errors
    /// When it does not answer, or with something else than versions.
    pub async fn offered(&self, service: keystone::Service) -> Result<versions::Offered, CloudError> {
        versions::offered(&self.session, service).await
    }

    /// Who we are to the cloud.
    ///
    /// # Errors
    /// When Keystone does not answer or refuses us.
    pub async fn user(&self) -> Result<CloudUser, CloudError> {
        self.session.user().await
    }
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud").finish_non_exhaustive()
    }
}
