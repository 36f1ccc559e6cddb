-- What every service has beside its own tables. Written with a change, relayed to the bus, then removed.
CREATE TABLE outbox (
    subject TEXT NOT NULL,
    version BIGINT NOT NULL,
    channel TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (subject, version)
);

CREATE INDEX outbox_age ON outbox (created_at, subject, version);

-- Events that have had their effect here; written with the effect.
CREATE TABLE inbox (
    id TEXT PRIMARY KEY,
    seen_at BIGINT NOT NULL
);

CREATE INDEX inbox_age ON inbox (seen_at);

-- Who did what to what, in whose trace. Rows are only ever added.
CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    detail TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE INDEX audit_subject ON audit (subject, at);
