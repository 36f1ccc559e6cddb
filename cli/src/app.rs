//! The options that most commands share, and the application that they select.

use crate::{oci, secrets};
use anyhow::Context as _;
use clap::Args;
use localmart_guest::config::EMBEDDED;
use localmart_host::app::{App, ResolveOptions, resolve};
use localmart_host::manifest::Source;
use localmart_host::runtime_config::RuntimeConfig;
use localmart_oci::registry::is_reference;
use localmart_stores::{RedisServer, postgres_server, redis_server};
use std::path::{Path, PathBuf};

/// The manifest that commands read by default.
const MANIFEST: &str = "spin.toml";
/// The default state folder.
const STATE: &str = ".localmart";

/// The application, and the values of its variables.
#[derive(Args, Clone, Debug)]
pub(crate) struct AppOptions {
    /// The manifest, its folder, or an application in a registry, as registry.example/shop:1.0 or registry.example/shop@sha256:….
    /// Default: spin.toml.
    #[arg(short = 'f', long = "from", alias = "file", value_name = "MANIFEST")]
    pub(crate) from: Option<PathBuf>,
    /// Ask the registry over plain HTTP. A registry on this machine is asked over plain HTTP without this flag.
    #[arg(long, short = 'k')]
    pub(crate) insecure: bool,
    /// The folder for databases, secrets and caches. Default: .localmart beside the manifest; in the current folder if the
    /// application comes from a registry.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The runtime configuration, in Spin's format: stores and providers of variables. Default: none.
    #[arg(long, env = "RUNTIME_CONFIG_FILE", value_name = "FILE")]
    pub(crate) runtime_config_file: Option<PathBuf>,
    /// The profile of the manifest's components.
    #[arg(long)]
    pub(crate) profile: Option<String>,
    /// The value of an application variable; may be repeated. It wins over SPIN_VARIABLE_<NAME> and over generated secrets.
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) variables: Vec<(String, String)>,
}

impl AppOptions {
    /// Reads the manifest. An application in a registry is pulled first.
    pub(crate) fn source(&self) -> anyhow::Result<Source> {
        let mut source = match self.reference() {
            Some(reference) => Source::read(&oci::pulled(reference, self.insecure)?)?,
            None => Source::read(self.from.as_deref().unwrap_or(Path::new(MANIFEST)))?,
        };
        source.profile = self.profile.clone();
        Ok(source)
    }

    /// The reference, if the application is in a registry. A file of that name wins.
    pub(crate) fn reference(&self) -> Option<&str> {
        let from = self.from.as_deref()?;
        let text = from.to_str()?;
        (!from.exists() && is_reference(text)).then_some(text)
    }

    /// The state folder, whether it exists or not.
    pub(crate) fn state_dir(&self, source: &Source) -> PathBuf {
        self.named_state_dir()
            .unwrap_or_else(|| match self.reference() {
                Some(_) => PathBuf::from(STATE),
                None => source.folder().join(STATE),
            })
    }

    /// The state folder that a flag or the runtime configuration sets.
    pub(crate) fn named_state_dir(&self) -> Option<PathBuf> {
        let configured = || self.runtime_config().ok()?.state_dir;
        self.state_dir.clone().or_else(configured)
    }

    /// Leaves out a runtime configuration that does not exist, with a warning: SpinKube always names one.
    pub(crate) fn without_missing_runtime_config(&mut self) {
        let missing = self.runtime_config_file.take_if(|path| !path.exists());
        if let Some(path) = missing {
            let file = path.display();
            tracing::warn!(%file, "there is no such runtime configuration; the default stores are used");
        }
    }

    /// The runtime configuration, if a flag names the file.
    pub(crate) fn runtime_config(&self) -> anyhow::Result<RuntimeConfig> {
        match &self.runtime_config_file {
            Some(path) => Ok(RuntimeConfig::read(path)?),
            None => Ok(RuntimeConfig::default()),
        }
    }

    /// The values from flags, the runtime configuration and the environment, without generated ones.
    pub(crate) fn given(&self) -> anyhow::Result<ResolveOptions> {
        Ok(ResolveOptions {
            flags: self.variables.iter().cloned().collect(),
            providers: self.runtime_config()?.variables,
            ..ResolveOptions::default()
        })
    }

    /// Resolves the application. Required secrets without a value are generated.
    pub(crate) fn app(
        &self,
        environment: Vec<(String, String)>,
        only: Vec<String>,
    ) -> anyhow::Result<App> {
        let source = self.source()?;
        let mut given = self.given()?;
        given.generated = secrets::for_manifest(&self.state_dir(&source), &source, &given)?;
        given.generated.extend(servers(&given)?);
        given.environment = environment.into_iter().collect();
        given.only = only;
        Ok(resolve(source, &given)?)
    }
}

/// Host and port of the servers, because `allowed_outbound_hosts` takes no path.
fn servers(given: &ResolveOptions) -> anyhow::Result<Vec<(String, String)>> {
    let address = |name: &str| given.given(name).filter(|value| value != EMBEDDED);
    let mut servers = Vec::new();
    if let Some(url) = address("database_url") {
        let (host, port) = postgres_server(&url).context("database_url")?;
        servers.push(("database_host".to_owned(), host));
        servers.push(("database_port".to_owned(), port.to_string()));
    }
    if let Some(url) = address("redis_url") {
        let (host, port) = redis_server(&url).context("redis_url")?;
        servers.push(("redis_host".to_owned(), host));
        servers.push(("redis_port".to_owned(), port.to_string()));
    }
    Ok(servers)
}

/// The location of a shop's stores: `embedded`, or the address of a server.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    pub(crate) database_url: String,
    pub(crate) redis_url: String,
}

impl Stores {
    /// The addresses that the components of the application read.
    pub(crate) fn of(app: &App) -> Self {
        let value = |name: &str| {
            let mut variables = app.components.values().map(|spec| &spec.variables);
            variables.find_map(|variables| variables.get(name).cloned())
        };
        Self::at(value)
    }

    /// The addresses among the values of variables.
    pub(crate) fn at(value: impl Fn(&str) -> Option<String>) -> Self {
        let address = |name: &str| value(name).unwrap_or_else(|| EMBEDDED.to_owned());
        Self {
            database_url: address("database_url"),
            redis_url: address("redis_url"),
        }
    }

    /// Whether the databases are files of the state folder.
    pub(crate) fn in_files(&self) -> bool {
        self.database_url == EMBEDDED
    }

    /// The locations of the databases and of the short-lived values, without user names and passwords.
    pub(crate) fn places(&self) -> [String; 2] {
        let server = |found: Option<(String, u16)>| match found {
            Some((host, port)) => format!("{host}:{port}"),
            None => EMBEDDED.to_owned(),
        };
        [
            server(
                postgres_server(&self.database_url)
                    .ok()
                    .filter(|_| !self.in_files()),
            ),
            server(redis_server(&self.redis_url).ok()),
        ]
    }

    /// Checks that Redis answers, if the shop uses Redis.
    pub(crate) fn check_redis(&self) -> anyhow::Result<()> {
        if self.redis_url != EMBEDDED {
            RedisServer::open(&self.redis_url).map_err(|error| {
                anyhow::anyhow!(
                    "{}\n  help: start the server, or leave redis_url out to use the embedded store",
                    error.0
                )
            })?;
        }
        Ok(())
    }
}

/// Reads `name=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not name=value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Creates a folder that only this user can open.
pub(crate) fn private_folder(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}
