//! What happens around every call: it is counted and timed by operation, and a node that does not lead tells who does.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::HeaderValue;
use leasehold_client::metadata;
use tonic::Code;
use tower::{Layer, Service};
use tracing::Instrument;
use tracing::field::Empty;

use crate::listen::date;
use crate::operations::Operations;
use crate::seams::Seams;
use crate::telemetry::{metrics, request_id};

/// Wraps the services.
#[derive(Clone)]
pub(super) struct Observe {
    pub operations: Operations,
    pub seams: Seams,
}

/// A wrapped service.
#[derive(Clone)]
pub(super) struct Observed<S> {
    around: Observe,
    inner: S,
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { around: self.clone(), inner }
    }
}

impl<S, A, B> Service<http::Request<A>> for Observed<S>
where
    S: Service<http::Request<A>, Response = http::Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<A>) -> Self::Future {
        let operation = operation(request.uri().path());
        let Observe { operations, seams } = self.around.clone();
        let began = seams.clock.mono();
        let request_id = request_id::of(seams.rng.uuid_v4());
        let span = tracing::info_span!(
            "grpc",
            request_id,
            operation,
            project_id = Empty,
            lease_id = Empty,
            key = Empty,
            term = Empty,
            log_index = Empty
        );
        let answered = request_id::within(request_id, self.inner.call(request)).instrument(span);
        Box::pin(async move {
            let mut response = answered.await?;
            let ending = ending(response.headers().get("grpc-status"));
            metrics::request("grpc", operation, ending, seams.clock.mono().since(began).as_secs_f64());
            date::stamp(response.headers_mut(), &*seams.clock);
            // An address that is no header value is a member's mistake in its configuration, and the hint only saves a hop.
            if let Some(leader) = operations.leader_elsewhere().and_then(|leader| HeaderValue::from_str(&leader).ok()) {
                response.headers_mut().insert(metadata::LEADER, leader);
            }
            Ok(response)
        })
    }
}

/// The operation's name, from `/leasehold.v1.LeaseService/CreateLease`; a closed set, for metrics.
fn operation(path: &str) -> &'static str {
    match path.rsplit('/').next().unwrap_or_default() {
        "CreateLease" => "create_lease",
        "WhatIf" => "what_if",
        "GetLease" => "get_lease",
        "ListLeases" => "list_leases",
        "Utilisation" => "utilisation",
        "UpdateLease" => "update_lease",
        "ClaimOffer" => "claim_offer",
        "DeleteLease" => "delete_lease",
        "DeleteSeries" => "delete_series",
        "LookUpKey" => "look_up_key",
        "PeekKey" => "peek_key",
        "Show" => "capacity",
        "Density" => "density",
        "ShowQuota" => "quota",
        "ListQuotas" => "list_quotas",
        "SetQuota" => "set_quota",
        "RegisterHost" => "register_host",
        "GetHost" => "get_host",
        "ListHosts" => "list_hosts",
        "UpdateHost" => "update_host",
        "ListDowntimes" => "list_downtimes",
        "SetDowntime" => "set_downtime",
        "DropDowntime" => "drop_downtime",
        "SetUpgrade" => "set_upgrade",
        "DropUpgrade" => "drop_upgrade",
        "DeleteHost" => "delete_host",
        "ListAllocations" => "host_allocations",
        "Watch" => "watch",
        "Status" | "StateProbe" => "cluster_status",
        "Init" | "Add" | "Remove" | "Transfer" | "AcceptClock" => "change_cluster",
        "Probe" => "probe",
        "ProbeRead" => "read_index",
        _ => "none",
    }
}

/// How it ended. A call that fails before it gives anything says so in its headers; without the header it gave something.
fn ending(status: Option<&HeaderValue>) -> &'static str {
    match status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes())) {
        Code::Ok => "ok",
        Code::Unavailable => "unavailable",
        Code::DeadlineExceeded | Code::Cancelled => "unknown",
        Code::Internal | Code::Unknown | Code::DataLoss => "internal",
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_contract_has_a_name() {
        let contract = [
            include_str!("../../../../client/proto/leasehold/v1/lease.proto"),
            include_str!("../../../../client/proto/leasehold/v1/host.proto"),
            include_str!("../../../../client/proto/leasehold/v1/capacity.proto"),
            include_str!("../../../../client/proto/leasehold/v1/quota.proto"),
            include_str!("../../../../client/proto/leasehold/v1/watch.proto"),
            include_str!("../../../../client/proto/leasehold/v1/cluster.proto"),
        ];
        for line in contract.iter().flat_map(|file| file.lines()) {
            let Some(call) = line.trim().strip_prefix("rpc ").and_then(|rest| rest.split('(').next()) else { continue };
            assert_ne!(operation(&format!("/leasehold.v1.Service/{call}")), "none", "{call}");
        }
    }

    #[test]
    fn calls_are_counted_under_closed_names() {
        assert_eq!(operation("/leasehold.v1.LeaseService/CreateLease"), "create_lease");
        assert_eq!(operation("/leasehold.v1.LeaseService/DropTables"), "none");
        assert_eq!(operation(""), "none");
        assert_eq!(ending(None), "ok");
        assert_eq!(ending(Some(&HeaderValue::from_static("14"))), "unavailable");
        assert_eq!(ending(Some(&HeaderValue::from_static("9"))), "refused");
    }
}
