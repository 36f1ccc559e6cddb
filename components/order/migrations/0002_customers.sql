ALTER TABLE orders ADD COLUMN customer_id TEXT;
-- The version of the payment whose status is shown; later ones come by event.
ALTER TABLE orders ADD COLUMN payment_version BIGINT NOT NULL DEFAULT 0;
-- Whether its making was told to others: not before its cart is surely its own.
ALTER TABLE orders ADD COLUMN announced BIGINT NOT NULL DEFAULT 0;

CREATE INDEX orders_customer ON orders (customer_id, created_at, id);
CREATE INDEX orders_customer_status ON orders (customer_id, status, created_at, id);
CREATE INDEX orders_newest ON orders (created_at, id);
CREATE INDEX orders_status ON orders (status, created_at, id);
CREATE INDEX orders_payment ON orders (payment_id);
