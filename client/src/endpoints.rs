//! The members a client may talk to, and which one it talks to now.
//!
//! It stays with the member that answered last, moves on when that one fails, and goes where a `leasehold-leader` hint
//! points, unless that address has just failed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::connector::{self, Connector};
use crate::error::Error;
use crate::system::Deadline;

/// For how long a hint to an address that failed is not followed.
const SUSPICION: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A member that does not answer pings for so long is given up, which ends the calls that wait for it.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);

pub(crate) struct Endpoints {
    tls: Option<ClientTlsConfig>,
    /// No member is added that a hint names.
    only_named: bool,
    /// Makes connections in place of TCP.
    connector: Option<Arc<dyn Connector>>,
    inner: Mutex<Inner>,
}

struct Inner {
    members: Vec<Member>,
    current: usize,
    /// Addresses that failed, and until when they are suspected.
    suspected: BTreeMap<String, Deadline>,
}

struct Member {
    address: String,
    endpoint: Endpoint,
    /// Made at the first use, because it needs a runtime.
    channel: Option<Channel>,
}

impl Endpoints {
    pub(crate) fn new(addresses: &[String], tls: Option<ClientTlsConfig>, only_named: bool) -> Result<Endpoints, Error> {
        let members = addresses
            .iter()
            .map(|address| address.trim())
            .filter(|address| !address.is_empty())
            .map(|address| Member::new(address, tls.as_ref()))
            .collect::<Result<Vec<_>, Error>>()?;
        if members.is_empty() {
            return Err(Error::Setup("no endpoint given: name at least one member, as 127.0.0.1:1235".to_owned()));
        }
        let inner = Mutex::new(Inner { members, current: 0, suspected: BTreeMap::new() });
        Ok(Endpoints { tls, only_named, connector: None, inner })
    }

    /// The same over connections that `connector` makes, if there is one.
    pub(crate) fn over(mut self, connector: Option<Arc<dyn Connector>>) -> Endpoints {
        self.connector = connector;
        self
    }

    /// The member to ask now.
    pub(crate) fn current(&self) -> (String, Channel) {
        let mut inner = self.lock();
        let current = inner.current;
        let member = &mut inner.members[current];
        let connect = || match &self.connector {
            Some(connector) => connector::channel(&member.endpoint, connector),
            None => member.endpoint.connect_lazy(),
        };
        let channel = member.channel.get_or_insert_with(connect).clone();
        (member.address.clone(), channel)
    }

    /// `address` did not serve: another one is asked next.
    pub(crate) fn failed(&self, address: &str) {
        let mut inner = self.lock();
        inner.suspected.insert(address.to_owned(), Deadline::after(SUSPICION));
        inner.suspected.retain(|_, until| !until.passed());
        if inner.members[inner.current].address == address {
            inner.current = (inner.current + 1) % inner.members.len();
        }
    }

    /// A member says who leads.
    pub(crate) fn hinted(&self, leader: &str) {
        let mut inner = self.lock();
        let leader = with_scheme(leader, self.tls.is_some());
        if inner.suspected.get(&leader).is_some_and(|until| !until.passed()) {
            return;
        }
        if let Some(known) = inner.members.iter().position(|member| member.address == leader) {
            inner.current = known;
        } else if self.only_named {
            // The call is served anyway: members pass it on.
        } else if let Ok(member) = Member::new(&leader, self.tls.as_ref()) {
            // A member that was added since. A hint that is no address is not worth an error: the call is served anyway.
            inner.members.push(member);
            inner.current = inner.members.len() - 1;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing in here is left half done by a panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    fn new(address: &str, tls: Option<&ClientTlsConfig>) -> Result<Member, Error> {
        let address = with_scheme(address, tls.is_some());
        let bad = |why: String| Error::Setup(format!("endpoint {address}: {why}; write host:port, as 10.0.0.1:1235"));
        let uri: http::Uri = address.parse().map_err(|error| bad(format!("not an address ({error})")))?;
        if uri.authority().is_none_or(|authority| authority.port_u16().is_none()) {
            return Err(bad("no port".to_owned()));
        }
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .initial_connection_window_size(1 << 20)
            .initial_stream_window_size(1 << 20);
        if address.starts_with("https://") {
            let Some(tls) = tls else {
                return Err(bad("https needs the authority that signed its certificate (--ca-file)".to_owned()));
            };
            endpoint = endpoint.tls_config(tls.clone()).map_err(|error| bad(error.to_string()))?;
        }
        Ok(Member { address, endpoint, channel: None })
    }
}

fn with_scheme(address: &str, tls: bool) -> String {
    match (address.contains("://"), tls) {
        (true, _) => address.to_owned(),
        (false, true) => format!("https://{address}"),
        (false, false) => format!("http://{address}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn three() -> Endpoints {
        Endpoints::new(&["a:1".into(), "b:1".into(), "c:1".into()], None, false).unwrap()
    }

    #[tokio::test]
    async fn a_failed_member_is_left_and_a_hint_is_followed() {
        let endpoints = three();
        assert_eq!(endpoints.current().0, "http://a:1");
        endpoints.failed("http://a:1");
        assert_eq!(endpoints.current().0, "http://b:1");
        // A late failure of another call on `a` does not move on from `b`.
        endpoints.failed("http://a:1");
        assert_eq!(endpoints.current().0, "http://b:1");
        endpoints.hinted("c:1");
        assert_eq!(endpoints.current().0, "http://c:1");
        endpoints.hinted("d:1");
        assert_eq!(endpoints.current().0, "http://d:1");
        endpoints.failed("http://d:1");
        assert_eq!(endpoints.current().0, "http://a:1");
    }

    #[tokio::test]
    async fn a_hint_to_nobody_that_was_named_is_not_followed_if_only_those_may_be_asked() {
        let endpoints = Endpoints::new(&["a:1".into(), "b:1".into()], None, true).unwrap();
        endpoints.hinted("d:1");
        assert_eq!(endpoints.current().0, "http://a:1");
        endpoints.hinted("b:1");
        assert_eq!(endpoints.current().0, "http://b:1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hint_to_an_address_that_just_failed_waits() {
        let endpoints = three();
        endpoints.failed("http://a:1");
        endpoints.hinted("a:1");
        assert_eq!(endpoints.current().0, "http://b:1");
        crate::system::sleep(SUSPICION).await;
        endpoints.hinted("a:1");
        assert_eq!(endpoints.current().0, "http://a:1");
    }

    #[test]
    fn a_bad_address_is_told() {
        let told = |addresses: &[&str]| {
            let addresses: Vec<String> = addresses.iter().map(|a| (*a).to_owned()).collect();
            Endpoints::new(&addresses, None, false).err().unwrap().to_string()
        };
        assert!(told(&[]).contains("no endpoint given"));
        assert!(told(&["localhost"]).contains("no port"));
        assert!(told(&["https://localhost:1"]).contains("--ca-file"));
        assert!(told(&["a b:1"]).contains("not an address"));
    }
}
