//! Keystone: does it know the service user, as whom, and where are the services?

use super::{Report, services};
use crate::openstack::Cloud;
use crate::openstack::keystone::{Error, Service};
use crate::seams::Clock;

/// The services that are called with the catalog's endpoints.
const CALLED: [Service; 3] = [Service::Nova, Service::Placement, Service::Glance];

/// Whether there is a token to look further with.
pub(super) async fn examine(cloud: &Cloud, clock: &dyn Clock, begun_ms: u64, report: &mut Report) -> bool {
    let tokens = cloud.tokens();
    let token = match tokens.token().await {
        Ok(token) => token,
        Err(error) => {
            report.fail("keystone: token", with_cause(&error), next_step(&error));
            return false;
        }
    };
    let roles = token.roles.join(", ");
    report.ok("keystone: token", format!("user {} in project {}", token.user_id, token.project_id));
    if token.roles.iter().any(|role| role == "admin") {
        report.ok("keystone: roles", roles);
    } else {
        let next = "openstack role add --user USER --project PROJECT admin, with the names of [cloud]; an application \
                    credential carries the roles it was made with, so make a new one";
        report.fail("keystone: roles", format!("the service user is no admin of its project; it has: {roles}"), next);
    }
    // The token was made since we began.
    services::compare_clocks("keystone: clock", token.issued_ms, begun_ms, clock.wall_ms(), report);
    for service in CALLED {
        let subject = format!("catalog: {}", service.catalog_type());
        match tokens.endpoint(service).await {
            Ok(url) => report.ok(&subject, url),
            Err(error) => report.fail(&subject, with_cause(&error), next_step(&error)),
        }
    }
    true
}

fn with_cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn next_step(error: &Error) -> &'static str {
    match error {
        Error::Unreachable { .. } => "check cloud.auth_url and cloud.ca_file, and the way from this machine: curl AUTH_URL",
        Error::CredentialsRefused { .. } => {
            "check the credentials of [cloud] as they are: openstack token issue with the same values"
        }
        Error::Status { .. } | Error::Malformed { .. } => "does cloud.auth_url lead to Keystone's /v3? Look at its log",
        Error::NoEndpoint { .. } => "check cloud.region and cloud.interface against: openstack catalog list",
    }
}
