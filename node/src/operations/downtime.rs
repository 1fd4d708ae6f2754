//! What is declared of hosts: what is not to be had for a time, and what is to be had from a second on.

use leasehold_ledger::command::{Command, StartWish};
use leasehold_ledger::listing::{self, DowntimeListing, HostDowntime};
use leasehold_ledger::model::{DowntimeId, Host, HostId, RequestKey, Seconds, Upgrade, Withheld};

use super::route::{Call, Request};
use super::{Actor, Answer, Consistency, Operations, Result, Rule};
use crate::seams::long;
use crate::telemetry::request_id;

impl Operations {
    /// Downtimes of a listing, over all hosts or some.
    ///
    /// Errors: the one host that is asked for is not there; the marker is not there any more in an order by something else than the id.
    pub async fn list_downtimes(
        &self,
        actor: &Actor,
        listing: DowntimeListing,
        consistency: Consistency,
    ) -> Result<Answer<Vec<HostDowntime>>> {
        actor.authorise(Rule::OshostsGet, None)?;
        self.read_barrier(consistency).await?;
        long(|| {
            let state = self.inner.raft.state();
            Ok(Answer { value: listing::downtimes(&state, &listing)?, ledger_index: state.ledger_index() })
        })
    }

    /// Declares a downtime, or changes the one of this id. What is booked stays, and moves away where it has not begun.
    pub async fn set_downtime(
        &self,
        actor: &Actor,
        key: Option<RequestKey>,
        host_id: HostId,
        downtime_id: DowntimeId,
        (start, end): (Option<StartWish>, Seconds),
        withheld: Withheld,
    ) -> Result<Answer<Host>> {
        actor.authorise(Rule::OshostsPut, None)?;
        let request = Request::SetDowntime { host_id, downtime_id, start, end, withheld };
        let call = Call { request_id: request_id::current(), actor: actor.clone(), key, request };
        self.on_leader(call).await?.host()
    }

    /// Takes a downtime back.
    pub async fn drop_downtime(
        &self,
        actor: &Actor,
        key: Option<RequestKey>,
        host_id: HostId,
        downtime_id: DowntimeId,
    ) -> Result<Answer<Host>> {
        actor.authorise(Rule::OshostsPut, None)?;
        let request = Request::DropDowntime { host_id, downtime_id };
        let call = Call { request_id: request_id::current(), actor: actor.clone(), key, request };
        self.on_leader(call).await?.host()
    }

    /// Declares what a host is to have at least from a second on, instead of what was declared before.
    pub async fn set_upgrade(
        &self,
        actor: &Actor,
        key: Option<RequestKey>,
        host_id: HostId,
        upgrade: Upgrade,
    ) -> Result<Answer<Host>> {
        actor.authorise(Rule::OshostsPut, None)?;
        let request = Request::SetUpgrade { host_id, upgrade };
        let call = Call { request_id: request_id::current(), actor: actor.clone(), key, request };
        self.on_leader(call).await?.host()
    }

    /// Takes that back. What was promised of it stays, and moves away where it has not begun.
    pub async fn drop_upgrade(&self, actor: &Actor, key: Option<RequestKey>, host_id: HostId) -> Result<Answer<Host>> {
        actor.authorise(Rule::OshostsPut, None)?;
        let request = Request::DropUpgrade { host_id };
        let call = Call { request_id: request_id::current(), actor: actor.clone(), key, request };
        self.on_leader(call).await?.host()
    }

    /// Any of these, on the leader.
    pub(super) async fn change_host_here(
        &self,
        key: Option<RequestKey>,
        host_id: HostId,
        command: Command,
    ) -> Result<Answer<Host>> {
        let committed = self.propose(key, command).await?;
        committed.outcome?;
        self.host_now(host_id)
    }
}
