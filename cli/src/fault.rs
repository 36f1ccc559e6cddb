//! `localmart fault`: errors, delays and traps on purpose, on links and on what components ask of the host.

use crate::control::Which as Shop;
use crate::swap::{part, time};
use anyhow::bail;
use clap::{Args, Subcommand};
use localmart_host::control::{FaultAdded, FaultsCleared, WhichFault};
use localmart_host::fault::{ActiveFault, Capability, Fault, FaultEffect, FaultTarget};
use localmart_host::link::binding::Link;
use localmart_host::serve::deployment::FULL_SHARE;
use std::time::Duration;

/// Puts trouble into a running shop, to see what becomes of it.
#[derive(Args)]
pub(crate) struct FaultVerb {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Put a fault on a link or on a capability.
    Add(Add),
    /// Show the faults, and how often each struck.
    List(List),
    /// Take a fault away, or all of them.
    Clear(Clear),
}

#[derive(Args)]
struct Add {
    /// On the calls of a link, as order->payment.
    #[arg(long, value_name = "CALLER->CALLEE", required_unless_present = "on")]
    link: Option<Link>,
    /// On what components ask of the host: sqlite, postgres, redis, key-value or http.
    #[arg(long, value_name = "CAPABILITY", conflicts_with = "link")]
    on: Option<Capability>,
    /// Of this component only.
    #[arg(long, requires = "on")]
    component: Option<String>,
    /// This part of the calls fails, as 10%.
    #[arg(long, value_name = "PART", value_parser = part)]
    error: Option<u32>,
    /// The calls take so much longer, as 200ms.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with_all = ["error", "trap"])]
    delay: Option<Duration>,
    /// At this part of the calls the instance breaks, as 1%: the callee's of a link, of a capability the one that asks.
    #[arg(long, value_name = "PART", value_parser = part, conflicts_with = "error")]
    trap: Option<u32>,
    #[command(flatten)]
    shop: Shop,
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    shop: Shop,
}

#[derive(Args)]
struct Clear {
    /// Its number; all without one.
    number: Option<u64>,
    #[command(flatten)]
    shop: Shop,
}

impl FaultVerb {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.act {
            Act::Add(add) => add.run(),
            Act::List(list) => list.run(),
            Act::Clear(clear) => clear.run(),
        }
    }
}

impl Add {
    fn run(self) -> anyhow::Result<()> {
        let (effect, rate) = match (self.error, self.delay, self.trap) {
            (Some(rate), None, None) => (FaultEffect::Error, rate),
            (None, Some(time), None) => (FaultEffect::Delay(time), FULL_SHARE),
            (None, None, Some(rate)) => (FaultEffect::Trap, rate),
            _ => bail!("say what the fault does: --error 10%, --delay 200ms or --trap 1%"),
        };
        let target = match (self.link, self.on) {
            (Some(Link { caller, callee }), None) => FaultTarget::Link { caller, callee },
            (None, Some(capability)) => FaultTarget::Capability {
                capability,
                component: self.component,
            },
            _ => bail!("say where the fault is: --link order->payment, or --on sqlite"),
        };
        let fault = Fault {
            target,
            effect,
            rate,
        };
        let added: FaultAdded = self.shop.host()?.post("/faults", &fault)?;
        println!("{}  {fault}", added.number);
        Ok(())
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let faults: Vec<ActiveFault> = self.shop.host()?.get("/faults")?;
        if faults.is_empty() {
            println!("no faults");
        }
        for one in faults {
            println!("{}  {}, struck {} times", one.number, one.fault, one.hits);
        }
        Ok(())
    }
}

impl Clear {
    fn run(self) -> anyhow::Result<()> {
        let number = self.number;
        let cleared: FaultsCleared = self
            .shop
            .host()?
            .delete("/faults", &WhichFault { number })?;
        if let Some(number) = number
            && cleared.cleared == 0
        {
            bail!("there is no fault {number}; localmart fault list shows them");
        }
        println!("{} faults cleared", cleared.cleared);
        Ok(())
    }
}
