//! How the doctor gets to the cluster: which addresses, whether with TLS and whom it trusts, and where the service user's
//! token may go. All of it follows from the server's own configuration, unless the command line says otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::{DEFAULT_ENDPOINT, Failure, Globals, read_ca_file};
use crate::config::Config;

/// Who is trusted to sign the members' certificates, PEM; `None`: the members are spoken to without TLS.
///
/// A member with `tls.api_certificate` is spoken to with TLS. Its own certificate file is trusted, and with it the
/// authorities in its chain, `tls.peer_ca` and `cloud.ca_file`.
pub(super) fn trusted(globals: &Globals, config: &Config) -> Result<Option<Vec<u8>>, Failure> {
    if globals.plain {
        return Ok(None);
    }
    let mut trusted = read_ca_file(globals)?;
    if let Some(certificate) = &config.tls.api_certificate {
        let pem = trusted.get_or_insert_default();
        let cloud_ca = config.cloud.as_ref().and_then(|cloud| cloud.ca_file.as_ref());
        for path in [Some(certificate), config.tls.peer_ca.as_ref(), cloud_ca].into_iter().flatten() {
            pem.push(b'\n');
            pem.extend(read(path)?);
        }
    }
    Ok(trusted)
}

#[allow(clippy::disallowed_methods, reason = "a command, not the server")]
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// Where members are looked for: where the command line says, or else at the server of this configuration.
pub(super) fn endpoints(globals: &Globals, config: &Config, tls: bool) -> Vec<String> {
    if globals.endpoints != [DEFAULT_ENDPOINT] {
        return globals.endpoints.clone();
    }
    let listen = config.listen.grpc;
    let here = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, listen.port())),
        IpAddr::V4(_) | IpAddr::V6(_) => listen,
    };
    // A certificate is made out to what clients dial.
    let advertised = config.listen.grpc_advertised.clone().filter(|_| tls);
    advertised.into_iter().chain([here.to_string()]).collect()
}

/// The first of these addresses to which nothing secret may be sent: it is not this machine's, and there is no TLS.
pub(super) fn in_clear_text(endpoints: &[String], tls: bool) -> Option<&String> {
    endpoints.iter().find(|address| match address.trim().split_once("://") {
        Some(("https", _)) => false,
        Some((_, authority)) => !is_loopback(authority),
        None => !tls && !is_loopback(address.trim()),
    })
}

fn is_loopback(authority: &str) -> bool {
    let Ok(uri) = format!("http://{authority}").parse::<http::Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    ip.map_or(host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_over_tls_or_stays_on_this_machine() {
        let refused = |address: &str, tls| in_clear_text(&[address.to_owned()], tls).is_some();
        for here in ["127.0.0.1:1235", "[::1]:1235", "localhost:1235", "http://127.0.0.1:1235", " 127.0.0.2:1"] {
            assert!(!refused(here, false) && !refused(here, true), "{here}");
        }
        let elsewhere =
            ["10.0.0.1:1235", "node1:1235", "127.0.0.1.example:1", "127.0.0.1@node1:1235", "localhost@node1:1", "[::]:1"];
        for there in elsewhere {
            assert!(refused(there, false) && !refused(there, true), "{there}");
        }
        assert!(!refused("https://node1:1235", false));
        assert!(refused("http://node1:1235", true), "a scheme that is given wins over the certificate");
        assert!(in_clear_text(&["127.0.0.1:1".to_owned(), "node2:1".to_owned()], false).is_some(), "one of several is enough");
    }
}
