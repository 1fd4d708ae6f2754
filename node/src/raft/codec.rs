//! The engine's types as protobuf messages and back: the same messages between nodes and, behind a version byte, on disk
//! (architecture D15: fields are only ever added).

use std::collections::{BTreeMap, BTreeSet};

use openraft::EntryPayload;
use prost::Message;

use super::types::{Batch, LogEntry, LogId, Member, Membership, SnapshotMeta, StoredMembership, Vote};

/// Generated from `proto/peer.proto`.
#[allow(missing_docs, clippy::all, clippy::disallowed_types)]
pub mod wire {
    tonic::include_proto!("leasehold.peer.v1");
}

/// Version of every value this module writes to disk.
const VERSION: u8 = 1;

/// Bytes or messages that say nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A part that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Not protobuf, or not of this kind.
    #[error("not a valid message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Written by a newer release.
    #[error("version {0} of a stored value is not known to this release")]
    Version(u8),
    /// A membership that cannot be: an empty set of voters, or a voter without address.
    #[error("membership is not valid: {0}")]
    Membership(String),
}

/// A message as stored: version byte, then protobuf.
pub(crate) fn stored(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(VERSION);
    // A Vec grows as needed, the only error there is.
    message.encode(&mut bytes).expect("a Vec takes any message");
    bytes
}

/// The inverse of [`stored`].
pub(crate) fn read_stored<M: Message + Default>(bytes: &[u8]) -> Result<M, Error> {
    match bytes.split_first() {
        None => Err(Error::Missing("value")),
        Some((&VERSION, message)) => Ok(M::decode(message)?),
        Some((&version, _)) => Err(Error::Version(version)),
    }
}

pub(crate) fn log_id_to_wire(log_id: &LogId) -> wire::LogId {
    wire::LogId { term: log_id.leader_id.term, index: log_id.index }
}

pub(crate) fn log_id(message: &wire::LogId) -> LogId {
    LogId::new_term_index(message.term, message.index)
}

pub(crate) fn vote_to_wire(vote: &Vote) -> wire::Vote {
    wire::Vote { term: vote.leader_id.term, voted_for: vote.leader_id.voted_for, committed: vote.committed }
}

pub(crate) fn vote(message: &wire::Vote) -> Vote {
    if message.committed {
        Vote::new_committed(message.term, message.voted_for)
    } else {
        Vote::new(message.term, message.voted_for)
    }
}

/// A vote that must be there.
pub(crate) fn required_vote(message: &Option<wire::Vote>) -> Result<Vote, Error> {
    message.as_ref().map(vote).ok_or(Error::Missing("vote"))
}

pub(crate) fn membership_to_wire(membership: &Membership) -> wire::Membership {
    wire::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|voters| wire::Voters { node_ids: voters.iter().copied().collect() })
            .collect(),
        members: membership
            .nodes()
            .map(|(id, member)| wire::Member {
                node_id: *id,
                peer_address: member.peer_address.clone(),
                grpc_address: member.grpc_address.clone(),
                rest_address: member.rest_address.clone(),
            })
            .collect(),
    }
}

pub(crate) fn membership(message: wire::Membership) -> Result<Membership, Error> {
    if message.configs.is_empty() && message.members.is_empty() {
        return Ok(Membership::default());
    }
    let configs: Vec<BTreeSet<u64>> = message.configs.into_iter().map(|voters| voters.node_ids.into_iter().collect()).collect();
    let members: BTreeMap<u64, Member> = message
        .members
        .into_iter()
        .map(|member| {
            let wire::Member { node_id, peer_address, grpc_address, rest_address } = member;
            (node_id, Member { peer_address, grpc_address, rest_address })
        })
        .collect();
    Membership::new(configs, members).map_err(|error| Error::Membership(error.to_string()))
}

pub(crate) fn entry_to_wire(entry: &LogEntry) -> wire::LogEntry {
    let payload = match &entry.payload {
        EntryPayload::Blank => None,
        EntryPayload::Normal(batch) => Some(wire::log_entry::Payload::Batch(wire::Batch { commands: batch.commands.clone() })),
        EntryPayload::Membership(membership) => Some(wire::log_entry::Payload::Membership(membership_to_wire(membership))),
    };
    wire::LogEntry { log_id: Some(log_id_to_wire(&entry.log_id)), payload }
}

pub(crate) fn entry(message: wire::LogEntry) -> Result<LogEntry, Error> {
    let log_id = message.log_id.as_ref().map(log_id).ok_or(Error::Missing("log id"))?;
    let payload = match message.payload {
        None => EntryPayload::Blank,
        Some(wire::log_entry::Payload::Batch(batch)) => EntryPayload::Normal(Batch { commands: batch.commands }),
        Some(wire::log_entry::Payload::Membership(message)) => EntryPayload::Membership(membership(message)?),
    };
    Ok(LogEntry { log_id, payload })
}

/// What the state has applied, as its rows carry it.
pub(crate) fn position_to_wire(meta: &SnapshotMeta) -> wire::Position {
    wire::Position {
        applied: meta.last_log_id.as_ref().map(log_id_to_wire),
        membership_log_id: meta.last_membership.log_id().as_ref().map(log_id_to_wire),
        membership: Some(membership_to_wire(meta.last_membership.membership())),
    }
}

pub(crate) fn position(message: wire::Position) -> Result<SnapshotMeta, Error> {
    let members = membership(message.membership.ok_or(Error::Missing("membership"))?)?;
    Ok(SnapshotMeta {
        last_log_id: message.applied.as_ref().map(log_id),
        last_membership: StoredMembership::new(message.membership_log_id.as_ref().map(log_id), members),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;

    fn members() -> Membership {
        let member = |port: u16| Member {
            peer_address: format!("10.0.0.1:{port}"),
            grpc_address: format!("10.0.0.1:{}", port + 1),
            rest_address: String::new(),
        };
        let nodes: BTreeMap<u64, Member> = [(1, member(10)), (2, member(20)), (3, member(30))].into();
        Membership::new(vec![[1].into(), [1, 2].into()], nodes).unwrap()
    }

    #[test]
    fn every_kind_of_entry_survives_being_stored() {
        let id = LogId::new_term_index(7, 900);
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Batch { commands: vec![Bytes::from_static(b"a"), Bytes::new()] }),
            EntryPayload::Membership(members()),
        ] {
            let there = LogEntry { log_id: id, payload };
            let back = entry(read_stored(&stored(&entry_to_wire(&there))).unwrap()).unwrap();
            assert_eq!(there, back);
        }
    }

    #[test]
    fn votes_and_positions_survive_and_an_empty_cluster_is_a_position_too() {
        for there in [Vote::new(3, 2), Vote::new_committed(4, 1)] {
            assert_eq!(vote(&vote_to_wire(&there)), there);
        }
        let full = SnapshotMeta {
            last_log_id: Some(LogId::new_term_index(2, 5)),
            last_membership: StoredMembership::new(Some(LogId::new_term_index(1, 1)), members()),
        };
        for there in [SnapshotMeta::default(), full] {
            assert_eq!(position(read_stored(&stored(&position_to_wire(&there))).unwrap()).unwrap(), there);
        }
    }

    #[test]
    fn a_newer_version_a_torn_value_and_a_voter_without_address_are_refused() {
        let mut bytes = stored(&wire::Vote { term: 300, voted_for: 2, committed: true });
        assert_eq!(read_stored::<wire::Vote>(&[]), Err(Error::Missing("value")));
        assert!(matches!(read_stored::<wire::Vote>(&bytes[..2]), Err(Error::Malformed(_))));
        bytes[0] = 9;
        assert_eq!(read_stored::<wire::Vote>(&bytes), Err(Error::Version(9)));
        let nobody = wire::Membership { configs: vec![wire::Voters { node_ids: vec![1] }], members: vec![] };
        assert!(matches!(membership(nobody), Err(Error::Membership(_))));
    }
}
