//! `localmart top`: the running shop in the terminal: components, generations, links, rates, latencies, memory.
//!
//! In reading order: [`report`] (the lines, and how they fit into a window), [`screen`] (the terminal and its keys).

mod report;
mod screen;

use crate::control::Which;
use crate::swap::time;
use clap::Args;
use localmart_host::control::client::Host;
use localmart_host::control::status::Status;
use report::Report;
use screen::{Event, Screen};
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Watches the running shop in the terminal.
#[derive(Args)]
pub(crate) struct Top {
    /// The time between two reports, for example 1s.
    #[arg(long, value_parser = time, default_value = "1s")]
    every: Duration,
    /// Print this many reports one below the other, and end.
    #[arg(long)]
    times: Option<u32>,
    #[command(flatten)]
    which: Which,
}

impl Top {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let host = self.which.host()?;
        let moves_cursor = std::env::var_os("TERM").is_some_and(|terminal| terminal != "dumb");
        if self.times.is_none() && std::io::stdout().is_terminal() && moves_cursor {
            self.watch(&host)
        } else {
            self.print(&host)
        }
    }

    /// Fills the window with the newest report until the user quits.
    fn watch(&self, host: &Host) -> anyhow::Result<()> {
        let (mut seen, mut since) = (status(host)?, Instant::now());
        let mut report = Report::new(&seen, &seen, Duration::ZERO);
        let mut top = 0;
        let screen = Screen::open()?;
        loop {
            let size = screen.size();
            top = report.scrolled(size, top, 0);
            screen.show(&report.window(size, top))?;
            match screen.wait(self.every.saturating_sub(since.elapsed()))? {
                Some(Event::Quit) => return Ok(()),
                Some(Event::Scroll(rows)) => top = report.scrolled(size, top, rows),
                Some(Event::Page(pages)) => {
                    top = report.scrolled(size, top, pages.saturating_mul(size.page()));
                }
                Some(Event::Resized) => {}
                None => {
                    let (now, time) = (status(host)?, since.elapsed());
                    since = Instant::now();
                    report = Report::new(&seen, &now, time);
                    seen = now;
                }
            }
        }
    }

    /// Prints one report after the other.
    fn print(&self, host: &Host) -> anyhow::Result<()> {
        let (mut seen, mut since) = (status(host)?, Instant::now());
        let mut left = self.times;
        while left != Some(0) {
            std::thread::sleep(self.every);
            let (now, time) = (status(host)?, since.elapsed());
            since = Instant::now();
            print!("{}", Report::new(&seen, &now, time));
            std::io::stdout().flush()?;
            seen = now;
            left = left.map(|left| left - 1);
            if left != Some(0) {
                println!();
            }
        }
        Ok(())
    }
}

fn status(host: &Host) -> anyhow::Result<Status> {
    host.get("/status")
}
