//! What one call over a link costs, by binding: a guest calls another, one call after the other, and says how long it took. Bindings take
//! turns; the median counts.

use anyhow::{Context as _, bail};
use clap::Args;
use localmart_host::app::{App, Given, resolve};
use localmart_host::capability::sqlite::Synchronous;
use localmart_host::engine::EngineOptions;
use localmart_host::link::binding::{Binding, Bindings};
use localmart_host::manifest::Source;
use localmart_host::remote::client::Remotes;
use localmart_host::remote::sign::Key;
use localmart_host::runtime_config::RuntimeConfig;
use localmart_host::serve::load::{LoadOptions, Loaded, load};
use localmart_host::serve::{Running, bind, start};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Measures what a call over a link costs.
#[derive(Args)]
pub(crate) struct Links {
    /// Calls of one measurement.
    #[arg(long, default_value_t = 20_000)]
    calls: u32,
    /// How often the bindings take turns.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

/// What is called, what it is called in the table, and the goal in nanoseconds for fused and isolated.
const WHAT: [(&str, &str, Option<u64>, Option<u64>); 3] = [
    ("at-once", "sync, nothing", Some(100), None),
    ("in-time", "async, nothing", Some(2_500), Some(4_000)),
    ("product", "async, a product", None, Some(7_000)),
];

const MANIFEST: &str = r#"
spin_manifest_version = 2
[application]
name = "links"
[application.tool.localmart]
[trigger]
[component.caller]
source = "measure_caller.wasm"
[component.caller.tool.localmart]
links = ["callee"]
[component.callee]
source = "measure_callee.wasm"
"#;

impl Links {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let folder = Path::new("target/wasm32-wasip2/component");
        build()?;
        std::fs::write(folder.join("links.toml"), MANIFEST)?;
        let there = Side::start(folder, Bindings::all(Binding::Isolated), None, true)?;
        let address = there.running.links.context("no address of links")?;
        let away = [("callee".to_owned(), format!("http://{address}"))];
        let remote = Bindings::all(Binding::Isolated).away(std::iter::once("callee".to_owned()));
        let sides = [
            (
                "fused",
                Side::start(folder, Bindings::all(Binding::Fused), None, false)?,
            ),
            (
                "isolated",
                Side::start(folder, Bindings::all(Binding::Isolated), None, false)?,
            ),
            (
                "remote",
                Side::start(folder, remote, Some(away.into()), false)?,
            ),
        ];
        println!(
            "nanoseconds per call, median of {} rounds (lowest to highest); goals of the design in brackets",
            self.rounds
        );
        println!(
            "{:<18} {:>30} {:>30} {:>30}",
            "", "fused", "isolated", "remote"
        );
        for (what, name, fused, isolated) in WHAT {
            let mut times: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
            for round in 0..=self.rounds {
                for (binding, side) in &sides {
                    // A remote call takes a hundred times as long.
                    let calls = if *binding == "remote" {
                        self.calls / 20
                    } else {
                        self.calls
                    };
                    let ns = side.calls(what, calls)?;
                    // The first round warms up.
                    if round > 0 {
                        times.entry(binding).or_default().push(ns);
                    }
                }
            }
            let shown = |binding: &str, goal: Option<u64>| {
                let mut all = times.get(binding).cloned().unwrap_or_default();
                all.sort_unstable();
                let middle = all.get(all.len() / 2).copied().unwrap_or_default();
                let (low, high) = (all.first().copied(), all.last().copied());
                let goal = goal.map_or_else(String::new, |goal| format!(" [{goal}]"));
                format!(
                    "{middle} ({}–{}){goal}",
                    low.unwrap_or_default(),
                    high.unwrap_or_default()
                )
            };
            println!(
                "{name:<18} {:>30} {:>30} {:>30}",
                shown("fused", fused),
                shown("isolated", isolated),
                shown("remote", None)
            );
        }
        Ok(())
    }
}

/// A host with the two guests.
struct Side {
    loaded: Arc<Loaded>,
    running: Running,
}

impl Side {
    fn start(
        folder: &Path,
        bindings: Bindings,
        away: Option<BTreeMap<String, String>>,
        answers: bool,
    ) -> anyhow::Result<Self> {
        let source = Source::read(&folder.join("links.toml"))?;
        let mut app: App = resolve(source, &Given::default())?;
        for spec in app.components.values_mut() {
            // Nothing but this bench calls them.
            spec.triggered = spec.id == "caller" || answers;
        }
        let key = Key::new("benches");
        let state = folder.join("links");
        let options = LoadOptions {
            engine: EngineOptions::default(),
            aot: Some(state.join("aot")),
            state_dir: state,
            synchronous: Synchronous::Normal,
            runtime_config: RuntimeConfig::default(),
            bindings,
            remotes: Remotes {
                addresses: away.unwrap_or_default(),
                key: Some(key.clone()),
            },
            more_metrics: None,
            points: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let loaded = Arc::new(runtime.block_on(load(app, options))?);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let links = answers.then(|| bind(any, "--link-listen")).transpose()?;
        let links = links.map(|listener| (listener, key));
        let running = start(loaded.clone(), bind(any, "--listen")?, None, links, 1)?;
        Ok(Self { loaded, running })
    }

    /// How long one call takes, in nanoseconds.
    fn calls(&self, what: &str, calls: u32) -> anyhow::Result<u64> {
        let arguments = [format!("{what:?}"), calls.to_string()];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = self.loaded.call("caller", "run", &arguments)?;
        let ns = said
            .strip_prefix("ok(")
            .and_then(|rest| rest.strip_suffix(')'));
        let ns: u64 = ns.with_context(|| said.clone())?.parse()?;
        Ok(ns / u64::from(calls.max(1)))
    }
}

fn build() -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--target",
            "wasm32-wasip2",
            "--profile",
            "component",
        ])
        .args(["--package", "measure-caller", "--package", "measure-callee"])
        .status()?;
    if !built.success() {
        bail!("the guests do not build");
    }
    Ok(())
}
