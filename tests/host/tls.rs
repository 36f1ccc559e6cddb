//! HTTPS: the certificate that was given, HTTP/2 by ALPN, a new certificate without a restart, and files that are refused.

use crate::harness::{Hostile, Shop, built, refused_start, scratch};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Writes a certificate for this machine and its key. Returns the files and the certificate in PEM.
fn certificate(folder: &Path) -> (PathBuf, PathBuf, String) {
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (certificate, key) = (folder.join("shop.crt"), folder.join("shop.key"));
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    (certificate, key, made.cert.pem())
}

/// The status and the HSTS header for a client that trusts one certificate only.
fn get(shop: &Shop, path: &str, trusted: &str) -> Result<(u16, String), ureq::Error> {
    let root = Certificate::from_pem(trusted.as_bytes()).unwrap();
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[root]));
    let agent = ureq::Agent::config_builder()
        .tls_config(tls.build())
        .timeout_global(Some(Duration::from_secs(30)))
        .build();
    let answer = ureq::Agent::from(agent)
        .get(format!("{}{path}", shop.base))
        .call()?;
    let header = answer.headers().get("strict-transport-security");
    let header = header.map(|value| value.to_str().unwrap().to_owned());
    Ok((answer.status().as_u16(), header.unwrap_or_default()))
}

/// The protocol that the server chooses for a client that knows both.
fn protocol(shop: &Shop, trusted: &str) -> Vec<u8> {
    let mut roots = rustls::RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap();
    roots.add(trusted).unwrap();
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let address = shop.base.strip_prefix("https://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    while client.is_handshaking() {
        client.complete_io(&mut stream).unwrap();
    }
    stream.flush().unwrap();
    client.alpn_protocol().unwrap().to_vec()
}

#[test]
fn a_shop_serves_https_and_reads_a_new_certificate() {
    built();
    let folder = scratch("tls");
    let (certificate_file, key_file, first) = certificate(&folder);
    let flags = [
        "--tls-cert",
        certificate_file.to_str().unwrap(),
        "--tls-key",
        key_file.to_str().unwrap(),
        "--variable",
        "client_head_timeout=500ms",
    ];
    // The store is filled over HTTPS too.
    let shop = Shop::start_seeded(&scratch("state"), &flags, &[]);
    assert!(shop.base.starts_with("https://"), "{}", shop.base);
    let hsts = "max-age=31536000".to_owned();
    let listed = get(&shop, "/api/products", &first).unwrap();
    assert_eq!(listed, (200, hsts.clone()));
    assert_eq!(protocol(&shop, &first), b"h2");

    // Clients that do not speak TLS, or say nothing, are disconnected.
    let plain = shop.base.replace("https://", "http://");
    let request = b"GET /api/products HTTP/1.1\r\nhost: shop\r\n\r\n";
    assert_eq!(Hostile::sends(&plain, request).status(), None);
    assert!(Hostile::sends(&plain, b"").until_closed().is_some());

    let (_, _, second) = certificate(&folder);
    shop.eventually("the new certificate is used", || {
        get(&shop, "/api/products", &second).is_ok()
    });
    assert!(get(&shop, "/api/products", &first).is_err());
    // Files that do not fit together change nothing.
    std::fs::write(&key_file, "nonsense").unwrap();
    shop.eventually("the reason is logged", || {
        shop.log().contains("the certificate cannot be read again")
    });
    assert_eq!(get(&shop, "/api/products", &second).unwrap().0, 200);
}

#[test]
fn files_that_are_no_certificate_and_key_are_refused() {
    built();
    let (one, other) = (scratch("tls"), scratch("tls"));
    let (certificate_file, key_file, _) = certificate(&one);
    let (_, other_key, _) = certificate(&other);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    for (flags, reason) in [
        (
            vec!["--tls-cert".to_owned(), text(&certificate_file)],
            "--tls-key",
        ),
        (
            vec![
                "--tls-cert".to_owned(),
                text(&certificate_file),
                "--tls-key".to_owned(),
                text(&other_key),
            ],
            "is not that of the certificate",
        ),
        (
            vec![
                "--tls-cert".to_owned(),
                text(&key_file),
                "--tls-key".to_owned(),
                text(&key_file),
            ],
            "has no certificate in PEM",
        ),
        (
            vec![
                "--tls-cert".to_owned(),
                "nowhere.crt".to_owned(),
                "--tls-key".to_owned(),
                text(&key_file),
            ],
            "reading nowhere.crt",
        ),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let said = refused_start(&scratch("state"), &flags);
        assert!(said.contains(reason), "{reason}: {said}");
    }
}
