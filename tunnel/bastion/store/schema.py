"""The tables of the bastion's store, in words that SQLite and PostgreSQL both understand.

Used by the two engines. Layout 1. Lists are JSON text; times are UNIX seconds, 0 for "not yet".
"""

from core.database import Schema

SCHEMA = Schema(
    name="bastion",
    version=1,
    compatible=1,
    create="""
CREATE TABLE appliance (
    serial TEXT PRIMARY KEY, series TEXT NOT NULL, tunnel_key TEXT NOT NULL, host_key TEXT NOT NULL,
    exchange_key TEXT NOT NULL, enrolled_at DOUBLE PRECISION NOT NULL,
    generation BIGINT NOT NULL, nonce TEXT NOT NULL, pending BIGINT NOT NULL, pending_nonce TEXT NOT NULL,
    frozen_at DOUBLE PRECISION NOT NULL, frozen_why TEXT NOT NULL, last_seen_at DOUBLE PRECISION NOT NULL
);
CREATE TABLE registration (
    serial TEXT PRIMARY KEY REFERENCES appliance (serial) ON DELETE CASCADE,
    activation_id TEXT NOT NULL, mode TEXT NOT NULL, fingerprint TEXT NOT NULL, key_id BIGINT NOT NULL,
    day BIGINT NOT NULL, until_at DOUBLE PRECISION NOT NULL, hops TEXT NOT NULL, product TEXT NOT NULL,
    series TEXT NOT NULL, first_at DOUBLE PRECISION NOT NULL, registered_at DOUBLE PRECISION NOT NULL,
    withdrawn_at DOUBLE PRECISION NOT NULL
);
CREATE TABLE engineer (
    name TEXT PRIMARY KEY, roles TEXT NOT NULL, keys TEXT NOT NULL, hours TEXT NOT NULL, sources TEXT NOT NULL,
    added_at DOUBLE PRECISION NOT NULL, disabled_at DOUBLE PRECISION NOT NULL
);
CREATE TABLE support_case (
    number TEXT PRIMARY KEY, opened_at DOUBLE PRECISION NOT NULL, approved_at DOUBLE PRECISION NOT NULL,
    approved_by TEXT NOT NULL, closed_at DOUBLE PRECISION NOT NULL
);
CREATE TABLE case_serial (
    number TEXT NOT NULL REFERENCES support_case (number), serial TEXT NOT NULL, via TEXT NOT NULL,
    address TEXT NOT NULL, PRIMARY KEY (number, serial)
);
CREATE INDEX case_serial_serial ON case_serial (serial);
CREATE TABLE case_engineer (
    number TEXT NOT NULL REFERENCES support_case (number), engineer TEXT NOT NULL REFERENCES engineer (name),
    PRIMARY KEY (number, engineer)
);
CREATE TABLE access_grant (
    number TEXT NOT NULL REFERENCES support_case (number), serial TEXT NOT NULL, grant_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL, mode TEXT NOT NULL, until_at DOUBLE PRECISION NOT NULL,
    given_at DOUBLE PRECISION NOT NULL, node TEXT NOT NULL, PRIMARY KEY (number, serial)
);
CREATE TABLE node (
    name TEXT PRIMARY KEY, epoch TEXT NOT NULL, address TEXT NOT NULL, until_at DOUBLE PRECISION NOT NULL
);
CREATE TABLE seat (
    serial TEXT PRIMARY KEY, node TEXT NOT NULL, epoch TEXT NOT NULL, connection TEXT NOT NULL,
    since_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX seat_node ON seat (node);
""",
)
