//! `localmart migrate`: applies the migrations that components carry, each once, in order, in a transaction.

use crate::app::{AppOptions, private_folder};
use crate::build::MIGRATIONS;
use anyhow::{Context as _, bail};
use clap::Args;
use localmart_host::app::App;
use localmart_host::sections;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// Migrates the databases of the state folder.
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

/// Applies what is missing; returns how many.
pub(crate) fn migrate(app: &App, state_dir: &Path) -> anyhow::Result<usize> {
    let mut services: BTreeMap<String, Vec<Migration>> = BTreeMap::new();
    for spec in app.components.values() {
        let wasm = std::fs::read(&spec.wasm).map_err(|error| {
            let message = format!("`{}` has no file {}: {error}", spec.id, spec.wasm.display());
            app.source.error(
                spec.source_span.clone(),
                message,
                "not found",
                "build it: localmart build",
            )
        })?;
        let carried = sections::read(&wasm, MIGRATIONS).map_err(|error| {
            let message = format!("{} is no component: {error}", spec.wasm.display());
            app.source.error(
                spec.source_span.clone(),
                message,
                "this file",
                "build it again: localmart build",
            )
        })?;
        for section in carried {
            let carried: Carried = serde_json::from_slice(&section)
                .with_context(|| format!("the migrations in {}", spec.wasm.display()))?;
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
    }
    private_folder(state_dir)?;
    let mut applied = 0;
    for (service, migrations) in &services {
        let path = state_dir.join(format!("{service}.db"));
        applied +=
            apply(&path, migrations).with_context(|| format!("migrating {}", path.display()))?;
    }
    Ok(applied)
}

fn apply(path: &Path, migrations: &[Migration]) -> anyhow::Result<usize> {
    let mut connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, checksum TEXT NOT NULL, applied_at TEXT NOT NULL)",
    )?;
    let mut applied = 0;
    for migration in migrations {
        let checksum: String = Sha256::digest(&migration.sql)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let known = transaction.query_row(
            "SELECT checksum FROM migrations WHERE name = ?1",
            [&migration.name],
            |row| row.get::<_, String>(0),
        );
        match known {
            Ok(known) if known == checksum => continue,
            Ok(_) => bail!(
                "the migration {} was edited after it was applied; write a new one instead",
                migration.name
            ),
            Err(rusqlite::Error::QueryReturnedNoRows) => {}
            Err(error) => return Err(error.into()),
        }
        transaction
            .execute_batch(&migration.sql)
            .with_context(|| format!("the migration {}", migration.name))?;
        let now = jiff::Timestamp::now().to_string();
        transaction.execute(
            "INSERT INTO migrations VALUES (?1, ?2, ?3)",
            [&migration.name, &checksum, &now],
        )?;
        applied += 1;
    }
    transaction.commit()?;
    Ok(applied)
}
