-- Every time money was given back, under the name that whoever asked for it gave it.
CREATE TABLE refunds (
    payment_id TEXT NOT NULL,
    name TEXT NOT NULL,
    amount BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (payment_id, name)
);

-- What of the refunds the provider surely knows; the rest is told again.
ALTER TABLE payments ADD COLUMN told BIGINT NOT NULL DEFAULT 0;
CREATE INDEX payments_untold ON payments (updated_at) WHERE refunded > told;
