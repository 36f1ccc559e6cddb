//! `localmart explain`: which component answers each import of another, and why other candidates do not.

use crate::app::AppOptions;
use anyhow::bail;
use clap::Args;
use localmart_host::link::graph::{Candidate, Import, LinkGraph};

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
        if self.json {
            let all = serde_json::json!({ "imports": imports, "host": host, "exports": exports });
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
