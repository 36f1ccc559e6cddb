//! `localmart verify`: checks the invariants I1 to I7 over the stores of a shop, running or stopped, and names what breaks
//! them. While a shop runs, an order may be between two databases at any moment; so what is found is looked at again, and
//! only what stays is told.
//!
//! [`facts`] reads the stores, [`invariants`] says what must hold.

mod facts;
mod invariants;

use crate::app::{AppOptions, Stores};
use anyhow::bail;
use clap::Args;
use facts::Facts;
use std::time::Duration;

/// How long until what was found is looked at again.
const AGAIN: Duration = Duration::from_secs(3);
/// How often.
const LOOKS: u32 = 4;

/// Checks the shop's invariants.
#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    app: AppOptions,
}

impl Verify {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let app = self.app.app(Vec::new(), Vec::new())?;
        let (stores, state_dir) = (Stores::of(&app), self.app.state_dir(&app.source));
        let mut facts = Facts::read(&stores, &state_dir)?;
        let mut wrong = invariants::violations(&facts);
        for _ in 1..LOOKS {
            if wrong.is_empty() {
                break;
            }
            std::thread::sleep(AGAIN);
            facts = Facts::read(&stores, &state_dir)?;
            let now = invariants::violations(&facts);
            wrong.retain(|violation| now.contains(violation));
        }
        println!(
            "looked at {} orders, {} payments, {} products in stock",
            facts.orders.len(),
            facts.payments.len(),
            facts.stock.len()
        );
        for violation in &wrong {
            println!("{violation}");
        }
        match wrong.len() {
            0 => println!("clean: I1 to I7 hold"),
            1 => bail!("1 violation"),
            many => bail!("{many} violations"),
        }
        Ok(())
    }
}
