CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    -- The address as it is compared: trimmed, in lower case. NULL once erased.
    email_key TEXT UNIQUE,
    -- argon2id in PHC form; NULL once erased.
    password_hash TEXT,
    name TEXT,
    phone TEXT,
    addresses TEXT NOT NULL,
    preferences TEXT NOT NULL,
    role TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    erased_at BIGINT
);

CREATE INDEX users_newest ON users (created_at, id);

-- A login and everything refreshed from it: the family that falls together.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE INDEX sessions_user ON sessions (user_id, created_at);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- Refresh tokens by hash; each is spent once.
CREATE TABLE refresh_tokens (
    hash TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    spent_at BIGINT
);

CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);
