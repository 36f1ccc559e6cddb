//! The shops that run on this machine, and the shop that a command talks to.

use crate::app::Stores;
use clap::Args;
use localmart_host::app::App;
use localmart_host::control::client::Host;
use localmart_host::control::socket;
use localmart_host::serve::Running as Serving;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// How long a shop may take to describe itself. A suspended process does not answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Selects a running shop.
#[derive(Args, Clone, Debug)]
pub(crate) struct Which {
    /// The shop, by its address or its state folder. Needed only if several shops run.
    #[arg(long, value_name = "ADDRESS-OR-FOLDER")]
    shop: Option<Named>,
    /// The address of the shop; the same as --shop with an address.
    #[arg(long, conflicts_with = "shop")]
    listen: Option<SocketAddr>,
}

impl Which {
    /// The control socket of the shop.
    pub(crate) fn host(&self) -> anyhow::Result<Host> {
        if let Some(listen) = self.listen {
            return Host::find(listen.port());
        }
        let named = self.shop.as_ref();
        let fits = |one: &Running| named.is_none_or(|named| named.fits(one));
        let (fitting, others): (Vec<Running>, Vec<Running>) = running().into_iter().partition(fits);
        match fitting.as_slice() {
            [one] => Ok(one.host.clone()),
            [] => Err(none(named, &others)),
            several => Err(ambiguous(several)),
        }
    }
}

/// How a running shop describes itself to everybody who may open its control socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The name of the application.
    pub(crate) application: String,
    /// The HTTP address.
    pub(crate) address: SocketAddr,
    /// Whether the address serves HTTPS.
    #[serde(default)]
    pub(crate) tls: bool,
    /// The observe address.
    pub(crate) observe: Option<SocketAddr>,
    /// The address for link calls from other shops.
    pub(crate) links: Option<SocketAddr>,
    /// The path of the manifest.
    pub(crate) manifest: PathBuf,
    /// The state folder.
    pub(crate) state_dir: PathBuf,
    /// `embedded`, or host and port of the Postgres server.
    pub(crate) database: String,
    /// `embedded`, or host and port of the Redis server.
    pub(crate) redis: String,
}

impl Facts {
    /// The scheme of the HTTP address.
    fn scheme(&self) -> &'static str {
        match self.tls {
            true => "https",
            false => "http",
        }
    }

    /// The address to which clients on this machine connect.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme(), reachable(self.address))
    }

    /// The facts that are known before the application serves.
    pub(crate) fn of(app: &App, state_dir: &Path, address: SocketAddr) -> Self {
        let [database, redis] = Stores::of(app).places();
        Self {
            application: app.name.clone(),
            address,
            tls: false,
            observe: None,
            links: None,
            manifest: app.source.path.clone(),
            state_dir: state_dir.to_owned(),
            database,
            redis,
        }
    }

    /// The facts that are known once the application serves.
    pub(crate) fn serving(self, host: &Serving, tls: bool) -> Self {
        let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self {
            address: host.address,
            tls,
            observe: host.observe,
            links: host.links,
            manifest: whole(&self.manifest),
            state_dir: whole(&self.state_dir),
            ..self
        }
    }
}

impl std::fmt::Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "serves {}://{}", self.scheme(), self.address)?;
        if let Some(observe) = self.observe {
            write!(f, ", metrics http://{observe}/metrics")?;
        }
        if let Some(links) = self.links {
            write!(f, ", links {links}")?;
        }
        let (manifest, state_dir) = (self.manifest.display(), self.state_dir.display());
        write!(f, "\nmanifest {manifest}, state folder {state_dir}")?;
        write!(f, "\ndatabases {}, Redis {}", self.database, self.redis)
    }
}

/// A shop that runs on this machine, as this user.
pub(crate) struct Running {
    pub(crate) host: Host,
    port: u16,
    /// `None` if the shop does not answer, or is of a version without this request.
    pub(crate) facts: Option<Facts>,
}

impl Running {
    /// The address to which clients on this machine connect.
    fn url(&self) -> String {
        let unknown = || {
            format!(
                "http://{}",
                SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
            )
        };
        self.facts.as_ref().map_or_else(unknown, Facts::url)
    }
}

/// The address at which clients on this machine reach a listening address.
pub(crate) fn reachable(served: SocketAddr) -> SocketAddr {
    let ip = match served.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, served.port())
}

/// All shops that run on this machine as this user. All are asked at the same time.
pub(crate) fn running() -> Vec<Running> {
    let ask = |port: u16| {
        let host = Host::find(port).ok()?;
        let facts = host.get_within("/about", ANSWER).ok();
        Some(Running { host, port, facts })
    };
    std::thread::scope(|scope| {
        let ports = socket::running().into_iter();
        let asked: Vec<_> = ports.map(|port| scope.spawn(move || ask(port))).collect();
        let answers = asked.into_iter().filter_map(|one| one.join().ok());
        answers.flatten().collect()
    })
}

/// A shop as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// Host and port.
    Address(String, u16),
    /// The state folder, or the folder of the manifest.
    Folder(PathBuf),
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"));
        let bare = address.unwrap_or(text);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let split = bare
            .rsplit_once(':')
            .filter(|(host, _)| !host.contains('/'));
        match split.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
            Some((host, port)) if !host.is_empty() => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                Ok(Self::Address(host.to_owned(), port))
            }
            _ if address.is_some() || text.contains("://") => {
                Err("an address is like http://127.0.0.1:3000 or 127.0.0.1:3000".to_owned())
            }
            _ if text.is_empty() => Err("it must be an address or a folder".to_owned()),
            _ => Ok(Self::Folder(PathBuf::from(text))),
        }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(host, port) if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Address(host, port) => write!(f, "http://{host}:{port}"),
            Self::Folder(folder) => write!(f, "{}", folder.display()),
        }
    }
}

impl Named {
    /// Whether this is the name of a running shop.
    pub(crate) fn fits(&self, running: &Running) -> bool {
        match (self, &running.facts) {
            (Self::Address(host, port), facts) => {
                let any = SocketAddr::from((Ipv4Addr::LOCALHOST, running.port));
                let served = facts.as_ref().map_or(any, |facts| facts.address);
                *port == served.port() && is_at(host, *port, served.ip())
            }
            (Self::Folder(folder), Some(facts)) => {
                let of_manifest = facts.manifest.parent();
                same(folder, &facts.state_dir)
                    || of_manifest.is_some_and(|parent| same(folder, parent))
            }
            (Self::Folder(_), None) => false,
        }
    }
}

/// Whether two paths name the same existing file or folder.
pub(crate) fn same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Whether a connection to this host reaches a listening address of this machine.
fn is_at(host: &str, port: u16, served: IpAddr) -> bool {
    let Ok(found) = (host, port).to_socket_addrs() else {
        return false;
    };
    // Only addresses of this machine can be bound, which is how they are recognised.
    let is_mine = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
    found.map(|address| address.ip()).any(|ip| {
        ip == served
            || (served.is_unspecified() && is_mine(ip))
            || (ip.is_unspecified() && served.is_loopback())
    })
}

/// Running shops, one line for each.
pub(crate) fn listed(running: &[Running]) -> String {
    let line = |one: &Running| match &one.facts {
        Some(facts) => {
            let (application, folder) = (&facts.application, facts.state_dir.display());
            format!("\n  {}  {application}, state folder {folder}", one.url())
        }
        None => format!("\n  {}  does not say what it is", one.url()),
    };
    running.iter().map(line).collect()
}

/// The error if several shops match.
pub(crate) fn ambiguous(running: &[Running]) -> anyhow::Error {
    anyhow::anyhow!(
        "several shops are running; name one with --shop ADDRESS-OR-FOLDER:{}",
        listed(running)
    )
}

/// The error if no running shop matches.
pub(crate) fn none(named: Option<&Named>, running: &[Running]) -> anyhow::Error {
    match named {
        Some(named) if !running.is_empty() => anyhow::anyhow!(
            "no shop of yours runs at {named}; these do:{}",
            listed(running)
        ),
        Some(named) => {
            anyhow::anyhow!("no shop of yours runs at {named}\n  help: start it with localmart up")
        }
        None => anyhow::anyhow!("no shop of yours is running\n  help: start one with localmart up"),
    }
}

/// The beginning of a hash, long enough to distinguish it from others.
pub(crate) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shop_is_named_by_an_address_or_a_folder() {
        let address = |host: &str, port| Ok(Named::Address(host.to_owned(), port));
        let folder = |path: &str| Ok(Named::Folder(PathBuf::from(path)));
        for (text, named) in [
            ("http://127.0.0.1:3000", address("127.0.0.1", 3000)),
            ("http://127.0.0.1:3000/", address("127.0.0.1", 3000)),
            ("https://127.0.0.1:3000", address("127.0.0.1", 3000)),
            ("127.0.0.1:3000", address("127.0.0.1", 3000)),
            ("localhost:80", address("localhost", 80)),
            ("http://[::1]:3000", address("::1", 3000)),
            (".localmart", folder(".localmart")),
            ("/srv/shop:1/state", folder("/srv/shop:1/state")),
            ("./a:1", folder("./a:1")),
        ] {
            assert_eq!(text.parse(), named, "{text}");
        }
        for text in ["", "http://127.0.0.1", "ftp://127.0.0.1:1", "http://:3000"] {
            assert!(text.parse::<Named>().is_err(), "{text}");
        }
    }
}
