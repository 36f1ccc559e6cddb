//! Reads the files of a log in their order, and further lines as they are written.

use anyhow::Context as _;
use localmart_host::log;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// A position in a log.
pub(super) struct Reader {
    folder: PathBuf,
    /// The file that is being read; `None` before the first one.
    current: Option<(u64, BufReader<File>)>,
    /// A line whose end is not written yet.
    begun: Vec<u8>,
}

impl Reader {
    /// The beginning of the log in a folder.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            current: None,
            begun: Vec::new(),
        }
    }

    /// The next line, without its line break; `None` if there is none yet.
    pub(super) fn next_line(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(line) = self.read()? {
                return Ok(Some(line));
            }
            let next = self.next_file();
            // More may have been written before the next file was begun.
            if let Some(line) = self.read()? {
                return Ok(Some(line));
            }
            let Some((number, path)) = next else {
                return Ok(None);
            };
            match File::open(&path) {
                Ok(file) => self.current = Some((number, BufReader::new(file))),
                // It was the oldest one and has just been removed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("reading {}", path.display()));
                }
            }
            if !self.begun.is_empty() {
                return Ok(Some(self.take()));
            }
        }
    }

    /// The file after the current one. If the current file is gone and the log began anew, its first file.
    fn next_file(&self) -> Option<(u64, PathBuf)> {
        let files = log::files(&self.folder);
        let Some((current, _)) = &self.current else {
            return files.into_iter().next();
        };
        let is_there = files.iter().any(|(number, _)| number == current);
        let began_anew = !is_there && files.last().is_some_and(|(last, _)| last < current);
        let mut later = files.into_iter();
        later.find(|(number, _)| began_anew || number > current)
    }

    fn read(&mut self) -> anyhow::Result<Option<String>> {
        let Some((_, file)) = &mut self.current else {
            return Ok(None);
        };
        file.read_until(b'\n', &mut self.begun)
            .context("reading the log")?;
        let is_whole = self.begun.ends_with(b"\n");
        Ok(is_whole.then(|| self.take()))
    }

    fn take(&mut self) -> String {
        let line = std::mem::take(&mut self.begun);
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }
}
