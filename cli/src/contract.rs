//! `localmart test`: runs the contract suite of an interface against any component, on temporary stores. There is one suite for each
//! WIT package. It checks what every component that exports the interface must do, however it is implemented.
//!
//! [`subject`] is the component under test. A suite is in the folder of its component, `components/<noun>/contract.rs`; the build
//! script gathers them.

mod subject;

use crate::app::AppOptions;
use crate::control::Facts;
use anyhow::{Context as _, bail};
use clap::Args;
use localmart_guest::config::EMBEDDED;
use localmart_host::manifest::Source;
use localmart_host::wiring::graph::surface;
use std::path::{Path, PathBuf};
use subject::Subject;

/// Runs the contract tests of a component's interface against a file, or without a file all contract tests of the
/// application.
#[derive(Args)]
pub(crate) struct Test {
    /// The file of the component to test; without it, the application's own components are tested.
    #[arg(requires = "component")]
    file: Option<PathBuf>,
    /// The component whose contract the file must keep.
    #[arg(long = "as", value_name = "COMPONENT", requires = "file")]
    component: Option<String>,
    #[command(flatten)]
    app: AppOptions,
}

/// One thing that every component with an interface must do.
struct Case {
    name: &'static str,
    check: fn(&Subject) -> anyhow::Result<()>,
}

// The suites, each in the folder of its component: `const SUITES: &[(&str, &[Case])]`.
include!(concat!(env!("OUT_DIR"), "/contracts.rs"));

/// Runs the contract tests of a component on a file that takes its place in a running shop, in a shop of its own on temporary stores.
/// A file without the component's interface is not tested; the running shop refuses it.
pub(crate) fn keeps(facts: &Facts, component: &str, file: &Path) -> anyhow::Result<()> {
    let Some(suite) = SUITES.iter().find(|(name, _)| *name == component) else {
        return Ok(());
    };
    let package = format!("localmart:{component}/");
    let exports = surface(component, file).map(|surface| surface.exports());
    if !exports.is_ok_and(|exports| exports.iter().any(|export| export.starts_with(&package))) {
        return Ok(());
    }
    let declared = Source::read(&facts.manifest)?.parse()?.variables;
    let stores = ["database_url", "redis_url"].into_iter();
    let stores = stores.filter(|name| declared.contains_key(*name));
    let app = AppOptions {
        from: Some(facts.manifest.clone()),
        insecure: false,
        state_dir: Some(facts.state_dir.clone()),
        runtime_config_file: None,
        profile: None,
        variables: stores
            .map(|name| (name.to_owned(), EMBEDDED.to_owned()))
            .collect(),
    };
    eprintln!(
        "testing {} against the contract of {component}",
        file.display()
    );
    let mut subject = Subject::start(&app, &[(component, Some(file))])?;
    subject.select(component);
    let failed: Vec<String> = suite
        .1
        .iter()
        .filter_map(|case| {
            let error = (case.check)(&subject).err()?;
            Some(format!("\n  {}: {error:#}", case.name))
        })
        .collect();
    if failed.is_empty() {
        println!("{component}: keeps its contract ({} cases)", suite.1.len());
        return Ok(());
    }
    bail!(
        "{} of {} contract tests of {component} failed:{}",
        failed.len(),
        suite.1.len(),
        failed.concat()
    );
}

impl Test {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match (&self.file, &self.component) {
            (Some(file), Some(component)) => self.one(file, component),
            _ => self.all(),
        }
    }

    /// Tests a file in the place of a component.
    fn one(&self, file: &Path, component: &str) -> anyhow::Result<()> {
        let suite = SUITES.iter().find(|(name, _)| *name == component);
        let Some(suite) = suite else {
            let known: Vec<&str> = SUITES.iter().map(|(name, _)| *name).collect();
            bail!(
                "there is no contract suite for `{component}`; there are suites for {}",
                known.join(", ")
            );
        };
        let wasm = file.canonicalize();
        let wasm = wasm.with_context(|| format!("there is no {}", file.display()))?;
        let mut subject = Subject::start(&self.app, &[(component, Some(&wasm))])?;
        outcome(failures(&mut subject, suite, ""), suite.1.len())?;
        println!("{} keeps the contract of {component}", file.display());
        Ok(())
    }

    /// Tests the components of the application, all in one shop.
    fn all(&self) -> anyhow::Result<()> {
        let app = self.app.app(Vec::new(), Vec::new())?;
        let suites = || {
            SUITES
                .iter()
                .filter(|(name, _)| app.components.contains_key(*name))
        };
        let components: Vec<_> = suites().map(|(name, _)| (*name, None)).collect();
        if components.is_empty() {
            bail!(
                "no component of {} has a contract suite",
                app.source.path.display()
            );
        }
        let mut subject = Subject::start(&self.app, &components)?;
        let (mut failed, mut cases) = (0, 0);
        for suite in suites() {
            failed += failures(&mut subject, suite, &format!("{}: ", suite.0));
            cases += suite.1.len();
        }
        outcome(failed, cases)?;
        println!(
            "{} components keep their contracts ({cases} cases)",
            components.len()
        );
        Ok(())
    }
}

/// Runs a suite and prints a line for each case. Returns the number of failed cases.
fn failures(subject: &mut Subject, (component, cases): &(&str, &[Case]), prefix: &str) -> usize {
    subject.select(component);
    let mut failed = 0;
    for case in *cases {
        match (case.check)(subject) {
            Ok(()) => println!("ok     {prefix}{}", case.name),
            Err(error) => {
                failed += 1;
                println!("FAILED {prefix}{}: {error:#}", case.name);
            }
        }
    }
    failed
}

fn outcome(failed: usize, cases: usize) -> anyhow::Result<()> {
    match failed {
        0 => Ok(()),
        1 => bail!("1 of {cases} cases failed"),
        many => bail!("{many} of {cases} cases failed"),
    }
}
