//! `localmart traffic`: records the calls of a link into a file, and replays them against a component.

use crate::control::Which;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use localmart_host::control::{CallAnswer, CallCommand, RecordingEnded, StartRecording};
use localmart_host::link::binding::Link;
use localmart_host::record::RecordedCall;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

/// The maximum number of differing answers that are printed.
const SHOWN: usize = 5;

/// Records the calls of a link of the running shop, and replays them against a component.
#[derive(Args)]
pub(crate) struct Traffic {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Start to record the calls of a link. The file contains all arguments and answers, personal data included; only you can
    /// read it.
    Record(Begin),
    /// Stop the recording.
    Stop(Stop),
    /// Make the recorded calls again, one after the other, and compare the answers. Calls that change data change it again.
    Replay(Replay),
}

#[derive(Args)]
struct Begin {
    /// The link, for example order->catalog.
    #[arg(long, value_name = "CALLER->CALLEE")]
    link: Link,
    /// The file to create.
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
    /// The file with the recorded calls.
    file: PathBuf,
    /// Call this component instead of the one that was recorded.
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
            "recording {} into {}; stop with: localmart traffic stop",
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
        let file = file.with_context(|| format!("reading {}", self.file.display()))?;
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
