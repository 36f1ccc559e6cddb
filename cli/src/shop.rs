//! The shop that a command works on, running or stopped: its state folder, stores and secrets.
//!
//! A running shop reports its variables over its control socket. A stopped shop is described by the manifest, the state folder and
//! the flags.

use crate::app::{AppOptions, Stores};
use crate::control::{self, Named, Running, same};
use crate::databases;
use crate::secrets;
use anyhow::{Context as _, bail};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The default address of `localmart up`.
const USUAL: &str = "http://127.0.0.1:3000";

/// Selects a shop.
#[derive(Args, Clone, Debug)]
pub(crate) struct ShopOptions {
    /// The shop, by its address or its state folder. Default: the running shop, else the shop of the manifest.
    #[arg(long, value_name = "ADDRESS-OR-FOLDER", conflicts_with = "state_dir")]
    shop: Option<Named>,
    #[command(flatten)]
    app: AppOptions,
}

/// A shop.
pub(crate) struct Shop {
    /// The state folder.
    pub(crate) state_dir: PathBuf,
    /// The HTTP address, if the shop runs.
    address: Option<String>,
    /// The named address, if no shop of this user runs there.
    elsewhere: Option<Named>,
    /// The values of the variables, if the shop runs.
    running: Option<BTreeMap<String, String>>,
    options: AppOptions,
}

impl ShopOptions {
    /// The options of a command that has flags of its own for them.
    pub(crate) fn new(shop: Option<Named>, app: AppOptions) -> Self {
        Self { shop, app }
    }

    /// The shop that the flags name. Without flags: the only running shop, or else the stopped shop of the manifest.
    pub(crate) fn find(&self) -> anyhow::Result<Shop> {
        self.among(control::running(), self.shop.as_ref(), false)
    }

    /// The same for commands that only send requests: the address may belong to any server of the shop, such as plain Spin or
    /// another machine. `url` is the value of the older flag `--url`.
    pub(crate) fn find_or_reach(&self, url: Option<&str>) -> anyhow::Result<Shop> {
        let url = url.and_then(|url| url.parse().ok());
        let url = url.filter(|named| matches!(named, Named::Address(..)));
        self.among(
            control::running(),
            self.shop.as_ref().or(url.as_ref()),
            true,
        )
    }

    fn among(
        &self,
        running: Vec<Running>,
        named: Option<&Named>,
        or_elsewhere: bool,
    ) -> anyhow::Result<Shop> {
        let (fitting, others): (Vec<Running>, Vec<Running>) =
            running.into_iter().partition(|one| self.means(named, one));
        match fitting.as_slice() {
            [] if matches!(named, Some(Named::Address(..))) && !or_elsewhere => {
                Err(control::none(named, &others))
            }
            [] => self.stopped(named, &others),
            [one] => {
                if named.is_none() {
                    self.note(one);
                }
                self.of(one)
            }
            // Both shops share their stores and their secrets.
            [one, more @ ..] if more.iter().all(|other| same_state(one, other)) => self.of(one),
            several => Err(control::ambiguous(several)),
        }
    }

    /// Whether the flags select this running shop. The most specific flag decides.
    fn means(&self, named: Option<&Named>, running: &Running) -> bool {
        let Some(facts) = &running.facts else {
            return named.is_some_and(|named| named.fits(running));
        };
        if let Some(named) = self.shop.as_ref() {
            return named.fits(running);
        }
        if let Some(state_dir) = self.app.named_state_dir() {
            return same(&state_dir, &facts.state_dir);
        }
        if let Some(named) = named {
            return named.fits(running);
        }
        match &self.app.from {
            Some(from) => {
                same(from, &facts.manifest) || same(&from.join("spin.toml"), &facts.manifest)
            }
            None => true,
        }
    }

    fn of(&self, running: &Running) -> anyhow::Result<Shop> {
        let Some(facts) = &running.facts else {
            bail!("the shop does not say where its state folder is; name that with --state-dir");
        };
        let variables = running.host.get("/variables");
        Ok(Shop {
            state_dir: facts.state_dir.clone(),
            address: Some(facts.url()),
            elsewhere: None,
            running: Some(variables.context("asking the running shop for its variables")?),
            options: self.app.clone(),
        })
    }

    /// A stopped shop, described by its files.
    fn stopped(&self, named: Option<&Named>, running: &[Running]) -> anyhow::Result<Shop> {
        let mut options = self.app.clone();
        match named {
            Some(Named::Folder(folder)) => stopped_in(folder, &mut options, running)?,
            Some(Named::Address(..)) | None => {}
        }
        let elsewhere = named.filter(|named| matches!(named, Named::Address(..)));
        let found = options.source();
        let source = match (found, &options.from) {
            (Err(_), None) if !Path::new("spin.toml").exists() => bail!(
                "no shop of yours is running, and there is no spin.toml here\n  help: start a shop with localmart up, name one with --shop ADDRESS-OR-FOLDER, or a manifest with -f"
            ),
            (found, _) => found?,
        };
        Ok(Shop {
            state_dir: options.state_dir(&source),
            address: None,
            elsewhere: elsewhere.cloned(),
            running: None,
            options,
        })
    }

    /// Prints which shop was selected if the working directory belongs to another shop.
    fn note(&self, running: &Running) {
        let here = Path::new(".localmart");
        let named = self.app.from.is_some() || self.app.named_state_dir().is_some();
        if let Some(facts) = &running.facts
            && !named
            && here.is_dir()
            && !same(here, &facts.state_dir)
        {
            let (address, folder) = (facts.url(), facts.state_dir.display());
            eprintln!(
                "note: this is the running shop at {address} (state folder {folder}); for the one here: --shop .localmart"
            );
        }
    }
}

fn same_state(one: &Running, other: &Running) -> bool {
    match (&one.facts, &other.facts) {
        (Some(one), Some(other)) => one.state_dir == other.state_dir,
        _ => false,
    }
}

/// Interprets a folder as the folder of the manifest, or as the state folder.
fn stopped_in(folder: &Path, options: &mut AppOptions, running: &[Running]) -> anyhow::Result<()> {
    if !folder.is_dir() {
        let named = Named::Folder(folder.to_owned());
        return Err(control::none(Some(&named), running));
    }
    if options.from.is_none() && folder.join("spin.toml").is_file() {
        options.from = Some(folder.to_owned());
        return Ok(());
    }
    if !databases::is_state_folder(folder) {
        bail!(
            "{} is neither the state folder of a shop nor the folder of a manifest",
            folder.display()
        );
    }
    options.state_dir = Some(folder.to_owned());
    let beside = folder
        .canonicalize()?
        .parent()
        .map(|parent| parent.join("spin.toml"));
    options.from = options.from.take().or(beside.filter(|path| path.is_file()));
    Ok(())
}

impl Shop {
    /// Whether the state folder is on this machine: the shop runs here, or no other address is named and there are files here.
    pub(crate) fn is_here(&self) -> bool {
        self.address.is_some() || (self.elsewhere.is_none() && self.state_dir.is_dir())
    }

    /// The address of the shop, or else the default address.
    pub(crate) fn url(&self) -> String {
        match (&self.address, &self.elsewhere) {
            (Some(address), _) => address.clone(),
            (None, Some(named)) => named.to_string(),
            (None, None) => USUAL.to_owned(),
        }
    }

    /// The stores of the shop.
    pub(crate) fn stores(&self) -> anyhow::Result<Stores> {
        let Some(variables) = &self.running else {
            return Ok(Stores::of(&self.options.app(Vec::new(), Vec::new())?));
        };
        Ok(Stores::at(|name| {
            let mut flags = self.options.variables.iter().rev();
            let flag = flags.find(|(known, _)| known == name);
            flag.map(|(_, value)| value)
                .or(variables.get(name))
                .cloned()
        }))
    }

    /// The secrets of the shop, by name.
    pub(crate) fn secrets(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut given = self.options.given()?;
        if let Some(variables) = &self.running {
            // The values of the running shop count, unless a flag of this command overrides them on purpose.
            for (name, value) in variables {
                given
                    .flags
                    .entry(name.clone())
                    .or_insert_with(|| value.clone());
            }
        }
        secrets::in_use(&self.state_dir, &given)
    }
}
