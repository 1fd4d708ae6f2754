//! Commands about the cluster itself.

use uuid::Uuid;

use super::schedule::invalid;
use crate::model::{ActuationLease, NodeId};
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// Largest payload of a probe.
const PROBE_BYTES_MAX: usize = 64 * 1024;

/// Names the cluster, once. Rejections: `ClusterInitialised`.
pub(super) fn init_cluster(state: &mut State, cluster_id: Uuid) -> Result<Reply, Rejection> {
    if state.cluster_id().is_some() {
        return Err(Rejection::ClusterInitialised);
    }
    let mut meta = state.meta().clone();
    meta.cluster_id = Some(cluster_id);
    state.put_meta(meta);
    Ok(Reply::Done)
}

/// Takes or renews the right to send unfenced calls. The log orders holders; how long each may act is counted on monotonic
/// clocks outside (architecture D6).
pub(super) fn hold_actuation_lease(state: &mut State, node_id: NodeId, term: u64) -> Reply {
    let mut meta = state.meta().clone();
    meta.actuation_lease = Some(ActuationLease { node_id, term });
    state.put_meta(meta);
    Reply::Done
}

/// Changes nothing. Rejections: `Invalid` when the payload is too large.
pub(super) fn probe(payload: &[u8]) -> Result<Reply, Rejection> {
    if payload.len() > PROBE_BYTES_MAX {
        return Err(invalid("payload", format!("{} bytes are too many; at most {PROBE_BYTES_MAX} are allowed", payload.len())));
    }
    Ok(Reply::Done)
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn a_cluster_is_named_once() {
        check(
            "10:00 init -> named
               10:00 init -> refused ClusterInitialised",
        );
    }

    #[test]
    fn a_probe_is_bounded() {
        check(
            "10:00 probe bytes=65536 -> done
               10:00 probe bytes=65537 -> refused Invalid payload",
        );
    }

    #[test]
    fn the_last_one_who_asked_may_act() {
        check("10:00 lead -> Some((3, 7))");
    }
}
