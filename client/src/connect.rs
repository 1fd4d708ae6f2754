//! Setting a client up.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::client::Client;
use crate::connector::Connector;
use crate::endpoints::Endpoints;
use crate::error::Error;
use crate::retry::{Caller, Patience};
use crate::system::{RealSystem, System};
use crate::token::{NoToken, TokenSource};

/// TLS towards the members. With it, addresses without a scheme mean `https`.
#[derive(Clone, Default)]
pub struct TlsOptions {
    /// PEM certificates of the authorities that sign the members' certificates.
    pub ca_pem: Vec<u8>,
    /// PEM certificate chain and key that the client shows, where members ask for one.
    pub client_pem: Option<(Vec<u8>, Vec<u8>)>,
    /// The name the members' certificates are made out to, where it is not the host of the address.
    pub server_name: Option<String>,
}

/// See [`Client::builder`].
pub struct Builder {
    addresses: Vec<String>,
    tls: Option<TlsOptions>,
    tokens: Arc<dyn TokenSource>,
    system: Arc<dyn System>,
    connector: Option<Arc<dyn Connector>>,
    patience: Patience,
    key_validity: Duration,
    only_named: bool,
}

impl Builder {
    pub(crate) fn new(addresses: Vec<String>) -> Builder {
        Builder {
            addresses,
            tls: None,
            tokens: Arc::new(NoToken),
            system: Arc::new(RealSystem),
            connector: None,
            patience: Patience { overall: Duration::from_secs(60), attempt: Duration::from_secs(15) },
            key_validity: Duration::from_secs(600),
            only_named: false,
        }
    }

    /// TLS towards the members; without it nothing is encrypted.
    pub fn tls(mut self, tls: TlsOptions) -> Builder {
        self.tls = Some(tls);
        self
    }

    /// Where tokens come from; none are sent by default.
    pub fn tokens(mut self, tokens: impl TokenSource) -> Builder {
        self.tokens = Arc::new(tokens);
        self
    }

    /// How long a call may take, all attempts together. Default 60 s.
    pub fn deadline(mut self, overall: Duration) -> Builder {
        self.patience.overall = overall;
        self
    }

    /// How long one attempt may take before another member is asked. Default 15 s.
    pub fn attempt_timeout(mut self, attempt: Duration) -> Builder {
        self.patience.attempt = attempt;
        self
    }

    /// For how long new keys are valid. Default 10 min (architecture D18).
    pub fn key_validity(mut self, validity: Duration) -> Builder {
        self.key_validity = validity;
        self
    }

    /// Calls nobody but the members that were named: hints to a leader elsewhere are not followed, so that a token goes
    /// nowhere its owner did not look at. Members pass calls on, which costs a hop.
    pub fn only_named(mut self) -> Builder {
        self.only_named = true;
        self
    }

    /// Another clock and randomness, for simulations.
    pub fn system(mut self, system: impl System) -> Builder {
        self.system = Arc::new(system);
        self
    }

    /// Another way to the members than TCP, for simulations. TLS is not spoken over it.
    pub fn connector(mut self, connector: impl Connector) -> Builder {
        self.connector = Some(Arc::new(connector));
        self
    }

    /// The client. Connects when first used.
    ///
    /// Errors: [`Error::Setup`] for addresses or certificates that cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let tls = self.tls.map(|options| {
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(options.ca_pem));
            if let Some((certificate, key)) = options.client_pem {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            match options.server_name {
                Some(name) => tls.domain_name(name),
                None => tls,
            }
        });
        let endpoints = Endpoints::new(&self.addresses, tls, self.only_named)?.over(self.connector);
        let caller = Caller { endpoints, tokens: self.tokens, system: self.system };
        let validity_ms = u64::try_from(self.key_validity.as_millis()).unwrap_or(u64::MAX);
        Ok(Client::new(caller, self.patience, validity_ms))
    }
}
