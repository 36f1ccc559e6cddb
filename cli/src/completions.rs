//! `localmart completions`: prints a completion script for a shell.

use clap::Args;
use clap_complete::{Shell, generate};
use std::io::Write as _;

/// Prints a completion script for a shell.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script for the commands of this program.
    pub(crate) fn run(self, mut commands: clap::Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut commands, "localmart", &mut script);
        // `print` reports a closed pipe the way that the rest of the program expects.
        print!("{}", String::from_utf8_lossy(&script));
        std::io::stdout().flush()?;
        Ok(())
    }
}
