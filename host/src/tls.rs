//! TLS of the addresses that the host serves: certificate and key, and for links the authority of the clients. They are
//! read again when their files change, for the connections that follow.

use crate::limits;
use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use localmart_connect::Trust;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
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
    files: Files,
    config: ArcSwap<ServerConfig>,
}

/// The files of an address, all in PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate chain of the server.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority that signs the certificates of clients; `None` if clients need none.
    pub clients: Option<PathBuf>,
}

impl ServerTls {
    /// Reads the files.
    pub fn read(files: Files) -> anyhow::Result<Arc<Self>> {
        let tls = Arc::new(Self {
            config: ArcSwap::from(files.config()?),
            files,
        });
        let (watched, read) = (Arc::downgrade(&tls), tls.files.changed());
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
}

impl Files {
    /// When the files were last written.
    fn changed(&self) -> [Option<SystemTime>; 3] {
        let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
        let clients = self.clients.as_deref().and_then(changed);
        [changed(&self.certificate), changed(&self.key), clients]
    }

    fn config(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let (certificate, key) = (&*self.certificate, &*self.key);
        let reading = |path: &Path| format!("reading {}", path.display());
        let chain =
            CertificateDer::pem_file_iter(certificate).with_context(|| reading(certificate))?;
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
        let config = ServerConfig::builder();
        let config = match &self.clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let trust = Trust {
                    roots: Some(authority.clone()),
                    ..Trust::default()
                };
                let roots = trust.root_store().map_err(anyhow::Error::msg)?;
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
                config.with_client_cert_verifier(
                    verifier.context("reading the authority of clients")?,
                )
            }
        };
        let config = config.with_single_cert(chain, secret);
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
}

/// Reads the files again when they change, until the address is no longer served. Files that do not fit together change
/// nothing: one of them may not be written yet.
fn watch(tls: &Weak<ServerTls>, mut read: [Option<SystemTime>; 3]) {
    loop {
        std::thread::sleep(limits::TLS_LOOK_INTERVAL);
        let Some(tls) = tls.upgrade() else {
            return;
        };
        let changed = tls.files.changed();
        if changed == read {
            continue;
        }
        read = changed;
        match tls.files.config() {
            Ok(config) => {
                tls.config.store(config);
                tracing::info!(certificate = %tls.files.certificate.display(), "the certificate was read again");
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
