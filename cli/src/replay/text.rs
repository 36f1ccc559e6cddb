//! The bytes of an invoice file on their way to the CSV parser: every line break becomes `\n`, the bytes are hashed, and a quote
//! that is never closed is found.
//!
//! The parser counts `\n` only, so with one kind of line break its line numbers are right. It also accepts quotes that are never
//! closed, and would take the rows that follow for a name.

use sha2::{Digest as _, Sha256};
use std::io::{ErrorKind, Read};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A file as the parser reads it.
pub(super) struct Text {
    input: Box<dyn Read>,
    chunk: Vec<u8>,
    /// Bytes for the parser, of which `given` were read already.
    ready: Vec<u8>,
    given: usize,
    last: u8,
    ended: bool,
    hash: Sha256,
    quotes: Quotes,
}

impl Text {
    pub(super) fn new(input: Box<dyn Read>, delimiter: u8) -> Self {
        Self {
            input,
            chunk: vec![0; CHUNK_BYTES],
            ready: Vec::new(),
            given: 0,
            last: b'\n',
            ended: false,
            hash: Sha256::new(),
            quotes: Quotes::new(delimiter),
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

    /// The line of a quote that is never closed, among the bytes that were read so far.
    pub(super) fn open_quote(&self) -> Option<u64> {
        self.quotes.open
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
        }
        self.quotes.follow(&self.ready, self.ended);
        if self.quotes.open.is_some() {
            return Err(std::io::Error::other("a quote is never closed"));
        }
        Ok(())
    }
}

/// Where the parser is, as far as quotes go.
struct Quotes {
    delimiter: u8,
    place: Place,
    line: u64,
    /// The line of a quote that is never closed.
    open: Option<u64>,
}

#[derive(Clone, Copy)]
enum Place {
    FieldStart,
    Unquoted,
    /// Inside a quote that opened on this line.
    Quoted(u64),
    /// After a quote inside quotes: the end of the field, or the first of two quotes that stand for one.
    AfterQuote(u64),
}

impl Quotes {
    fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            place: Place::FieldStart,
            line: 1,
            open: None,
        }
    }

    fn follow(&mut self, bytes: &[u8], ended: bool) {
        for byte in bytes {
            self.place = match (self.place, *byte) {
                (Place::FieldStart, b'"') => Place::Quoted(self.line),
                (Place::Quoted(line), b'"') => Place::AfterQuote(line),
                (Place::AfterQuote(line), b'"') => Place::Quoted(line),
                (Place::Quoted(line), _) => Place::Quoted(line),
                (_, b'\n') => Place::FieldStart,
                (_, byte) if byte == self.delimiter => Place::FieldStart,
                (Place::AfterQuote(line), _) if line < self.line => {
                    // This quote opens a field on another line, so the one before was not closed.
                    self.open = self.open.or(Some(line));
                    Place::Unquoted
                }
                _ => Place::Unquoted,
            };
            if *byte == b'\n' {
                self.line += 1;
            }
        }
        if let (Place::Quoted(line), true) = (self.place, ended) {
            self.open = self.open.or(Some(line));
        }
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
    fn every_line_break_is_the_same_and_the_last_line_has_one() {
        for (bytes, expected) in [
            (&b"a\r\nb\rc\nd"[..], &b"a\nb\nc\nd\n"[..]),
            (b"a\r\n\r\nb\r", b"a\n\nb\n"),
            (b"a\n\rb", b"a\n\nb\n"),
            (b"", b""),
        ] {
            let inputs: [Box<dyn Read>; 2] = [Box::new(bytes), Box::new(Dripping(bytes))];
            for input in inputs {
                let mut read = Vec::new();
                Text::new(input, b',').read_to_end(&mut read).unwrap();
                assert_eq!(read, expected, "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_is_found_where_it_opens() {
        for (text, expected) in [
            (&b"a,\"b\nc\",d\n"[..], None),
            (b"a,\"b\"\"\nc\"\n", None),
            (b"a,b\"c\n\"d\"\n", None),
            // Sloppy, but within its line.
            (b"a,\"12\" wide\",b\n", None),
            (b"a\nb,\"c\nd\n", Some(2)),
            (b"a\nb,\"c\"\"", Some(2)),
            (b"a\r\nb,\"c\r\nd,\"e\"\r\n", Some(2)),
            (b"a\n\"b\nc,\"d\"\ne,\"f\ng", Some(2)),
        ] {
            let inputs: [Box<dyn Read>; 2] = [Box::new(text), Box::new(Dripping(text))];
            for input in inputs {
                let mut read = Text::new(input, b',');
                let ended = std::io::copy(&mut read, &mut std::io::sink());
                assert_eq!(read.open_quote(), expected, "{text:?}");
                assert_eq!(ended.is_err(), expected.is_some());
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
