"""The tables of a store, by version. They are only ever added to: the database itself refuses anything else."""

from __future__ import annotations

APPLICATION_ID = 0x64707266  # "dprf", by which a store is told from other SQLite databases

# A chain of judgements for each pair and annotator: one without `supersedes` begins it, each is superseded at most
# once, and undo alternates with judge and redo. So #judge + #redo - #undo counts what stands.
FIRST = """
CREATE TABLE clips (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 64),
    environment TEXT NOT NULL,
    arguments TEXT NOT NULL,
    tokens TEXT NOT NULL,
    source TEXT NOT NULL,
    text TEXT,
    metadata TEXT NOT NULL
);
CREATE TABLE pairs (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),
    a INTEGER NOT NULL REFERENCES clips (id),
    b INTEGER NOT NULL REFERENCES clips (id),
    left TEXT NOT NULL CHECK (left IN ('a', 'b')),
    repeats INTEGER REFERENCES pairs (id),
    strategy TEXT NOT NULL,
    model_hash TEXT,
    created REAL NOT NULL,
    CHECK (a <> b)
);
CREATE TABLE judgements (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),
    pair INTEGER NOT NULL REFERENCES pairs (id),
    annotator TEXT NOT NULL CHECK (length(annotator) BETWEEN 1 AND 80),
    action TEXT NOT NULL CHECK (action IN ('judge', 'undo', 'redo')),
    choice TEXT CHECK (choice IN ('a', 'b', 'tie', 'both_bad', 'skip')),
    supersedes INTEGER UNIQUE,
    shown REAL NOT NULL,
    decided REAL NOT NULL,
    recorded REAL NOT NULL,
    listening TEXT NOT NULL,
    note TEXT NOT NULL CHECK (length(note) <= 2000),
    CHECK ((action = 'undo') = (choice IS NULL)),
    CHECK (action = 'judge' OR supersedes IS NOT NULL),
    UNIQUE (id, pair, annotator),
    FOREIGN KEY (supersedes, pair, annotator) REFERENCES judgements (id, pair, annotator)
);
CREATE UNIQUE INDEX one_beginning ON judgements (pair, annotator) WHERE supersedes IS NULL;
CREATE INDEX by_annotator ON judgements (annotator, action);
CREATE INDEX by_pair ON judgements (pair, annotator);
CREATE TRIGGER undo_alternates BEFORE INSERT ON judgements WHEN NEW.supersedes IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'an undo takes back what stands, and all else what was undone')
    WHERE (NEW.action = 'undo') = ((SELECT action FROM judgements WHERE id = NEW.supersedes) = 'undo');
END;
CREATE VIEW standing AS
    SELECT * FROM judgements AS j
    WHERE choice IS NOT NULL AND NOT EXISTS (SELECT 1 FROM judgements AS k WHERE k.supersedes = j.id);
"""

for _table in ("clips", "pairs", "judgements"):
    for _change in ("UPDATE", "DELETE"):
        FIRST += (
            f"CREATE TRIGGER {_table}_no_{_change.lower()} BEFORE {_change} ON {_table} "
            f"BEGIN SELECT RAISE(ABORT, 'a store is only ever added to'); END;\n"
        )

MIGRATIONS: tuple[str, ...] = (FIRST,)
"""Migration k (from 0) leads from version k to k + 1: never change one that was released, add another."""
