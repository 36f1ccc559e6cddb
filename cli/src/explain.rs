//! `localmart explain`: which component answers each import of another, and why other candidates do not.

use crate::app::AppOptions;
use crate::build::DECLARATION;
use anyhow::{Context as _, bail};
use clap::Args;
use localmart_declaration::Declaration;
use localmart_host::sections;
use localmart_host::wiring::graph::{Candidate, Import, LinkGraph};
use std::path::Path;

/// Shows which component answers each import of a component, and why other candidates do not.
#[derive(Args)]
pub(crate) struct Explain {
    /// The component.
    component: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    app: AppOptions,
}

impl Explain {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let app = self.app.app(Vec::new(), Vec::new())?;
        let graph = LinkGraph::of(&app)?;
        if !graph.ids().any(|id| *id == self.component) {
            let known: Vec<&str> = graph.ids().map(String::as_str).collect();
            bail!(
                "there is no component `{}`; there are {}",
                self.component,
                known.join(", ")
            );
        }
        let imports = graph.imports(&self.component);
        let (host, exports) = graph.host_imports_and_exports(&self.component);
        let declared = graph.file(&self.component).map(declaration).transpose()?;
        let declared = declared.flatten();
        if self.json {
            let all = serde_json::json!({ "imports": imports, "host": host, "exports": exports, "declares": declared });
            println!("{all:#}");
            return Ok(());
        }
        if let Some(file) = graph.file(&self.component) {
            println!("{} ({})", self.component, file.display());
        }
        for import in &imports {
            print(import);
        }
        println!("answered by the host");
        for name in host {
            println!("  {name}");
        }
        println!("exports");
        for name in exports {
            println!("  {name}");
        }
        if let Some(declared) = declared {
            println!("declares");
            for line in lines(&declared) {
                println!("  {line}");
            }
        }
        let open = imports.iter().filter(|import| import.answered_by.is_none());
        match open.count() {
            0 => Ok(()),
            1 => bail!("1 import is not answered by any component"),
            many => bail!("{many} imports are not answered by any component"),
        }
    }
}

fn print(import: &Import) {
    println!("imports {}", import.name);
    if import.candidates.is_empty() {
        println!("  no component exports it");
    }
    for candidate in &import.candidates {
        let Candidate {
            component,
            export,
            versions,
            ..
        } = candidate;
        if candidate.chosen {
            println!("  -> {component}: exports {export} ({versions}), and is linked");
        } else if candidate.differs.is_none() && candidate.linked && import.answered_by.is_some() {
            println!(
                "     {component}: exports {export} ({versions}), but another link comes first"
            );
        } else {
            println!(
                "     {component}: exports {export}, but {}",
                candidate.rejection_reason()
            );
        }
    }
}

/// What a component declares about itself; `None` if its file carries no declaration.
fn declaration(file: &Path) -> anyhow::Result<Option<Declaration>> {
    let wasm = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let sections = sections::read(&wasm, DECLARATION).map_err(anyhow::Error::msg)?;
    // A fused file carries the sections of all its parts.
    match sections.as_slice() {
        [one] => Ok(Some(serde_json::from_slice(one).with_context(|| {
            format!("the section {DECLARATION} of {}", file.display())
        })?)),
        _ => Ok(None),
    }
}

fn lines(declared: &Declaration) -> Vec<String> {
    let line = |what: &str, items: Vec<&str>| {
        (!items.is_empty()).then(|| format!("{what}: {}", items.join(", ")))
    };
    let settings = declared
        .settings
        .keys()
        .chain(declared.http_settings.keys());
    [
        line(
            "routes",
            declared.routes.iter().map(String::as_str).collect(),
        ),
        line("tells", declared.tells.iter().map(String::as_str).collect()),
        line("hears", declared.hears.iter().map(String::as_str).collect()),
        line("settings", settings.map(String::as_str).collect()),
        line("timer", declared.timer.as_deref().into_iter().collect()),
    ]
    .into_iter()
    .flatten()
    .collect()
}
