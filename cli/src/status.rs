//! `localmart status`: the addresses and the state folder of the running shop; its components, generations and links.

use crate::clock;
use crate::control::{Facts, Which, short};
use clap::Args;
use localmart_host::control::status::{ComponentStatus, GenerationStatus, Status as HostStatus};
use localmart_host::serve::swap::Phase;

/// Shows the addresses of the running shop, its components, their generations and links.
#[derive(Args)]
pub(crate) struct Status {
    /// Print the status as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

impl Status {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let host = self.which.host()?;
        if self.json {
            let status: serde_json::Value = host.get("/status")?;
            println!("{status:#}");
            return Ok(());
        }
        let status: HostStatus = host.get("/status")?;
        println!("{} (process {})", status.application, status.process);
        // A host of an older version does not report it.
        if let Ok(facts) = host.get::<Facts>("/about") {
            println!("{facts}");
        }
        if status.clock.ahead_ms.is_some() {
            println!("clock: {}", clock::line(&status.clock));
        }
        println!(
            "{:<16} {:>4} {:<7} {:>6} {:>9} {:>9} {:>7} {:>9} {:>9}  file",
            "component", "gen", "role", "share", "instances", "calls", "errors", "p50 ms", "p99 ms"
        );
        for component in &status.components {
            for generation in &component.generations {
                line(component, generation);
            }
        }
        for component in &status.components {
            more(component);
        }
        Ok(())
    }
}

fn line(component: &ComponentStatus, one: &GenerationStatus) {
    let ms = |us: u64| format!("{}.{:02}", us / 1000, us % 1000 / 10);
    println!(
        "{:<16} {:>4} {:<7} {:>5}% {:>9} {:>9} {:>7} {:>9} {:>9}  {}",
        component.id,
        one.number,
        one.role,
        one.share / 100,
        one.instances,
        one.health.calls,
        one.health.errors,
        ms(one.health.p50_us),
        ms(one.health.p99_us),
        short(&one.digest)
    );
    if one.health.differences > 0 {
        println!(
            "  {} answers differ from those of the generation that serves",
            one.health.differences
        );
    }
}

fn more(component: &ComponentStatus) {
    let links = component.links.iter();
    let links = links.map(|link| format!("{} ({})", link.callee, link.binding));
    let links: Vec<String> = links.collect();
    if !links.is_empty() {
        println!("{} links {}", component.id, links.join(", "));
    }
    if let Some(swap) = &component.swap {
        let phase = match &swap.phase {
            Phase::Watched => "is being watched".to_owned(),
            Phase::Passed => "is on trial; it has passed its watch".to_owned(),
            Phase::Kept => "was kept".to_owned(),
            Phase::RolledBack { why } => format!("was rolled back: {why}"),
            Phase::Superseded => "was replaced by a later one".to_owned(),
        };
        println!(
            "{}: the last swap ({}) {phase}",
            component.id,
            short(&swap.digest)
        );
    }
}
