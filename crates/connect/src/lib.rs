//! TLS to servers: how an address asks for it, and what a server must prove. The host and the command line connect
//! with it, so that one address means the same for both.
//!
//! A server must have a certificate of a trusted authority for the name in the address. There is no mode that encrypts without
//! this check. [`postgres`], [`redis`] and [`mqtt`] read the addresses; [`Trust`] is what they have in common.

pub mod mqtt;
pub mod postgres;
pub mod redis;

use percent_encoding::percent_decode_str;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};

/// The value of a parameter for the authorities that the system trusts, as in libpq.
const SYSTEM: &str = "system";

/// Whom to trust, and how to prove who one is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trust {
    /// A file with trusted certificates in PEM. Without one, the authorities that the system trusts; the environment
    /// variable `SSL_CERT_FILE` names another list.
    pub roots: Option<PathBuf>,
    /// Trusted certificates in PEM, instead of a file.
    pub root_text: Option<String>,
    /// The certificate chain of the client, in PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, in PEM.
    pub key: Option<PathBuf>,
}

impl Trust {
    fn of(roots: Option<String>, certificate: Option<String>, key: Option<String>) -> Self {
        Self {
            roots: roots.filter(|roots| roots != SYSTEM).map(PathBuf::from),
            root_text: None,
            certificate: certificate.map(PathBuf::from),
            key: key.map(PathBuf::from),
        }
    }

    /// The files that a connection reads.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.roots, &self.certificate, &self.key];
        files.into_iter().flatten().map(PathBuf::as_path)
    }

    /// The settings for the TLS library.
    ///
    /// # Errors
    /// The files cannot be read, or do not fit together.
    pub fn config(&self) -> Result<ClientConfig, String> {
        let config = ClientConfig::builder().with_root_certificates(self.root_store()?);
        let (certificate, key) = match (&self.certificate, &self.key) {
            (None, None) => return Ok(config.with_no_client_auth()),
            (Some(certificate), Some(key)) => (certificate, key),
            _ => {
                return Err("a client certificate needs its key, and a key its certificate".into());
            }
        };
        let secret = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| format!("{} has no private key: {error}", key.display()))?;
        config
            .with_client_auth_cert(certificates(certificate)?, secret)
            .map_err(|error| format!("the client certificate cannot be used: {error}"))
    }

    /// The trusted certificates.
    ///
    /// # Errors
    /// They cannot be read, or there are none.
    pub fn root_store(&self) -> Result<RootCertStore, String> {
        let mut store = RootCertStore::empty();
        let trusted = match (&self.root_text, &self.roots) {
            (Some(text), _) => CertificateDer::pem_slice_iter(text.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|error| format!("the trusted certificates cannot be read: {error}"))?,
            (None, Some(file)) => certificates(file)?,
            // A certificate that the system has and that cannot be read is left out.
            (None, None) => rustls_native_certs::load_native_certs().certs,
        };
        for certificate in trusted {
            store
                .add(certificate)
                .map_err(|error| format!("a trusted certificate is invalid: {error}"))?;
        }
        match store.is_empty() {
            true => Err("there are no trusted certificates".to_owned()),
            false => Ok(store),
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong =
        |error: &dyn std::fmt::Display| format!("{} has no certificates: {error}", file.display());
    let all = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
    all.collect::<Result<_, _>>().map_err(|error| wrong(&error))
}

/// Settings that trust nobody, for connections without TLS.
pub fn nobody() -> ClientConfig {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
    config.with_no_client_auth()
}

/// Takes parameters out of the query of a URL. Returns the other text and their values, in the order of `names`.
fn take<const N: usize>(address: &str, names: [&str; N]) -> (String, [Option<String>; N]) {
    let mut values = [const { None }; N];
    let Some((before, query)) = address.split_once('?') else {
        return (address.to_owned(), values);
    };
    let mut kept = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = names.iter().position(|known| *known == name);
        match place.and_then(|place| values.get_mut(place)) {
            Some(slot) => *slot = Some(percent_decode_str(value).decode_utf8_lossy().into_owned()),
            None => kept.push(pair),
        }
    }
    let rest = match kept.is_empty() {
        true => before.to_owned(),
        false => format!("{before}?{}", kept.join("&")),
    };
    (rest, values)
}
