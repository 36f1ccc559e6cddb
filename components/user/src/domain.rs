//! A user, and what a password is. No clock, no I/O.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use localmart_guest::kernel::{Address, Id, Timestamp};
use localmart_guest::token::Role;
use serde_json::{Map, Value};

/// Who looks after the users from the start; nobody else can register this address.
pub(crate) const ADMIN_EMAIL: &str = "admin@localmart.test";
/// Addresses that a user may keep.
pub(crate) const MAX_ADDRESSES: usize = 20;
/// Preferences that a user may keep.
pub(crate) const MAX_PREFERENCES: usize = 50;
/// Bytes of the salt of a password.
const SALT_BYTES: usize = 16;

/// What a user says of themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Profile {
    pub(crate) name: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) addresses: Vec<Address>,
    /// Names to texts or truths.
    pub(crate) preferences: Map<String, Value>,
}

/// A user as stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct User {
    pub(crate) id: Id,
    pub(crate) email: String,
    pub(crate) profile: Profile,
    pub(crate) role: Role,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// A change of a profile: absent stays as it is, `Some(None)` is removed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ProfilePatch {
    pub(crate) name: Option<Option<String>>,
    pub(crate) phone: Option<Option<String>>,
    pub(crate) addresses: Option<Vec<Address>>,
    pub(crate) preferences: Option<Map<String, Value>>,
}

impl ProfilePatch {
    pub(crate) fn onto(self, profile: Profile) -> Profile {
        Profile {
            name: self.name.unwrap_or(profile.name),
            phone: self.phone.unwrap_or(profile.phone),
            addresses: self.addresses.unwrap_or(profile.addresses),
            preferences: self.preferences.unwrap_or(profile.preferences),
        }
    }
}

/// The address as it is compared: two that differ in case only are one user's.
pub(crate) fn email_key(email: &str) -> String {
    email.trim().to_lowercase()
}

/// The argon2id hash of a password (RFC 9106, 19 MiB, two passes) in PHC form.
pub(crate) fn hash(password: &str, secret: &[u8; 32]) -> Option<String> {
    let salt = secret.get(..SALT_BYTES)?;
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), salt);
    hash.ok().map(|hash: PasswordHash| hash.to_string())
}

/// Whether this is the password of a hash; without a hash as slow as with one, and no.
pub(crate) fn is_password(password: &str, hash: Option<&str>) -> bool {
    // The hash of nobody's password.
    let nobody = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let known = PasswordHash::new(hash.unwrap_or(nobody));
    let same = known.is_ok_and(|known| {
        Argon2::default()
            .verify_password(password.as_bytes(), &known)
            .is_ok()
    });
    same && hash.is_some()
}
