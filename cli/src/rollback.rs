//! `localmart rollback`: the generation before the last swap serves again.

use crate::control::Which;
use clap::Args;
use localmart_host::control::ComponentName;
use localmart_host::serve::swap::SwapReport;

/// Goes back to the generation before the last swap of a component.
#[derive(Args)]
pub(crate) struct Rollback {
    /// The component.
    component: String,
    #[command(flatten)]
    which: Which,
}

impl Rollback {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let component = self.component;
        let report: SwapReport = self
            .which
            .host()?
            .post("/rollback", &ComponentName { component })?;
        for (component, old, _) in report.replaced {
            println!("{component}: generation {old} serves again");
        }
        Ok(())
    }
}
