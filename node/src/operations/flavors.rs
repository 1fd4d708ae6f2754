//! Wishes for servers like a flavor of the cloud, before anything is planned for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold_ledger::command::LeaseWish;
use leasehold_ledger::model::{InstanceWish, ProjectId, RequestKey, ResourceWish, SourceFlavor};
use leasehold_ledger::reply::Rejection;

use super::{OperationError, Operations, Result, Unavailable};
use crate::leader::source_flavor;
use crate::openstack::Cloud;
use crate::openstack::nova::Flavor;

/// Nova's own bound of ids and names.
const NAME_CHARS_MAX: usize = 255;

impl Operations {
    /// As [`Operations::with_flavors`] for a request under a key: with the wish as it was asked for, where it names flavors, which is the
    /// content of the key.
    ///
    /// A refusal is final for the caller, so it is a linearizable read, as in [`Operations::adoptions_for`]: where the key is known
    /// its stored answer decides, whatever has become of the flavor, and of Nova.
    pub(super) async fn with_flavors_once(
        &self,
        key: Option<&RequestKey>,
        wish: LeaseWish,
    ) -> Result<(LeaseWish, Option<LeaseWish>)> {
        self.check_may_like(&wish)?;
        let names_any = wish.reservations.iter().any(|one| one.resource.instance().flavor.is_some());
        let asked = (names_any && key.is_some()).then(|| wish.clone());
        match (self.with_flavors(wish).await, asked) {
            (Ok(found), asked) => Ok((found, asked)),
            (Err(refused), None) => Err(refused),
            (Err(refused), Some(asked)) => {
                self.confirmed_index().await?;
                let is_known = Self::key_is_known(&self.inner.raft.state(), key);
                if is_known { Ok((asked.clone(), Some(asked))) } else { Err(refused) }
            }
        }
    }

    /// Refuses flavors where they are switched off, also under a key that is known: members of an older release do not know the
    /// field, so nothing with it may get into the log.
    fn check_may_like(&self, wish: &LeaseWish) -> Result<()> {
        let names_any = wish.reservations.iter().any(|one| one.resource.instance().flavor.is_some());
        if self.inner.bounds.flavors || !names_any {
            return Ok(());
        }
        let problem = "flavor:instance is switched off here (flavor_reservations); ask for virtual:instance".to_owned();
        Err(Rejection::Invalid { field: "flavor".to_owned(), problem }.into())
    }

    /// Looks up the flavors that a lease's reservations name, each once, as their owner sees them. The node that was asked does it, and
    /// what it finds is the wish from then on: a flavor that changes later changes no lease.
    pub(super) async fn with_flavors(&self, mut wish: LeaseWish) -> Result<LeaseWish> {
        self.check_may_like(&wish)?;
        let mut found: BTreeMap<(String, String), Flavor> = BTreeMap::new();
        for one in &mut wish.reservations {
            let instance = one.resource.instance();
            let Some(asked) = &instance.flavor else { continue };
            if !one.servers.is_empty() {
                let problem = "servers keep the flavor that they have; name their sizes".to_owned();
                return Err(Rejection::Invalid { field: "servers".to_owned(), problem }.into());
            }
            if instance.affinity.is_some() {
                let problem = "it cannot be asked for with a flavor yet; leave it out, or ask for sizes".to_owned();
                return Err(Rejection::Invalid { field: "affinity".to_owned(), problem }.into());
            }
            let named = (asked.id.clone(), asked.name.clone());
            let flavor = match found.get(&named) {
                Some(flavor) => flavor.clone(),
                None => {
                    let flavor = self.flavor(&wish.project_id, asked).await?;
                    found.insert(named, flavor.clone());
                    flavor
                }
            };
            one.resource = ResourceWish::Instance(Arc::new(source_flavor::taken_over(flavor, instance)?));
        }
        Ok(wish)
    }

    /// The same of one kind of server.
    pub(super) async fn with_flavor(&self, project: &ProjectId, wish: &InstanceWish) -> Result<InstanceWish> {
        let Some(asked) = &wish.flavor else { return Ok(wish.clone()) };
        Ok(source_flavor::taken_over(self.flavor(project, asked).await?, wish)?)
    }

    /// With calls in flight that are the callers': a crowd of them does not hold up the leader's work.
    async fn flavor(&self, project: &ProjectId, asked: &SourceFlavor) -> Result<Flavor> {
        check_name(asked)?;
        let cloud = self.inner.cloud.as_ref().map(Cloud::of_callers);
        let Some(cloud) = cloud else {
            return Err(OperationError::CloudUnavailable("no cloud is configured ([cloud] in the configuration)".to_owned()));
        };
        Ok(source_flavor::look_up(&cloud, project, asked).await?)
    }
}

fn check_name(asked: &SourceFlavor) -> Result<()> {
    let invalid = |problem: String| Err(Rejection::Invalid { field: "flavor".to_owned(), problem }.into());
    if asked.id.is_empty() && asked.name.is_empty() {
        return invalid("it must have the id or the name of a flavor".to_owned());
    }
    match [&asked.id, &asked.name].into_iter().map(|text| text.chars().count()).max() {
        Some(longest) if longest > NAME_CHARS_MAX => {
            invalid(format!("ids and names of flavors have at most {NAME_CHARS_MAX} characters, not {longest}"))
        }
        _ => Ok(()),
    }
}

/// Refuses to plan what was sent for a stored answer alone, now that the key is free again: try again, and the flavors are looked up.
pub(super) fn check_looked_up(wish: &LeaseWish) -> Result<()> {
    let mut instances = wish.reservations.iter().map(|one| one.resource.instance());
    if instances.any(|instance| instance.flavor.is_some() && instance.vcpus == 0) {
        return Err(OperationError::Unavailable(Unavailable::Busy));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use leasehold_ledger::command::Command;
    use leasehold_ledger::command::{CreateLease, PlannedReservation};
    use leasehold_ledger::model::{EventId, LeaseId, ReservationId, Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::operations::Bounds;
    use crate::operations::tests::{Lone, actor, wish};

    fn like(id: &str, name: &str) -> LeaseWish {
        let mut like = wish(2);
        let instance = like.reservations[0].resource.instance_mut();
        let flavor = SourceFlavor { id: id.to_owned(), name: name.to_owned(), ..SourceFlavor::default() };
        *instance = InstanceWish { flavor: Some(flavor.into()), ..InstanceWish::anywhere(0, 0, 0, 2) };
        like
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_names_no_flavor_is_refused_before_anything_is_asked() {
        let lone = Lone::with_host(4).await;
        let refused =
            async |wish: LeaseWish| lone.operations.create_lease(&actor("member"), None, wish).await.unwrap_err().to_string();
        assert!(refused(like("", "")).await.contains("flavor"), "it names none");
        let longest = "ä".repeat(NAME_CHARS_MAX);
        assert!(refused(like(&format!("{longest}x"), "")).await.contains("255 characters, not 256"));
        assert!(refused(like("", &format!("{longest}x"))).await.contains("255 characters, not 256"));
        assert!(refused(like(&longest, &longest)).await.contains("no cloud is configured"), "the next thing is to ask");
        let mut close = like("f", "");
        close.reservations[0].resource.instance_mut().affinity = Some(true);
        assert!(refused(close).await.contains("affinity"));
        lone.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_flavors_are_switched_off_none_is_asked_for() {
        let lone = Lone::with(Bounds { flavors: false, ..Bounds::default() }).await;
        let refused = lone.operations.create_lease(&actor("member"), None, like("f", "")).await.unwrap_err();
        assert!(refused.to_string().contains("switched off"), "{refused}");
        lone.operations.create_lease(&actor("member"), None, wish(1)).await.unwrap();
        lone.end().await;
    }

    /// There is no cloud here: whatever is asked by a flavor fails, but for what was answered before.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_answered_under_a_key_is_answered_though_its_flavor_is_not_to_be_found() {
        let lone = Lone::with_host(4).await;
        let (operations, member, asked) = (lone.operations.clone(), actor("member"), like("f", ""));
        let valid_until = Timestamp(chrono::Utc::now().timestamp_millis() as u64 + 600_000);
        let key = RequestKey { project_id: member.project_id.clone(), id: Uuid::from_u128(1), valid_until };
        let away = operations.create_lease(&member, Some(key.clone()), asked.clone()).await.unwrap_err();
        assert!(matches!(away, OperationError::CloudUnavailable(_)), "{away}");

        // The first try as it would have gone with a cloud.
        let mut found = asked.clone();
        let instance = found.reservations[0].resource.instance_mut();
        *instance = InstanceWish { flavor: instance.flavor.clone(), ..InstanceWish::anywhere(1, 64, 0, 2) };
        let host = operations.inner.raft.state().hosts().next().unwrap().id;
        let binding = leasehold_ledger::model::Binding { phase: leasehold_ledger::model::Phase::Main, host, slots: 2 };
        let id = |number| Uuid::from_u128(number);
        let create = CreateLease {
            wish: found,
            asked: Some(Box::new(asked.clone())),
            lease_id: LeaseId(id(2)),
            event_ids: (10..16).map(|number| EventId(id(number))).collect(),
            plan: vec![PlannedReservation { reservation_id: ReservationId(id(3)), bindings: vec![binding] }],
            resource_ids: vec![id(4)],
            planned_at: 0,
            moved_to: None,
            adoptions: BTreeMap::new(),
            caller_makes_groups: false,
            waits: false,
            victims: Vec::new(),
        };
        let made = operations.inner.raft.propose(Some(key.clone()), Command::CreateLease(Box::new(create))).await.unwrap();
        made.outcome.unwrap();

        let again = operations.create_lease(&member, Some(key.clone()), asked.clone()).await.unwrap().value;
        assert_eq!(again.id, LeaseId(id(2)));
        let other = operations.create_lease(&member, Some(key.clone()), like("g", "")).await.unwrap_err();
        assert_eq!(other, OperationError::Rejected(Rejection::RequestIdReused), "it is another content");
        let unknown = RequestKey { id: id(9), ..key };
        let away = operations.create_lease(&member, Some(unknown), asked).await.unwrap_err();
        assert!(matches!(away, OperationError::CloudUnavailable(_)), "{away}");
        lone.end().await;
    }
}
