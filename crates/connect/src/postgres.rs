//! Addresses of Postgres: `postgres://user@host/database?sslmode=verify-full&sslrootcert=ca.pem&sslcert=me.pem&sslkey=me.key`,
//! with the parameters of libpq.

use crate::{Trust, nobody, take};
use tokio_postgres_rustls::MakeRustlsConnect;

/// An address, with its TLS parameters apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address for the driver, which says whether there is TLS at all.
    pub plain: String,
    /// Whom to trust; `None` for a connection without TLS.
    pub trust: Option<Trust>,
}

impl Address {
    /// Reads an address. `sslmode` is `disable`, `allow`, `prefer` (these do without TLS) or `require`, `verify-ca`,
    /// `verify-full` (these check the certificate and the name). Without it there is no TLS.
    ///
    /// # Errors
    /// The mode is none of these, or there are files for a connection without TLS.
    pub fn parse(address: &str) -> Result<Self, String> {
        let names = ["sslmode", "sslrootcert", "sslcert", "sslkey"];
        let (rest, [mode, roots, certificate, key]) = take(address, names);
        let trust = Trust::of(roots, certificate, key);
        let trust = match mode.as_deref() {
            None if !rest.contains("://") => {
                return Ok(Self {
                    plain: rest,
                    trust: None,
                });
            }
            None | Some("disable" | "allow" | "prefer") if trust == Trust::default() => None,
            None | Some("disable" | "allow" | "prefer") => {
                return Err("sslrootcert, sslcert and sslkey need sslmode=verify-full".to_owned());
            }
            Some("require" | "verify-ca" | "verify-full") => Some(trust),
            Some(other) => {
                return Err(format!(
                    "sslmode `{other}` is neither disable nor verify-full"
                ));
            }
        };
        let mode = match trust {
            Some(_) => "require",
            None => "disable",
        };
        let separator = match rest.contains('?') {
            true => '&',
            false => '?',
        };
        Ok(Self {
            plain: format!("{rest}{separator}sslmode={mode}"),
            trust,
        })
    }
}

/// What connects, with TLS or without.
///
/// # Errors
/// The files cannot be read, or do not fit together.
pub fn connector(trust: Option<&Trust>) -> Result<MakeRustlsConnect, String> {
    let config = match trust {
        Some(trust) => trust.config()?,
        None => nobody(),
    };
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_parameters_are_taken_out() {
        let read = |address: &str| Address::parse(address).unwrap();
        let plain = read("postgres://a@b/c");
        assert_eq!(plain.plain, "postgres://a@b/c?sslmode=disable");
        assert_eq!(plain.trust, None);
        let plain = read("postgres://a@b/c?options=-c%20x%3Dy&sslmode=prefer");
        assert_eq!(
            plain.plain,
            "postgres://a@b/c?options=-c%20x%3Dy&sslmode=disable"
        );
        let tls =
            read("postgres://a@b/c?sslmode=verify-full&sslrootcert=%2Fca.pem&connect_timeout=3");
        assert_eq!(
            tls.plain,
            "postgres://a@b/c?connect_timeout=3&sslmode=require"
        );
        assert_eq!(tls.trust.unwrap().roots, Some("/ca.pem".into()));
        let system = read("postgres://a@b/c?sslmode=require&sslrootcert=system");
        assert_eq!(system.trust, Some(Trust::default()));
        let words = read("host=b user=a");
        assert_eq!((words.plain.as_str(), words.trust), ("host=b user=a", None));
    }

    #[test]
    fn what_promises_less_than_it_seems_is_refused() {
        for bad in [
            "postgres://a@b/c?sslmode=yes",
            "postgres://a@b/c?sslrootcert=ca.pem",
            "postgres://a@b/c?sslmode=prefer&sslkey=k.pem",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        let alone = Trust {
            certificate: Some("me.pem".into()),
            ..Trust::default()
        };
        assert!(connector(Some(&alone)).is_err());
    }
}
