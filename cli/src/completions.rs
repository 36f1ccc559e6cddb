//! `localmart completions`: prints a completion script for a shell.

use clap::Args;
use clap_complete::{Shell, generate};
use std::io::Write as _;

/// Prints a script that completes commands and options in a shell.
///
/// For bash: localmart completions bash > ~/.local/share/bash-completion/completions/localmart
/// For zsh: localmart completions zsh > a file _localmart in a folder of $fpath
/// For fish: localmart completions fish > ~/.config/fish/completions/localmart.fish
#[derive(Args)]
#[command(verbatim_doc_comment)]
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
