//! The valid form of each secret. An invalid secret is reported when a shop starts, not with its first request. The report never
//! contains the value.

use super::{ADMIN_PASSWORD, PRIVATE_KEY, PUBLIC_KEY};
use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use localmart_guest::token::TokenKey;
use localmart_host::app::App;

/// Minimum and maximum length of a password that the user service accepts, in characters.
const PASSWORD_CHARACTERS: std::ops::RangeInclusive<usize> = 1..=128;

/// A key that signs tokens.
pub(crate) fn private_key(text: &str) -> Option<SigningKey> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim()).ok()?;
    let bytes = <[u8; 32]>::try_from(bytes).ok()?;
    Some(SigningKey::from_bytes(&bytes))
}

/// Refuses an application with a key or a password that cannot be used.
pub(crate) fn check(app: &App) -> anyhow::Result<()> {
    if app.tool.is_none() {
        return Ok(());
    }
    for (name, value) in &app.variables {
        valid(name, value)?;
    }
    // An application that only verifies tokens needs only the public key.
    let signs = |app: &App| {
        let mut components = app.components.values();
        components.any(|spec| spec.variables.contains_key(PRIVATE_KEY))
    };
    let key = |name: &str| app.variables.get(name);
    if let (Some(private), Some(public)) = (key(PRIVATE_KEY), key(PUBLIC_KEY))
        && signs(app)
        && private_key(private).is_some_and(|key| super::public_of(&key) != public.trim())
    {
        bail!(
            "{PUBLIC_KEY} is not the public key of {PRIVATE_KEY}, so no token would be accepted\n  help: give both keys of one pair, or only {PRIVATE_KEY}; the public key follows from it"
        );
    }
    Ok(())
}

/// Refuses a value that is invalid for this secret.
pub(super) fn valid(name: &str, value: &str) -> anyhow::Result<()> {
    if let Some(reason) = wrong(name, value) {
        bail!(
            "the variable {name} {reason}\n  help: correct --variable {name}=… or SPIN_VARIABLE_{}, or leave it out to have one generated",
            name.to_ascii_uppercase()
        );
    }
    Ok(())
}

/// Why a value is invalid for this secret.
fn wrong(name: &str, value: &str) -> Option<&'static str> {
    let visible = || !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
    match name {
        PUBLIC_KEY if TokenKey::parse(value).is_none() => Some(
            "is not an Ed25519 public key: 32 bytes in base64url without padding, 43 characters",
        ),
        PRIVATE_KEY if private_key(value).is_none() => Some(
            "is not an Ed25519 private key: 32 bytes in base64url without padding, 43 characters",
        ),
        "sweep_token" if !visible() => {
            Some("must be one or more visible ASCII characters: it is sent as an HTTP header")
        }
        "order_token_key" | "payment_webhook_secret" if value.trim().is_empty() => {
            Some("is empty, so that anybody could know it")
        }
        ADMIN_PASSWORD if !PASSWORD_CHARACTERS.contains(&value.chars().count()) => {
            Some("must have 1 to 128 characters; nobody could log in with this one")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_passwords_have_their_form() {
        let key = "A".repeat(43);
        for (name, value, fits) in [
            (PRIVATE_KEY, key.as_str(), true),
            (PRIVATE_KEY, "zzz", false),
            (PUBLIC_KEY, "zzz", false),
            (PUBLIC_KEY, "", false),
            ("sweep_token", "a b", false),
            ("sweep_token", "a-b", true),
            ("order_token_key", " ", false),
            ("payment_webhook_secret", "whsec_1", true),
            (ADMIN_PASSWORD, "", false),
            (ADMIN_PASSWORD, "correct horse", true),
            ("default_currency", "", true),
        ] {
            assert_eq!(wrong(name, value).is_none(), fits, "{name}={value}");
        }
    }
}
