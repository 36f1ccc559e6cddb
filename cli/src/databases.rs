//! Checks the SQLite files of a state folder. The error for a damaged file names the file and the remedy, and comes before anything
//! is written.
//!
//! SQLite treats a file of zero bytes as a new database, so a shop would start as if nothing had been sold. Such a file counts as
//! damaged if the other databases have content.

use crate::app::Stores;
use anyhow::{Context as _, bail};
use localmart_guest::params;
use localmart_guest::sql::Connection as _;
use localmart_host::app::App;
use localmart_host::runtime_config::{KeyValueStore, RuntimeConfig};
use localmart_stores::{Chosen, now};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The first bytes of every SQLite file.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Size of the header of an SQLite file, in bytes.
const HEADER_BYTES: usize = 100;
/// When a shop starts, files up to this size are checked completely, larger ones only at the beginning, in bytes.
const SMALL_BYTES: u64 = 16 * 1024 * 1024;
/// How long to wait for a process that writes.
const BUSY: Duration = Duration::from_secs(5);

/// How thoroughly a file is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The header and the size, and all pages of small files.
    Quick,
    /// All pages.
    Whole,
}

/// Whether a shop has used a folder for its state.
pub(crate) fn is_state_folder(folder: &Path) -> bool {
    folder.join("secrets.toml").is_file() || !files_in(folder).is_empty()
}

/// The database of a service, which must exist.
pub(crate) fn open(stores: &Stores, state_dir: &Path, service: &str) -> anyhow::Result<Chosen> {
    if stores.in_files() {
        let path = state_dir.join(format!("{service}.db"));
        if !path.exists() {
            bail!(
                "there is no database {}\n  help: localmart up or localmart migrate makes it; for the shop of another state folder: --shop ADDRESS-OR-FOLDER",
                path.display()
            );
        }
        check(&path, Depth::Quick)?;
    }
    Chosen::open(&stores.database_url, state_dir, service)
        .with_context(|| format!("opening the database of {service}"))
}

/// The services whose database has a table with this name.
pub(crate) fn services_with(
    stores: &Stores,
    state_dir: &Path,
    table: &str,
) -> anyhow::Result<Vec<String>> {
    let found = |database: &Chosen, sql: &str| -> anyhow::Result<Vec<String>> {
        let rows = now(database.query(sql, params![table]))??;
        let names: Result<Vec<String>, _> = rows.iter().map(|row| row.get("name")).collect();
        Ok(names?)
    };
    if !stores.in_files() {
        let server = Chosen::open(&stores.database_url, state_dir, "public")?;
        let sql = "SELECT table_schema::TEXT AS name FROM information_schema.tables WHERE table_name = $1 ORDER BY 1";
        return found(&server, sql);
    }
    let mut services = Vec::new();
    for path in files_in(state_dir) {
        let service = path.file_stem().unwrap_or_default().to_string_lossy();
        let database = Chosen::open(&stores.database_url, state_dir, &service)?;
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = $1";
        if !found(&database, sql)?.is_empty() {
            services.push(service.into_owned());
        }
    }
    Ok(services)
}

/// Checks all database files of a state folder.
pub(crate) fn check_all(stores: &Stores, state_dir: &Path, depth: Depth) -> anyhow::Result<()> {
    if stores.in_files() {
        files_in(state_dir)
            .iter()
            .try_for_each(|path| check(path, depth))
    } else {
        check(&state_dir.join("key-value.db"), depth)
    }
}

/// Checks the database files of an application.
pub(crate) fn check_used(
    app: &App,
    state_dir: &Path,
    config: &RuntimeConfig,
) -> anyhow::Result<()> {
    let mut used = BTreeSet::from([state_dir.join("key-value.db")]);
    for label in app
        .components
        .values()
        .flat_map(|spec| spec.sqlite_databases.keys())
    {
        let configured = config.sqlite_databases.get(label).cloned();
        let own = match app.tool {
            Some(_) => state_dir.join(format!("{label}.db")),
            None => state_dir.join("sqlite_db.db"),
        };
        used.insert(configured.unwrap_or(own));
    }
    let stores = config.key_value_stores.values();
    used.extend(stores.filter_map(|store| match store {
        KeyValueStore::Spin(path) => path.clone(),
        KeyValueStore::Redis(_) => None,
    }));
    used.iter().try_for_each(|path| check(path, Depth::Quick))
}

/// Refuses a damaged file. A missing file is not damaged.
pub(crate) fn check(path: &Path, depth: Depth) -> anyhow::Result<()> {
    let Some(reason) = damage(path, depth)? else {
        return Ok(());
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    bail!(
        "the database {} is damaged: {reason}\n  help: stop the shop, then put a backup in the place of {name}, {name}-wal and {name}-shm, or move these files away to begin with an empty database; what was in it is lost then",
        path.display()
    )
}

/// The damage of a file; `None` if the file is intact.
fn damage(path: &Path, depth: Depth) -> anyhow::Result<Option<String>> {
    let reading = || format!("reading the database {}", path.display());
    let mut file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(reading)?,
    };
    let size = file.metadata().with_context(reading)?.len();
    if size == 0 {
        let lost = neighbours_have_content(path);
        return Ok(lost.then(|| "it is empty, and the databases beside it are not".to_owned()));
    }
    let mut header = Vec::new();
    file.by_ref()
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut header)
        .with_context(reading)?;
    drop(file);
    if !header.starts_with(MAGIC) {
        return Ok(Some("it is not an SQLite file".to_owned()));
    }
    match pages(path, depth == Depth::Whole || size <= SMALL_BYTES) {
        Ok(reason) => Ok(reason),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                let cut = cut_off(&header, size);
                Ok(Some(cut.unwrap_or_else(|| error.to_string())))
            }
            // Another process writes the file, so the file is readable.
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Ok(None),
            _ => Err(error).with_context(reading),
        },
    }
}

/// The errors that SQLite finds in the pages of a file.
fn pages(path: &Path, all: bool) -> rusqlite::Result<Option<String>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY)?;
    if !all {
        let count = "SELECT COUNT(*) FROM sqlite_schema";
        return connection.query_row(count, [], |_| Ok(None));
    }
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    let line = found.lines().last().unwrap_or_default().trim().to_owned();
    Ok((found != "ok").then_some(line))
}

/// The number of missing bytes, if a file is shorter than its header says.
fn cut_off(header: &[u8], size: u64) -> Option<String> {
    let number = |place: std::ops::Range<usize>| {
        let bytes = header.get(place)?.iter();
        Some(bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    let page = match number(16..18)? {
        1 => 65_536,
        bytes => bytes,
    };
    let whole = page * number(28..32)?;
    (whole > size).then(|| format!("it is cut off: {size} of {whole} bytes are there"))
}

/// Whether all other databases of the folder have content. During the first start of a shop they have none.
fn neighbours_have_content(path: &Path) -> bool {
    let others = path.parent().map(files_in).unwrap_or_default();
    let mut others = others.iter().filter(|other| *other != path).peekable();
    others.peek().is_some()
        && others.all(|other| other.metadata().is_ok_and(|found| found.len() > 0))
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "db"));
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("localmart-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn filled(path: &Path) {
        let connection = Connection::open(path).unwrap();
        let sql = "CREATE TABLE t (x TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) \
                   INSERT INTO t SELECT hex(randomblob(50)) FROM n";
        connection.execute_batch(sql).unwrap();
    }

    #[test]
    fn each_damage_is_told() {
        let folder = folder("damage");
        let (path, other) = (folder.join("a.db"), folder.join("b.db"));
        filled(&path);
        let whole = std::fs::read(&path).unwrap();
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            damage(&path, Depth::Quick).unwrap()
        };
        assert_eq!(of(&whole), None);
        assert_eq!(of(b""), None, "nothing was made yet");
        filled(&other);
        assert!(of(b"").unwrap().contains("empty"));
        assert!(of(b"garbage").unwrap().contains("not an SQLite file"));
        assert!(of(&whole[..whole.len() / 2]).unwrap().contains("cut off"));
        assert!(of(&whole[..50]).is_some());
        let mut scribbled = whole.clone();
        scribbled[4096..8192].fill(7);
        assert!(of(&scribbled).is_some());
        assert_eq!(damage(&folder.join("none.db"), Depth::Quick).unwrap(), None);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
