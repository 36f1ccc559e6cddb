//! `localmart logs`: the log of a shop, running or not, from the files in its state folder. [`reader`] reads the files,
//! [`entry`] is one line.

mod entry;
mod reader;

use crate::app::AppOptions;
use crate::control::Named;
use crate::shop::ShopOptions;
use anyhow::{Context as _, bail};
use clap::Args;
use entry::Entry;
use jiff::{SignedDuration, Timestamp};
use localmart_host::log;
use reader::Reader;
use std::collections::{BTreeSet, VecDeque};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a followed log is read.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// Lines that `--follow` shows first, unless the command line says more.
const FOLLOW_LINES: usize = 10;
/// The length of a trace id, in hexadecimal digits.
const TRACE_DIGITS: usize = 32;
/// The shortest beginning of a trace id that selects a trace.
const MIN_TRACE_DIGITS: usize = 8;

/// Prints the log of the shop. With -f it waits for further lines, until it is interrupted.
#[derive(Args)]
pub(crate) struct Logs {
    /// Only the lines of this component.
    component: Option<String>,
    /// Print further lines as they are written.
    #[arg(long, short = 'f')]
    follow: bool,
    /// Only the lines of one request: the trace id, which is the x-request-id of its answer, or the first digits of it.
    #[arg(long, value_name = "ID", value_parser = trace)]
    trace: Option<String>,
    /// Only lines since then: a duration (10m, 2h, 1d) or a time (2026-11-26T10:00:00Z).
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Only the last lines, as many as this. Default: all, and 10 with -f alone.
    #[arg(long, short = 'n', value_name = "NUMBER")]
    lines: Option<usize>,
    /// Print the lines as they were written, in JSON.
    #[arg(long)]
    json: bool,
    /// The shop, by its address or its state folder. Default: the running shop, else the shop of the manifest.
    #[arg(long, value_name = "ADDRESS-OR-FOLDER", conflicts_with = "state_dir")]
    shop: Option<Named>,
    /// The manifest, or its folder. Default: spin.toml.
    #[arg(long = "from", alias = "file")]
    from: Option<PathBuf>,
    /// The folder with the files of the shop. Default: .localmart beside the manifest.
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// The runtime configuration, which may name the state folder.
    #[arg(long, env = "RUNTIME_CONFIG_FILE")]
    runtime_config_file: Option<PathBuf>,
}

impl Logs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (state_dir, in_manifest) = self.shop()?;
        let folder = log::folder(&state_dir);
        if log::files(&folder).is_empty() {
            bail!(
                "there is no log in {}\n  help: start the shop with localmart up, or name its state folder with --state-dir",
                folder.display()
            );
        }
        if let Some(component) = &self.component {
            is_known(component, &in_manifest, &folder)?;
        }
        let mut reader = Reader::new(&folder);
        let mut last_time = None;
        let mut shown = VecDeque::new();
        let limit = match (self.lines, self.follow, self.since) {
            (Some(lines), _, _) => lines,
            (None, true, None) => FOLLOW_LINES,
            _ => usize::MAX,
        };
        while let Some(line) = reader.next_line()? {
            let entry = Entry::parse(&line);
            last_time = entry.time().or(last_time);
            if self.wants(&entry, last_time) {
                if limit == usize::MAX {
                    self.print(&entry)?;
                    continue;
                }
                shown.push_back(line);
                if shown.len() > limit {
                    shown.pop_front();
                }
            }
        }
        for line in &shown {
            self.print(&Entry::parse(line))?;
        }
        if !self.follow {
            return Ok(());
        }
        loop {
            std::io::stdout().flush()?;
            std::thread::sleep(FOLLOW_INTERVAL);
            while let Some(line) = reader.next_line()? {
                let entry = Entry::parse(&line);
                last_time = entry.time().or(last_time);
                if self.wants(&entry, last_time) {
                    self.print(&entry)?;
                }
            }
        }
    }

    /// The state folder, and the components of the manifest if there is one.
    fn shop(&self) -> anyhow::Result<(PathBuf, BTreeSet<String>)> {
        let options = AppOptions {
            from: self.from.clone(),
            insecure: false,
            state_dir: self.state_dir.clone(),
            runtime_config_file: self.runtime_config_file.clone(),
            profile: None,
            variables: Vec::new(),
        };
        let manifest = options.source().ok().and_then(|source| source.parse().ok());
        let components = manifest.map(|manifest| manifest.component);
        let components = components.unwrap_or_default().into_keys().collect();
        let state_dir = match &self.state_dir {
            Some(state_dir) => state_dir.clone(),
            None => {
                ShopOptions::new(self.shop.clone(), options)
                    .find()?
                    .state_dir
            }
        };
        Ok((state_dir, components))
    }

    /// Whether a line is asked for. A line without a time has the time of the line before.
    fn wants(&self, entry: &Entry<'_>, time: Option<Timestamp>) -> bool {
        let since = self.since;
        let component = self.component.as_deref();
        let trace = self.trace.as_deref();
        since.is_none_or(|since| time.is_some_and(|time| time >= since))
            && component.is_none_or(|component| entry.is_of(component))
            && trace.is_none_or(|trace| entry.is_in(trace))
    }

    fn print(&self, entry: &Entry<'_>) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        let text = match self.json {
            true => entry.line.to_owned(),
            false => {
                let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                entry.readable(out.is_terminal() && !plain)
            }
        };
        match writeln!(out, "{text}") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                std::process::exit(crate::BROKEN_PIPE)
            }
            written => written.context("writing to the standard output"),
        }
    }
}

/// Checks that a component is in the manifest or in the log.
fn is_known(component: &str, in_manifest: &BTreeSet<String>, folder: &Path) -> anyhow::Result<()> {
    if in_manifest.contains(component) {
        return Ok(());
    }
    let mut known = in_manifest.clone();
    let mut reader = Reader::new(folder);
    while let Some(line) = reader.next_line()? {
        let entry = Entry::parse(&line);
        if entry.is_of(component) {
            return Ok(());
        }
        known.extend(entry.component().map(str::to_owned));
    }
    let known: Vec<String> = known.into_iter().collect();
    bail!(
        "there is no component `{component}`; known components: {}",
        known.join(", ")
    )
}

/// Reads a trace id, its beginning, or a whole `traceparent`.
fn trace(text: &str) -> Result<String, String> {
    let id = match text.split('-').collect::<Vec<_>>().as_slice() {
        [_version, id, _span, _flags] => (*id).to_owned(),
        _ => text.to_ascii_lowercase(),
    };
    let is_hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (MIN_TRACE_DIGITS..=TRACE_DIGITS).contains(&id.len()) && is_hex {
        true => Ok(id),
        false => Err(format!(
            "a trace id has {TRACE_DIGITS} hexadecimal digits; give all of them, or at least the first {MIN_TRACE_DIGITS}"
        )),
    }
}

/// Reads a duration before now, or a time.
fn since(text: &str) -> Result<Timestamp, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or_default();
    let seconds = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(60 * 60),
        "d" => Some(24 * 60 * 60),
        _ => None,
    };
    let ago = || {
        let seconds = number.parse::<i64>().ok()?.checked_mul(seconds?)?;
        let now = Timestamp::now();
        now.checked_sub(SignedDuration::from_secs(seconds)).ok()
    };
    ago().or_else(|| text.parse().ok()).ok_or_else(|| {
        "expected a duration such as 30s, 10m, 2h or 1d, or a time such as 2026-11-26T10:00:00Z"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_named_by_its_id() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        for (text, read) in [
            (id, Some(id)),
            ("0AF76519", Some("0af76519")),
            (
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                Some(id),
            ),
            ("0af7651", None),
            ("order", None),
            ("", None),
        ] {
            assert_eq!(trace(text).ok().as_deref(), read, "{text}");
        }
        assert!(trace(&id.repeat(2)).is_err());
    }

    #[test]
    fn a_time_is_named_by_a_duration_or_as_it_is() {
        let now = Timestamp::now();
        for (text, seconds) in [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400)] {
            let ago = now.duration_since(since(text).unwrap());
            assert!((ago.as_secs() - seconds).abs() <= 1, "{text}");
        }
        let time = "2026-11-26T10:00:00Z";
        assert_eq!(since(time).unwrap().to_string(), time);
        for wrong in ["", "10", "m", "-1m", "yesterday", "99999999999999999h"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
