//! `localmart rollback`: the generation before the last swap gets the calls again.

use crate::control::Which;
use clap::Args;
use localmart_host::control::ComponentName;
use localmart_host::serve::swap::SwapReport;

/// Returns to the generation that a component had before its last swap.
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
