//! `localmart manifest`: writes what follows from the declarations of the components, `components/<noun>/component.toml`: the
//! repeated halves of spin.toml and runtime-config.toml, and the table of events.

use anyhow::{Context as _, bail};
use clap::Args;
use localmart_declaration::{Declarations, events, manifest};
use std::path::{Path, PathBuf};

/// The first and the last line of what is written. Without the last one, it goes to the end of the file.
struct Place {
    file: &'static str,
    begin: &'static str,
    end: Option<&'static str>,
    text: fn(&Declarations) -> String,
}

const PLACES: &[Place] = &[
    Place {
        file: "spin.toml",
        begin: "# `localmart manifest` writes the rest of this file from the declarations in components/*/component.toml.\n",
        end: None,
        text: manifest::spin,
    },
    Place {
        file: "runtime-config.toml",
        begin: "# `localmart manifest` writes the rest of this file from the declarations in components/*/component.toml.\n",
        end: None,
        text: manifest::runtime_config,
    },
    Place {
        file: "docs/events/README.md",
        begin: "<!-- `localmart manifest` writes this table. -->\n",
        end: Some("<!-- end of the table -->\n"),
        text: events::table,
    },
];

/// Writes what follows from the declarations of the components: the lists in spin.toml, runtime-config.toml and
/// docs/events/README.md.
#[derive(Args)]
pub(crate) struct Manifest {
    /// Write nothing; fail if a file is not up to date.
    #[arg(long)]
    check: bool,
    /// The folder of spin.toml and components.
    #[arg(short = 'f', long = "from", value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
}

impl Manifest {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let stale = write(&self.folder, self.check)?;
        match stale.as_slice() {
            [] => println!("everything is up to date"),
            files if self.check => bail!(
                "not up to date: {}\n  help: localmart manifest writes them",
                files.join(", ")
            ),
            files => println!("wrote {}", files.join(", ")),
        }
        Ok(())
    }
}

/// Brings the files of a folder up to date, or only compares them. Returns the files that were not up to date.
pub(crate) fn write(folder: &Path, only_compare: bool) -> anyhow::Result<Vec<&'static str>> {
    let components = folder.join("components");
    if !components.is_dir() {
        bail!("{} has no folder components", folder.display());
    }
    let all = Declarations::read(&components)?;
    let mut stale = Vec::new();
    for place in PLACES {
        let path = folder.join(place.file);
        let before = std::fs::read_to_string(&path);
        let before = before.with_context(|| format!("reading {}", path.display()))?;
        let after = place.filled(&before, &all);
        let after = after
            .with_context(|| format!("{} has no line {:?}", path.display(), place.begin.trim()))?;
        if before != after {
            stale.push(place.file);
            if !only_compare {
                std::fs::write(&path, after)
                    .with_context(|| format!("writing {}", path.display()))?;
            }
        }
    }
    Ok(stale)
}

impl Place {
    /// The file with the list; `None` if it has no place for it.
    fn filled(&self, before: &str, all: &Declarations) -> Option<String> {
        let (head, rest) = before.split_once(self.begin)?;
        let tail = match self.end {
            Some(end) => format!("{end}{}", rest.split_once(end)?.1),
            None => String::new(),
        };
        let gap = if self.end.is_some() { "" } else { "\n" };
        Some(format!(
            "{head}{}{gap}{}{tail}",
            self.begin,
            (self.text)(all)
        ))
    }
}
