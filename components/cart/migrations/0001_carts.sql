-- Carts of users; those of guests are in the short-lived store.
CREATE TABLE carts (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    -- 1: what the owner calls `mine`.
    current BIGINT NOT NULL,
    currency TEXT NOT NULL,
    -- [[product id, quantity], …] in the order in which they were added.
    lines TEXT NOT NULL,
    order_id TEXT,
    version BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX carts_current ON carts (owner) WHERE current = 1;
CREATE INDEX carts_expiry ON carts (expires_at);

-- Guest carts that became part of a user's; each once.
CREATE TABLE merges (
    guest_cart_id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    merged_at BIGINT NOT NULL
);

CREATE INDEX merges_age ON merges (merged_at);
