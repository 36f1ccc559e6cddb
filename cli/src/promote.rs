//! `localmart promote`: the generation on trial gets all calls.

use crate::control::Which;
use clap::Args;
use localmart_host::control::ComponentName;
use localmart_host::serve::swap::SwapReport;

/// Gives all calls to the generation that is on trial.
#[derive(Args)]
pub(crate) struct Promote {
    /// The component.
    component: String,
    #[command(flatten)]
    which: Which,
}

impl Promote {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let component = self.component;
        let report: SwapReport = self
            .which
            .host()?
            .post("/promote", &ComponentName { component })?;
        for (component, _, new) in report.replaced {
            println!("{component}: generation {new} serves");
        }
        Ok(())
    }
}
