//! The log of a running host: lines of JSON, on stderr and in files of the state folder. The files are bounded: a full
//! file is followed by another one, and the oldest is removed. Each line is written at once, so a killed process loses
//! none. Filters and the form of a line belong to the tracing subscriber; [`files`] is for those who read the log.

use crate::limits;
use anyhow::Context as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The folder of the log in the state folder.
const FOLDER: &str = "logs";
/// The extension of a log file.
const EXTENSION: &str = "jsonl";

/// The log file of this process; `None` until [`keep`].
static KEPT: Mutex<Option<LogFile>> = Mutex::new(None);

/// The newest log file of a folder.
#[derive(Debug)]
struct LogFile {
    folder: PathBuf,
    number: u64,
    file: File,
    bytes: u64,
    /// The size at which another file is begun, in bytes.
    limit: u64,
}

/// The folder of the log.
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER)
}

/// The log files of a folder with their numbers, oldest first.
pub fn files(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let numbered = entries.filter_map(|entry| {
        let path = entry.path();
        let is_log = path.extension().is_some_and(|known| known == EXTENSION);
        let number = path.file_stem()?.to_str()?.parse().ok()?;
        is_log.then_some((number, path))
    });
    let mut files: Vec<(u64, PathBuf)> = numbered.collect();
    files.sort_unstable();
    files
}

/// Writes the log of this process to the state folder too, from now on.
pub fn keep(state_dir: &Path) -> anyhow::Result<()> {
    let folder = folder(state_dir);
    let file = LogFile::open(&folder, limits::LOG_FILE_BYTES);
    let file = file.with_context(|| format!("writing the log to {}", folder.display()))?;
    if let Ok(mut kept) = KEPT.lock() {
        *kept = Some(file);
    }
    Ok(())
}

/// Writes a line, which must end with a line break. Failures are ignored: a full disk must not stop the host.
pub fn write(line: &[u8]) {
    let _ = std::io::stderr().lock().write_all(line);
    if let Ok(mut kept) = KEPT.lock()
        && let Some(file) = kept.as_mut()
    {
        let _ = file.write(line);
    }
}

/// A writer for the tracing subscriber, which writes a whole line at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl LogFile {
    fn open(folder: &Path, limit: u64) -> std::io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        let number = files(folder).last().map_or(1, |(number, _)| *number);
        let (file, bytes) = append(folder, number)?;
        Ok(Self {
            folder: folder.to_owned(),
            number,
            file,
            bytes,
            limit,
        })
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.bytes >= self.limit {
            self.begin_next()?;
        }
        self.file.write_all(line)?;
        self.bytes += u64::try_from(line.len()).unwrap_or_default();
        Ok(())
    }

    fn begin_next(&mut self) -> std::io::Result<()> {
        // Another process on the same folder may be ahead.
        let newest = files(&self.folder).last().map(|(number, _)| *number);
        self.number = newest.unwrap_or_default().max(self.number + 1);
        (self.file, self.bytes) = append(&self.folder, self.number)?;
        let known = files(&self.folder);
        let surplus = known.len().saturating_sub(limits::LOG_FILES);
        for (_, path) in known.into_iter().take(surplus) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Opens a log file at its end. A line that a crash cut off is ended first.
fn append(folder: &Path, number: u64) -> std::io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(folder.join(format!("{number:08}.{EXTENSION}")))?;
    let mut last = [b'\n'];
    match file.seek(SeekFrom::End(-1)) {
        Ok(_) => file.read_exact(&mut last)?,
        // The file is empty.
        Err(error) if error.kind() == ErrorKind::InvalidInput => {}
        Err(error) => return Err(error),
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("localmart-log-{name}-{}", std::process::id()));
        // Left from an earlier process with the same id, if it exists at all.
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    fn numbers(folder: &Path) -> Vec<u64> {
        files(folder).iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn a_full_file_is_followed_by_another_one_and_the_oldest_is_removed() {
        let folder = scratch("rotation");
        let mut log = LogFile::open(&folder, 10).unwrap();
        for _ in 0..limits::LOG_FILES {
            log.write(b"123456\n").unwrap();
            log.write(b"123456\n").unwrap();
        }
        let all = u64::try_from(limits::LOG_FILES).unwrap();
        assert_eq!(numbers(&folder), (1..=all).collect::<Vec<_>>());
        log.write(b"123456\n").unwrap();
        assert_eq!(numbers(&folder), (2..=all + 1).collect::<Vec<_>>());
        // The next process continues the newest file.
        let mut log = LogFile::open(&folder, 10).unwrap();
        assert_eq!((log.number, log.bytes), (all + 1, 7));
        log.write(b"7\n").unwrap();
        let (_, newest) = files(&folder).pop().unwrap();
        assert_eq!(std::fs::read_to_string(newest).unwrap(), "123456\n7\n");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_that_was_cut_off_is_ended() {
        let folder = scratch("cut");
        LogFile::open(&folder, 100).unwrap().write(b"{\"a").unwrap();
        LogFile::open(&folder, 100).unwrap().write(b"{}\n").unwrap();
        let (_, only) = files(&folder).pop().unwrap();
        assert_eq!(std::fs::read_to_string(&only).unwrap(), "{\"a\n{}\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&only), mode(&folder)), (0o600, 0o700));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
