//! `localmart token`: a signed token for staff, until there is a user service that gives them out.

use crate::app::AppOptions;
use crate::{clock, secrets};
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, ValueEnum};
use ed25519_dalek::{Signer as _, SigningKey};
use localmart_guest::kernel::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

/// What the bearer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Buys.
    Customer,
    /// Runs the shop.
    Staff,
    /// Runs the users.
    Admin,
}

/// Makes a token.
#[derive(Args)]
pub(crate) struct Token {
    #[command(flatten)]
    app: AppOptions,
    /// What the bearer may do.
    #[arg(long, default_value = "staff")]
    role: Role,
    /// How long it holds, in minutes.
    #[arg(long, default_value_t = 15, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
}

impl Token {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let source = self.app.source()?;
        let state_dir = self.app.state_dir(&source);
        let (secrets, now) = (secrets::load(&state_dir)?, clock::now(&state_dir)?);
        let seconds = u64::from(self.minutes) * 60;
        println!("{}", make(&secrets, self.role, seconds, now)?);
        Ok(())
    }
}

/// A token of a role that holds for so many seconds from `now` on, by the shop's clock.
pub(crate) fn make(
    secrets: &BTreeMap<String, String>,
    role: Role,
    seconds: u64,
    now: Timestamp,
) -> anyhow::Result<String> {
    let key = secrets
        .get("jwt_private_key")
        .context("the secrets have no jwt_private_key")?;
    let key: [u8; 32] = URL_SAFE_NO_PAD
        .decode(key)?
        .try_into()
        .ok()
        .context("jwt_private_key is not 32 bytes")?;
    let now = now.unsigned_ms() / 1000;
    let role = role
        .to_possible_value()
        .context("a role without a name")?
        .get_name()
        .to_owned();
    let mut id = [0; 16];
    getrandom::fill(&mut id)
        .map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    let claims = json!({
        "iss": "localmart", "aud": "localmart", "sub": format!("cli-{role}"), "roles": [role],
        "jti": URL_SAFE_NO_PAD.encode(id), "iat": now, "exp": now + seconds,
    });
    let header = json!({ "alg": "EdDSA", "typ": "JWT" });
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = SigningKey::from_bytes(&key).sign(signed.as_bytes());
    Ok(format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(signature.to_bytes())
    ))
}
