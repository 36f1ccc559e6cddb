//! Postgres and Redis over TLS: a server proves who it is, and so does the shop. Every way in which that fails is named.

use crate::harness::{
    Shop, built, checkout, fresh_key, localmart, printed, refused_start, root, scratch,
};
use localmart_testkit::servers::{Server, TlsFiles};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use std::path::Path;

/// A certificate and its key, in PEM.
pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// An authority that signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        named(&mut params, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn signs(&self, name: &str, expired: bool) -> Made {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        named(&mut params, name);
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Made {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A certificate with the name of its authority would look like one that signed itself.
fn named(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}

pub(crate) fn written(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn stores(postgres: &str, redis: &str) -> [String; 4] {
    [
        "--variable".to_owned(),
        format!("database_url={postgres}"),
        "--variable".to_owned(),
        format!("redis_url={redis}"),
    ]
}

#[test]
fn a_shop_keeps_its_data_in_servers_with_tls() {
    built();
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let (server, client) = (ours.signs("127.0.0.1", false), ours.signs("shop", false));
    let authority = ours.pem();
    let pem = TlsFiles {
        certificate: &server.certificate,
        key: &server.key,
        authority: &authority,
    };
    let (Some(mut postgres), Some(redis)) = (
        Server::postgres_with_tls(&pem),
        Server::redis_with_tls(&pem),
    ) else {
        return;
    };
    let folder = scratch("certificates");
    let roots = written(&folder, "ca.pem", &authority);
    let foreign = written(&folder, "foreign.pem", &foreign.pem());
    let certificate = written(&folder, "client.crt", &client.certificate);
    let key = written(&folder, "client.key", &client.key);
    let on_postgres = |host: &str, roots: &str, own: &str| {
        let port = postgres.port();
        format!(
            "postgres://localmart@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={roots}{own}"
        )
    };
    let on_redis = |roots: &str, own: &str| {
        format!(
            "rediss://127.0.0.1:{}/0?ssl_ca_certs={roots}{own}",
            redis.port()
        )
    };
    let own_postgres = format!("&sslcert={certificate}&sslkey={key}");
    let own_redis = format!("&ssl_certfile={certificate}&ssl_keyfile={key}");
    let good_redis = on_redis(&roots, &own_redis);
    let good = stores(
        &on_postgres("127.0.0.1", &roots, &own_postgres),
        &good_redis,
    );

    let state = scratch("state");
    let flags: Vec<&str> = good.iter().map(String::as_str).collect();
    let shop = Shop::start_app(&root().join("spin.toml"), &state, &flags);
    let product = shop.product(1999, 10);
    let cart = shop.cart_with(&product, 2);
    let bought = shop.order(&fresh_key(), &checkout(&cart, "tok_visa"));
    bought.expect(201);
    assert_eq!(shop.stock(&product), (8, 0));
    shop.eventually("the order is heard of over Redis", || {
        let items = shop.get("/api/recommendations").json()["items"].clone();
        let mut items = items.as_array().cloned().unwrap_or_default().into_iter();
        items.any(|item| item["product"]["id"] == product.as_str())
    });
    drop(shop);
    let mut verify = localmart();
    verify.arg("verify").arg("-f").arg(root().join("spin.toml"));
    verify.arg("--state-dir").arg(&state).args(&good);
    let verified = verify.output().unwrap();
    assert!(verified.status.success(), "{}", printed(&verified));

    let refused = |flags: &[String]| {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        refused_start(&scratch("state"), &flags)
    };
    let plain = format!(
        "postgres://localmart@127.0.0.1:{}/postgres",
        postgres.port()
    );
    for (what, database, short_lived, reason) in [
        (
            "another authority",
            on_postgres("127.0.0.1", &foreign, &own_postgres),
            good_redis.clone(),
            "UnknownIssuer",
        ),
        (
            "another name",
            on_postgres("localhost", &roots, &own_postgres),
            good_redis.clone(),
            "not valid for name",
        ),
        (
            "no client certificate",
            on_postgres("127.0.0.1", &roots, ""),
            good_redis.clone(),
            "certificate",
        ),
        ("no TLS", plain, good_redis.clone(), "no pg_hba.conf entry"),
        (
            "a missing file",
            on_postgres("127.0.0.1", "/nowhere.pem", &own_postgres),
            good_redis.clone(),
            "/nowhere.pem has no certificates",
        ),
        (
            "another authority of Redis",
            on_postgres("127.0.0.1", &roots, &own_postgres),
            on_redis(&foreign, &own_redis),
            "UnknownIssuer",
        ),
    ] {
        let said = refused(&stores(&database, &short_lived));
        assert!(said.contains(reason), "{what}: {said}");
    }

    let expired = ours.signs("127.0.0.1", true);
    postgres.kill();
    postgres.use_certificate(&TlsFiles {
        certificate: &expired.certificate,
        key: &expired.key,
        ..pem
    });
    postgres.start();
    let said = refused(&good);
    assert!(said.to_lowercase().contains("expired"), "{said}");
}

#[test]
fn messages_reach_an_mqtt_server_with_tls() {
    crate::guests::guests_built();
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let (server, client) = (ours.signs("127.0.0.1", false), ours.signs("shop", false));
    let authority = ours.pem();
    let pem = TlsFiles {
        certificate: &server.certificate,
        key: &server.key,
        authority: &authority,
    };
    let Some(server) = Server::mqtt_with_tls(&pem) else {
        return;
    };
    let folder = scratch("mqtt");
    let roots = written(&folder, "ca.pem", &authority);
    let foreign = written(&folder, "foreign.pem", &foreign.pem());
    let certificate = written(&folder, "client.crt", &client.certificate);
    let key = written(&folder, "client.key", &client.key);
    let own = format!("&ssl_certfile={certificate}&ssl_keyfile={key}");
    let address = |host: &str, roots: &str, own: &str| {
        format!("mqtts://{host}:{}?ssl_ca_certs={roots}{own}", server.port())
    };
    let good = address("127.0.0.1", &roots, &own);
    let refused = [
        (address("127.0.0.1", &foreign, &own), "UnknownIssuer"),
        (address("localhost", &roots, &own), "not valid for name"),
        (address("127.0.0.1", &roots, ""), "ConnectionFailed"),
    ];
    let probe = crate::harness::root().join("target/wasm32-wasip2/component/probe.wasm");
    let named: Vec<&str> = refused
        .iter()
        .map(|(address, _)| address.as_str())
        .collect();
    let manifest = format!(
        "spin_manifest_version = 2\n[application]\nname = \"mqtt\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"guest\"\n\
         [component.guest]\nsource = {:?}\nallowed_outbound_hosts = [\"mqtts://*:*\"]\n\
         [component.guest.variables]\naddresses = {:?}\n",
        probe.display().to_string(),
        format!("{good} {}", named.join(" ")),
    );
    let manifest = written(&folder, "spin.toml", &manifest);
    let state = scratch("state");
    let shop = Shop::start_app(Path::new(&manifest), &state, &[]);
    let send = |address: &str| shop.get(&format!("/mqtt?{address}+topic")).text;
    assert_eq!(send(&good), "sent");
    for (address, reason) in &refused {
        let said = send(address);
        assert!(said.contains(reason), "{address}: {said}");
    }
    // A guest may not choose the files that the host reads.
    for other in ["/etc/hostname", "/", roots.trim_end_matches(".pem")] {
        let said = send(&address("127.0.0.1", other, &own));
        assert!(
            said.contains("no variable of the component names the file"),
            "{other}: {said}"
        );
    }
}
