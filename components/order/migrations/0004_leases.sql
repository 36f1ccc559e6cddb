-- A lease is renewed by the order's id.
CREATE INDEX checkout_keys_order ON checkout_keys (order_id);
