//! What a verb that takes long is doing: a bar or a spinner on a terminal, plain lines where the standard error output is a pipe or a
//! file, nothing under `--quiet`.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);
/// How often a line says how far a long step is.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows one step after the other.
pub(crate) struct Progress {
    shown: Shown,
    begun: Instant,
    step: Mutex<Option<Step>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Lines,
    Bars,
}

/// A step whose length is known.
#[derive(Clone)]
pub(crate) struct Step {
    shown: Shown,
    bar: ProgressBar,
    /// When the last line was printed.
    printed: Arc<Mutex<Instant>>,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self::shown(match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Shown::Nothing,
            (false, true) => Shown::Bars,
            (false, false) => Shown::Lines,
        })
    }

    pub(crate) fn nowhere() -> Self {
        Self::shown(Shown::Nothing)
    }

    fn shown(shown: Shown) -> Self {
        Self {
            shown,
            begun: Instant::now(),
            step: Mutex::default(),
        }
    }

    /// Begins a step of unknown length.
    pub(crate) fn step(&self, what: &str) {
        self.begin(what, None);
    }

    /// Begins a step of known length.
    pub(crate) fn counted(&self, what: &str, of_how_many: usize) -> Step {
        self.begin(what, Some(of_how_many))
    }

    /// Ends the last step.
    pub(crate) fn end(&self) {
        if let Ok(mut step) = self.step.lock()
            && let Some(step) = step.take()
        {
            step.bar.finish_and_clear();
        }
    }

    /// Ends the last step and says how long all of them took.
    pub(crate) fn ready(&self) {
        self.end();
        if self.shown != Shown::Nothing {
            let took = self.begun.elapsed();
            eprintln!(
                "ready after {}.{} s",
                took.as_secs(),
                took.subsec_millis() / 100
            );
        }
    }

    fn begin(&self, what: &str, of_how_many: Option<usize>) -> Step {
        self.end();
        let bar = match (self.shown, of_how_many) {
            (Shown::Bars, Some(all)) => {
                let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}");
                styled(ProgressBar::new(all as u64), style)
            }
            (Shown::Bars, None) => {
                let bar = styled(
                    ProgressBar::new_spinner(),
                    ProgressStyle::with_template("{msg} {spinner}"),
                );
                bar.enable_steady_tick(TICK);
                bar
            }
            (Shown::Lines, _) => {
                match of_how_many {
                    Some(all) => eprintln!("{what}: {all}"),
                    None => eprintln!("{what}"),
                }
                ProgressBar::hidden()
            }
            (Shown::Nothing, _) => ProgressBar::hidden(),
        };
        bar.set_length(of_how_many.unwrap_or_default() as u64);
        bar.set_message(what.to_owned());
        let step = Step {
            shown: self.shown,
            bar,
            printed: Arc::new(Mutex::new(Instant::now())),
        };
        if let Ok(mut current) = self.step.lock() {
            *current = Some(step.clone());
        }
        step
    }
}

impl Drop for Progress {
    /// An error is printed below what was shown, not beside it.
    fn drop(&mut self) {
        self.end();
    }
}

impl Step {
    /// So much is done.
    pub(crate) fn at(&self, done: usize) {
        self.bar.set_position(done as u64);
        let all = self.bar.length().unwrap_or_default();
        if self.shown != Shown::Lines || done as u64 >= all {
            return;
        }
        if let Ok(mut printed) = self.printed.lock()
            && printed.elapsed() >= LINE_EVERY
        {
            *printed = Instant::now();
            eprintln!("  {done} of {all}");
        }
    }
}

/// A template of this file is valid; with one that is not the bar has its usual form.
fn styled(
    bar: ProgressBar,
    style: Result<ProgressStyle, indicatif::style::TemplateError>,
) -> ProgressBar {
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
