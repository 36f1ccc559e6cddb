//! The cost of one call over a link, by binding: one guest calls another repeatedly and reports the time. The bindings take turns.

use super::Run;
use crate::build;
use anyhow::{Context as _, bail};
use localmart_host::app::{App, ResolveOptions, resolve};
use localmart_host::capability::sqlite::Synchronous;
use localmart_host::clock::Clock;
use localmart_host::engine::EngineOptions;
use localmart_host::link::binding::{Binding, Bindings};
use localmart_host::manifest::Source;
use localmart_host::remote::client::RemoteConfig;
use localmart_host::remote::sign::Key;
use localmart_host::runtime_config::RuntimeConfig;
use localmart_host::serve::load::{LoadOptions, Loaded, load};
use localmart_host::serve::{Running, bind, start};
use localmart_measure::report::{Figure, Measured, Unit};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder with the sources of the guests, relative to the application.
const GUESTS: &str = "benches/links";
/// Calls of one round, which has its own instance: as many as an instance with fused links makes in its life.
const CALLS: u32 = 5_000;
/// Fewer, because a remote call takes a hundred times as long.
const REMOTE_CALLS: u32 = 1_000;

/// The measured functions: name, label in the table, goal.
const WHAT: [(&str, &str, &str); 3] = [
    ("at-once", "sync, nothing", "fused ≤ 0.1 µs"),
    (
        "in-time",
        "async, nothing",
        "fused ≤ 2.5 µs, isolated ≤ 4 µs",
    ),
    ("product", "async, a product", "isolated ≤ 7 µs"),
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
calls_per_life = 1
[component.callee]
source = "measure_callee.wasm"
"#;

impl Run {
    pub(super) fn calls(&mut self) -> anyhow::Result<()> {
        let root = self.app.source.folder();
        let guests = root.join(GUESTS);
        if !guests.is_dir() {
            let reason = format!(
                "calls by binding: their guests are not at {}",
                guests.display()
            );
            self.report.left_out.push(reason);
            return Ok(());
        }
        let built = build(&root)?;
        let folder = self.scratch.0.join("calls");
        std::fs::create_dir(&folder)?;
        for guest in ["measure_caller.wasm", "measure_callee.wasm"] {
            std::fs::copy(built.join(guest), folder.join(guest))?;
        }
        std::fs::write(folder.join("spin.toml"), MANIFEST)?;
        let isolated = || Bindings::all(Binding::Isolated);
        let there = Side::start(&folder, isolated(), None, true)?;
        let address = there.running.links.context("no address of links")?;
        let away = [("callee".to_owned(), format!("http://{address}"))];
        let remote = isolated().with_remote(std::iter::once("callee".to_owned()));
        let sides = [
            (
                "fused",
                Side::start(&folder, Bindings::all(Binding::Fused), None, false)?,
            ),
            ("isolated", Side::start(&folder, isolated(), None, false)?),
            (
                "remote",
                Side::start(&folder, remote, Some(away.into()), false)?,
            ),
        ];
        for (what, name, goal) in WHAT {
            let mut turns: Vec<Vec<f64>> = sides.iter().map(|_| Vec::new()).collect();
            // The first round warms up.
            for round in 0..=self.bench.rounds {
                for ((binding, side), turns) in sides.iter().zip(&mut turns) {
                    let calls = if *binding == "remote" {
                        REMOTE_CALLS
                    } else {
                        CALLS
                    };
                    let ns = side.calls(what, calls);
                    let ns = ns.with_context(|| format!("{name}, {binding}"))?;
                    if round > 0 {
                        turns.push(ns);
                    }
                }
            }
            let of = sides.iter().zip(turns);
            let figure = Figure {
                name: name.to_owned(),
                unit: Unit::Nanoseconds,
                goal: Some(goal.to_owned()).filter(|goal| !goal.is_empty()),
                of: of
                    .map(|((binding, _), turns)| Measured::plain(binding, turns))
                    .collect(),
                ratios: Vec::new(),
            };
            self.add("One call over a link", figure);
        }
        for (_, side) in sides {
            side.running.drain();
        }
        there.running.drain();
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
        let source = Source::read(&folder.join("spin.toml"))?;
        let mut app: App = resolve(source, &ResolveOptions::default())?;
        for spec in app.components.values_mut() {
            // Only the bench calls the guests.
            spec.triggered = spec.id == "caller" || answers;
        }
        let key = Key::new("benches");
        let state = folder.join("state");
        let options = LoadOptions {
            engine: EngineOptions::default(),
            aot: Some(state.join("aot")),
            state_dir: state,
            synchronous: Synchronous::Normal,
            runtime_config: RuntimeConfig::default(),
            bindings,
            remotes: RemoteConfig {
                addresses: away.unwrap_or_default(),
                key: Some(key.clone()),
                ..RemoteConfig::default()
            },
            tls: None,
            extra_metrics: None,
            points: None,
            clock: Clock::machine(),
            progress: None,
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

    /// The time of one call, in nanoseconds.
    fn calls(&self, what: &str, calls: u32) -> anyhow::Result<f64> {
        let arguments = [format!("{what:?}"), calls.to_string()];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = self.loaded.call("caller", "run", &arguments)?;
        let ns = said
            .strip_prefix("ok(")
            .and_then(|rest| rest.strip_suffix(')'));
        let ns: f64 = ns.with_context(|| said.clone())?.parse()?;
        Ok(ns / f64::from(calls.max(1)))
    }
}

/// Builds the guests; returns the folder with their files.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let built = build::cargo(root)
        .args(["--quiet", "--package", "measure-caller"])
        .args(["--package", "measure-callee"])
        .status()?;
    if !built.success() {
        bail!("the guests in {GUESTS} do not build");
    }
    Ok(build::built_by_cargo(root))
}
