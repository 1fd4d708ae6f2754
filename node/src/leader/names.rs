//! Names and identities of what is ours in the cloud (architecture D7, scheduling-design §5). Fixed functions of the
//! cluster's id and the provider, so that everyone who makes an object makes the same one.

use leasehold_ledger::model::{LeaseId, ReservationId};
use uuid::Uuid;

use crate::openstack::nova::Flavor;

/// Extra spec that marks our flavors; its value is the cluster's id.
pub const FLAVOR_MARK: &str = "leasehold:cluster";
/// Consumer type of our holds.
pub const HOLD_TYPE: &str = "LEASEHOLD_HOLD";
/// Image property that names the reservation whose end made the image.
pub const IMAGE_MARK: &str = "leasehold_end_of";

const CLUSTERS: Uuid = Uuid::from_u128(0x6c65_6173_6568_6f6c_642d_636c_7573_7401);

/// Identities of one cluster's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    cluster_id: Uuid,
    namespace: Uuid,
}

impl Names {
    /// Names of the objects of this cluster.
    #[must_use]
    pub fn new(cluster_id: Uuid) -> Self {
        Self { cluster_id, namespace: Uuid::new_v5(&CLUSTERS, cluster_id.as_bytes()) }
    }

    /// Value of [`FLAVOR_MARK`].
    #[must_use]
    pub fn mark(&self) -> String {
        self.cluster_id.to_string()
    }

    /// The id of a new reservation, as random as its first ten bytes. The other six are made of them and of the cluster: a
    /// resource class has no place for a mark but its name, which is its reservation's, and the ledger forgets a reservation
    /// before the last call for its class may have come through (docs/decisions/0012).
    #[must_use]
    pub fn reservation(&self, random: Uuid) -> ReservationId {
        let mut bytes = random.into_bytes();
        let (own, mark) = bytes.split_at_mut(10);
        let made = Uuid::new_v5(&self.namespace, &[b"reservation:", &own[..]].concat());
        mark.copy_from_slice(&made.as_bytes()[..6]);
        ReservationId(Uuid::from_bytes(bytes))
    }

    /// Whether a reservation is of this cluster, known to the ledger or forgotten. Of another's ids one in 2^48 is taken for
    /// ours; ids that were not made by [`Names::reservation`] are nobody's.
    #[must_use]
    pub fn is_ours(&self, id: ReservationId) -> bool {
        self.reservation(id.0) == id
    }

    /// Whether a flavor is of this cluster: it carries the cluster's mark, or no cluster's and the name of a reservation that
    /// is ours. The mark is set by a call of its own, and the one that makes the flavor may be carried out after both were
    /// given up (docs/decisions/0012).
    #[must_use]
    pub fn owns_flavor(&self, flavor: &Flavor) -> bool {
        match flavor.extra_specs.get(FLAVOR_MARK) {
            Some(mark) => *mark == self.mark(),
            None => reservation_of_flavor(flavor).is_some_and(|id| self.is_ours(id)),
        }
    }

    /// The `shard`th hold consumer of a host.
    #[must_use]
    pub fn hold(&self, root: Uuid, shard: usize) -> Uuid {
        Uuid::new_v5(&self.namespace, format!("hold:{root}:{shard}").as_bytes())
    }

    /// The project that holds are recorded under in Placement: one that Keystone does not know. Where Nova counts quota from
    /// Placement and the service user wakes a server, it adds the server to what the *service user's* project uses before
    /// it compares with the limit of the server's (`nova.compute.api`, `_check_quota_unshelve_offloaded`; seen on the
    /// lab). Holds of the service project would then refuse every wake-up.
    #[must_use]
    pub fn holds_project(&self) -> String {
        Uuid::new_v5(&self.namespace, b"holds").simple().to_string()
    }

    /// The permanent child that carries the reservations' tokens.
    #[must_use]
    pub fn reservation_provider(&self, root: Uuid) -> Uuid {
        Uuid::new_v5(&self.namespace, format!("rsv:{root}").as_bytes())
    }

    /// The permanent child that carries loans.
    #[must_use]
    pub fn loan_provider(&self, root: Uuid) -> Uuid {
        Uuid::new_v5(&self.namespace, format!("loan:{root}").as_bytes())
    }

    /// Name of a reservation's server group. Nova has no other place for a mark, and several clusters may share the service
    /// project that the groups belong to.
    #[must_use]
    pub fn server_group(&self, lease: LeaseId, id: ReservationId) -> String {
        format!("leasehold:{}:{lease}:{id}", self.cluster_id)
    }

    /// The reservation that a server group of ours belongs to; `None` for groups of others.
    #[must_use]
    pub fn reservation_of_group(&self, name: &str) -> Option<(LeaseId, ReservationId)> {
        let ours = name.strip_prefix("leasehold:")?.strip_prefix(&self.mark())?.strip_prefix(':')?;
        let (lease, id) = ours.split_once(':')?;
        Some((LeaseId(Uuid::parse_str(lease).ok()?), ReservationId(Uuid::parse_str(id).ok()?)))
    }
}

/// Name of the reservation provider of a host.
#[must_use]
pub fn reservation_provider_name(host: &str) -> String {
    format!("leasehold_{host}")
}

/// Name of the loan provider of a host.
#[must_use]
pub fn loan_provider_name(host: &str) -> String {
    format!("leasehold_loan_{host}")
}

/// The resource class of anchors that an operator gives a compute node (architecture D21).
pub const ANCHOR_CLASS: &str = "CUSTOM_LH_ANCHOR";

/// The resource class of a reservation's tokens.
#[must_use]
pub fn class(id: ReservationId) -> String {
    format!("CUSTOM_RESERVATION_{}", id.to_string().to_uppercase().replace('-', "_"))
}

/// The reservation of a class of tokens; `None` for other classes.
#[must_use]
pub fn reservation_of_class(class: &str) -> Option<ReservationId> {
    let id = class.strip_prefix("CUSTOM_RESERVATION_")?.replace('_', "-").to_lowercase();
    Uuid::parse_str(&id).ok().map(ReservationId)
}

/// Name of a reservation's flavor, as Blazar names it.
#[must_use]
pub fn flavor(id: ReservationId) -> String {
    format!("reservation:{id}")
}

/// The reservation of a flavor that is made as ours are; `None` for other flavors.
fn reservation_of_flavor(found: &Flavor) -> Option<ReservationId> {
    let id = found.id.parse().ok()?;
    (found.name == flavor(id)).then_some(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_class_names_its_reservation_and_clusters_never_share_a_provider() {
        let id = ReservationId(Uuid::from_u128(0xabc));
        assert_eq!(reservation_of_class(&class(id)), Some(id));
        assert_eq!(reservation_of_class("CUSTOM_RESERVATION_X"), None);
        let (one, other) = (Names::new(Uuid::from_u128(1)), Names::new(Uuid::from_u128(2)));
        let root = Uuid::from_u128(3);
        let all = [one.hold(root, 0), one.hold(root, 1), one.reservation_provider(root), one.loan_provider(root)];
        assert!(!all.contains(&other.hold(root, 0)));
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }

    #[test]
    fn a_reservation_is_known_by_its_own_cluster_alone_and_no_id_is_known_by_chance() {
        let (one, other) = (Names::new(Uuid::from_u128(1)), Names::new(Uuid::from_u128(2)));
        let random = Uuid::from_u128(0x0f0e_0d0c_0b0a_4908_8706_0504_0302_0100);
        let id = one.reservation(random);
        assert_eq!(id.0.as_bytes()[..10], random.as_bytes()[..10]);
        assert_eq!(id.0.get_version_num(), 4);
        assert_eq!(one.reservation(random), id);
        assert!(one.is_ours(id));
        assert!(!other.is_ours(id) && !one.is_ours(ReservationId(random)));
        let next = Uuid::from_u128(random.as_u128() + (1 << 48));
        assert_ne!(one.reservation(next).0.as_bytes()[10..], id.0.as_bytes()[10..]);
    }

    #[test]
    fn a_flavor_is_known_by_its_mark_or_by_its_reservation_where_it_has_none() {
        let (one, other) = (Names::new(Uuid::from_u128(1)), Names::new(Uuid::from_u128(2)));
        let id = one.reservation(Uuid::from_u128(0xabc));
        let with = |id: ReservationId, name: String, mark: Option<String>| {
            let extra_specs = mark.map(|mark| (FLAVOR_MARK.to_owned(), mark)).into_iter().collect();
            Flavor { id: id.to_string(), name, vcpus: 1, ram: 512, disk: 1, ephemeral: 0, swap: 0, is_public: true, extra_specs }
        };
        assert!(one.owns_flavor(&with(id, flavor(id), None)));
        assert!(!other.owns_flavor(&with(id, flavor(id), None)));
        assert!(!one.owns_flavor(&with(id, "web".to_owned(), None)), "named by somebody else");
        assert!(!one.owns_flavor(&with(id, flavor(id), Some(other.mark()))));
        let strange = ReservationId(Uuid::from_u128(0xabc));
        assert!(!one.owns_flavor(&with(strange, flavor(strange), None)));
        assert!(one.owns_flavor(&with(strange, flavor(strange), Some(one.mark()))));
    }

    #[test]
    fn a_server_group_is_known_by_its_own_cluster_alone() {
        let (lease, id) = (LeaseId(Uuid::from_u128(7)), ReservationId(Uuid::from_u128(0xabc)));
        let (one, other) = (Names::new(Uuid::from_u128(1)), Names::new(Uuid::from_u128(2)));
        let name = one.server_group(lease, id);
        assert_eq!(one.reservation_of_group(&name), Some((lease, id)));
        assert_eq!(other.reservation_of_group(&name), None);
        assert_eq!(one.reservation_of_group(&format!("leasehold:{lease}:{id}")), None);
    }
}
