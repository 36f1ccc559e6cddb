//! `localmart new service NOUN`: makes a service that builds, runs and passes all suites, to be filled with rules.

use crate::manifest;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of a new service: where each goes, and its template. `{noun}` and `{Noun}` stand for the noun.
const FILES: &[(&str, &str)] = &[
    (
        "components/{noun}/Cargo.toml",
        include_str!("new/service/Cargo.toml.template"),
    ),
    (
        "components/{noun}/component.toml",
        include_str!("new/service/component.toml.template"),
    ),
    (
        "components/{noun}/README.md",
        include_str!("new/service/README.md.template"),
    ),
    (
        "components/{noun}/contract.rs",
        include_str!("new/service/contract.rs.template"),
    ),
    (
        "components/{noun}/migrations/0001_{noun}s.sql",
        include_str!("new/service/migration.sql.template"),
    ),
    (
        "components/{noun}/src/lib.rs",
        include_str!("new/service/src/lib.rs.template"),
    ),
    (
        "components/{noun}/src/domain.rs",
        include_str!("new/service/src/domain.rs.template"),
    ),
    (
        "components/{noun}/src/service.rs",
        include_str!("new/service/src/service.rs.template"),
    ),
    (
        "components/{noun}/src/store.rs",
        include_str!("new/service/src/store.rs.template"),
    ),
    (
        "components/{noun}/src/http.rs",
        include_str!("new/service/src/http.rs.template"),
    ),
    (
        "components/{noun}/src/contract.rs",
        include_str!("new/service/src/contract.rs.template"),
    ),
    (
        "components/{noun}/src/tests.rs",
        include_str!("new/service/src/tests.rs.template"),
    ),
    (
        "wit/{noun}/{noun}.wit",
        include_str!("new/service/contract.wit.template"),
    ),
];
/// The longest noun, in letters. Postgres shortens names of more than 63 bytes.
const MAX_NOUN: usize = 40;
/// Nouns that mean something else: the bus and the shared types, databases of Postgres, keywords of Rust, SQL and WIT.
const TAKEN: &[&str] = &[
    "as",
    "async",
    "await",
    "break",
    "bus",
    "bool",
    "box",
    "char",
    "const",
    "continue",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "export",
    "extern",
    "false",
    "final",
    "flags",
    "fn",
    "for",
    "from",
    "func",
    "future",
    "gen",
    "group",
    "if",
    "impl",
    "import",
    "in",
    "include",
    "interface",
    "kernel",
    "let",
    "list",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "option",
    "override",
    "package",
    "priv",
    "pub",
    "public",
    "record",
    "ref",
    "released",
    "resource",
    "result",
    "return",
    "select",
    "self",
    "static",
    "stream",
    "string",
    "struct",
    "super",
    "table",
    "testing",
    "trait",
    "true",
    "try",
    "tuple",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "variant",
    "virtual",
    "where",
    "while",
    "with",
    "world",
    "yield",
];

/// Makes something new.
#[derive(Args)]
pub(crate) struct New {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make a service: its folder, its contract, and its entries in spin.toml and runtime-config.toml.
    Service(NewService),
}

#[derive(Args)]
struct NewService {
    /// The noun of the service, in the singular and in lower case: `review`.
    noun: String,
    /// The folder of spin.toml and components.
    #[arg(short = 'f', long = "from", value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
}

impl New {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::Service(service) => service.run(),
        }
    }
}

impl NewService {
    fn run(self) -> anyhow::Result<()> {
        check(&self.noun)?;
        if !self.folder.join("components").is_dir() {
            bail!(
                "{} has no folder components\n  help: run this in the folder of spin.toml, or name it with --from",
                self.folder.display()
            );
        }
        let files: Vec<(PathBuf, String)> = FILES
            .iter()
            .map(|(place, template)| {
                let path = self.folder.join(filled(place, &self.noun));
                (path, filled(template, &self.noun))
            })
            .collect();
        if let Some((there, _)) = files.iter().find(|(path, _)| path.exists()) {
            bail!("{} is there already; nothing was written", there.display());
        }
        for (path, text) in &files {
            write(path, text)?;
            println!("wrote {}", path.display());
        }
        format_sources(&self.folder.join("components").join(&self.noun));
        for file in manifest::write(&self.folder, false)? {
            println!("wrote {file}");
        }
        let noun = &self.noun;
        println!(
            "\nlocalmart build {noun}  compiles it\nlocalmart up  runs the shop with POST /api/{noun}s and GET /api/{noun}s/{{id}}\nThe rules go into components/{noun}/src/domain.rs; docs/guides/service.md goes through the files."
        );
        Ok(())
    }
}

/// Refuses a noun that cannot be the name of a crate, a WIT package, a database and a Rust module at once.
fn check(noun: &str) -> anyhow::Result<()> {
    let fits = noun.starts_with(|letter: char| letter.is_ascii_lowercase())
        && noun
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && noun.len() <= MAX_NOUN;
    if !fits {
        bail!(
            "`{noun}` cannot be the noun of a service: it has lower-case letters and digits, begins with a letter, and is at most {MAX_NOUN} long"
        );
    }
    if TAKEN.contains(&noun) {
        bail!(
            "`{noun}` cannot be the noun of a service: the word has another meaning in Rust, SQL, WIT or this repository"
        );
    }
    Ok(())
}

fn filled(template: &str, noun: &str) -> String {
    let mut letters = noun.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    let capital: String = first.into_iter().chain(letters).collect();
    template.replace("{noun}", noun).replace("{Noun}", &capital)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, text));
    written.with_context(|| format!("writing {}", path.display()))
}

/// Formats the sources: where a line is broken depends on the length of the noun. Without rustfmt they stay as they are.
fn format_sources(component: &Path) {
    let formatted = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .arg(component.join("src/lib.rs"))
        .arg(component.join("contract.rs"))
        .status();
    if !formatted.is_ok_and(|status| status.success()) {
        eprintln!("rustfmt cannot be run; format the sources with cargo fmt");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noun_must_fit_everywhere() {
        for noun in ["review", "wishlist2"] {
            check(noun).unwrap();
        }
        for noun in [
            "",
            "Review",
            "2nd",
            "shipping-rate",
            "match",
            "bus",
            "süß",
            &"a".repeat(41),
        ] {
            assert!(check(noun).is_err(), "{noun}");
        }
    }
}
