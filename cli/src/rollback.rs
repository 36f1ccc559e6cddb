//! `localmart rollback`: the generation before the last swap gets the calls again.

use crate::control::Which;
use clap::Args;
use localmart_host::control::Named;
use localmart_host::serve::swap::Report;

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
        let report: Report = self.which.host()?.post("/rollback", &Named { component })?;
        for (component, old, _) in report.replaced {
            println!("{component}: generation {old} serves again");
        }
        Ok(())
    }
}
