//! The wall clock of guests: this machine's clock, or a test clock that is ahead of it. The host uses the same clock where it
//! compares a time from a guest with the present, such as the deadline of a call.
//!
//! A test clock moves wall time only. Timeouts, intervals and durations use monotonic clocks, which do not move. The log,
//! the spans and the signatures of the host use this machine's time.

use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wasmtime_wasi::HostWallClock;

/// The file in the state folder that stores how far the test clock is ahead.
const FILE: &str = "test-clock.toml";
/// The maximum that a test clock may be ahead, in milliseconds: 100 years of 365 days.
const MAX_AHEAD_MS: u64 = 100 * 365 * DAY_MS;
/// A day, in milliseconds.
const DAY_MS: u64 = 86_400_000;
/// The resolution of the clock that guests are told.
const RESOLUTION: Duration = Duration::from_nanos(1);

/// Why a clock cannot be opened or moved.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// The shop has no test clock.
    #[error(
        "this shop uses the clock of this machine, which cannot be moved\n  help: start a shop for tests with localmart up --test-clock"
    )]
    NoTestClock,
    /// The clock was to move backwards, or by nothing.
    #[error(
        "a clock moves only forwards, because the stores must not see time go back; give a duration such as 16m"
    )]
    NotForwards,
    /// The clock would be ahead by more than the maximum.
    #[error("a test clock may be at most {} days ahead; this one is {} days ahead now", days(MAX_AHEAD_MS), days(*.0))]
    TooFar(u64),
    /// A host without a test clock was started on a state folder whose test clock was moved.
    #[error(
        "the test clock of this state folder was moved: it is {ahead_ms} ms ahead, according to {}. Without the test clock, the stores would see time go back\n  help: start with --test-clock, or choose another folder with --state-dir",
        .file.display()
    )]
    Moved {
        /// The file with the offset.
        file: PathBuf,
        /// How far the test clock is ahead, in milliseconds.
        ahead_ms: u64,
    },
    /// Two hosts on one state folder, of which at least one has a test clock.
    #[error(
        "another shop runs on the state folder {}, and one of the two shops has a test clock. Their times would differ\n  help: stop the other shop, or choose another folder with --state-dir",
        .0.display()
    )]
    InUse(PathBuf),
    /// The file with the offset has unexpected content.
    #[error("{} must contain `ahead_ms = <milliseconds>`: {reason}\n  help: choose another folder with --state-dir", .file.display())]
    Unreadable {
        /// The file with the offset.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The offset cannot be stored. The clock has not moved.
    #[error("the test clock was not moved, because {} cannot be written", .file.display())]
    NotWritten {
        /// The file with the offset.
        file: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

const fn days(ms: u64) -> u64 {
    ms / DAY_MS
}

/// A wall clock. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// `None` for this machine's clock.
    test: Option<Arc<TestClock>>,
    /// The lock of the state folder, held as long as the clock exists.
    _lock: Option<Arc<File>>,
}

#[derive(Debug)]
struct TestClock {
    file: PathBuf,
    ahead_ms: AtomicU64,
    /// Held during a move, so that two moves at the same time both count.
    moving: Mutex<()>,
}

/// The content of [`FILE`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    ahead_ms: u64,
}

impl Clock {
    /// This machine's clock, without a state folder.
    pub fn machine() -> Self {
        Self::default()
    }

    /// The clock of a host on a state folder. A test clock continues with the offset that the folder stores. This machine's
    /// clock is refused if that offset is not zero. Several hosts may share a folder, but only without a test clock.
    pub fn open(state_dir: &Path, test: bool) -> Result<Self, ClockError> {
        let lock = lock(state_dir, test)?;
        let (file, ahead_ms) = (state_dir.join(FILE), saved(state_dir)?);
        let test = match (test, ahead_ms) {
            (true, ahead_ms) => Some(Arc::new(TestClock {
                file,
                ahead_ms: AtomicU64::new(ahead_ms),
                moving: Mutex::default(),
            })),
            (false, 0) => None,
            (false, ahead_ms) => return Err(ClockError::Moved { file, ahead_ms }),
        };
        Ok(Self { test, _lock: lock })
    }

    /// Whether this is a test clock.
    pub fn is_test(&self) -> bool {
        self.test.is_some()
    }

    /// How far the clock is ahead of this machine's clock.
    pub fn ahead(&self) -> Duration {
        let test = self.test.as_ref();
        let ahead_ms = test.map(|test| test.ahead_ms.load(Ordering::Acquire));
        Duration::from_millis(ahead_ms.unwrap_or_default())
    }

    /// The time of the clock.
    pub fn now(&self) -> SystemTime {
        SystemTime::now() + self.ahead()
    }

    /// The time of the clock, in Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Moves a test clock forwards. The state folder stores the new offset for the next start.
    pub fn advance(&self, by_ms: i64) -> Result<(), ClockError> {
        let test = self.test.as_ref().ok_or(ClockError::NoTestClock)?;
        let by_ms = u64::try_from(by_ms).ok().filter(|by_ms| *by_ms > 0);
        let by_ms = by_ms.ok_or(ClockError::NotForwards)?;
        // A panic in here leaves nothing half done, so that a poisoned lock is as good as another.
        let _moving = test.moving.lock();
        let ahead_ms = test.ahead_ms.load(Ordering::Acquire);
        let advanced_ms = ahead_ms.saturating_add(by_ms);
        if advanced_ms > MAX_AHEAD_MS {
            return Err(ClockError::TooFar(ahead_ms));
        }
        // The file comes first: if the host is killed before the next line, the next start is later than this time, never
        // earlier.
        save(&test.file, advanced_ms).map_err(|source| ClockError::NotWritten {
            file: test.file.clone(),
            source,
        })?;
        test.ahead_ms.store(advanced_ms, Ordering::Release);
        Ok(())
    }

    /// The offset of a test clock, for `/metrics`; empty for this machine's clock.
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

/// How far the test clock of a state folder is ahead, even if no host runs there. Zero if there is no test clock.
pub fn ahead_of(state_dir: &Path) -> Result<Duration, ClockError> {
    saved(state_dir).map(Duration::from_millis)
}

/// Locks the state folder: exclusively for a test clock, else together with other hosts. The operating system releases the
/// lock when the process ends, however it ends.
fn lock(state_dir: &Path, exclusive: bool) -> Result<Option<Arc<File>>, ClockError> {
    // Whoever writes there first reports a folder that cannot be used.
    let Ok(folder) = File::open(state_dir) else {
        return Ok(None);
    };
    let locked = match exclusive {
        true => folder.try_lock(),
        false => folder.try_lock_shared(),
    };
    match locked {
        Ok(()) => Ok(Some(Arc::new(folder))),
        Err(TryLockError::WouldBlock) => Err(ClockError::InUse(state_dir.to_owned())),
        // Some network file systems have no locks.
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

fn saved(state_dir: &Path) -> Result<u64, ClockError> {
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
    let saved: Saved = toml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    if saved.ahead_ms > MAX_AHEAD_MS {
        let reason = format!(
            "the maximum is {MAX_AHEAD_MS}, which is {} days",
            days(MAX_AHEAD_MS)
        );
        return Err(unreadable(reason));
    }
    Ok(saved.ahead_ms)
}

/// Replaces the file at once, so that a host that is killed never leaves half a file.
fn save(file: &Path, ahead_ms: u64) -> std::io::Result<()> {
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
        // An earlier process with the same id may have left the folder.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_test_clock_moves_forwards_and_keeps_its_offset() {
        let folder = folder("moves");
        let clock = Clock::open(&folder, true).unwrap();
        assert_eq!((clock.is_test(), clock.ahead()), (true, Duration::ZERO));
        let (before, copy) = (clock.now_ms(), clock.clone());
        clock.advance(960_000).unwrap();
        assert!(copy.now_ms() >= before + 960_000);
        copy.advance(1).unwrap();
        let ahead = Duration::from_millis(960_001);
        assert_eq!(clock.ahead(), ahead);
        for wrong in [0, -1, i64::MIN] {
            let refused = clock.advance(wrong);
            assert!(matches!(refused, Err(ClockError::NotForwards)), "{wrong}");
        }
        let refused = clock.advance(i64::MAX);
        assert!(matches!(refused, Err(ClockError::TooFar(960_001))));
        assert_eq!((clock.ahead(), ahead_of(&folder).unwrap()), (ahead, ahead));
        drop((clock, copy));
        let reopened = Clock::open(&folder, true).unwrap();
        assert_eq!(reopened.ahead(), ahead);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn moves_at_the_same_time_all_count_and_time_never_goes_back() {
        const THREADS: u64 = 4;
        const MOVES: u64 = 50;
        let folder = folder("together");
        let clock = Clock::open(&folder, true).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..MOVES {
                        let before = clock.ahead();
                        clock.advance(1000).unwrap();
                        assert!(clock.ahead() >= before + Duration::from_secs(1));
                    }
                });
            }
        });
        let all = Duration::from_secs(THREADS * MOVES);
        assert_eq!((clock.ahead(), ahead_of(&folder).unwrap()), (all, all));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_clock_of_the_machine_cannot_be_moved_and_is_refused_after_a_move() {
        let folder = folder("machine");
        let clock = Clock::open(&folder, false).unwrap();
        assert!(matches!(clock.advance(1), Err(ClockError::NoTestClock)));
        assert_eq!(
            (clock.ahead(), clock.metrics()),
            (Duration::ZERO, String::new())
        );
        assert!(!folder.join(FILE).exists());
        drop(clock);
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

    #[test]
    fn a_folder_with_a_test_clock_is_for_one_host_and_others_can_be_shared() {
        let folder = folder("shared");
        let machines = [false, false].map(|test| Clock::open(&folder, test).unwrap());
        let refused = |test| matches!(Clock::open(&folder, test), Err(ClockError::InUse(_)));
        assert!(refused(true));
        drop(machines);
        let test = Clock::open(&folder, true).unwrap();
        assert!(refused(true) && refused(false));
        drop(test);
        assert!(!refused(false));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
