//! The `Date` of answers, by the node's own clock. Where an answer has none the HTTP library writes it by the system's, behind
//! the clock seam.

use chrono::DateTime;
use http::{HeaderMap, HeaderValue, header};

use crate::seams::Clock;

/// Dates an answer.
pub fn stamp(headers: &mut HeaderMap, clock: &dyn Clock) {
    let now = i64::try_from(clock.wall_ms()).ok().and_then(DateTime::from_timestamp_millis);
    let text = now.map(|now| now.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
    // A clock that shows no date of the calendar dates nothing.
    if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(header::DATE, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::seams::Mono;

    struct At(u64);

    impl Clock for At {
        fn mono(&self) -> Mono {
            Mono::default()
        }
        fn wall_ms(&self) -> u64 {
            self.0
        }
        fn sleep(&self, _: Duration) -> futures::future::BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn an_answer_has_the_date_of_the_nodes_clock_as_http_writes_it() {
        let mut headers = HeaderMap::new();
        stamp(&mut headers, &At(784_111_777_999));
        assert_eq!(headers[header::DATE], "Sun, 06 Nov 1994 08:49:37 GMT");
        let mut headers = HeaderMap::new();
        stamp(&mut headers, &At(u64::MAX));
        assert!(headers.is_empty());
    }
}
