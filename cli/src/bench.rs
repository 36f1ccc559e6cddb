//! `localmart bench`: measures the application in one run: [`starts`] (cold starts by stages), [`calls`] (links by binding),
//! [`requests`] (routes). The sides of a comparison, each a [`variant`], take turns.

mod calls;
mod requests;
mod starts;
mod variant;

use crate::app::{AppOptions, Stores, pair};
use crate::build;
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use localmart_host::app::App;
use localmart_host::wiring::graph::LinkGraph;
use localmart_measure::machine::Machine;
use localmart_measure::report::{Figure, Report};
use std::path::{Path, PathBuf};
use std::time::Duration;
use variant::Variant;

/// Maximum number of rounds.
const MOST_ROUNDS: i64 = 1000;
/// Maximum number of connections.
const MOST_CONNECTIONS: i64 = 4096;

/// Measures the application on temporary stores: cold starts by stages, calls by binding, requests by route. The sides of a
/// comparison take turns. Every figure has its 95 % confidence interval.
#[derive(Args)]
pub(crate) struct Bench {
    /// Measure cold starts of these components only.
    components: Vec<String>,
    /// The manifest, or its folder.
    #[arg(
        short = 'f',
        long = "from",
        alias = "file",
        default_value = "spin.toml"
    )]
    from: PathBuf,
    /// The profile of the manifest's components.
    #[arg(long)]
    profile: Option<String>,
    /// The value of an application variable, as name=value; may be repeated.
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = pair)]
    variables: Vec<(String, String)>,
    /// Measure only this part; may be repeated.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Compare two files of a component.
    #[arg(long, num_args = 2, value_names = ["A.WASM", "B.WASM"], conflicts_with = "compare_binding")]
    compare: Vec<PathBuf>,
    /// The component whose files are compared, if their exports do not identify it.
    #[arg(long = "as", value_name = "COMPONENT", requires = "compare")]
    component: Option<String>,
    /// Compare all links isolated with all links fused.
    #[arg(long)]
    compare_binding: bool,
    /// Measure another server with the same routes beside this application, for example http://127.0.0.1:3100. The bench places orders
    /// there too.
    #[arg(long, value_name = "URL")]
    against: Option<String>,
    /// Measure this request instead of all routes, for example "GET /api/products?limit=5" or "POST /api/carts {}"; may be repeated.
    #[arg(long = "request", value_name = "METHOD PATH [BODY]")]
    requests: Vec<String>,
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=MOST_ROUNDS))]
    rounds: u32,
    /// Length of one round of requests.
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = crate::swap::time)]
    duration: Duration,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=MOST_CONNECTIONS))]
    connections: u32,
    /// The format of the report.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write bench.md, bench.json and bench.html (a page with charts) into this folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// A part of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Cold starts by stages.
    Starts,
    /// Calls over links by binding.
    Calls,
    /// Requests by route.
    Requests,
}

/// The format of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables in Markdown.
    Table,
    /// JSON.
    Json,
    /// A page with charts.
    Html,
}

/// One run of the bench.
struct Run {
    bench: Bench,
    app: App,
    variants: Vec<Variant>,
    /// Removed at the end.
    scratch: Scratch,
    report: Report,
}

impl Bench {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.duration.is_zero() {
            bail!("--duration is 0; a turn must last some time, as 1s");
        }
        // The log of a failed host is shown with the error.
        crate::up::log_as_json(true)?;
        let scratch = Scratch::make()?;
        let options = self.options(&scratch.0);
        let source = options.source()?;
        if build::is_stale(&source)? {
            build::build(&source, &[], false)?;
        }
        let app = options.app(Vec::new(), Vec::new())?;
        if Stores::of(&app).database_url != "embedded" || Stores::of(&app).redis_url != "embedded" {
            bail!(
                "a bench writes into its stores, and throws them away; leave database_url and redis_url away"
            );
        }
        for component in &self.components {
            if !app.components.contains_key(component) {
                let known: Vec<&str> = app.components.keys().map(String::as_str).collect();
                bail!(
                    "there is no component `{component}`; name one of: {}",
                    known.join(", ")
                );
            }
        }
        let variants = self.variants(&app)?;
        let report = self.report(&source.folder(), &variants);
        let mut run = Run {
            app,
            variants,
            scratch,
            report,
            bench: self,
        };
        run.measure()?;
        run.tell()
    }

    fn options(&self, state: &Path) -> AppOptions {
        AppOptions {
            from: Some(self.from.clone()),
            insecure: false,
            state_dir: Some(state.join("state")),
            runtime_config_file: None,
            profile: self.profile.clone(),
            variables: self.variables.clone(),
        }
    }

    /// The variants that take turns: the application as it is, or the two sides of a comparison.
    fn variants(&self, app: &App) -> anyhow::Result<Vec<Variant>> {
        if self.compare_binding {
            return Ok(["isolated", "fused"].map(Variant::bound).into());
        }
        let [first, second] = self.compare.as_slice() else {
            return Ok(vec![Variant::plain()]);
        };
        let component = self.compared(app, [first, second])?;
        let (mut one, mut other) = (
            Variant::replacing(&component, first)?,
            Variant::replacing(&component, second)?,
        );
        if one.name == other.name {
            (one.name, other.name) = (first.display().to_string(), second.display().to_string());
        }
        if one.name == other.name {
            one.name += " (1)";
            other.name += " (2)";
        }
        Ok(vec![one, other])
    }

    /// The component whose files are compared.
    fn compared(&self, app: &App, files: [&Path; 2]) -> anyhow::Result<String> {
        for file in files {
            if !file.is_file() {
                bail!("there is no file {}", file.display());
            }
        }
        let graph = LinkGraph::of(app)?;
        let incompatibilities = |id: &str| {
            let both = files.iter().map(|file| graph.incompatibilities(id, file));
            let both = both.collect::<anyhow::Result<Vec<_>>>()?;
            anyhow::Ok(both.into_iter().flatten().next())
        };
        if let Some(id) = &self.component {
            if let Some(breach) = incompatibilities(id)? {
                bail!(
                    "the files cannot both be `{id}`: {}: {}; localmart check says all",
                    breach.interface,
                    breach.reason
                );
            }
            return Ok(id.clone());
        }
        let mut fitting = Vec::new();
        for id in graph.ids() {
            // A component without exports would fit everywhere.
            let says_something =
                !graph.host_imports_and_exports(id).1.is_empty() || app.components.len() == 1;
            if says_something && incompatibilities(id)?.is_none() {
                fitting.push(id.clone());
            }
        }
        match fitting.as_slice() {
            [one] => Ok(one.clone()),
            [] => bail!(
                "the files fit in no component's place; name the component with --as, or ask localmart check why"
            ),
            several => bail!(
                "the files fit in several places ({}); choose one with --as",
                several.join(", ")
            ),
        }
    }

    fn report(&self, folder: &Path, variants: &[Variant]) -> Report {
        let (mut names, mut references) = (variants.iter().map(|one| one.name.clone()), Vec::new());
        let (first, second) = (names.next().unwrap_or_default(), names.next());
        if second.is_some() {
            references.push((first.clone(), format!("of {first}")));
        }
        if let Some(url) = &self.against {
            references.push((url.clone(), format!("of {url}")));
        }
        Report {
            title: "localmart bench".to_owned(),
            how: format!(
                "{} turns; requests {:?} each, {} connections in a closed loop on the same cores. ± is half of the 95 % confidence interval of the mean.",
                self.rounds, self.duration, self.connections
            ),
            machine: Machine::this(folder),
            subject: second.unwrap_or(first),
            references,
            groups: Vec::new(),
            left_out: Vec::new(),
        }
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

impl Run {
    fn measure(&mut self) -> anyhow::Result<()> {
        // The first start compiles, migrates and fills the stores with which every round begins.
        let prepared = self.prepare()?;
        if self.bench.wants(Part::Starts) {
            self.starts(&prepared)?;
        }
        if self.bench.wants(Part::Calls) {
            self.calls()?;
        }
        if self.bench.wants(Part::Requests) {
            self.requests(&prepared)?;
        }
        Ok(())
    }

    fn add(&mut self, group: &str, figure: Figure) {
        let figure = self.report.add(group, figure);
        let of = figure.of.iter();
        let shown = of.map(|one| format!("{}: {}", one.program, one.shown(figure.unit)));
        let shown = shown.collect::<Vec<_>>().join("; ");
        eprintln!("{} — {shown}", figure.name);
    }

    fn tell(self) -> anyhow::Result<()> {
        match self.bench.format {
            Format::Table => print!("{}", self.report.markdown()),
            Format::Json => println!("{}", serde_json::to_string_pretty(&self.report)?),
            Format::Html => print!("{}", localmart_measure::page::page(&self.report)),
        }
        match &self.bench.out {
            Some(folder) => self
                .report
                .write(folder, "bench")
                .with_context(|| format!("writing into {}", folder.display())),
            None => Ok(()),
        }
    }
}

/// A folder that is removed after the run.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("localmart-bench-{}", std::process::id()));
        crate::app::private_folder(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If this fails, the system cleans its temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
