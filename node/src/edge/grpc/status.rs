//! A [`Problem`] as a gRPC status: its code, its text, and metadata for programs.

use leasehold_client::metadata;
use leasehold_client::wire::convert::BadValue;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::edge::error::Problem;

/// Longest text that is sent, in characters: it travels in a header.
const MESSAGE_CHARS_MAX: usize = 2000;

/// The status of a failure.
pub(super) fn of(failure: impl Into<Problem>) -> Status {
    let Problem { row, message, offer } = failure.into();
    if row.grpc == tonic::Code::Internal {
        tracing::error!(code = row.code, message, "a request failed");
    }
    let mut told = MetadataMap::new();
    told.insert(metadata::REJECTION, MetadataValue::from_static(row.code));
    if let Some(json) = offer.and_then(|offer| serde_json::to_string(&offer).ok()) {
        // Numbers and names of classes: always ASCII.
        if let Ok(value) = MetadataValue::try_from(json) {
            told.insert(metadata::OFFER, value);
        }
    }
    let message = match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    };
    Status::with_metadata(row.grpc, message, told)
}

/// The status of a message that cannot be decoded.
pub(super) fn malformed(bad: BadValue) -> Status {
    of(Problem::malformed(bad.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leasehold_ledger::model::Class;
    use leasehold_ledger::plan::NoRoom;

    use super::*;
    use crate::operations::OperationError;

    #[test]
    fn a_refusal_for_lack_of_room_carries_what_would_fit() {
        let offer =
            NoRoom { reservation: 0, short_by: 2, tightest: Some(Class::MemoryMb), largest_amount: 1, ..NoRoom::default() };
        let status = of(OperationError::NoRoom { offer, ledger_index: 7, not_waiting: None });
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert_eq!(status.metadata().get("leasehold-rejection").unwrap(), "no_room");
        let offer: serde_json::Value =
            serde_json::from_str(status.metadata().get("leasehold-offer").unwrap().to_str().unwrap()).unwrap();
        assert_eq!(offer["tightest"], "MEMORY_MB");
        assert_eq!(offer["ledger_index"], 7);
    }

    #[test]
    fn a_long_text_is_cut_where_characters_end() {
        let status = of(OperationError::Conflict("ä".repeat(100_000)));
        assert_eq!(status.message().chars().count(), MESSAGE_CHARS_MAX + 1);
    }
}
