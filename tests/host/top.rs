//! `localmart top` in a terminal: it fits into a window of 80 by 20, and q and Esc quit and restore the terminal.

use crate::harness::{Shop, localmart};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

const COLUMNS: u16 = 80;
const LINES: u16 = 20;
/// Opens and closes the second screen of a terminal.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// `localmart top` in a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: File,
    /// The side of the program; it has the modes.
    window: File,
    written: Arc<Mutex<String>>,
}

impl Terminal {
    fn top(shop: &Shop) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let name = std::ffi::OsStr::from_bytes(name.as_bytes());
        let window = File::options().read(true).write(true).open(name).unwrap();
        let size = Winsize {
            ws_row: LINES,
            ws_col: COLUMNS,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&window, size).unwrap();
        let address = shop.base.strip_prefix("http://").unwrap();
        let child = localmart()
            .args(["top", "--every", "100ms", "--listen", address])
            .env("TERM", "xterm")
            .stdin(window.try_clone().unwrap())
            .stdout(window.try_clone().unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let keyboard = File::from(master);
        let (mut screen, written) = (keyboard.try_clone().unwrap(), Arc::default());
        let copy: Arc<Mutex<String>> = Arc::clone(&written);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]);
                copy.lock().unwrap().push_str(&text);
            }
        });
        Self {
            child,
            keyboard,
            window,
            written,
        }
    }

    fn written(&self) -> String {
        self.written.lock().unwrap().clone()
    }

    /// The lines of the last complete picture, without colours.
    fn lines(&self) -> Vec<String> {
        let written = self.written();
        let end = written.rfind("\x1b[J").unwrap_or_default();
        let begin = written[..end].rfind("\x1b[H").unwrap_or(end);
        let lines = written[begin..end].split("\r\n");
        lines.map(without_sequences).collect()
    }

    fn shows_typed_text(&self) -> bool {
        let modes = tcgetattr(&self.window).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    fn press(&mut self, keys: &str) {
        std::io::Write::write_all(&mut self.keyboard, keys.as_bytes()).unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A text without `ESC [ … letter`.
fn without_sequences(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let end = part.find(|letter: char| letter.is_ascii_alphabetic());
        text + &part[end.map_or(part.len(), |end| end + 1)..]
    })
}

#[test]
fn top_fits_a_small_window_and_keys_quit_it() {
    let shop = Shop::start();
    for key in ["q", "\x1b", "\x03"] {
        let mut terminal = Terminal::top(&shop);
        shop.eventually("a picture", || terminal.lines().len() == usize::from(LINES));
        assert!(terminal.written().starts_with(ENTER));
        assert!(!terminal.shows_typed_text());
        let lines = terminal.lines();
        for line in &lines {
            assert!(line.chars().count() <= usize::from(COLUMNS), "{line}");
        }
        let heading: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(
            heading,
            [
                "component",
                "gen",
                "role",
                "share",
                "inst",
                "MiB",
                "calls/s",
                "err/s",
                "p50",
                "ms",
                "p99",
                "ms"
            ]
        );
        let row = lines
            .iter()
            .find(|line| line.starts_with("recommendation "));
        assert_eq!(row.unwrap().split_whitespace().count(), 10);
        // The end of the links is below the window.
        terminal.press("\x1b[F");
        shop.eventually("the last lines", || {
            let lines = terminal.lines();
            lines
                .iter()
                .any(|line| line.starts_with("recommendation -> ranking"))
        });
        terminal.press(key);
        shop.eventually("the end", || {
            terminal.written().ends_with(LEAVE) && terminal.shows_typed_text()
        });
        assert!(terminal.child.wait().unwrap().success());
    }
}
