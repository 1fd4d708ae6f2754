//! The header `OpenStack-API-Version: reservation X.Y` (blazar-api §1; architecture D9).

use http::{HeaderMap, StatusCode};

/// The header's name, in requests and answers.
pub const HEADER: &str = "openstack-api-version";

/// What a caller understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Microversion {
    /// Exactly Blazar; the default.
    #[default]
    V1_0,
    /// Staging, `on_end`, open ends, zones, pools and traits; ISO dates; amounts down.
    V1_1,
}

impl Microversion {
    /// The lowest, as text.
    pub const MIN: &str = "1.0";
    /// The highest, as text.
    pub const MAX: &str = "1.1";

    /// The value of the answer's header.
    pub fn header_value(self) -> &'static str {
        match self {
            Microversion::V1_0 => "reservation 1.0",
            Microversion::V1_1 => "reservation 1.1",
        }
    }

    /// Reads the request's header; other services' versions in it are skipped.
    ///
    /// Errors: status and Blazar's text.
    pub fn of_request(headers: &HeaderMap) -> Result<Microversion, (StatusCode, String)> {
        for value in headers.get_all(HEADER) {
            let Ok(value) = value.to_str() else {
                return Err((StatusCode::BAD_REQUEST, ill_formed("(not text)")));
            };
            for item in value.split(',') {
                let mut words = item.split_whitespace();
                if words.next().is_some_and(|service| service.eq_ignore_ascii_case("reservation")) {
                    return of_text(words.next().unwrap_or_default());
                }
            }
        }
        Ok(Microversion::default())
    }
}

fn of_text(version: &str) -> Result<Microversion, (StatusCode, String)> {
    match version {
        "1.0" => Ok(Microversion::V1_0),
        "1.1" | "latest" => Ok(Microversion::V1_1),
        other => {
            let well_formed = other.split_once('.').is_some_and(|(major, minor)| {
                let number = |text: &str| (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
                number(major) && number(minor)
            });
            if well_formed {
                let text = format!(
                    "Version {other} is not supported by the API. Minimum is {} and maximum is {}.",
                    Microversion::MIN,
                    Microversion::MAX
                );
                Err((StatusCode::NOT_ACCEPTABLE, text))
            } else {
                Err((StatusCode::BAD_REQUEST, ill_formed(other)))
            }
        }
    }
}

fn ill_formed(version: &str) -> String {
    let version: String = version.chars().take(20).collect();
    format!("API Version String {version} is of invalid format. Must be of format MajorNum.MinorNum.")
}
