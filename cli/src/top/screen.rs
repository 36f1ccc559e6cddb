//! The terminal that `localmart top` fills: raw keys, signals, and a second screen that leaves the first one as it was.

use super::report::{Shown, Size};
use anyhow::Context as _;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use std::io::{IsTerminal as _, Read as _, Write as _, stdin, stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long the rest of a key's sequence may take after its first byte, which is also what the Esc key sends.
const ESCAPE_TIMEOUT: Duration = Duration::from_millis(50);
/// Bytes of keys that are read at once.
const KEY_BYTES: usize = 64;
/// The size of a window that does not say its size.
const UNKNOWN_SIZE: Size = Size {
    columns: 80,
    lines: 24,
};

const ESCAPE: u8 = 0x1b;
const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;

/// Opens the second screen, and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// What a user does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Quit,
    /// Move down by this many lines.
    Scroll(isize),
    /// Move down by this many pages.
    Page(isize),
    Resized,
}

enum Input {
    Keys(Vec<u8>),
    Event(Event),
}

/// The terminal while `top` uses it. Dropping it restores the terminal.
pub(super) struct Screen {
    input: Receiver<Input>,
    /// The modes of the keyboard before; nothing if the standard input is no terminal.
    modes: Option<Termios>,
}

impl Screen {
    pub(super) fn open() -> anyhow::Result<Self> {
        let (sender, input) = channel();
        watch_signals(sender.clone())?;
        let mut screen = Self { input, modes: None };
        if stdin().is_terminal() {
            screen.modes = Some(single_keys().context("reading single keys from the terminal")?);
            std::thread::spawn(move || read_keys(&sender));
        }
        write(ENTER)?;
        Ok(screen)
    }

    pub(super) fn size(&self) -> Size {
        match tcgetwinsize(stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size {
                columns: usize::from(size.ws_col),
                lines: usize::from(size.ws_row),
            },
            _ => UNKNOWN_SIZE,
        }
    }

    /// Replaces what the window shows, without clearing it first, which would flicker.
    pub(super) fn show(&self, lines: &[Shown]) -> anyhow::Result<()> {
        let mut text = HOME.to_owned();
        for (place, line) in lines.iter().take(self.size().lines).enumerate() {
            if place > 0 {
                text.push_str("\r\n");
            }
            match line {
                Shown::Heading(line) => text.extend([BOLD, line, PLAIN]),
                Shown::Row(line) => text.push_str(line),
            }
            text.push_str(CLEAR_LINE);
        }
        text.push_str(CLEAR_BELOW);
        write(&text)
    }

    /// What the user does within this time.
    pub(super) fn wait(&self, time: Duration) -> anyhow::Result<Option<Event>> {
        let deadline = std::time::Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let mut keys = match self.input.recv_timeout(left) {
                Ok(Input::Event(event)) => return Ok(Some(event)),
                Ok(Input::Keys(keys)) => keys,
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("the terminal cannot be read any more")
                }
            };
            if keys.last() == Some(&ESCAPE) {
                match self.input.recv_timeout(ESCAPE_TIMEOUT) {
                    Ok(Input::Keys(rest)) => keys.extend(rest),
                    Ok(Input::Event(event)) => return Ok(Some(event)),
                    Err(_) => {}
                }
            }
            if let Some(event) = event(&keys) {
                return Ok(Some(event));
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = write(LEAVE);
        if let Some(modes) = &self.modes {
            let _ = tcsetattr(stdin(), OptionalActions::Flush, modes);
        }
    }
}

/// Writes to the terminal at once.
fn write(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("writing to the terminal")
}

/// Lets the terminal deliver each key at once and without showing it, ctrl-c included. Returns the modes before.
fn single_keys() -> std::io::Result<Termios> {
    let before = tcgetattr(stdin())?;
    let mut modes = before.clone();
    let line = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
    modes.local_modes.remove(line);
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(stdin(), OptionalActions::Flush, &modes)?;
    Ok(before)
}

fn read_keys(sender: &Sender<Input>) {
    let mut bytes = [0; KEY_BYTES];
    while let Ok(length @ 1..) = stdin().lock().read(&mut bytes) {
        let keys = bytes.get(..length).unwrap_or_default().to_vec();
        if sender.send(Input::Keys(keys)).is_err() {
            return;
        }
    }
    // The terminal is gone. There is nobody to tell if the program ends too.
    let _ = sender.send(Input::Event(Event::Quit));
}

/// Reports signals as events on a thread of its own, so that the terminal is restored before the program ends.
fn watch_signals(sender: Sender<Input>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let entered = runtime.enter();
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut resized = signal(SignalKind::window_change())?;
    drop(entered);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let event = tokio::select! {
                    _ = interrupted.recv() => Event::Quit,
                    _ = terminated.recv() => Event::Quit,
                    _ = hung_up.recv() => Event::Quit,
                    _ = resized.recv() => Event::Resized,
                };
                if sender.send(Input::Event(event)).is_err() {
                    return;
                }
            }
        });
    });
    Ok(())
}

/// What keys mean; `None` for keys without a meaning.
fn event(keys: &[u8]) -> Option<Event> {
    let mut keys = keys;
    while let Some((key, rest)) = keys.split_first() {
        keys = rest;
        let found = match *key {
            b'q' | b'Q' | CTRL_C | CTRL_D => Some(Event::Quit),
            b'j' => Some(Event::Scroll(1)),
            b'k' => Some(Event::Scroll(-1)),
            b' ' => Some(Event::Page(1)),
            ESCAPE => match rest {
                [b'[' | b'O', sequence @ ..] => {
                    let end = sequence.iter().position(|byte| matches!(byte, 0x40..=0x7e));
                    let (sequence, rest) =
                        sequence.split_at(end.map_or(sequence.len(), |end| end + 1));
                    keys = rest;
                    match sequence {
                        b"A" => Some(Event::Scroll(-1)),
                        b"B" => Some(Event::Scroll(1)),
                        b"5~" => Some(Event::Page(-1)),
                        b"6~" => Some(Event::Page(1)),
                        b"H" | b"1~" => Some(Event::Scroll(isize::MIN)),
                        b"F" | b"4~" => Some(Event::Scroll(isize::MAX)),
                        _ => None,
                    }
                }
                _ => Some(Event::Quit),
            },
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_meanings() {
        for (keys, expected) in [
            (&b"q"[..], Some(Event::Quit)),
            (b"Q", Some(Event::Quit)),
            (b"\x1b", Some(Event::Quit)),
            (b"\x1b\x1b", Some(Event::Quit)),
            (b"\x03", Some(Event::Quit)),
            (b"xq", Some(Event::Quit)),
            (b"\x1b[1;5Dq", Some(Event::Quit)),
            (b"\x1b[A", Some(Event::Scroll(-1))),
            (b"\x1bOB", Some(Event::Scroll(1))),
            (b"\x1b[6~", Some(Event::Page(1))),
            (b"\x1b[H", Some(Event::Scroll(isize::MIN))),
            (b"\x1b[C", None),
            (b"\x1b[", None),
            (b"x", None),
        ] {
            assert_eq!(event(keys), expected, "{keys:?}");
        }
    }
}
