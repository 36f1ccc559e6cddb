//! `localmart token`: a signed token for scripts and first steps. Users get their tokens from the user service when they log in.

use crate::clock;
use crate::secrets::{PRIVATE_KEY, Values};
use crate::shop::ShopOptions;
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, ValueEnum};
use localmart_guest::kernel::Timestamp;
use localmart_guest::token::{NewToken, TokenSigner};

/// The role of a token's bearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// May buy.
    Customer,
    /// May also manage products, stock and orders.
    Staff,
    /// May also manage users.
    Admin,
}

/// Prints a token that is signed with the shop's own key.
#[derive(Args)]
pub(crate) struct Token {
    #[command(flatten)]
    shop: ShopOptions,
    /// The role of the bearer.
    #[arg(long, default_value = "staff")]
    role: Role,
    /// How long the token is valid, in minutes.
    #[arg(long, default_value_t = 15, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
}

impl Token {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let shop = self.shop.find()?;
        let now = clock::now(&shop.state_dir)?;
        let seconds = u64::from(self.minutes) * 60;
        println!("{}", make(&shop.secrets()?, self.role, seconds, now)?);
        Ok(())
    }
}

/// A token of a role that is valid for `seconds` from `now`, by the shop's clock.
pub(crate) fn make(
    secrets: &Values,
    role: Role,
    seconds: u64,
    now: Timestamp,
) -> anyhow::Result<String> {
    let key = secrets.get(PRIVATE_KEY);
    let key = key.context("the shop has no jwt_private_key, so that no token can be signed")?;
    let signer = TokenSigner::parse(key)
        .context("jwt_private_key is not an Ed25519 private key in base64url")?;
    let role = role
        .to_possible_value()
        .context("a role without a name")?
        .get_name()
        .to_owned();
    let mut id = [0; 16];
    getrandom::fill(&mut id)
        .map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    Ok(signer.sign(NewToken {
        subject: &format!("cli-{role}"),
        roles: &[&role],
        session: None,
        id: &URL_SAFE_NO_PAD.encode(id),
        issued_s: now.ms().div_euclid(1_000),
        seconds: i64::try_from(seconds)?,
    }))
}
