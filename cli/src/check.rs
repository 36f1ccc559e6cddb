//! `localmart check`: whether a file can replace a component. For CI, before anything is deployed.

use crate::app::AppOptions;
use anyhow::bail;
use clap::Args;
use localmart_host::wiring::graph::LinkGraph;
use std::path::PathBuf;

/// Checks whether a file can replace a component: whether it exports everything that the callers of the component import. The
/// exit code is not 0 if something breaks.
#[derive(Args)]
pub(crate) struct Check {
    /// The new file.
    file: PathBuf,
    /// The component that the file would replace.
    #[arg(long = "as", value_name = "COMPONENT")]
    component: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    app: AppOptions,
}

impl Check {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let app = self.app.app(Vec::new(), Vec::new())?;
        let graph = LinkGraph::of(&app)?;
        let incompatibilities = graph.incompatibilities(&self.component, &self.file)?;
        let more = graph.new_host_imports(&self.component, &self.file)?;
        if self.json {
            let all =
                serde_json::json!({ "breaks": incompatibilities, "asks_more_of_the_host": more });
            println!("{all:#}");
        } else {
            for breach in &incompatibilities {
                let who = breach.used_by.as_deref();
                let who = who.map_or_else(String::new, |who| format!(" (used by {who})"));
                println!("breaks {}{who}: {}", breach.interface, breach.reason);
            }
            for import in &more {
                println!(
                    "note   it imports {import} from the host, which the present file does not"
                );
            }
        }
        match incompatibilities.len() {
            0 => {
                if !self.json {
                    println!(
                        "ok     {} can replace {}",
                        self.file.display(),
                        self.component
                    );
                }
                Ok(())
            }
            1 => bail!("1 thing breaks"),
            many => bail!("{many} things break"),
        }
    }
}
