//! `localmart migrate`: applies the migrations that components carry. Each is applied once, in order, in a transaction.

use crate::app::{AppOptions, Stores, private_folder};
use crate::build::MIGRATIONS;
use crate::databases::{self, Depth};
use anyhow::{Context as _, bail};
use clap::Args;
use localmart_guest::config::EMBEDDED;
use localmart_guest::params;
use localmart_guest::sql::{Connection as _, SqlError, transaction};
use localmart_host::app::App;
use localmart_host::sections;
use localmart_stores::Chosen;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// The advisory lock that a migration of a server holds, so that two at once take turns.
const MIGRATION_TURN: i64 = 0x6c6f_6361_6c6d;

/// Applies the migrations that components carry, to the databases of the state folder or to the server that database_url names.
#[derive(Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    app: AppOptions,
}

impl Migrate {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let app = self.app.app(Vec::new(), Vec::new())?;
        let applied = migrate(&app, &self.app.state_dir(&app.source))?;
        println!("{applied} migrations applied");
        Ok(())
    }
}

#[derive(Deserialize)]
struct Carried {
    service: String,
    migrations: Vec<Migration>,
}

#[derive(Deserialize, PartialEq, Eq)]
struct Migration {
    name: String,
    sql: String,
}

/// Migrations by service.
type Services = BTreeMap<String, Vec<Migration>>;

/// Applies the migrations that are missing; returns how many.
pub(crate) fn migrate(app: &App, state_dir: &Path) -> anyhow::Result<usize> {
    let mut services = Services::new();
    for spec in app.components.values() {
        let wrong = |message: String, label: &str, help: &str| {
            let span = spec.source_span.clone();
            app.source.error(span, message, label, help)
        };
        let wasm = std::fs::read(&spec.wasm).map_err(|error| {
            let message = format!("`{}` has no file {}: {error}", spec.id, spec.wasm.display());
            wrong(message, "not found", "build it: localmart build")
        })?;
        let carried = sections::read(&wasm, MIGRATIONS).map_err(|error| {
            let message = format!("{} is no component: {error}", spec.wasm.display());
            wrong(message, "this file", "build it again: localmart build")
        })?;
        collect(&mut services, &carried, &spec.wasm)?;
    }
    apply_all(&Stores::of(app), state_dir, &services)
}

/// Applies the migrations of one component that are missing; returns how many.
pub(crate) fn migrate_one(
    stores: &Stores,
    state_dir: &Path,
    wasm: &[u8],
    path: &Path,
) -> anyhow::Result<usize> {
    let mut services = Services::new();
    let carried = sections::read(wasm, MIGRATIONS).map_err(anyhow::Error::msg)?;
    collect(&mut services, &carried, path)?;
    apply_all(stores, state_dir, &services)
}

fn collect(
    services: &mut Services,
    carried: &[sections::Section],
    path: &Path,
) -> anyhow::Result<()> {
    for section in carried {
        let carried: Carried = serde_json::from_slice(section)
            .with_context(|| format!("the migrations in {}", path.display()))?;
        match services.get(&carried.service) {
            Some(known) if *known != carried.migrations => {
                bail!(
                    "two files carry different migrations of `{}`; build again: localmart build",
                    carried.service
                )
            }
            _ => services.insert(carried.service, carried.migrations),
        };
    }
    Ok(())
}

fn apply_all(stores: &Stores, state_dir: &Path, services: &Services) -> anyhow::Result<usize> {
    private_folder(state_dir)?;
    let mut applied = 0;
    for (service, migrations) in services {
        let database = opened(&stores.database_url, state_dir, service)?;
        let run = localmart_stores::now(apply(&database, migrations))?;
        applied += run.with_context(|| format!("migrating {service}"))?;
    }
    Ok(applied)
}

/// The database of a service; it is created if it does not exist.
fn opened(database_url: &str, state_dir: &Path, service: &str) -> anyhow::Result<Chosen> {
    if database_url == EMBEDDED {
        let path = state_dir.join(format!("{service}.db"));
        databases::check(&path, Depth::Quick)?;
        let connection = rusqlite::Connection::open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
    }
    let help =
        "start the server, correct database_url, or leave it out to use the embedded databases";
    let database = Chosen::open(database_url, state_dir, service)
        .map_err(|error| anyhow::anyhow!("{error}\n  help: {help}"))?;
    if database_url != EMBEDDED {
        database.batch(&format!("CREATE SCHEMA IF NOT EXISTS \"{service}\""))?;
    }
    Ok(database)
}

/// Why migrations could not be applied.
#[derive(Debug, thiserror::Error)]
enum MigrationError {
    #[error("the migration {0} was edited after it was applied; write a new one instead")]
    Edited(String),
    #[error("the migration {0}: {1}")]
    Failed(String, SqlError),
    #[error(transparent)]
    Sql(#[from] SqlError),
}

/// Applies the migrations that are missing, all or none; two runs at once take turns.
async fn apply(database: &Chosen, migrations: &[Migration]) -> Result<usize, MigrationError> {
    transaction(database, async |connection| {
        if let Chosen::Postgres(_) = connection {
            let turn = "SELECT CAST(1 AS BIGINT) FROM pg_advisory_xact_lock($1)";
            connection.query(turn, params![MIGRATION_TURN]).await?;
        }
        connection.batch(
            "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, checksum TEXT NOT NULL, applied_at TEXT NOT NULL)",
        )?;
        let mut applied = 0;
        for migration in migrations {
            let checksum: String = Sha256::digest(&migration.sql)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let sql = "SELECT checksum FROM migrations WHERE name = $1";
            let known = connection.query(sql, params![&migration.name]).await?;
            match known.first().map(|row| row.get::<String>("checksum")).transpose()? {
                Some(known) if known == checksum => continue,
                Some(_) => return Err(MigrationError::Edited(migration.name.clone())),
                None => {}
            }
            connection
                .batch(&migration.sql)
                .map_err(|error| MigrationError::Failed(migration.name.clone(), error))?;
            let sql = "INSERT INTO migrations (name, checksum, applied_at) VALUES ($1, $2, $3)";
            let now = jiff::Timestamp::now().to_string();
            connection
                .execute(sql, params![&migration.name, checksum, now])
                .await?;
            applied += 1;
        }
        Ok(applied)
    })
    .await
}
