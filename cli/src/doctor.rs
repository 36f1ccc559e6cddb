//! `localmart doctor`: checks the manifest, the components and this machine; says what to do about each problem.

use crate::app::AppOptions;
use crate::build;
use anyhow::bail;
use clap::Args;
use localmart_host::aot::AotCache;
use localmart_host::app::App;
use localmart_host::engine::{EngineOptions, engine};
use localmart_host::recipe::Recipe;
use localmart_host::serve::load::imports_and_exports;
use std::collections::BTreeSet;

/// Checks everything that can be checked without serving.
#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    app: AppOptions,
}

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let app = self.app.app(Vec::new(), Vec::new())?;
        println!(
            "ok    the manifest is valid: {} components, {} routes",
            app.components.len(),
            app.routes.len()
        );
        let mut problems = 0;
        for problem in [grants(&app), built(&app)?, machine()].concat() {
            problems += 1;
            println!("wrong {problem}");
        }
        components(&app, &self.app.state_dir(&app.source))?;
        match problems {
            0 => Ok(()),
            1 => bail!("1 problem"),
            many => bail!("{many} problems"),
        }
    }
}

/// What a component is granted must be the sum of what it and its links need themselves.
fn grants(app: &App) -> Vec<String> {
    let mut problems = Vec::new();
    for spec in app
        .components
        .values()
        .filter(|spec| !spec.links.is_empty())
    {
        let Some(own) = &spec.own else {
            problems.push(format!(
                "`{}` links others but does not say what it needs itself: add tool.localmart.own",
                spec.id
            ));
            continue;
        };
        let mut sum: BTreeSet<String> = own.sqlite_databases.iter().cloned().collect();
        for link in &spec.links {
            sum.extend(
                app.components
                    .get(link)
                    .map(|link| link.sqlite_databases.keys().cloned())
                    .into_iter()
                    .flatten(),
            );
        }
        let granted: BTreeSet<String> = spec.sqlite_databases.keys().cloned().collect();
        for label in sum.difference(&granted) {
            problems.push(format!(
                "`{}` and its links need the database `{label}`: add it to its sqlite_databases",
                spec.id
            ));
        }
        for label in granted.difference(&sum) {
            problems.push(format!("`{}` is granted the database `{label}`, which neither it nor a link needs: remove it", spec.id));
        }
    }
    problems
}

fn built(app: &App) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for spec in app.components.values().filter(|spec| !spec.wasm.is_file()) {
        problems.push(format!(
            "`{}` has no file {}: localmart build",
            spec.id,
            spec.wasm.display()
        ));
    }
    if problems.is_empty() && build::is_stale(&app.source)? {
        problems.push("the components are older than their sources: localmart build".to_owned());
    }
    Ok(problems)
}

fn machine() -> Vec<String> {
    match engine(EngineOptions::default()) {
        Ok(_) => Vec::new(),
        Err(error) => vec![format!("no engine can be made on this machine: {error:#}")],
    }
}

/// Shows what each component asks for and offers.
fn components(app: &App, state_dir: &std::path::Path) -> anyhow::Result<()> {
    let engine = engine(EngineOptions {
        pooling: false,
        ..EngineOptions::default()
    })?;
    let cache = AotCache::new(Some(state_dir.join("aot")));
    for spec in app.components.values().filter(|spec| spec.wasm.is_file()) {
        let compiled = cache.load(
            &engine,
            &Recipe::alone(&spec.id, &spec.wasm, spec.composition.clone())?,
        )?;
        let (imports, exports) = imports_and_exports(&engine, &compiled.component);
        println!(
            "ok    {}: {} imports, exports {}",
            spec.id,
            imports.len(),
            exports.join(", ")
        );
    }
    Ok(())
}
