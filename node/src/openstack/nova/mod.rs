//! Nova at 2.96: servers, flavors, hosts, server groups. One file each.

pub mod flavors;
pub mod groups;
pub mod hosts;
pub mod servers;
pub mod usage;

pub use flavors::{Flavor, NewFlavor};
pub use groups::{GroupPolicy, OwnGroups, ServerGroup};
pub use hosts::{Hypervisor, ServiceState};
pub use servers::{EmbeddedFlavor, InstanceAction, Server, Verb};
pub use usage::CountedServer;

use http::Method;

use super::keystone::Service;
use super::session::{Answer, Call, Session};
use super::{CloudError, Errand};

/// Calls to Nova.
#[derive(Clone, Copy)]
pub struct Nova<'a> {
    session: &'a Session,
}

impl<'a> Nova<'a> {
    pub(super) fn new(session: &'a Session) -> Self {
        Self { session }
    }

    async fn get(&self, path: impl Into<String>) -> Result<Answer, CloudError> {
        self.session.read(call(Method::GET, path)).await
    }

    async fn write(&self, errand: &Errand<'_>, call: Call) -> Result<Answer, CloudError> {
        self.session.write(errand, call).await
    }
}

fn call(method: Method, path: impl Into<String>) -> Call {
    Call::new(Service::Nova, method, path)
}
