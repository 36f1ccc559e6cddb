CREATE TABLE payments (
    id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    captured BIGINT NOT NULL,
    refunded BIGINT NOT NULL,
    reason TEXT,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE INDEX payments_status ON payments (status, updated_at);

-- What the simulated card provider remembers: it stands for a company outside of the shop.
CREATE TABLE provider_charges (
    payment_id TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    status TEXT NOT NULL,
    amount BIGINT NOT NULL,
    captured BIGINT NOT NULL,
    refunded BIGINT NOT NULL
);
