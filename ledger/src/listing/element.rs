//! What leases may contain, by which they are found.

use std::str::FromStr;

use uuid::Uuid;

use crate::apply::limits::FLAVOR_CHARS_MAX;
use crate::model::{HostId, Lease, Reservation};

/// Longest id of a flavor, as in Nova.
pub const FLAVOR_ID_CHARS_MAX: usize = FLAVOR_CHARS_MAX;

/// Something that a lease may contain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// One of its reservations is bound to this host.
    Host(HostId),
    /// A reservation, its flavor or its server group, the flavor that it is to be like, or a server that it took over.
    Id(Uuid),
    /// A reservation's flavor, or the flavor that it is to be like, by the id that Nova has for it, which may be any text.
    Flavor(String),
}

impl Element {
    pub(super) fn is_in(&self, lease: &Lease) -> bool {
        lease.reservations.iter().any(|reservation| match self {
            Element::Host(host) => reservation.bindings.iter().any(|binding| binding.host == *host),
            Element::Id(id) => {
                reservation.id.0 == *id
                    || reservation.flavor().0 == *id
                    || reservation.server_group_id == Some(*id)
                    || source_flavor(reservation).is_some_and(|source| source.parse() == Ok(*id))
                    || reservation.adoption.as_ref().is_some_and(|adoption| adoption.servers.contains(id))
            }
            Element::Flavor(flavor) => source_flavor(reservation) == Some(flavor) || flavor.parse() == Ok(reservation.flavor().0),
        })
    }
}

/// The id of the flavor that a `flavor:instance` reservation is to be like.
fn source_flavor(reservation: &Reservation) -> Option<&str> {
    reservation.wish.instance().flavor.as_deref().map(|source| source.id.as_str())
}

/// A text is no element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write the number of a host, a UUID, host:NUMBER or flavor:ID")]
pub struct NoElement;

impl FromStr for Element {
    type Err = NoElement;

    /// `host:3` and `flavor:m1.large` say what they are; of other texts a number is a host, and a UUID anything that has it.
    fn from_str(text: &str) -> Result<Element, NoElement> {
        let host = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().ok().map(HostId)).flatten()
        };
        let is_flavor = |id: &str| !id.is_empty() && id.chars().count() <= FLAVOR_ID_CHARS_MAX;
        let element = match text.split_once(':') {
            Some(("host", number)) => host(number).map(Element::Host),
            Some(("flavor", id)) => is_flavor(id).then(|| Element::Flavor(id.to_owned())),
            _ => host(text).map(Element::Host).or_else(|| text.parse().ok().map(Element::Id)),
        };
        element.ok_or(NoElement)
    }
}
