//! The product's client library, connected to a harness cluster, and what its errors prove.

use std::time::Duration;

use anyhow::Result;
use leasehold_client::model::{Lease, LeaseId};
use leasehold_client::{Builder, Client, Error, FixedToken, RefusalKind};

use crate::cluster::Cluster;

/// How long a call may take, all attempts together.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long one attempt may take before another node is asked.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How an operation ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Acknowledged.
    Ok,
    /// Refused: certainly not applied.
    Fail,
    /// Nobody knows.
    Info,
}

/// What a failed call proves. Whatever is not certain is [`Ending::Info`].
pub fn ending(error: &Error) -> Ending {
    match error {
        Error::Refused(refusal) if refusal.kind == RefusalKind::Internal => Ending::Info,
        Error::Refused(_) | Error::Unavailable { .. } | Error::Token(_) | Error::Setup(_) => Ending::Fail,
        Error::OutcomeUnknown { .. } | Error::BadAnswer(_) => Ending::Info,
    }
}

/// A client that knows every node. With `noauth` a token names the caller's project.
pub fn connect(cluster: &Cluster, token: Option<&str>) -> Result<Client> {
    connect_to(cluster.endpoints(), token)
}

/// A client that begins with these nodes.
pub fn connect_to(endpoints: Vec<String>, token: Option<&str>) -> Result<Client> {
    let builder: Builder = Client::builder(endpoints).deadline(DEADLINE).attempt_timeout(ATTEMPT);
    Ok(match token {
        Some(token) => builder.tokens(FixedToken(token.to_owned())),
        None => builder,
    }
    .build()?)
}

/// One lease, or `None` where the cluster says that there is none.
pub async fn found(client: &Client, id: LeaseId) -> Result<Option<Lease>> {
    match client.get_lease(id).await {
        Ok(answer) => Ok(Some(answer.value)),
        Err(Error::Refused(refusal)) if refusal.kind == RefusalKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
