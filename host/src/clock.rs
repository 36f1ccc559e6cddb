//! The wall clock of guests, and of whatever the host compares with times that guests made: this machine's clock, or a test clock
//! that was moved ahead of it.
//!
//! Only wall time moves. Timeouts, intervals and durations are measured with monotonic clocks, which a test clock leaves alone, and
//! the host's own log lines, spans and signatures keep the machine's time.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wasmtime_wasi::HostWallClock;

/// The file in the state folder that says how far a test clock is ahead.
const FILE: &str = "test-clock.toml";
/// How far a test clock may be ahead, in milliseconds: a hundred years.
const FARTHEST_MS: u64 = 100 * 365 * 86_400_000;
/// The smallest step of the clock that guests are told about.
const RESOLUTION: Duration = Duration::from_nanos(1);

/// Why a clock cannot be opened or moved.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// There is no test clock.
    #[error(
        "this shop runs on the machine's clock, which only a test may move\n  help: start it with localmart up --test-clock"
    )]
    NoTestClock,
    /// Into the past, or not at all.
    #[error(
        "a clock only moves forwards, so that no store sees time go back; give a duration like 16m"
    )]
    Backwards,
    /// Farther than times can be trusted to add up.
    #[error("a test clock may be at most {} days ahead; this one is {} days ahead now", days(FARTHEST_MS), days(*.0))]
    TooFar(u64),
    /// A host without a test clock on a state folder whose clock was moved.
    #[error(
        "the clock of this state folder was moved: {} says {} ms. Without it the stores would see time go back\n  help: start with --test-clock, or on another state folder",
        .file.display(), .ahead_ms
    )]
    Moved {
        /// The file that says so.
        file: PathBuf,
        /// By how many milliseconds.
        ahead_ms: u64,
    },
    /// The file is not one that a test clock wrote.
    #[error("{} must be `ahead_ms = <milliseconds>`: {reason}\n  help: start on another state folder", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file cannot be written, and the clock has not moved.
    #[error("the test clock has not moved: writing {}", .file.display())]
    NotWritten {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

const fn days(ms: u64) -> u64 {
    ms / 86_400_000
}

/// A wall clock. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<TestClock>>);

#[derive(Debug)]
struct TestClock {
    file: PathBuf,
    ahead_ms: AtomicU64,
    /// One move at a time.
    moving: Mutex<()>,
}

/// What the file of a test clock says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    ahead_ms: u64,
}

impl Clock {
    /// This machine's clock.
    pub fn machine() -> Self {
        Self(None)
    }

    /// The clock of a host on a state folder. A test clock goes on from where it was moved to; this machine's clock is refused
    /// on a folder where a test clock was moved.
    pub fn open(state_dir: &Path, test: bool) -> Result<Self, ClockError> {
        let (file, ahead_ms) = (state_dir.join(FILE), kept(state_dir)?);
        if test {
            return Ok(Self(Some(Arc::new(TestClock {
                file,
                ahead_ms: AtomicU64::new(ahead_ms),
                moving: Mutex::default(),
            }))));
        }
        match ahead_ms {
            0 => Ok(Self::machine()),
            ahead_ms => Err(ClockError::Moved { file, ahead_ms }),
        }
    }

    /// Whether this is a test clock.
    pub fn is_test(&self) -> bool {
        self.0.is_some()
    }

    /// How far it is ahead of this machine's clock.
    pub fn ahead(&self) -> Duration {
        let ahead_ms = self
            .0
            .as_ref()
            .map(|test| test.ahead_ms.load(Ordering::Acquire));
        Duration::from_millis(ahead_ms.unwrap_or_default())
    }

    /// What it shows.
    pub fn now(&self) -> SystemTime {
        SystemTime::now() + self.ahead()
    }

    /// What it shows, in Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Moves a test clock forwards, and keeps that for the next start on the same state folder.
    pub fn advance(&self, by_ms: i64) -> Result<(), ClockError> {
        let test = self.0.as_ref().ok_or(ClockError::NoTestClock)?;
        let by_ms = u64::try_from(by_ms).ok().filter(|by_ms| *by_ms > 0);
        let by_ms = by_ms.ok_or(ClockError::Backwards)?;
        // The lock guards nothing that a panic could leave half done.
        let _moving = test.moving.lock();
        let ahead_ms = test.ahead_ms.load(Ordering::Acquire);
        let farther = ahead_ms.saturating_add(by_ms);
        if farther > FARTHEST_MS {
            return Err(ClockError::TooFar(ahead_ms));
        }
        // Kept first: a host that is killed in between starts later, never earlier.
        keep(&test.file, farther).map_err(|source| ClockError::NotWritten {
            file: test.file.clone(),
            source,
        })?;
        test.ahead_ms.store(farther, Ordering::Release);
        Ok(())
    }

    /// How far a test clock is ahead, for `/metrics`; nothing of another clock.
    pub fn metrics(&self) -> String {
        const NAME: &str = "localmart_test_clock_ahead_seconds";
        if !self.is_test() {
            return String::new();
        }
        let (help, ahead) = ("How far the test clock is ahead.", self.ahead().as_secs());
        format!("# HELP {NAME} {help}\n# TYPE {NAME} gauge\n{NAME} {ahead}\n")
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        let since = Self::now(self).duration_since(UNIX_EPOCH);
        since.unwrap_or_default()
    }
}

/// How far the test clock of a state folder is ahead, whether a host runs there or not; zero where none was moved.
pub fn ahead_of(state_dir: &Path) -> Result<Duration, ClockError> {
    kept(state_dir).map(Duration::from_millis)
}

fn kept(state_dir: &Path) -> Result<u64, ClockError> {
    let file = state_dir.join(FILE);
    let unreadable = |reason: String| ClockError::Unreadable {
        file: file.clone(),
        reason,
    };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let kept: Kept = toml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    if kept.ahead_ms > FARTHEST_MS {
        let reason = format!("more than {} days", days(FARTHEST_MS));
        return Err(unreadable(reason));
    }
    Ok(kept.ahead_ms)
}

fn keep(file: &Path, ahead_ms: u64) -> std::io::Result<()> {
    let unfinished = file.with_extension("toml.part");
    std::fs::write(&unfinished, format!("ahead_ms = {ahead_ms}\n"))?;
    std::fs::rename(&unfinished, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("localmart-clock-{name}-{}", std::process::id()));
        // Left from an earlier process with the same id, if it exists at all.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_test_clock_moves_forwards_and_stays_there() {
        let folder = folder("moves");
        let clock = Clock::open(&folder, true).unwrap();
        assert_eq!((clock.is_test(), clock.ahead()), (true, Duration::ZERO));
        let (before, copy) = (clock.now_ms(), clock.clone());
        clock.advance(960_000).unwrap();
        assert!(copy.now_ms() >= before + 960_000);
        copy.advance(1).unwrap();
        assert_eq!(clock.ahead(), Duration::from_millis(960_001));
        for wrong in [0, -1, i64::MIN] {
            assert!(matches!(clock.advance(wrong), Err(ClockError::Backwards)));
        }
        assert!(matches!(
            clock.advance(i64::MAX),
            Err(ClockError::TooFar(960_001))
        ));
        assert_eq!(clock.ahead(), Duration::from_millis(960_001));
        let later = Clock::open(&folder, true).unwrap();
        assert_eq!(later.ahead(), Duration::from_millis(960_001));
        assert_eq!(ahead_of(&folder).unwrap(), later.ahead());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_machines_clock_never_moves_and_is_not_for_a_folder_where_time_was_moved() {
        let folder = folder("machine");
        let clock = Clock::open(&folder, false).unwrap();
        assert!(matches!(clock.advance(1), Err(ClockError::NoTestClock)));
        assert_eq!(
            (clock.ahead(), clock.metrics()),
            (Duration::ZERO, String::new())
        );
        assert!(!folder.join(FILE).exists());
        Clock::open(&folder, true).unwrap().advance(5).unwrap();
        let error = Clock::open(&folder, false).unwrap_err().to_string();
        assert!(
            error.contains("5 ms") && error.contains("--test-clock"),
            "{error}"
        );
        std::fs::write(folder.join(FILE), "ahead = -5").unwrap();
        for test in [false, true] {
            let error = Clock::open(&folder, test).unwrap_err();
            assert!(matches!(error, ClockError::Unreadable { .. }), "{error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
