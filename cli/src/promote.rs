//! `localmart promote`: what is on trial takes the place.

use crate::control::Which;
use clap::Args;
use localmart_host::control::ComponentName;
use localmart_host::serve::swap::SwapReport;

/// Gives the generation on trial all calls.
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
