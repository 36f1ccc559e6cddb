//! `localmart doctor`: checks the manifest, the components and this machine, and says how to fix each problem.
//!
//! In reading order: [`grants`] (what docs/reference/manifest.md demands of components with links), [`machine`] (ports, open files,
//! disk, clock, servers).

mod grants;
mod machine;

use crate::app::AppOptions;
use crate::{build, up};
use anyhow::bail;
use clap::Args;
use localmart_host::aot::AotCache;
use localmart_host::app::App;
use localmart_host::engine::{EngineOptions, engine};
use localmart_host::recipe::Recipe;
use localmart_host::serve::load::imports_and_exports;
use std::net::SocketAddr;
use std::path::Path;

/// Checks the manifest, the components and this machine, and says how to fix each problem.
#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    app: AppOptions,
    /// The address that the shop is going to serve.
    #[arg(long, env = "SPIN_HTTP_LISTEN_ADDR", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// The address that is going to serve health and metrics. Default: 127.0.0.1:3001 for an application with
    /// [application.tool.localmart], none for others.
    #[arg(long)]
    observe_listen: Option<SocketAddr>,
}

/// What a check found: what is right, or what is wrong and how to fix it.
type Finding = Result<String, String>;

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let app = self.app.app(Vec::new(), Vec::new())?;
        let state_dir = self.app.state_dir(&app.source);
        let observe = self
            .observe_listen
            .or(app.tool.is_some().then_some(up::OBSERVE));
        let mut findings: Vec<Finding> = vec![Ok(format!(
            "the manifest is valid: {} components, {} routes",
            app.components.len(),
            app.routes.len()
        ))];
        findings.extend(grants::check(&app));
        findings.extend(built(&app)?.into_iter().map(Err));
        findings.push(compiler());
        findings.extend(machine::ports(self.listen, observe));
        findings.push(machine::open_files());
        findings.push(machine::disk(&state_dir));
        findings.push(machine::clock(&state_dir));
        findings.extend(machine::servers(&app));
        for finding in &findings {
            match finding {
                Ok(right) => println!("ok    {right}"),
                Err(wrong) => println!("wrong {wrong}"),
            }
        }
        components(&app, &state_dir)?;
        match findings.iter().filter(|finding| finding.is_err()).count() {
            0 => Ok(()),
            1 => bail!("1 problem"),
            many => bail!("{many} problems"),
        }
    }
}

/// Components that are not built, or older than their sources.
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

/// Whether components can be compiled and run here.
fn compiler() -> Finding {
    match engine(EngineOptions::default()) {
        Ok(_) => Ok("this machine can compile and run components".to_owned()),
        Err(error) => Err(format!("this machine cannot run components: {error:#}")),
    }
}

/// Shows what each component imports and exports.
fn components(app: &App, state_dir: &Path) -> anyhow::Result<()> {
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
