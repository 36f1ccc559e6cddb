//! Addresses of Redis: `rediss://host:port/number?ssl_ca_certs=ca.pem&ssl_certfile=me.pem&ssl_keyfile=me.key`; `rediss` is TLS.

use crate::{Trust, take};
use redis::{Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo as _, TlsCertificates};
use std::path::Path;

/// An address, with its TLS parameters apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address without TLS parameters.
    pub plain: String,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whom to trust; `None` for a connection without TLS.
    pub trust: Option<Trust>,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// It is no TCP address of Redis, asks for TLS without checks, or has files for a connection without TLS.
    pub fn parse(address: &str) -> Result<Self, String> {
        let names = ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"];
        let (plain, [roots, certificate, key]) = take(address, names);
        let trust = Trust::of(roots, certificate, key);
        let info = plain.as_str().into_connection_info();
        let info = info.map_err(|error| error.to_string())?;
        let (host, port, trust) = match info.addr() {
            ConnectionAddr::Tcp(host, port) if trust == Trust::default() => (host, port, None),
            ConnectionAddr::Tcp(..) => {
                return Err("ssl_ca_certs, ssl_certfile and ssl_keyfile need rediss://".to_owned());
            }
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err("TLS to Redis is always checked; leave out #insecure".to_owned());
            }
            ConnectionAddr::TcpTls { host, port, .. } => (host, port, Some(trust)),
            _ => return Err("an address must have the form redis://host:port/number".to_owned()),
        };
        Ok(Self {
            host: host.clone(),
            port: *port,
            plain,
            trust,
        })
    }

    /// A client, which is not connected yet.
    ///
    /// # Errors
    /// The files cannot be read, or do not fit together.
    pub fn client(&self) -> Result<Client, String> {
        let Some(trust) = &self.trust else {
            return Client::open(self.plain.as_str()).map_err(|error| error.to_string());
        };
        // The driver's own messages do not name the files.
        trust.config()?;
        let read = |file: &Path| {
            std::fs::read(file).map_err(|error| format!("reading {}: {error}", file.display()))
        };
        let client_tls = match (&trust.certificate, &trust.key) {
            (Some(certificate), Some(key)) => Some(ClientTlsConfig {
                client_cert: read(certificate)?,
                client_key: read(key)?,
            }),
            _ => None,
        };
        let certificates = TlsCertificates {
            client_tls,
            root_cert: trust.roots.as_deref().map(read).transpose()?,
        };
        Client::build_with_tls(self.plain.as_str(), certificates).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_parameters_are_taken_out() {
        let plain = Address::parse("redis://b:1/2").unwrap();
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.trust),
            ("b", 1, None)
        );
        let tls = Address::parse("rediss://:p@b/0?ssl_ca_certs=ca.pem&protocol=resp3").unwrap();
        assert_eq!(
            (tls.plain.as_str(), tls.port),
            ("rediss://:p@b/0?protocol=resp3", 6379)
        );
        assert_eq!(tls.trust.unwrap().roots, Some("ca.pem".into()));
    }

    #[test]
    fn what_promises_less_than_it_seems_is_refused() {
        for bad in [
            "redis://b/0?ssl_ca_certs=ca.pem",
            "rediss://b/#insecure",
            "unix:/a",
            "x",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
