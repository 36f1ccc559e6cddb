//! The rules and SQL statements of user: login, sessions, tokens, roles, erasure.

use crate::domain::{ProfilePatch, User, hash, is_password};
use crate::login::TokenPair;
use crate::service::{UserError, Users};
use crate::store::list_statement;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use localmart_guest::kernel::{Cursor, Limit};
use localmart_guest::short_lived::ShortLived as _;
use localmart_guest::sql::Connection as _;
use localmart_guest::token::TokenSigner;
use localmart_guest::token::{Role, TokenKey, revocation_key};
use localmart_guest::wit::Context;
use localmart_testkit::{MemoryStore, TestDatabase, TestEnvironment, now};

struct Fixture {
    users: Users<TestDatabase, MemoryStore>,
    database: TestDatabase,
    values: MemoryStore,
    environment: TestEnvironment,
}

fn fixture() -> Fixture {
    let (environment, values) = (TestEnvironment::new(), MemoryStore::default());
    let database = TestDatabase::new(&[include_str!("../migrations/0001_users.sql")]);
    let tokens = TokenSigner::parse(&URL_SAFE_NO_PAD.encode([3; 32])).unwrap();
    let users = Users::new(
        database.clone(),
        values.clone(),
        tokens,
        environment.ports(),
        "the admin password".into(),
    );
    Fixture {
        users,
        database,
        values,
        environment,
    }
}

impl Fixture {
    fn register(&self, email: &str) -> Result<User, UserError> {
        now(self
            .users
            .register(&Context::system(""), email, "correct horse", None))
    }

    fn log_in(&self, email: &str, password: &str) -> Result<User, UserError> {
        self.log_in_from("127.0.0.1", email, password)
    }

    fn log_in_from(&self, client: &str, email: &str, password: &str) -> Result<User, UserError> {
        now(self.users.log_in(email, password, client))
    }

    fn begin(&self, user: &User) -> TokenPair {
        now(self.users.sessions.begin(user.clone())).unwrap().1
    }

    fn users_admin(&self) {
        now(self.users.ensure_admin(&Context::system(""))).unwrap();
    }

    fn claim(&self, pair: &TokenPair, name: &str) -> serde_json::Value {
        let payload = pair.access.split('.').nth(1).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(payload).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        claims[name].clone()
    }

    fn session(&self, pair: &TokenPair) -> String {
        let payload = pair.access.split('.').nth(1).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        claims["sid"].as_str().unwrap().to_owned()
    }

    fn is_ended(&self, pair: &TokenPair) -> bool {
        let key = revocation_key(&self.session(pair));
        now(self.values.get(&key, self.environment.now()))
            .unwrap()
            .is_some()
    }
}

#[test]
fn passwords_are_hashed_with_salt() {
    let (one, other) = (
        hash("secret", &[1; 32]).unwrap(),
        hash("secret", &[2; 32]).unwrap(),
    );
    assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && one != other);
    assert!(
        is_password("secret", Some(&one))
            && !is_password("Secret", Some(&one))
            && !is_password("secret", None)
    );
}

#[test]
fn an_address_in_any_spelling_belongs_to_one_user() {
    let fixture = fixture();
    let ada = fixture.register("Ada@Example.com").unwrap();
    assert_eq!(
        (ada.email.as_str(), ada.role),
        ("Ada@Example.com", Role::Customer)
    );
    assert_eq!(
        fixture.register("ada@example.COM"),
        Err(UserError::EmailTaken)
    );
    assert_eq!(
        fixture.register("admin@localmart.test"),
        Err(UserError::EmailTaken)
    );
    assert_eq!(
        fixture
            .log_in("ADA@example.com", "correct horse")
            .unwrap()
            .id,
        ada.id
    );
    assert_eq!(
        fixture.log_in("ada@example.com", "wrong horse"),
        Err(UserError::InvalidCredentials)
    );
    assert_eq!(
        fixture.log_in("nobody@example.com", "correct horse"),
        Err(UserError::InvalidCredentials)
    );
}

#[test]
fn too_many_wrong_passwords_lock_an_address_with_or_without_an_account() {
    let fixture = fixture();
    fixture.register("ada@example.com").unwrap();
    for email in ["ada@example.com", "nobody@example.com"] {
        for _ in 0..5 {
            assert_eq!(
                fixture.log_in(email, "wrong"),
                Err(UserError::InvalidCredentials)
            );
        }
        assert_eq!(
            fixture.log_in(email, "correct horse"),
            Err(UserError::TooManyAttempts(61))
        );
    }
    fixture.environment.advance_ms(30_000);
    assert_eq!(
        fixture.log_in("ada@example.com", "correct horse"),
        Err(UserError::TooManyAttempts(31))
    );
    fixture.environment.advance_ms(31_000);
    assert!(fixture.log_in("ada@example.com", "correct horse").is_ok());
    for _ in 0..4 {
        assert_eq!(
            fixture.log_in("ada@example.com", "wrong"),
            Err(UserError::InvalidCredentials)
        );
    }
    assert!(
        fixture.log_in("ada@example.com", "correct horse").is_ok(),
        "the right password resets the count"
    );
}

#[test]
fn an_access_token_has_user_and_role_and_expires_after_fifteen_minutes() {
    let fixture = fixture();
    let ada = fixture.register("ada@example.com").unwrap();
    let pair = fixture.begin(&ada);
    let public = ed25519_dalek::SigningKey::from_bytes(&[3; 32]).verifying_key();
    let key = TokenKey::parse(&URL_SAFE_NO_PAD.encode(public.to_bytes())).unwrap();
    let claims = key.verify(&pair.access, fixture.environment.now()).unwrap();
    assert_eq!(
        (claims.subject.as_str(), claims.role),
        (ada.id.as_str(), Role::Customer)
    );
    assert_eq!(claims.session, Some(fixture.session(&pair)));
    assert!(
        key.verify(&pair.access, fixture.environment.now().plus_ms(899_000))
            .is_some()
    );
    assert!(
        key.verify(&pair.access, fixture.environment.now().plus_ms(906_000))
            .is_none()
    );
}

#[test]
fn a_refresh_token_is_used_once_and_its_reuse_ends_the_session() {
    let fixture = fixture();
    let ada = fixture.register("ada@example.com").unwrap();
    let (first, other) = (fixture.begin(&ada), fixture.begin(&ada));
    let refresh = |token: &str| now(fixture.users.sessions.refresh(token));
    let (user, second) = refresh(&first.refresh).unwrap();
    assert_eq!(
        (user.id, fixture.session(&second)),
        (ada.id.clone(), fixture.session(&first))
    );
    let (_, third) = refresh(&second.refresh).unwrap();
    assert!(!fixture.is_ended(&third));
    assert_eq!(
        refresh(&first.refresh),
        Err(UserError::InvalidToken),
        "a used refresh token"
    );
    assert!(fixture.is_ended(&third));
    assert_eq!(
        refresh(&third.refresh),
        Err(UserError::InvalidToken),
        "its session has ended"
    );
    assert!(
        refresh(&other.refresh).is_ok(),
        "another login is another session"
    );
    assert_eq!(refresh("nonsense"), Err(UserError::InvalidToken));
}

#[test]
fn logging_out_ends_only_the_own_session() {
    let fixture = fixture();
    let (ada, bob) = (
        fixture.register("ada@example.com").unwrap(),
        fixture.register("bob@example.com").unwrap(),
    );
    let pair = fixture.begin(&ada);
    let log_out = |user: &User, token: &str| {
        now(fixture
            .users
            .sessions
            .log_out(user.id.as_str(), token, None))
    };
    assert_eq!(log_out(&bob, &pair.refresh), Err(UserError::InvalidToken));
    assert!(!fixture.is_ended(&pair));
    assert_eq!(log_out(&ada, &pair.refresh), Ok(()));
    assert!(fixture.is_ended(&pair));
    assert_eq!(
        now(fixture.users.sessions.refresh(&pair.refresh)),
        Err(UserError::InvalidToken)
    );
}

#[test]
fn a_session_that_is_not_refreshed_expires_and_is_deleted() {
    let fixture = fixture();
    let pair = fixture.begin(&fixture.register("ada@example.com").unwrap());
    fixture.environment.advance_ms(31 * 86_400_000);
    assert_eq!(
        now(fixture.users.sessions.refresh(&pair.refresh)),
        Err(UserError::InvalidToken)
    );
    now(fixture
        .users
        .store
        .forget_sessions(fixture.environment.now()))
    .unwrap();
    let left = now(fixture.database.query(
        "SELECT hash FROM refresh_tokens UNION ALL SELECT id FROM sessions",
        &[],
    ));
    assert!(left.unwrap().is_empty());
}

#[test]
fn a_new_role_ends_all_sessions_and_is_in_the_audit_log() {
    let fixture = fixture();
    let ada = fixture.register("ada@example.com").unwrap();
    let pair = fixture.begin(&ada);
    let context = Context {
        actor: localmart_guest::wit::Actor::Admin("root".into()),
        ..Context::system("")
    };
    let staff = now(fixture
        .users
        .set_role(&context, ada.id.as_str(), Role::Staff, Some(1.into())))
    .unwrap();
    assert_eq!((staff.role, staff.version), (Role::Staff, 2));
    assert!(fixture.is_ended(&pair));
    assert_eq!(
        now(fixture
            .users
            .set_role(&context, ada.id.as_str(), Role::Admin, Some(1.into()))),
        Err(UserError::VersionConflict)
    );
    let sql = "SELECT actor, detail FROM audit WHERE action = 'user.role'";
    let rows = now(fixture.database.query(sql, &[])).unwrap();
    let (actor, detail) = (rows[0].get("actor"), rows[0].get("detail"));
    assert_eq!(actor, Ok("admin:root".to_owned()));
    assert_eq!(detail, Ok("customer → staff".to_owned()));
}

#[test]
fn erasing_a_user_deletes_all_personal_data() {
    let fixture = fixture();
    let ada = fixture.register("ada@example.com").unwrap();
    let pair = fixture.begin(&ada);
    let context = Context::system("");
    let patch = ProfilePatch {
        name: Some(Some("Ada Lovelace".into())),
        ..ProfilePatch::default()
    };
    let named = now(fixture.users.patch(&context, ada.id.as_str(), patch, None)).unwrap();
    assert_eq!(named.profile.name.as_deref(), Some("Ada Lovelace"));
    now(fixture.users.erase(&context, ada.id.as_str())).unwrap();
    assert!(fixture.is_ended(&pair));
    assert_eq!(
        now(fixture.users.get(ada.id.as_str())),
        Err(UserError::NotFound)
    );
    for sql in [
        "SELECT email, name, password_hash, email_key FROM users",
        "SELECT body FROM outbox",
        "SELECT detail FROM audit",
    ] {
        let kept = format!("{:?}", now(fixture.database.query(sql, &[])).unwrap()).to_lowercase();
        assert!(!kept.contains("ada") && !kept.contains("argon2"), "{kept}");
    }
    assert!(
        fixture.register("ada@example.com").is_ok(),
        "the address can be registered again"
    );
}

#[test]
fn an_administrator_exists_from_the_start() {
    let fixture = fixture();
    let context = Context::system("");
    for _ in 0..2 {
        now(fixture.users.ensure_admin(&context)).unwrap();
    }
    let admin = fixture
        .log_in("admin@localmart.test", "the admin password")
        .unwrap();
    assert_eq!(admin.role, Role::Admin);
}

#[test]
fn lists_are_read_by_index() {
    let fixture = fixture();
    for number in 0..5 {
        fixture.register(&format!("u{number}@example.com")).unwrap();
        fixture.environment.advance_ms(1);
    }
    let two = Limit::parse("2").unwrap();
    let (page, next) = now(fixture.users.list(two, None)).unwrap();
    assert_eq!(
        page.iter()
            .map(|user| user.email.as_str())
            .collect::<Vec<_>>(),
        ["u4@example.com", "u3@example.com"]
    );
    let cursor = Cursor::decode(&next.unwrap(), "newest").unwrap();
    let (page, _) = now(fixture.users.list(two, Some(&cursor))).unwrap();
    assert_eq!(page[0].email, "u2@example.com");
    for after in [None, Some(&cursor)] {
        let (sql, params) = list_statement(two, after);
        let plan = fixture.database.plan(&sql, &params).join("\n");
        assert!(
            plan.contains("users_newest") && !plan.contains("TEMP B-TREE"),
            "{plan}"
        );
    }
}

#[test]
fn a_login_gets_the_rights_that_are_true_when_its_session_is_written() {
    let fixture = fixture();
    let context = Context::system("");
    let ada = fixture.register("ada@example.com").unwrap();
    let set = |role: Role| {
        now(fixture
            .users
            .set_role(&context, ada.id.as_str(), role, None))
        .unwrap()
    };
    set(Role::Admin);
    let checked = fixture.log_in("ada@example.com", "correct horse").unwrap();
    assert_eq!(checked.role, Role::Admin);
    fixture.users_admin();
    set(Role::Customer);
    let (user, pair) = now(fixture.users.sessions.begin(checked.clone())).unwrap();
    assert_eq!(user.role, Role::Customer);
    assert_eq!(
        fixture.claim(&pair, "roles"),
        serde_json::json!(["customer"])
    );
    now(fixture.users.erase(&context, ada.id.as_str())).unwrap();
    let late = now(fixture.users.sessions.begin(user));
    assert_eq!(late, Err(UserError::InvalidCredentials));
}

#[test]
fn the_last_administrator_stays() {
    let fixture = fixture();
    let context = Context::system("");
    fixture.users_admin();
    let admin = fixture
        .log_in("admin@localmart.test", "the admin password")
        .unwrap();
    let id = admin.id.as_str();
    let demote = || now(fixture.users.set_role(&context, id, Role::Staff, None));
    assert_eq!(demote(), Err(UserError::LastAdmin));
    assert_eq!(
        now(fixture.users.erase(&context, id)),
        Err(UserError::LastAdmin)
    );
    let ada = fixture.register("ada@example.com").unwrap();
    now(fixture
        .users
        .set_role(&context, ada.id.as_str(), Role::Admin, None))
    .unwrap();
    assert_eq!(demote().map(|user| user.role), Ok(Role::Staff));
}

#[test]
fn addresses_are_compared_in_one_form() {
    let fixture = fixture();
    fixture.register("jos\u{e9}@example.com").unwrap();
    let other_form = "Jose\u{301}@Example.com";
    assert_eq!(fixture.register(other_form), Err(UserError::EmailTaken));
    assert!(fixture.log_in(other_form, "correct horse").is_ok());
}

#[test]
fn a_stranger_cannot_lock_an_owner_out() {
    let fixture = fixture();
    let (owner, email) = ("192.0.2.1", "ada@example.com");
    fixture.register(email).unwrap();
    assert!(fixture.log_in_from(owner, email, "correct horse").is_ok());
    let locked = |result| matches!(result, Err(UserError::TooManyAttempts(_)));
    for attempt in 0..6 {
        let refused = fixture.log_in_from("198.51.100.1", email, "wrong horse");
        assert_eq!(locked(refused), attempt == 5);
    }
    assert!(fixture.log_in_from(owner, email, "correct horse").is_ok());
    // Many strangers together lock the account for everybody but its known clients.
    for stranger in 0..101 {
        let _ = fixture.log_in_from(&format!("203.0.113.{stranger}"), email, "wrong horse");
    }
    assert!(locked(fixture.log_in_from(
        "203.0.113.200",
        email,
        "correct horse"
    )));
    assert!(fixture.log_in_from(owner, email, "correct horse").is_ok());
}

#[test]
fn one_password_over_many_accounts_is_slowed() {
    let fixture = fixture();
    let attempt = |number: u32, client: &str| {
        fixture.log_in_from(client, &format!("user{number}@example.com"), "password1")
    };
    let wrong = (0..40)
        .filter(|number| attempt(*number, "198.51.100.1") == Err(UserError::InvalidCredentials))
        .count();
    assert_eq!(wrong, 20);
    assert_eq!(
        attempt(50, "198.51.100.2"),
        Err(UserError::InvalidCredentials)
    );
}
