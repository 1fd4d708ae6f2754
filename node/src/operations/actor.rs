//! Who asks, and what Blazar's policy table lets them do (blazar-api §13).

use std::collections::BTreeSet;

use leasehold_ledger::model::{ProjectId, UserId};
use serde::{Deserialize, Serialize};

use super::Denied;

/// A validated caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Keystone user.
    pub user_id: UserId,
    /// Project the token is scoped to.
    pub project_id: ProjectId,
    /// Role names, lower case.
    pub roles: BTreeSet<String>,
}

impl Actor {
    /// Has the role `admin`.
    pub fn is_admin(&self) -> bool {
        self.roles.contains("admin")
    }

    /// Checks a rule against the project that owns the target; for hosts `owner` is `None`.
    ///
    /// Errors: [`Denied`], with Blazar's rule name.
    pub fn authorise(&self, rule: Rule, owner: Option<&ProjectId>) -> Result<(), Denied> {
        let own_project = owner.is_none_or(|owner| *owner == self.project_id);
        let allowed = self.is_admin()
            || match rule {
                Rule::LeasesGet | Rule::LeasesWhatIf | Rule::QuotasGet | Rule::CapacityDensity => {
                    own_project && self.has_any(&["reader", "member"])
                }
                Rule::LeasesPost | Rule::LeasesPut | Rule::LeasesDelete => own_project && self.has_any(&["member"]),
                Rule::OshostsGet | Rule::OshostsPost | Rule::OshostsPut | Rule::OshostsDelete | Rule::OshostsGetAllocations => {
                    false
                }
                Rule::CapacityGet
                | Rule::QuotasGetAll
                | Rule::QuotasPut
                | Rule::QuotasIgnore
                | Rule::LeasesPrioritise
                | Rule::ClusterGet
                | Rule::ClusterChange => false,
            };
        if allowed { Ok(()) } else { Err(Denied { rule: rule.name() }) }
    }

    /// Checks the right to leases beyond the quota of their project, where that is asked for. `role`: who has it may, beside admins.
    pub fn may_ignore_quota(&self, ignore_quota: bool, role: Option<&str>) -> Result<(), Denied> {
        let has_role = role.is_some_and(|role| self.roles.contains(role));
        if !ignore_quota || has_role { Ok(()) } else { self.authorise(Rule::QuotasIgnore, None) }
    }

    /// Checks the right to a priority, where one is asked for. `role`: who has it may, beside admins.
    pub fn may_prioritise(&self, priority: u8, role: Option<&str>) -> Result<(), Denied> {
        let has_role = role.is_some_and(|role| self.roles.contains(role));
        if priority == 0 || has_role { Ok(()) } else { self.authorise(Rule::LeasesPrioritise, None) }
    }

    fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.roles.contains(*name))
    }
}

/// A rule of the policy table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Rule {
    LeasesGet,
    LeasesPost,
    LeasesPut,
    LeasesDelete,
    OshostsGet,
    OshostsPost,
    OshostsPut,
    OshostsDelete,
    OshostsGetAllocations,
    /// Ours: what a new lease would come to.
    LeasesWhatIf,
    /// Ours: what all hosts have, and what of it is reserved.
    CapacityGet,
    /// Ours: how many instances of one kind fit.
    CapacityDensity,
    /// Ours: limits of a project and what of them is used.
    QuotasGet,
    /// Ours: which projects have limits of their own.
    QuotasGetAll,
    /// Ours: setting limits.
    QuotasPut,
    /// Ours: leases beyond the limits of their project.
    QuotasIgnore,
    /// Ours: leases with a priority.
    LeasesPrioritise,
    /// Ours: status of the cluster.
    ClusterGet,
    /// Ours: membership, leader transfer, clock accept.
    ClusterChange,
}

impl Rule {
    /// As Blazar's policy file spells it.
    pub fn name(self) -> &'static str {
        match self {
            Rule::LeasesGet => "blazar:leases:get",
            Rule::LeasesPost => "blazar:leases:post",
            Rule::LeasesPut => "blazar:leases:put",
            Rule::LeasesDelete => "blazar:leases:delete",
            Rule::OshostsGet => "blazar:oshosts:get",
            Rule::OshostsPost => "blazar:oshosts:post",
            Rule::OshostsPut => "blazar:oshosts:put",
            Rule::OshostsDelete => "blazar:oshosts:delete",
            Rule::OshostsGetAllocations => "blazar:oshosts:get_allocations",
            Rule::LeasesWhatIf => "leasehold:leases:what_if",
            Rule::CapacityGet => "leasehold:capacity:get",
            Rule::CapacityDensity => "leasehold:capacity:density",
            Rule::QuotasGet => "leasehold:quotas:get",
            Rule::QuotasGetAll => "leasehold:quotas:get_all",
            Rule::QuotasPut => "leasehold:quotas:put",
            Rule::QuotasIgnore => "leasehold:quotas:ignore",
            Rule::LeasesPrioritise => "leasehold:leases:priority",
            Rule::ClusterGet => "leasehold:cluster:get",
            Rule::ClusterChange => "leasehold:cluster:change",
        }
    }
}
