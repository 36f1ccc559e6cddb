//! Addresses of MQTT: `mqtts://host:port?client_id=name&ssl_ca_certs=ca.pem&ssl_certfile=me.pem&ssl_keyfile=me.key`; `mqtts` is TLS,
//! with the parameters of Redis.

use crate::{Trust, take};
use percent_encoding::percent_decode_str;

/// The port without TLS (IANA).
const PORT: u16 = 1883;
/// The port with TLS (IANA).
const TLS_PORT: u16 = 8883;

/// An address, with its TLS parameters apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The client identifier, if the address has one.
    pub client: Option<String>,
    /// Whom to trust; `None` for a connection without TLS.
    pub trust: Option<Trust>,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// It is no address of MQTT, or has files for a connection without TLS.
    pub fn parse(address: &str) -> Result<Self, String> {
        let form =
            || "an address must have the form mqtt://host:port or mqtts://host:port".to_owned();
        let names = ["client_id", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"];
        let (plain, [client, roots, certificate, key]) = take(address, names);
        let trust = Trust::of(roots, certificate, key);
        let (scheme, rest) = plain.split_once("://").ok_or_else(form)?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let (trust, usual) = match scheme {
            "mqtts" => (Some(trust), TLS_PORT),
            "mqtt" if trust == Trust::default() => (None, PORT),
            "mqtt" => {
                return Err("ssl_ca_certs, ssl_certfile and ssl_keyfile need mqtts://".to_owned());
            }
            _ => return Err(form()),
        };
        let (host, port) = match authority.rsplit_once(':') {
            // The colon of an IPv6 address without a port is inside the brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| form())?),
            _ => (authority, usual),
        };
        let host = percent_decode_str(host.trim_matches(['[', ']'])).decode_utf8_lossy();
        if host.is_empty() || host.contains('@') {
            return Err(form());
        }
        Ok(Self {
            host: host.into_owned(),
            port,
            client,
            trust,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;
    use std::path::PathBuf;

    fn plain(host: &str, port: u16, client: Option<&str>) -> Address {
        Address {
            host: host.to_owned(),
            port,
            client: client.map(str::to_owned),
            trust: None,
        }
    }

    #[test]
    fn addresses_are_read() {
        for (text, read) in [
            (
                "mqtt://localhost:1884?client_id=a",
                plain("localhost", 1884, Some("a")),
            ),
            (
                "mqtt://localhost/?x=y&client_id=b",
                plain("localhost", 1883, Some("b")),
            ),
            ("mqtt://[::1]:1", plain("::1", 1, None)),
            ("mqtt://[::1]", plain("::1", 1883, None)),
        ] {
            assert_eq!(Address::parse(text), Ok(read), "{text}");
        }
        let tls = Address::parse("mqtts://a.example?ssl_ca_certs=%2Fca.pem").unwrap();
        assert_eq!((tls.host.as_str(), tls.port), ("a.example", 8883));
        assert_eq!(tls.trust.unwrap().roots, Some(PathBuf::from("/ca.pem")));
        for text in [
            "localhost",
            "http://a",
            "mqtt://",
            "mqtt://a:x",
            "mqtt://u:p@a",
        ] {
            assert!(
                Address::parse(text)
                    .unwrap_err()
                    .contains("must have the form"),
                "{text}"
            );
        }
        let unused = Address::parse("mqtt://a?ssl_ca_certs=x").unwrap_err();
        assert!(unused.contains("need mqtts://"), "{unused}");
    }
}
