//! `localmart fault`: injects errors, delays and traps into links and into the capabilities of the host.

use crate::control::Which as Shop;
use crate::swap::{part, time};
use anyhow::bail;
use clap::{Args, Subcommand};
use localmart_host::control::{FaultAdded, FaultsCleared, WhichFault};
use localmart_host::fault::{ActiveFault, Capability, Fault, FaultEffect, FaultTarget};
use localmart_host::limits::FULL_SHARE;
use localmart_host::link::binding::Link;
use std::time::Duration;

/// Injects errors, delays and traps into a running shop.
#[derive(Args)]
pub(crate) struct FaultVerb {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Inject a fault into the calls of a link or of a capability.
    Add(Add),
    /// Show the faults, and how many calls each has hit.
    List(List),
    /// Remove one fault, or all of them.
    Clear(Clear),
}

#[derive(Args)]
struct Add {
    /// A link, for example order->payment.
    #[arg(long, value_name = "CALLER->CALLEE", required_unless_present = "on")]
    link: Option<Link>,
    /// A capability of the host: sqlite, postgres, redis, key-value or http.
    #[arg(long, value_name = "CAPABILITY", conflicts_with = "link")]
    on: Option<Capability>,
    /// Only for this component's calls of the capability.
    #[arg(long, requires = "on")]
    component: Option<String>,
    /// The share of the calls that fail, for example 10%.
    #[arg(long, value_name = "PART", value_parser = part)]
    error: Option<u32>,
    /// How much longer each call takes, for example 200ms.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with_all = ["error", "trap"])]
    delay: Option<Duration>,
    /// The share of the calls that end with a trap, for example 1%: of the callee on a link, of the calling component on a capability.
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
    /// The number of the fault. Default: all faults.
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
