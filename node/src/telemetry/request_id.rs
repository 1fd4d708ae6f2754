//! The id under which a request is found in the logs: made or taken over at an edge, carried along with the task that
//! serves it, and with the call when that is forwarded to the leader.

use std::future::Future;

use uuid::Uuid;

tokio::task_local! {
    static CURRENT: String;
}

/// `req-<uuid>`, as OpenStack's services have it.
pub fn of(id: Uuid) -> String {
    format!("req-{id}")
}

/// Whether a caller's text is such an id. Anything else is not taken into the logs.
pub fn is_well_formed(text: &str) -> bool {
    text.strip_prefix("req-").is_some_and(|id| id.len() == 36 && Uuid::try_parse(id).is_ok())
}

/// The id of the request that this task serves, if it serves one.
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Runs `future` on behalf of a request.
pub async fn within<F: Future>(request_id: String, future: F) -> F::Output {
    CURRENT.scope(request_id, future).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_s_id_is_known_to_what_serves_it_and_to_nothing_else() {
        assert_eq!(current(), None);
        assert_eq!(within("req-1".to_owned(), async { current() }).await.as_deref(), Some("req-1"));
        assert_eq!(current(), None);
    }

    #[test]
    fn only_ids_of_the_known_form_are_taken_over() {
        assert!(is_well_formed(&of(Uuid::from_u128(7))));
        for other in ["", "req-", "req-7", "7e57d004-2b97-4e7a-b45f-5387367791cd", "req-7e57d0042b974e7ab45f5387367791cd"] {
            assert!(!is_well_formed(other), "{other}");
        }
    }
}
