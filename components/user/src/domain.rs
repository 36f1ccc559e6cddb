//! A user, and the hashing of passwords. No clock, no I/O.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use localmart_guest::kernel::text::clean;
use localmart_guest::kernel::{Address, Asker, Id, Timestamp};
use localmart_guest::token::Role;
use serde_json::{Map, Value};

/// The e-mail address of the first administrator. Nobody else can register it.
pub(crate) const ADMIN_EMAIL: &str = "admin@localmart.test";
/// The largest number of addresses of a user.
pub(crate) const MAX_ADDRESSES: usize = 20;
/// The largest number of preferences of a user.
pub(crate) const MAX_PREFERENCES: usize = 50;
/// The length of the salt of a password, in bytes.
const SALT_BYTES: usize = 16;

/// The data of a user that the user edits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Profile {
    pub(crate) name: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) addresses: Vec<Address>,
    /// Names with texts or booleans.
    pub(crate) preferences: Map<String, Value>,
}

/// A user as it is stored.
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

impl User {
    /// Whether somebody may see name and e-mail address: the user, and those who run the shop.
    pub(crate) fn is_open_to(&self, asker: &Asker) -> bool {
        asker.runs_the_shop() || asker.is_user(self.id.as_str())
    }
}

/// A change to a profile: `None` leaves a field as it is, `Some(None)` removes it.
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

/// The key by which addresses are compared. Addresses that differ only in case, or in the Unicode form of the same letters,
/// belong to one user.
pub(crate) fn email_key(email: &str) -> String {
    clean(&email.to_lowercase())
}

/// The argon2id hash of a password (RFC 9106, 19 MiB, two passes) in PHC form.
pub(crate) fn hash(password: &str, secret: &[u8; 32]) -> Option<String> {
    let salt = secret.get(..SALT_BYTES)?;
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), salt);
    hash.ok().map(|hash: PasswordHash| hash.to_string())
}

/// Whether the password matches the hash. Without a hash the answer is no, after the same time, so that an attacker cannot
/// find out which addresses have accounts.
pub(crate) fn is_password(password: &str, hash: Option<&str>) -> bool {
    // A hash that no password matches.
    let nobody = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let known = PasswordHash::new(hash.unwrap_or(nobody));
    let same = known.is_ok_and(|known| {
        Argon2::default()
            .verify_password(password.as_bytes(), &known)
            .is_ok()
    });
    same && hash.is_some()
}
