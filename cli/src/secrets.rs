//! `localmart secrets`: what must be random and stay secret, made once per state folder, readable by its owner alone.

use crate::app::{AppOptions, private_folder};
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use ed25519_dalek::SigningKey;
use localmart_host::manifest::Source;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

/// Bytes of a random secret.
const SECRET_BYTES: usize = 32;

/// Shows the secrets.
#[derive(Args)]
pub(crate) struct Secrets {
    #[command(flatten)]
    app: AppOptions,
    /// As shell commands that set the variables from which Spin takes its own: eval "$(localmart secrets --export)".
    #[arg(long)]
    export: bool,
}

impl Secrets {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let source = self.app.source()?;
        for (name, value) in load(&self.app.state_dir(&source))? {
            if self.export {
                // They are base64url: nothing in them means anything to a shell.
                println!("export SPIN_VARIABLE_{}={value}", name.to_uppercase());
            } else {
                println!("{name} = {value:?}");
            }
        }
        Ok(())
    }
}

/// The secrets of a state folder; what is missing is made.
pub(crate) fn load(state_dir: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let path = state_dir.join("secrets.toml");
    let known = match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let mut secrets: BTreeMap<String, String> = known.clone();
    if !(secrets.contains_key("jwt_private_key") && secrets.contains_key("jwt_public_key")) {
        let key = SigningKey::from_bytes(&random()?);
        secrets.insert(
            "jwt_private_key".into(),
            URL_SAFE_NO_PAD.encode(key.to_bytes()),
        );
        secrets.insert(
            "jwt_public_key".into(),
            URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes()),
        );
    }
    for name in [
        "sweep_token",
        "order_token_key",
        "payment_webhook_secret",
        "admin_password",
        "link_key",
    ] {
        if !secrets.contains_key(name) {
            secrets.insert(name.to_owned(), URL_SAFE_NO_PAD.encode(random()?));
        }
    }
    if secrets != known {
        write(state_dir, &path, &secrets)?;
    }
    Ok(secrets)
}

/// The secrets that a manifest's required variables ask for. An application that asks for none gets no file.
pub(crate) fn for_manifest(
    state_dir: &Path,
    source: &Source,
) -> anyhow::Result<BTreeMap<String, String>> {
    let manifest = source.parse()?;
    let wanted = |name: &str| {
        manifest
            .variables
            .get(name)
            .is_some_and(|variable| variable.get_ref().required)
    };
    let ours = manifest.application.tool.contains_key("localmart");
    if !ours {
        return Ok(BTreeMap::new());
    }
    let mut secrets = load(state_dir)?;
    secrets.retain(|name, _| wanted(name));
    Ok(secrets)
}

fn random() -> anyhow::Result<[u8; SECRET_BYTES]> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    Ok(bytes)
}

fn write(state_dir: &Path, path: &Path, secrets: &BTreeMap<String, String>) -> anyhow::Result<()> {
    private_folder(state_dir)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let unfinished = path.with_extension("toml.part");
    let mut file = options
        .open(&unfinished)
        .with_context(|| format!("writing {}", unfinished.display()))?;
    file.write_all(toml::to_string(secrets)?.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    Ok(())
}
