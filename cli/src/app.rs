//! The options that most verbs share, and the application they come to.

use crate::secrets;
use anyhow::Context as _;
use clap::Args;
use localmart_host::app::{App, Given, resolve};
use localmart_host::manifest::Source;
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
    /// A value for an application variable, as name=value; may be repeated.
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) variables: Vec<(String, String)>,
}

impl AppOptions {
    /// Reads the manifest.
    pub(crate) fn source(&self) -> anyhow::Result<Source> {
        Ok(Source::read(&self.from)?)
    }

    /// The state folder, whether it exists or not.
    pub(crate) fn state_dir(&self, source: &Source) -> PathBuf {
        self.state_dir
            .clone()
            .unwrap_or_else(|| source.folder().join(".localmart"))
    }

    /// Resolves the application; secrets that its variables ask for are made.
    pub(crate) fn app(
        &self,
        environment: Vec<(String, String)>,
        only: Vec<String>,
    ) -> anyhow::Result<App> {
        let source = self.source()?;
        let made = secrets::for_manifest(&self.state_dir(&source), &source)?;
        let given = Given {
            flags: self.variables.iter().cloned().collect(),
            made,
            environment: environment.into_iter().collect(),
            only,
        };
        Ok(resolve(source, &given)?)
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
