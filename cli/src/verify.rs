//! `localmart verify`: checks the invariants I1 to I7 over the stores of a running or stopped shop, and names each violation. While a
//! shop runs, the databases of two services may disagree for a moment. The stores are therefore read several times, and only
//! persistent violations are reported.
//!
//! [`facts`] reads the stores, [`invariants`] has the rules.

mod facts;
mod invariants;

use crate::databases::{self, Depth};
use crate::shop::ShopOptions;
use anyhow::bail;
use clap::Args;
use facts::Facts;
use std::time::Duration;

/// How long to wait before the stores are read again.
const AGAIN: Duration = Duration::from_secs(3);
/// How many times the stores are read at most.
const LOOKS: u32 = 4;

/// Checks that money, stock, orders and events add up: the invariants I1 to I7 of docs/operations/stores.md.
#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    shop: ShopOptions,
}

impl Verify {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let shop = self.shop.find()?;
        let (stores, state_dir) = (shop.stores()?, &shop.state_dir);
        databases::check_all(&stores, state_dir, Depth::Whole)?;
        let mut facts = Facts::read(&stores, state_dir)?;
        let mut wrong = invariants::violations(&facts);
        for _ in 1..LOOKS {
            if wrong.is_empty() {
                break;
            }
            std::thread::sleep(AGAIN);
            facts = Facts::read(&stores, state_dir)?;
            let now = invariants::violations(&facts);
            wrong.retain(|violation| now.contains(violation));
        }
        println!(
            "checked {} orders, {} payments, {} products in stock",
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
