-- What of an order's discount and tax is this line's.
ALTER TABLE order_items ADD COLUMN discount BIGINT NOT NULL DEFAULT 0;
ALTER TABLE order_items ADD COLUMN tax BIGINT NOT NULL DEFAULT 0;

-- Something given back: requested, then rejected, or approving until money and goods are back where they were, then approved.
CREATE TABLE returns (
    id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    refund BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Asked for again under the same name it is the same return.
CREATE UNIQUE INDEX returns_name ON returns (order_id, name);
CREATE INDEX returns_approving ON returns (order_id) WHERE status = 'approving';

CREATE TABLE return_items (
    return_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    product_id TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    PRIMARY KEY (return_id, position)
);
