//! TLS towards clients, for both edges: `tls.api_certificate` and `tls.api_key`, read again when the files change, so that
//! a renewed certificate needs no restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::TlsSection;
use crate::seams::{Clock, Mono};

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A client that does not finish its handshake by then is let go.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// A certificate or key is no good.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: cannot be read", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no certificate or no key.
    #[error("{}: holds no {what} in PEM", .path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// Certificate and key do not go together, or are of a kind that is not supported.
    #[error("certificate {} and key {} cannot be used", .certificate.display(), .key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// What both edges accept TLS connections with. Clones share the certificate.
#[derive(Clone)]
pub struct ServerTls {
    shared: Arc<Shared>,
}

struct Shared {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    changed: (Option<SystemTime>, Option<SystemTime>),
    looked: Mono,
}

/// TLS as configured; `None` when no certificate is.
///
/// Errors: files that cannot be read or used.
pub fn server_config(section: &TlsSection) -> Result<Option<ServerTls>, Error> {
    // `Config::check` has seen to it that both or none are given.
    let (Some(certificate), Some(key)) = (&section.api_certificate, &section.api_key) else { return Ok(None) };
    let current = Mutex::new(Current {
        changed: (changed(certificate), changed(key)),
        config: load(certificate, key)?,
        looked: Mono::default(),
    });
    Ok(Some(ServerTls { shared: Arc::new(Shared { certificate: certificate.clone(), key: key.clone(), current }) }))
}

impl ServerTls {
    /// Shakes hands.
    ///
    /// Errors: the client's mistake or its end, or `TimedOut` after ten seconds.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, clock: &dyn Clock) -> io::Result<TlsStream<S>> {
        let acceptor = TlsAcceptor::from(self.shared.current(clock.mono()));
        let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long");
        clock.timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await.map_err(timed_out)?
    }
}

impl Shared {
    fn current(&self, now: Mono) -> Arc<ServerConfig> {
        let mut current = self.current.lock();
        if now.since(current.looked) >= LOOK_EVERY {
            current.looked = now;
            let changed = (changed(&self.certificate), changed(&self.key));
            if changed != current.changed {
                match load(&self.certificate, &self.key) {
                    Ok(config) => {
                        tracing::info!(certificate = %self.certificate.display(), "read the API certificate again");
                        (current.config, current.changed) = (config, changed);
                    }
                    // Perhaps only one of the two files was written yet: looked at again.
                    Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "keeping the old API certificate"),
                }
            }
        }
        current.config.clone()
    }
}

#[allow(clippy::disallowed_methods, reason = "certificates are the operator's files")]
fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

#[allow(clippy::disallowed_methods, reason = "certificates are the operator's files")]
fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Error> {
    let read = |path: &Path| std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source });
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    };
    let chain: Vec<_> =
        rustls_pemfile::certs(&mut read(certificate)?.as_slice()).collect::<Result<_, _>>().map_err(unreadable(certificate))?;
    if chain.is_empty() {
        return Err(Error::Empty { path: certificate.to_owned(), what: "certificate" });
    }
    let private = rustls_pemfile::private_key(&mut read(key)?.as_slice())
        .map_err(unreadable(key))?
        .ok_or_else(|| Error::Empty { path: key.to_owned(), what: "private key" })?;
    let pair = |source| Error::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn no_certificate_is_no_tls_and_a_bad_one_is_told() {
        assert!(server_config(&TlsSection::default()).unwrap().is_none());
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| Some(directory.path().join(name));
        let section = TlsSection { api_certificate: file("cert.pem"), api_key: file("key.pem"), ..TlsSection::default() };
        assert!(matches!(server_config(&section).err().unwrap(), Error::Read { .. }));
        std::fs::write(section.api_certificate.clone().unwrap(), "nothing").unwrap();
        let told = server_config(&section).err().unwrap().to_string();
        assert!(told.ends_with("cert.pem: holds no certificate in PEM"), "{told}");
    }

    /// A clock that is so much ahead.
    struct Ahead(Duration);

    impl Clock for Ahead {
        fn mono(&self) -> Mono {
            Mono(self.0)
        }
        fn wall_ms(&self) -> u64 {
            0
        }
        fn sleep(&self, d: Duration) -> futures::future::BoxFuture<'static, ()> {
            crate::seams::clock::SystemClock::new().sleep(d)
        }
    }

    /// Writes a certificate for localhost and its key; gives the certificate.
    fn issue(section: &TlsSection, age: Duration) -> rustls::pki_types::CertificateDer<'static> {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = [(&section.api_certificate, issued.cert.pem()), (&section.api_key, issued.signing_key.serialize_pem())];
        for (path, text) in files {
            std::fs::write(path.as_ref().unwrap(), text).unwrap();
            let file = std::fs::File::options().write(true).open(path.as_ref().unwrap()).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + age).unwrap();
        }
        issued.cert.der().clone()
    }

    /// Whether a client that trusts `certificate` alone shakes hands with us.
    async fn shakes(tls: &ServerTls, clock: &Ahead, certificate: &rustls::pki_types::CertificateDer<'static>) -> bool {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut trusted = rustls::RootCertStore::empty();
        trusted.add(certificate.clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(trusted)
            .with_no_client_auth();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let (server, client) =
            tokio::join!(tls.accept(accepted, clock), connector.connect("localhost".try_into().unwrap(), stream));
        server.is_ok() && client.is_ok()
    }

    #[tokio::test]
    async fn clients_shake_hands_and_a_renewed_certificate_is_shown_without_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| Some(directory.path().join(name));
        let section = TlsSection { api_certificate: file("cert.pem"), api_key: file("key.pem"), ..TlsSection::default() };
        let old = issue(&section, Duration::from_secs(1));
        let tls = server_config(&section).unwrap().unwrap();
        let (before, after) = (Ahead(Duration::from_secs(1)), Ahead(Duration::from_secs(1) + LOOK_EVERY));
        assert!(shakes(&tls, &before, &old).await);

        let new = issue(&section, Duration::from_secs(2));
        assert!(shakes(&tls, &before, &old).await, "the files are not looked at all the time");
        assert!(shakes(&tls, &after, &new).await);
        assert!(!shakes(&tls, &after, &old).await);

        std::fs::write(section.api_key.clone().unwrap(), "half written").unwrap();
        assert!(shakes(&tls, &Ahead(Duration::from_secs(60)), &new).await, "what cannot be used does not replace what can");
    }
}
