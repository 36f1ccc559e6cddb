//! Records the calls of a link into a file, as one line of JSON per call with values in WAVE, so that they can be
//! replayed elsewhere.

use crate::link::binding::Link;
use crate::link::function::LinkFunction;
use crate::link::not_answered::NotAnswered;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wasmtime::component::Val;

/// A recorded call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedCall {
    /// When it was made, in Unix milliseconds.
    pub at_ms: u64,
    /// The calling component.
    pub caller: String,
    /// The called component.
    pub callee: String,
    /// The interface.
    pub interface: String,
    /// The function.
    pub function: String,
    /// The arguments in WAVE.
    pub arguments: Vec<String>,
    /// The returned value in WAVE; `None` if the callee did not answer.
    pub answer: Option<String>,
    /// The duration in microseconds.
    pub us: u64,
}

/// Records at most one link at a time.
#[derive(Default)]
pub struct Recorder {
    on: AtomicBool,
    recording: Mutex<Option<Recording>>,
}

struct Recording {
    link: Link,
    file: BufWriter<File>,
    calls: u64,
}

impl Recorder {
    /// Starts to record a link into a new file.
    pub fn begin(&self, link: Link, path: &Path) -> anyhow::Result<()> {
        let mut recording = self.lock()?;
        if let Some(known) = &*recording {
            bail!(
                "{} is already being recorded; stop it first: localmart traffic stop",
                known.link
            );
        }
        let file = create_private(path).with_context(|| {
            format!(
                "{} cannot be created; its folder must exist, and the file must not",
                path.display()
            )
        })?;
        *recording = Some(Recording {
            link,
            file: BufWriter::new(file),
            calls: 0,
        });
        self.on.store(true, Ordering::Release);
        Ok(())
    }

    /// Stops recording. Returns the number of recorded calls.
    pub fn end(&self) -> anyhow::Result<u64> {
        self.on.store(false, Ordering::Release);
        let Some(mut recording) = self.lock()?.take() else {
            bail!("no recording is running");
        };
        recording.file.flush().context("writing the last calls")?;
        Ok(recording.calls)
    }

    /// The arguments of a call in WAVE, if the call is to be recorded.
    pub fn wants(&self, function: &LinkFunction, params: &[Val]) -> Option<Vec<String>> {
        if !self.on.load(Ordering::Acquire) {
            return None;
        }
        let recording = self.recording.lock().ok()?;
        let link = &recording.as_ref()?.link;
        if *link.caller != *function.caller || *link.callee != *function.callee {
            return None;
        }
        params
            .iter()
            .map(|value| wasm_wave::to_string(value).ok())
            .collect()
    }

    /// Records a finished call.
    pub fn ended(
        &self,
        function: &LinkFunction,
        arguments: Vec<String>,
        answer: Result<&[Val], &NotAnswered>,
        time: Duration,
    ) {
        let answer = answer.ok().and_then(|values| match values.first() {
            Some(value) => wasm_wave::to_string(value).ok(),
            None => Some(String::new()),
        });
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let recorded = RecordedCall {
            at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            caller: function.caller.to_string(),
            callee: function.callee.to_string(),
            interface: function.interface.clone(),
            function: function.name.clone(),
            arguments,
            answer,
            us: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
        };
        let Ok(mut recording) = self.recording.lock() else {
            return;
        };
        let Some(recording) = &mut *recording else {
            return;
        };
        let written = serde_json::to_string(&recorded).map_err(std::io::Error::from);
        match written.and_then(|line| writeln!(recording.file, "{line}")) {
            Ok(()) => recording.calls += 1,
            Err(error) => tracing::warn!(%error, "a call could not be recorded"),
        }
    }

    fn lock(&self) -> anyhow::Result<std::sync::MutexGuard<'_, Option<Recording>>> {
        let locked = self.recording.lock();
        locked
            .map_err(|_| anyhow::anyhow!("the recorder panicked earlier; restart the application"))
    }
}

/// Creates a file that only this user can read: arguments and answers contain personal data.
fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}
