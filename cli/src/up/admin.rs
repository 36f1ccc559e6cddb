//! The first administrator: whether the store has one already, and how whoever starts the shop learns the password.

use crate::app::Stores;
use crate::databases;
use crate::secrets::{self, ADMIN_PASSWORD, Values};
use anyhow::Context as _;
use localmart_guest::params;
use localmart_guest::sql::Connection as _;
use localmart_host::app::{App, ResolveOptions};
use localmart_stores::now;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

/// The service that makes the administrator.
pub(super) const SERVICE: &str = "user";
/// The administrator's e-mail address.
const EMAIL: &str = "admin@localmart.test";

/// How the first administrator gets in.
pub(super) struct Admin {
    password: String,
    /// Whether a flag or the environment says it.
    given: bool,
    state_dir: PathBuf,
}

impl Admin {
    /// The administrator that a store without one is about to get. In `variables`, which verbs are told, the password becomes the one
    /// that is in use, as far as this host knows it.
    pub(super) fn of(
        app: &App,
        given: &ResolveOptions,
        state_dir: &Path,
        variables: &mut Values,
    ) -> anyhow::Result<Option<Self>> {
        let Some(password) = app.variables.get(ADMIN_PASSWORD).cloned() else {
            return Ok(None);
        };
        if !app.components.contains_key(SERVICE) {
            return Ok(None);
        }
        let kept = secrets::load(state_dir, given)?
            .get(ADMIN_PASSWORD)
            .cloned();
        let said = given.given(ADMIN_PASSWORD);
        if exists(&Stores::of(app), state_dir)? {
            match (&kept, &said) {
                (Some(kept), _) => variables.insert(ADMIN_PASSWORD.to_owned(), kept.clone()),
                (None, Some(_)) => None,
                (None, None) => variables.remove(ADMIN_PASSWORD),
            };
            if kept.is_some() && said.is_some() && kept != said {
                tracing::warn!(
                    "the given {ADMIN_PASSWORD} is not used: {EMAIL} exists already, with the password that localmart secrets shows"
                );
            }
            return Ok(None);
        }
        // From now on the file has the password that is in use, or none.
        let generated = said.is_none().then_some(password.as_str());
        if kept.as_deref() != generated {
            secrets::keep(state_dir, ADMIN_PASSWORD, generated)?;
        }
        Ok(Some(Self {
            password,
            given: said.is_some(),
            state_dir: state_dir.to_owned(),
        }))
    }

    /// A line about the password, which itself is shown on a terminal only: what is piped or redirected is kept by somebody.
    pub(super) fn line(&self) -> String {
        if std::io::stdout().is_terminal() {
            let again = match self.given {
                true => "",
                false => " (localmart secrets shows it again)",
            };
            return format!("Administrator: {EMAIL}, password {}{again}", self.password);
        }
        if self.given {
            return format!("Administrator: {EMAIL}, with the {ADMIN_PASSWORD} that was given");
        }
        let state_dir = self.state_dir.display();
        format!(
            "Administrator: {EMAIL}; localmart secrets --state-dir {state_dir} shows the password"
        )
    }
}

fn exists(stores: &Stores, state_dir: &Path) -> anyhow::Result<bool> {
    let database = databases::open(stores, state_dir, SERVICE)?;
    let sql = "SELECT id FROM users WHERE email_key = $1";
    let found = now(database.query(sql, params![EMAIL]))?;
    Ok(!found.context("looking for the administrator")?.is_empty())
}
