//! The bytes of an invoice file on their way to the CSV parser: every line break becomes `\n`, a mark follows the last byte, and
//! the bytes are hashed. It does not know what a field or a quote is.
//!
//! The parser counts `\n` only, so with one kind of line break its line numbers are right. It also accepts a quote that is never
//! closed; such a quote swallows the mark, which is how [`super::table`] finds out.

use sha2::{Digest as _, Sha256};
use std::io::{ErrorKind, Read};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of the end mark. They are not valid UTF-8, so no text has them.
const MARK_BYTES: usize = 24;

/// What follows the last byte of a file, as a row of its own: a byte, repeated, that does not separate columns.
pub(super) fn end_mark(delimiter: u8) -> Vec<u8> {
    vec![if delimiter == 0xff { 0xfe } else { 0xff }; MARK_BYTES]
}

/// A file as the parser reads it.
pub(super) struct Text {
    input: Box<dyn Read>,
    chunk: Vec<u8>,
    /// Bytes for the parser, of which `given` were read already.
    ready: Vec<u8>,
    given: usize,
    last: u8,
    end_mark: Vec<u8>,
    ended: bool,
    hash: Sha256,
}

impl Text {
    pub(super) fn new(input: Box<dyn Read>, delimiter: u8) -> Self {
        Self {
            input,
            chunk: vec![0; CHUNK_BYTES],
            ready: Vec::new(),
            given: 0,
            last: b'\n',
            end_mark: end_mark(delimiter),
            ended: false,
            hash: Sha256::new(),
        }
    }

    /// A name for what the file contains. Reads the rest of the file.
    pub(super) fn fingerprint(&mut self) -> std::io::Result<String> {
        while !self.ended {
            self.fill()?;
        }
        let hash = self.hash.clone().finalize();
        Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn fill(&mut self) -> std::io::Result<()> {
        let length = loop {
            match self.input.read(&mut self.chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let bytes = self.chunk.get(..length).unwrap_or_default();
        self.hash.update(bytes);
        self.ready.clear();
        self.given = 0;
        for byte in bytes {
            match (self.last, *byte) {
                // The end of a `\r\n`, whose `\r` became a line break.
                (b'\r', b'\n') => {}
                (_, b'\r') => self.ready.push(b'\n'),
                (_, other) => self.ready.push(other),
            }
            self.last = *byte;
        }
        if length == 0 && !self.ended {
            self.ended = true;
            if !matches!(self.last, b'\n' | b'\r') {
                self.ready.push(b'\n');
            }
            self.ready.extend(&self.end_mark);
            self.ready.push(b'\n');
        }
        Ok(())
    }
}

impl Read for Text {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.given == self.ready.len() && !self.ended {
            self.fill()?;
        }
        let ready = self.ready.get(self.given..).unwrap_or_default();
        let length = ready.len().min(out.len());
        if let (Some(out), Some(ready)) = (out.get_mut(..length), ready.get(..length)) {
            out.copy_from_slice(ready);
        }
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time.
    struct Dripping(&'static [u8]);

    impl Read for Dripping {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(&mut out[..1])
        }
    }

    #[test]
    fn every_line_break_is_the_same_and_a_mark_follows() {
        for (bytes, expected) in [
            (&b"a\r\nb\rc\nd"[..], &b"a\nb\nc\nd\n"[..]),
            (b"a\r\n\r\nb\r", b"a\n\nb\n"),
            (b"a\n\rb", b"a\n\nb\n"),
            (b"", b""),
        ] {
            let expected = [expected, &end_mark(b','), b"\n"].concat();
            let inputs: [Box<dyn Read>; 2] = [Box::new(bytes), Box::new(Dripping(bytes))];
            for input in inputs {
                let mut read = Vec::new();
                Text::new(input, b',').read_to_end(&mut read).unwrap();
                assert_eq!(read, expected, "{bytes:?}");
            }
        }
    }

    #[test]
    fn the_fingerprint_is_of_the_whole_file_however_much_was_read() {
        let (mut read, mut unread) = (
            Text::new(Box::new(&b"a,b\n1,2\n"[..]), b','),
            Text::new(Box::new(&b"a,b\n1,2\n"[..]), b','),
        );
        std::io::copy(&mut read, &mut std::io::sink()).unwrap();
        let known = read.fingerprint().unwrap();
        assert_eq!(known, unread.fingerprint().unwrap());
        let mut other = Text::new(Box::new(&b"a,b\n1,3\n"[..]), b',');
        assert_ne!(known, other.fingerprint().unwrap());
    }
}
