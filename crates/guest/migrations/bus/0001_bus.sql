-- The bus where there is no Redis. Only the kit touches these tables.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO counters (name, value) VALUES ('events', 0);

CREATE TABLE events (
    seq BIGINT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    channel TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    published_at BIGINT NOT NULL
);

CREATE INDEX events_channel ON events (channel, seq);
CREATE INDEX events_age ON events (channel, published_at);

-- How far each group of consumers has read each channel.
CREATE TABLE positions (
    consumers TEXT NOT NULL,
    channel TEXT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (consumers, channel)
);

-- One consumer of a group works at a time.
CREATE TABLE leases (
    consumers TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    until BIGINT NOT NULL
);

-- What a group has read and not acknowledged.
CREATE TABLE deliveries (
    consumers TEXT NOT NULL,
    seq BIGINT NOT NULL,
    channel TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_try_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (consumers, seq)
);

CREATE INDEX deliveries_seq ON deliveries (seq);

-- What a group has given up, whole, so that it outlives the trimming of events.
CREATE TABLE dead (
    consumers TEXT NOT NULL,
    id TEXT NOT NULL,
    channel TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    reason TEXT NOT NULL,
    died_at BIGINT NOT NULL,
    PRIMARY KEY (consumers, id)
);
