//! `localmart traffic`: records the calls of a link into a file, and makes them again.

use crate::control::Which;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use localmart_host::control::{CallAnswer, CallCommand, RecordingEnded, StartRecording};
use localmart_host::link::binding::Link;
use localmart_host::record::RecordedCall;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

/// How many answers that differ are shown.
const SHOWN: usize = 5;

/// Records what goes over a link of the running shop, and plays it to a component.
#[derive(Args)]
pub(crate) struct Traffic {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Begin to record the calls of a link. What is in them is written down as it is, also what is personal.
    Record(Begin),
    /// End it.
    Stop(Stop),
    /// Make the recorded calls again, one after the other, and compare the answers. Those that change something change it again.
    Replay(Replay),
}

#[derive(Args)]
struct Begin {
    /// The link, as order->catalog.
    #[arg(long, value_name = "CALLER->CALLEE")]
    link: Link,
    /// The file, which must not be there yet.
    #[arg(long)]
    to: PathBuf,
    #[command(flatten)]
    shop: Which,
}

#[derive(Args)]
struct Stop {
    #[command(flatten)]
    shop: Which,
}

#[derive(Args)]
struct Replay {
    /// What was recorded.
    file: PathBuf,
    /// Ask this component instead of the one that was called.
    #[arg(long = "as", value_name = "COMPONENT")]
    component: Option<String>,
    #[command(flatten)]
    shop: Which,
}

impl Traffic {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.act {
            Act::Record(begin) => begin.run(),
            Act::Stop(stop) => stop.run(),
            Act::Replay(replay) => replay.run(),
        }
    }
}

impl Begin {
    fn run(self) -> anyhow::Result<()> {
        let to = std::path::absolute(&self.to)?;
        let record = StartRecording {
            caller: self.link.caller.clone(),
            callee: self.link.callee.clone(),
            file: to.clone(),
        };
        let _: Value = self.shop.host()?.post("/record", &record)?;
        println!(
            "recording {} into {}; end it with localmart traffic stop",
            self.link,
            to.display()
        );
        Ok(())
    }
}

impl Stop {
    fn run(self) -> anyhow::Result<()> {
        let ended: RecordingEnded = self.shop.host()?.delete("/record", &())?;
        println!("{} calls recorded", ended.calls);
        Ok(())
    }
}

impl Replay {
    fn run(self) -> anyhow::Result<()> {
        let host = self.shop.host()?;
        let file = std::fs::File::open(&self.file);
        let file = file.with_context(|| format!("there is no {}", self.file.display()))?;
        let (mut calls, mut differ) = (0, 0);
        for (place, line) in BufReader::new(file).lines().enumerate() {
            let place = || format!("{}:{}", self.file.display(), place + 1);
            let recorded: RecordedCall = serde_json::from_str(&line?).with_context(place)?;
            let call = CallCommand {
                component: self.component.clone().unwrap_or(recorded.callee),
                function: recorded.function,
                arguments: recorded.arguments,
            };
            let answer: CallAnswer = host.post("/call", &call)?;
            let answer = answer.answer;
            calls += 1;
            if answer != recorded.answer {
                differ += 1;
                if differ <= SHOWN {
                    let nothing = || "no answer".to_owned();
                    println!(
                        "{}: {}({}) was {}, and is {}",
                        place(),
                        call.function,
                        call.arguments.join(", "),
                        recorded.answer.unwrap_or_else(nothing),
                        answer.unwrap_or_else(nothing)
                    );
                }
            }
        }
        println!("{calls} calls, {differ} answers differ");
        if differ > 0 {
            bail!("{differ} of {calls} answers differ");
        }
        Ok(())
    }
}
