//! The options that most verbs share, and the application they come to.

use crate::secrets;
use anyhow::Context as _;
use clap::Args;
use localmart_guest::config::EMBEDDED;
use localmart_host::app::{App, ResolveOptions, resolve};
use localmart_host::manifest::Source;
use localmart_host::runtime_config::RuntimeConfig;
use localmart_stores::{RedisServer, postgres_server, redis_server};
use std::path::PathBuf;

/// Which application, with which values.
#[derive(Args, Clone, Debug)]
pub(crate) struct AppOptions {
    /// The manifest, or the folder it is in.
    #[arg(
        short = 'f',
        long = "from",
        alias = "file",
        default_value = "spin.toml"
    )]
    pub(crate) from: PathBuf,
    /// Databases, secrets, caches. Default: .localmart beside the manifest.
    #[arg(long)]
    pub(crate) state_dir: Option<PathBuf>,
    /// Where stores and variables come from, as Spin reads it. Without it none is read.
    #[arg(long, env = "RUNTIME_CONFIG_FILE")]
    pub(crate) runtime_config_file: Option<PathBuf>,
    /// Read the components with this profile of theirs.
    #[arg(long)]
    pub(crate) profile: Option<String>,
    /// A value for an application variable, as name=value; may be repeated.
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) variables: Vec<(String, String)>,
}

impl AppOptions {
    /// Reads the manifest.
    pub(crate) fn source(&self) -> anyhow::Result<Source> {
        let mut source = Source::read(&self.from)?;
        source.profile = self.profile.clone();
        Ok(source)
    }

    /// The state folder, whether it exists or not.
    pub(crate) fn state_dir(&self, source: &Source) -> PathBuf {
        let configured = || self.runtime_config().ok()?.state_dir;
        self.state_dir
            .clone()
            .or_else(configured)
            .unwrap_or_else(|| source.folder().join(".localmart"))
    }

    /// The runtime configuration, if a file is named.
    pub(crate) fn runtime_config(&self) -> anyhow::Result<RuntimeConfig> {
        match &self.runtime_config_file {
            Some(path) => Ok(RuntimeConfig::read(path)?),
            None => Ok(RuntimeConfig::default()),
        }
    }

    /// A variable as it is given on the command line or in the environment.
    fn given(&self, name: &str) -> Option<String> {
        let flag = self.variables.iter().rev().find(|(known, _)| known == name);
        let providers = self.runtime_config().unwrap_or_default().variables;
        flag.map(|(_, value)| value.clone())
            .or_else(|| providers.iter().find_map(|provider| provider.get(name)))
            .or_else(|| std::env::var(format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase())).ok())
            .filter(|value| value != EMBEDDED)
    }

    /// Host and port of the servers, for `allowed_outbound_hosts`, which take no path.
    fn places(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut places = Vec::new();
        if let Some(url) = self.given("database_url") {
            let (host, port) = postgres_server(&url).context("database_url")?;
            places.push(("database_host".to_owned(), host));
            places.push(("database_port".to_owned(), port.to_string()));
        }
        if let Some(url) = self.given("redis_url") {
            let (host, port) = redis_server(&url).context("redis_url")?;
            places.push(("redis_host".to_owned(), host));
            places.push(("redis_port".to_owned(), port.to_string()));
        }
        Ok(places)
    }

    /// Resolves the application; secrets that its variables ask for are made.
    pub(crate) fn app(
        &self,
        environment: Vec<(String, String)>,
        only: Vec<String>,
    ) -> anyhow::Result<App> {
        let source = self.source()?;
        let made = secrets::for_manifest(&self.state_dir(&source), &source)?;
        let mut made = made;
        made.extend(self.places()?);
        let options = ResolveOptions {
            flags: self.variables.iter().cloned().collect(),
            providers: self.runtime_config()?.variables,
            generated: made,
            environment: environment.into_iter().collect(),
            only,
        };
        Ok(resolve(source, &options)?)
    }
}

/// Where this shop's stores are: `embedded`, or the address of a server.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    pub(crate) database_url: String,
    pub(crate) redis_url: String,
}

impl Stores {
    /// As the application's components will read it.
    pub(crate) fn of(app: &App) -> Self {
        let value = |name: &str| {
            let known = app
                .components
                .values()
                .find_map(|spec| spec.variables.get(name));
            known.cloned().unwrap_or_else(|| EMBEDDED.to_owned())
        };
        Self {
            database_url: value("database_url"),
            redis_url: value("redis_url"),
        }
    }

    /// Whether Redis answers, if there is to be one.
    pub(crate) fn check_redis(&self) -> anyhow::Result<()> {
        if self.redis_url != EMBEDDED {
            RedisServer::open(&self.redis_url).map_err(|error| {
                anyhow::anyhow!(
                    "{}\n  help: start it, or leave redis_url away for the embedded store",
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

/// Makes a folder that only this user can look into.
pub(crate) fn private_folder(folder: &std::path::Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}
