//! HTTPS: the certificate and key of the HTTP address. They are read again when their files change, for the connections
//! that follow.

use crate::limits;
use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The protocols of HTTP over TLS, the preferred one first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificate and key of an address.
#[derive(Debug)]
pub struct ServerTls {
    certificate: PathBuf,
    key: PathBuf,
    config: ArcSwap<ServerConfig>,
}

impl ServerTls {
    /// Reads a certificate chain and its private key, both in PEM.
    pub fn read(certificate: &Path, key: &Path) -> anyhow::Result<Arc<Self>> {
        let tls = Arc::new(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            config: ArcSwap::from(config(certificate, key)?),
        });
        let (watched, read) = (Arc::downgrade(&tls), tls.changed());
        std::thread::Builder::new()
            .name("tls-files".to_owned())
            .spawn(move || watch(&watched, read))
            .context("watching the files of the certificate")?;
        Ok(tls)
    }

    /// Greets a client. `None` if it does not finish the handshake in time, or sends something else.
    pub async fn accept(
        &self,
        stream: TcpStream,
        patience: Duration,
    ) -> Option<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.config.load_full());
        match tokio::time::timeout(patience, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => None,
        }
    }

    /// When the files were last written.
    fn changed(&self) -> [Option<SystemTime>; 2] {
        let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
        [changed(&self.certificate), changed(&self.key)]
    }
}

fn config(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let reading = |path: &Path| format!("reading {}", path.display());
    let chain = CertificateDer::pem_file_iter(certificate).with_context(|| reading(certificate))?;
    let chain = chain
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| reading(certificate))?;
    ensure!(
        !chain.is_empty(),
        "{} has no certificate in PEM",
        certificate.display()
    );
    let secret = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("{} has no private key in PEM", key.display()))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, secret);
    let mut config = config.with_context(|| {
        format!(
            "the key in {} is not that of the certificate in {}",
            key.display(),
            certificate.display()
        )
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// Reads the files again when they change, until the address is no longer served. Files that do not fit together change
/// nothing: one of them may not be written yet.
fn watch(tls: &Weak<ServerTls>, mut read: [Option<SystemTime>; 2]) {
    loop {
        std::thread::sleep(limits::TLS_LOOK_INTERVAL);
        let Some(tls) = tls.upgrade() else {
            return;
        };
        let changed = tls.changed();
        if changed == read {
            continue;
        }
        read = changed;
        match config(&tls.certificate, &tls.key) {
            Ok(config) => {
                tls.config.store(config);
                tracing::info!(certificate = %tls.certificate.display(), "the certificate was read again");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(
                    error,
                    "the certificate cannot be read again; the last one stays"
                );
            }
        }
    }
}
