//! What a configuration may be: each value named with what would be right.

use leasehold_ledger::model::{EXPIRY_MIN_S, FROZEN_S};

use super::{AuthMode, CACHE_S_MAX, Config, Error};
use crate::raft::Timing;

/// Longest election timeout, ms.
const ELECTION_MS_MAX: u64 = 60_000;
/// Most log entries between snapshots, and kept behind one.
const ENTRIES_MAX: u64 = 100_000_000;
/// What is to be read for one answer is named under the lock of the state.
const ENDED_READ_MAX: usize = 10_000_000;
/// Longest wait for a call to the cloud, seconds.
const TIMEOUT_S_MAX: u64 = 3_600;
/// Longest time after which leases expire that say nothing of it, seconds.
const EXPIRY_S_MAX: u32 = 365 * 24 * 3_600;

impl Config {
    /// Everything at once, before anything is opened: a value that would be found wrong later, or quietly be another one.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |key, value: &dyn std::fmt::Display, problem| Err(Error::Value { key, value: value.to_string(), problem });
        if self.node.id == 0 {
            return wrong("node.id", &self.node.id, "must be given, at least 1, and different on every node");
        }
        if self.node.data_dir.as_os_str().is_empty() {
            return wrong("node.data_dir", &"\"\"", "must be given: a directory of this node alone");
        }
        let raft = &self.raft;
        for (key, value) in [("raft.election_min_ms", raft.election_min_ms), ("raft.election_max_ms", raft.election_max_ms)] {
            if value > ELECTION_MS_MAX {
                return wrong(key, &value, "must be at most 60000: so long nobody would lead");
            }
        }
        if raft.heartbeat_ms == 0 || raft.heartbeat_ms.saturating_mul(3) > raft.election_min_ms {
            return wrong("raft.election_min_ms", &raft.election_min_ms, "must be at least three heartbeats (raft.heartbeat_ms)");
        }
        if raft.election_min_ms >= raft.election_max_ms {
            return wrong("raft.election_max_ms", &raft.election_max_ms, "must be above raft.election_min_ms");
        }
        // Else the leader would hardly ever be certain to be the only one, and never touch the cloud.
        let margin_ms = u64::try_from(Timing::default().fence_margin.as_millis()).unwrap_or(u64::MAX);
        if raft.election_max_ms < margin_ms.saturating_add(raft.heartbeat_ms.saturating_mul(3)) {
            return wrong(
                "raft.election_max_ms",
                &raft.election_max_ms,
                "must be at least 200 ms and three heartbeats (raft.heartbeat_ms)",
            );
        }
        if !(1..=ENTRIES_MAX).contains(&raft.snapshot_entries) {
            return wrong("raft.snapshot_entries", &raft.snapshot_entries, "must be from 1 to 100000000");
        }
        if raft.keep_entries > ENTRIES_MAX {
            return wrong("raft.keep_entries", &raft.keep_entries, "must be at most 100000000");
        }
        for (key, value) in [("api.requests_max", self.api.requests_max), ("api.connections_max", self.api.connections_max)] {
            if value == 0 {
                return wrong(key, &value, "must be at least 1, or nobody is served");
            }
        }
        for (key, role) in
            [("api.priority_role", &self.api.priority_role), ("api.quota_exempt_role", &self.api.quota_exempt_role)]
        {
            if role.as_ref().is_some_and(String::is_empty) {
                return wrong(key, &"\"\"", "must be the name of a role, or not be given: admins alone may then");
            }
        }
        if !(1..=ENDED_READ_MAX).contains(&self.api.ended_leases_read_max) {
            return wrong("api.ended_leases_read_max", &self.api.ended_leases_read_max, "must be from 1 to 10000000");
        }
        if let Some(seconds) = self.api.expiry_s_default {
            if !(EXPIRY_MIN_S..=EXPIRY_S_MAX).contains(&seconds) {
                let right = "must be from 60 to 31536000 seconds, or not be given: leases that say nothing then never expire";
                return wrong("api.expiry_s_default", &seconds, right);
            }
            if !self.api.expiry {
                let right = "must not be given with api.expiry = false: no lease expires then";
                return wrong("api.expiry_s_default", &seconds, right);
            }
        }
        let tls = &self.tls;
        let peer_parts = [&tls.peer_certificate, &tls.peer_key, &tls.peer_ca].iter().filter(|part| part.is_some()).count();
        if peer_parts != 0 && peer_parts != 3 {
            return wrong("tls", &"peer_*", "peer_certificate, peer_key and peer_ca go together");
        }
        if self.listen.peer.ip().is_unspecified() && self.listen.peer_advertised.is_none() {
            return wrong(
                "listen.peer",
                &self.listen.peer,
                "is no address to dial; give listen.peer_advertised, as node1.example:1236",
            );
        }
        if self.listen.grpc.ip().is_unspecified() && self.listen.grpc_advertised.is_none() {
            return wrong(
                "listen.grpc",
                &self.listen.grpc,
                "is no address to dial; give listen.grpc_advertised, as node1.example:1235",
            );
        }
        if peer_parts == 0 && !self.listen.peer.ip().is_loopback() {
            return wrong("listen.peer", &self.listen.peer, "without tls.peer_* only a loopback address is allowed");
        }
        if tls.api_certificate.is_some() != tls.api_key.is_some() {
            return wrong("tls", &"api_*", "api_certificate and api_key go together");
        }
        if self.auth.mode == AuthMode::Noauth && !(self.listen.rest.ip().is_loopback() && self.listen.grpc.ip().is_loopback()) {
            return wrong("auth.mode", &"noauth", "is allowed only where listen.rest and listen.grpc are loopback addresses");
        }
        if self.auth.cache_s > CACHE_S_MAX {
            return wrong("auth.cache_s", &self.auth.cache_s, "must be at most 300: a token may be revoked meanwhile");
        }
        if self.auth.mode == AuthMode::Keystone && self.cloud.is_none() {
            return wrong("auth.mode", &"keystone", "needs [cloud], whose service user validates the tokens");
        }
        if let Some(cloud) = &self.cloud {
            if !(cloud.auth_url.starts_with("http://") || cloud.auth_url.starts_with("https://")) {
                return wrong(
                    "cloud.auth_url",
                    &cloud.auth_url,
                    "must be Keystone's URL, as in https://keystone.example:5000/v3",
                );
            }
            if cloud.timeout_s.is_some_and(|seconds| !(1..=TIMEOUT_S_MAX).contains(&seconds)) {
                return wrong("cloud.timeout_s", &cloud.timeout_s.unwrap_or_default(), "must be from 1 to 3600 seconds");
            }
            let by_password = cloud.username.is_some() && cloud.password.is_some();
            let by_credential = cloud.application_credential_id.is_some() && cloud.application_credential_secret.is_some();
            if by_password == by_credential {
                return wrong(
                    "cloud",
                    &"credentials",
                    "give either username and password, or application_credential_id and application_credential_secret",
                );
            }
        }
        let leader = &self.leader;
        for (key, is_zero) in [
            ("leader.parallel", leader.parallel == 0),
            ("leader.reconcile_s", leader.reconcile_s == 0),
            ("leader.monitor_s", leader.monitor_s == 0),
        ] {
            if is_zero {
                return wrong(key, &0, "must be at least 1");
            }
        }
        // Times of leases are whole seconds of 32 bits.
        for (key, seconds) in [
            ("leader.healing_grace_s", leader.healing_grace_s),
            ("leader.healing_horizon_s", leader.healing_horizon_s),
            ("leader.ended_leases_in_memory_s", leader.ended_leases_in_memory_s),
            ("leader.defragment_s", leader.defragment_s),
        ] {
            if u32::try_from(seconds).is_err() {
                return wrong(key, &seconds, "must be below 4294967296");
            }
        }
        if leader.defragment_lead_s < FROZEN_S {
            return wrong(
                "leader.defragment_lead_s",
                &leader.defragment_lead_s,
                "must be at least 10: who is about to begin stays",
            );
        }
        if leader.defragment_gain_s == 0 {
            return wrong("leader.defragment_gain_s", &0, "must be at least 1: a move must be worth something");
        }
        Ok(())
    }
}
