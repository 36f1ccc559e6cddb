-- The user whose order it pays; nobody for a guest, who shows the order's token.
ALTER TABLE payments ADD COLUMN customer_id TEXT;
