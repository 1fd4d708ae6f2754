//! Changes, as watch streams carry them.

use leasehold_ledger::model::{Host, HostId, Lease, LeaseId, ProjectId, Timestamp};
use leasehold_ledger::state::{Change, ChangeSubject};

use super::{BadValue, Result, uuid};
use crate::wire::v1;
use crate::wire::v1::watch_response::Subject;

impl From<Change> for v1::WatchResponse {
    fn from(change: Change) -> Self {
        let subject = match change.subject {
            ChangeSubject::Lease(lease) => Subject::Lease((*lease).into()),
            ChangeSubject::LeaseRemoved { lease_id, project_id } => {
                Subject::LeaseRemoved(v1::LeaseRemoved { lease_id: lease_id.to_string(), project_id: project_id.0.into() })
            }
            ChangeSubject::Host(host) => Subject::Host((*host).into()),
            ChangeSubject::HostRemoved(host_id) => Subject::HostRemoved(host_id.0),
        };
        v1::WatchResponse { ledger_index: change.ledger_index, at_ms: change.at.0, subject: Some(subject) }
    }
}

impl TryFrom<v1::WatchResponse> for Change {
    type Error = BadValue;

    fn try_from(wire: v1::WatchResponse) -> Result<Self> {
        let subject = match wire.subject {
            Some(Subject::Lease(lease)) => {
                ChangeSubject::Lease(Box::new(Lease::try_from(lease).map_err(|bad| bad.inside("lease"))?))
            }
            Some(Subject::LeaseRemoved(removed)) => ChangeSubject::LeaseRemoved {
                lease_id: LeaseId(uuid("lease_removed.lease_id", &removed.lease_id)?),
                project_id: ProjectId(removed.project_id.into()),
            },
            Some(Subject::Host(host)) => ChangeSubject::Host(Box::new(Host::try_from(host).map_err(|bad| bad.inside("host"))?)),
            Some(Subject::HostRemoved(host_id)) => ChangeSubject::HostRemoved(HostId(host_id)),
            None => {
                let expected = "lease, lease_removed, host or host_removed (is the server newer?)";
                return Err(BadValue::missing("subject", expected));
            }
        };
        Ok(Change { ledger_index: wire.ledger_index, at: Timestamp(wire.at_ms), subject })
    }
}
