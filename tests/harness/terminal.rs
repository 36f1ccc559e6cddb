//! A command on a terminal, by means of `script`, which gives it one.

use super::localmart;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a command may take until it says what a test waits for.
const PATIENCE: Duration = Duration::from_secs(180);

/// A command that runs on a terminal.
pub struct Terminal {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// Runs `localmart` with these words, none of which needs quotes.
    pub fn run(words: &[&str]) -> Self {
        let program = localmart().get_program().to_owned();
        let line = format!("exec {} {}", program.display(), words.join(" "));
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--command", &line, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (shown, mut out) = (
            Arc::<Mutex<String>>::default(),
            child.stdout.take().unwrap(),
        );
        let copy = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                copy.lock().unwrap().push_str(&text);
            }
        });
        Self { child, shown }
    }

    /// What the terminal has shown so far.
    pub fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits until the terminal has shown something.
    #[track_caller]
    pub fn until(&self, words: &str) -> String {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let shown = self.shown();
            if shown.contains(words) {
                return shown;
            }
            assert!(Instant::now() < give_up, "never `{words}`: {shown}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Without its terminal the command ends too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
