//! `localmart secrets`: keys and passwords of a shop. Secrets without a value are generated once per state folder, in a file that only
//! its owner can read. Values from `--variable` or the environment win over that file and are never written there.
//!
//! [`check`] defines the valid form of each secret.

pub(crate) mod check;

use crate::app::private_folder;
use crate::shop::ShopOptions;
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use ed25519_dalek::SigningKey;
use localmart_host::app::ResolveOptions;
use localmart_host::manifest::Source;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Bytes of a random secret.
const SECRET_BYTES: usize = 32;
/// The key that signs tokens.
pub(crate) const PRIVATE_KEY: &str = "jwt_private_key";
/// The key that verifies tokens.
pub(crate) const PUBLIC_KEY: &str = "jwt_public_key";
/// The first password of the administrator.
pub(crate) const ADMIN_PASSWORD: &str = "admin_password";
/// The key of links between shops. It is not a variable of the manifest.
const LINK_KEY: &str = "link_key";
/// Secrets that are random text.
const RANDOM: &[&str] = &[
    "sweep_token",
    "order_token_key",
    "payment_webhook_secret",
    ADMIN_PASSWORD,
    LINK_KEY,
];
/// The environment variable with the key of links between shops.
const LINK_KEY_VARIABLE: &str = "LOCALMART_LINK_KEY";

/// Secrets by name.
pub(crate) type Values = BTreeMap<String, String>;

/// Shows the keys and passwords that a shop uses.
#[derive(Args)]
pub(crate) struct Secrets {
    #[command(flatten)]
    shop: ShopOptions,
    /// Print shell commands that set the variables for Spin: eval "$(localmart secrets --export)".
    #[arg(long)]
    export: bool,
}

impl Secrets {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let secrets = self.shop.find()?.secrets()?;
        for (name, value) in &secrets {
            if self.export {
                println!(
                    "export SPIN_VARIABLE_{}={}",
                    name.to_uppercase(),
                    quoted(value)
                );
            } else {
                println!("{name} = {value:?}");
            }
        }
        if !secrets.contains_key(ADMIN_PASSWORD) {
            eprintln!(
                "{ADMIN_PASSWORD} was given when the shop first started; it is not stored in the state folder"
            );
        }
        Ok(())
    }
}

/// A value as one word of a shell command.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/@%+".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

/// The secrets in the file of a state folder. Missing secrets without another value are generated.
///
/// The administrator's password is generated together with the file, never later: if the file has none, the administrator was
/// created with a password from elsewhere.
pub(crate) fn load(state_dir: &Path, given: &ResolveOptions) -> anyhow::Result<Values> {
    let path = file(state_dir);
    let known = read(&path)?;
    let first = known.is_none();
    let mut secrets = known.clone().unwrap_or_default();
    let missing =
        |secrets: &Values, name: &str| !secrets.contains_key(name) && given.given(name).is_none();
    let has_pair = secrets.contains_key(PRIVATE_KEY) && secrets.contains_key(PUBLIC_KEY);
    if !has_pair && given.given(PRIVATE_KEY).is_none() {
        let key = SigningKey::from_bytes(&random()?);
        secrets.insert(PRIVATE_KEY.into(), URL_SAFE_NO_PAD.encode(key.to_bytes()));
        secrets.insert(PUBLIC_KEY.into(), public_of(&key));
    }
    for name in RANDOM {
        if missing(&secrets, name) && (first || *name != ADMIN_PASSWORD) {
            secrets.insert((*name).to_owned(), random_text()?);
        }
    }
    if known.as_ref() != Some(&secrets) {
        write(state_dir, &path, &secrets)?;
    }
    Ok(secrets)
}

/// The secrets of a state folder. Given values replace those in the file.
pub(crate) fn in_use(state_dir: &Path, given: &ResolveOptions) -> anyhow::Result<Values> {
    let mut secrets = load(state_dir, given)?;
    if let Some(public) = public_of_given(given) {
        secrets.insert(PUBLIC_KEY.to_owned(), public);
    }
    for name in [PRIVATE_KEY, PUBLIC_KEY].iter().chain(RANDOM) {
        if let Some(value) = given.given(name) {
            secrets.insert((*name).to_owned(), value);
        }
    }
    if let Some(key) = given_link_key() {
        secrets.insert(LINK_KEY.to_owned(), key);
    }
    Ok(secrets)
}

/// Generated values for the required variables of a manifest that have no other value. An application without such variables
/// gets no file.
pub(crate) fn for_manifest(
    state_dir: &Path,
    source: &Source,
    given: &ResolveOptions,
) -> anyhow::Result<Values> {
    let manifest = source.parse()?;
    let wanted = |name: &str| {
        let variable = manifest.variables.get(name);
        variable.is_some_and(|variable| variable.get_ref().required)
    };
    let ours = manifest.application.tool.contains_key("localmart");
    if !ours {
        return Ok(BTreeMap::new());
    }
    if let Some(key) = given.given(PRIVATE_KEY) {
        // The public key follows from this one.
        check::valid(PRIVATE_KEY, &key)?;
    }
    let mut secrets = load(state_dir, given)?;
    if let Some(public) = public_of_given(given) {
        secrets.insert(PUBLIC_KEY.to_owned(), public);
    }
    if !secrets.contains_key(ADMIN_PASSWORD) {
        // The manifest requires the password; it is used, and kept, only if the store has no administrator.
        secrets.insert(ADMIN_PASSWORD.to_owned(), random_text()?);
    }
    secrets.retain(|name, _| wanted(name));
    Ok(secrets)
}

/// Changes a secret in the file of a state folder, or removes it.
pub(crate) fn keep(state_dir: &Path, name: &str, value: Option<&str>) -> anyhow::Result<()> {
    let path = file(state_dir);
    let mut secrets = read(&path)?.unwrap_or_default();
    match value {
        Some(value) => secrets.insert(name.to_owned(), value.to_owned()),
        None => secrets.remove(name),
    };
    write(state_dir, &path, &secrets)
}

/// The key of links between shops: from the environment, else from the state folder.
pub(crate) fn link_key(state_dir: &Path) -> anyhow::Result<String> {
    if let Some(key) = given_link_key() {
        return Ok(key);
    }
    let secrets = load(state_dir, &ResolveOptions::default())?;
    let key = secrets.get(LINK_KEY).cloned();
    key.context("there is no link_key among the secrets")
}

fn given_link_key() -> Option<String> {
    let key = std::env::var(LINK_KEY_VARIABLE).ok();
    key.filter(|key| !key.is_empty())
}

/// The path of the secrets of a state folder.
fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("secrets.toml")
}

/// The content of a file of secrets; `None` without a file. Errors never quote the content.
fn read(path: &Path) -> anyhow::Result<Option<Values>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let secrets = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        anyhow::anyhow!(
            "{}:{line} is not a line like name = \"value\"\n  help: put a copy of the file back, or move it away to have new secrets generated; tokens and order links that were made with the old ones then no longer work",
            path.display()
        )
    });
    secrets.map(Some)
}

/// The public key for a private key that is given alone.
fn public_of_given(given: &ResolveOptions) -> Option<String> {
    if given.given(PUBLIC_KEY).is_some() {
        return None;
    }
    // An invalid key is refused by `for_manifest`.
    check::private_key(&given.given(PRIVATE_KEY)?).map(|key| public_of(&key))
}

fn public_of(key: &SigningKey) -> String {
    URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes())
}

fn random_text() -> anyhow::Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random()?))
}

fn random() -> anyhow::Result<[u8; SECRET_BYTES]> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    Ok(bytes)
}

fn write(state_dir: &Path, path: &Path, secrets: &Values) -> anyhow::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_value_is_one_word_of_a_shell() {
        for (value, word) in [
            ("abc-_09", "abc-_09"),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's $HOME", r"'it'\''s $HOME'"),
        ] {
            assert_eq!(quoted(value), word);
        }
    }
}
