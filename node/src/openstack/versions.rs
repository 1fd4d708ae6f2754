//! Which microversions a service offers. Nova and Placement tell it at the root of their endpoint, each in its own words.

use std::fmt;
use std::str::FromStr;

use http::Method;
use serde::Deserialize;

use super::CloudError;
use super::keystone::Service;
use super::session::{Call, Session, pinned};

/// A microversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Microversion {
    /// Before the point.
    pub major: u32,
    /// After it.
    pub minor: u32,
}

impl FromStr for Microversion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        Ok(Self { major: major.parse().map_err(|_| ())?, minor: minor.parse().map_err(|_| ())? })
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a service offers, and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The oldest it answers in.
    pub least: Microversion,
    /// The newest.
    pub most: Microversion,
    /// The one that our calls name.
    pub pinned: Microversion,
    /// Its clock as it answered: Unix milliseconds, of whole seconds.
    pub date_ms: Option<u64>,
}

impl Offered {
    /// Our calls will be understood.
    #[must_use]
    pub fn suffices(&self) -> bool {
        (self.least..=self.most).contains(&self.pinned)
    }
}

#[derive(Deserialize)]
struct Document {
    /// Placement's list has one, Nova's root below `/v2.1` one alone.
    #[serde(alias = "versions")]
    version: OneOrMore,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Version),
    More(Vec<Version>),
}

#[derive(Deserialize)]
struct Version {
    /// Empty where a version knows no microversions.
    #[serde(default, alias = "version")]
    max_version: String,
    #[serde(default)]
    min_version: String,
}

/// Asks a service for its versions.
pub(super) async fn offered(session: &Session, service: Service) -> Result<Offered, CloudError> {
    let answer = session.read(Call::new(service, Method::GET, "/").unversioned()).await?;
    let date_ms = answer.date_ms();
    let versions = match answer.json::<Document>()?.version {
        OneOrMore::One(version) => vec![version],
        OneOrMore::More(versions) => versions,
    };
    let both = |version: &Version| Some((version.min_version.parse().ok()?, version.max_version.parse().ok()?));
    let pinned = pinned(service).and_then(|pinned| pinned.rsplit(' ').next()?.parse().ok());
    match (versions.iter().find_map(both), pinned) {
        (Some((least, most)), Some(pinned)) => Ok(Offered { least, most, pinned, date_ms }),
        _ => Err(CloudError::Decode {
            service: service.name(),
            call: "GET /".to_owned(),
            text: "no microversions are told".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_read_as_nova_and_as_placement_tell_them() {
        let nova = json!({"version": {"id": "v2.1", "version": "2.96", "min_version": "2.1"}});
        let placement = json!({"versions": [{"id": "v1.0", "max_version": "1.39", "min_version": "1.0"}]});
        for (document, most) in [(nova, "2.96"), (placement, "1.39")] {
            let read = match serde_json::from_value::<Document>(document).unwrap().version {
                OneOrMore::One(version) => version,
                OneOrMore::More(mut versions) => versions.remove(0),
            };
            assert_eq!(read.max_version, most);
        }
    }

    #[test]
    fn a_service_suffices_when_the_pinned_version_lies_between_its_oldest_and_its_newest() {
        let version = |text: &str| text.parse::<Microversion>().unwrap();
        let offered =
            |least, most| Offered { least: version(least), most: version(most), pinned: version("2.96"), date_ms: None };
        assert!(offered("2.1", "2.96").suffices() && offered("2.1", "2.100").suffices());
        assert!(!offered("2.1", "2.95").suffices() && !offered("2.97", "2.99").suffices());
        assert!("2".parse::<Microversion>().is_err());
    }
}
