"""The tables of the SQLite state, version by version.

Version 2: `runs.allowed` (guards lifted, with reasons), `rows.released` (tags that left management).
Version 3: `answers` (columns that `rows` had, once for all contacts of a batch that were answered alike); `facts` (the
limits and spellings that a location taught us); of a contact when it was first refused, the sets that it belonged to
then (`membership`), and which tags were put back when (`restored`).
Version 4: the tags under management that were never observed there (`unconfirmed`; NULL: not written down).
Version 5: of a contact, the pairs of `once` tags that left the ledger and when they were given (`spent`), the last
reading that could not decide its doubt (`reading`) and when it was last tried (`attempted_at`); when the limits of a
request were learnt; which pairs a run put under management (`traced`), by an intent (`rows.entered`) or without a
request (`adopted`); why an answer refused a contact (`rejection`), until then told from its message; of a lease's
holder, the boot, namespace and start that tell its process from others of that number.
Version 6: the report of a run at its end: its numbers (`runs.ending`), and the pairs that did not end well or
were not sent, grouped by why (`shortfalls`, `shortfall_contacts`; by id, since a contact that nothing was sent to may
not be known).
Version 7: the snapshots of matched sets (`snapshots`: contacts as compressed JSON), and of the people of a location the
fingerprints of their values (`people`: those that a contact has, and those that it had, cut into 16 bytes each) and
what they cover (`people_status`, whose `revision` tells copies of the state apart).
Version 8: of a snapshot by filter, the contacts that a complete search did not show, and since when (`missing`).
Version 9: what a trial of a contact settled of the location's API (`facts.tried`).

Tag sets are stored once (`tagsets`), and so is everything known of a contact (`known`): a contact is its id and a
number. `rows` is the journal: written with the intent, completed by the answer, which is a number too, counted from 0
in each batch: a row takes some 15 bytes. Contact ids, tags and fingerprints are all that is stored of a contact.
"""

from __future__ import annotations

# "recn": a database of another program is told from a state by it
APPLICATION_ID = 0x7265636E
VERSION = 9

# as version 3 had it: the step from 2 makes this one, and the step from 4 adds the column of today
_ANSWERS_3 = """
CREATE TABLE answers (
    batch INTEGER NOT NULL REFERENCES batches,
    n INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    old INTEGER,
    added INTEGER,
    removed INTEGER,
    message TEXT,
    released INTEGER,
    PRIMARY KEY (batch, n)
) STRICT, WITHOUT ROWID;
"""
_ANSWERS = """
CREATE TABLE answers (
    batch INTEGER NOT NULL REFERENCES batches,
    n INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    old INTEGER,
    added INTEGER,
    removed INTEGER,
    message TEXT,
    released INTEGER,
    rejection TEXT,
    PRIMARY KEY (batch, n)
) STRICT, WITHOUT ROWID;
"""
# likewise: `entered` came with version 5
_ROWS_3 = """
CREATE TABLE rows (
    batch INTEGER NOT NULL REFERENCES batches,
    contact INTEGER NOT NULL REFERENCES contacts,
    answer INTEGER,
    PRIMARY KEY (batch, contact)
) STRICT, WITHOUT ROWID;
"""
# without row ids: a run has a row for each contact, and an index beside the table would hold the key once more
_ROWS = """
CREATE TABLE rows (
    batch INTEGER NOT NULL REFERENCES batches,
    contact INTEGER NOT NULL REFERENCES contacts,
    answer INTEGER,
    entered INTEGER,
    PRIMARY KEY (batch, contact)
) STRICT, WITHOUT ROWID;
"""
_ADOPTED = """
CREATE TABLE adopted (
    run INTEGER NOT NULL REFERENCES runs,
    contact INTEGER NOT NULL REFERENCES contacts,
    tags INTEGER NOT NULL REFERENCES tagsets,
    PRIMARY KEY (run, contact)
) STRICT, WITHOUT ROWID;
"""
# `n` keeps the groups of a run in the order of its report, in which no table by itself keeps rows
_SHORTFALLS = """
CREATE TABLE shortfalls (
    run INTEGER NOT NULL REFERENCES runs,
    n INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    action TEXT NOT NULL,
    tags TEXT NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (run, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE shortfall_contacts (
    run INTEGER NOT NULL REFERENCES runs,
    n INTEGER NOT NULL,
    contact TEXT NOT NULL,
    PRIMARY KEY (run, n, contact)
) STRICT, WITHOUT ROWID;
"""
_INDEX = """
CREATE TABLE people (
    location INTEGER NOT NULL REFERENCES locations,
    contact TEXT NOT NULL,
    present BLOB NOT NULL,
    past BLOB NOT NULL,
    PRIMARY KEY (location, contact)
) STRICT, WITHOUT ROWID;
CREATE TABLE people_status (
    location INTEGER PRIMARY KEY REFERENCES locations,
    status TEXT NOT NULL,
    revision INTEGER NOT NULL
) STRICT;
"""
# as version 7 had it: the step from 7 adds `missing`
_PEOPLE_7 = f"""
CREATE TABLE snapshots (
    location INTEGER NOT NULL REFERENCES locations,
    name TEXT NOT NULL,
    as_of INTEGER NOT NULL,
    source_digest TEXT NOT NULL,
    counts TEXT NOT NULL,
    contacts BLOB NOT NULL,
    PRIMARY KEY (location, name)
) STRICT;
{_INDEX}"""
_PEOPLE = f"""
CREATE TABLE snapshots (
    location INTEGER NOT NULL REFERENCES locations,
    name TEXT NOT NULL,
    as_of INTEGER NOT NULL,
    source_digest TEXT NOT NULL,
    counts TEXT NOT NULL,
    contacts BLOB NOT NULL,
    missing TEXT NOT NULL DEFAULT '{{}}',
    PRIMARY KEY (location, name)
) STRICT;
{_INDEX}"""
TABLES = f"""
CREATE TABLE locations (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    lineage TEXT NOT NULL,
    serial INTEGER NOT NULL
) STRICT;
CREATE TABLE tagsets (
    n INTEGER PRIMARY KEY,
    tags TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE known (
    n INTEGER PRIMARY KEY,
    location INTEGER NOT NULL REFERENCES locations,
    observed INTEGER REFERENCES tagsets,
    observed_at INTEGER,
    origin TEXT NOT NULL,
    ledger INTEGER NOT NULL REFERENCES tagsets,
    kept INTEGER NOT NULL REFERENCES tagsets,
    doubt INTEGER NOT NULL REFERENCES tagsets,
    doubt_at INTEGER,
    quarantine TEXT,
    quarantined_at INTEGER,
    quarantined_since INTEGER,
    membership TEXT,
    restored TEXT NOT NULL DEFAULT '[]',
    unconfirmed INTEGER REFERENCES tagsets,
    spent TEXT NOT NULL DEFAULT '[]',
    reading TEXT,
    attempted_at INTEGER
) STRICT;
CREATE INDEX known_by_location ON known (location);
CREATE TABLE contacts (
    n INTEGER PRIMARY KEY,
    location INTEGER NOT NULL REFERENCES locations,
    id TEXT NOT NULL,
    known INTEGER NOT NULL,
    UNIQUE (location, id)
) STRICT;
CREATE TABLE set_sizes (
    location INTEGER NOT NULL REFERENCES locations,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (location, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE facts (
    location INTEGER PRIMARY KEY REFERENCES locations,
    moves_updated INTEGER,
    max_contacts INTEGER,
    max_tags INTEGER,
    aliases TEXT NOT NULL,
    limits_at INTEGER,
    tried TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE TABLE runs (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    location INTEGER NOT NULL REFERENCES locations,
    operation TEXT NOT NULL,
    who TEXT NOT NULL,
    change_digest TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER,
    status TEXT NOT NULL,
    allowed TEXT NOT NULL DEFAULT '[]',
    traced INTEGER NOT NULL DEFAULT 0,
    ending TEXT
) STRICT;
CREATE TABLE batches (
    n INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs,
    action TEXT NOT NULL,
    tags INTEGER NOT NULL REFERENCES tagsets,
    intended INTEGER NOT NULL,
    ended INTEGER,
    status TEXT NOT NULL
) STRICT;
CREATE INDEX batches_by_run ON batches (run);
{_ANSWERS}
{_ROWS}
{_ADOPTED}
{_SHORTFALLS}
{_PEOPLE}
CREATE TABLE leases (
    location INTEGER PRIMARY KEY REFERENCES locations,
    fence INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    id TEXT NOT NULL,
    who TEXT NOT NULL,
    operation TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    created INTEGER NOT NULL,
    run_url TEXT NOT NULL,
    boot_id TEXT NOT NULL DEFAULT '',
    pid_namespace TEXT NOT NULL DEFAULT '',
    process_start TEXT NOT NULL DEFAULT ''
) STRICT;
"""

# the step from 2 works it out twice, for the answers and for the rows that name them: both have to come to the same
_NUMBER = """
dense_rank() OVER (PARTITION BY batch ORDER BY outcome, old, added, removed, message, released) - 1
"""
STEPS = {
    1: """
ALTER TABLE runs ADD COLUMN allowed TEXT NOT NULL DEFAULT '[]';
ALTER TABLE rows ADD COLUMN released INTEGER;
""",
    2: f"""
ALTER TABLE known ADD COLUMN quarantined_since INTEGER;
ALTER TABLE known ADD COLUMN membership TEXT;
ALTER TABLE known ADD COLUMN restored TEXT NOT NULL DEFAULT '[]';
CREATE TABLE facts (
    location INTEGER PRIMARY KEY REFERENCES locations,
    moves_updated INTEGER,
    max_contacts INTEGER,
    max_tags INTEGER,
    aliases TEXT NOT NULL
) STRICT;
ALTER TABLE rows RENAME TO whole_rows;
{_ANSWERS_3}
INSERT INTO answers (batch, n, outcome, old, added, removed, message, released)
SELECT DISTINCT batch, {_NUMBER}, outcome, old, added, removed, message, released FROM whole_rows
WHERE outcome IS NOT NULL;
{_ROWS_3}
INSERT INTO rows (batch, contact, answer)
SELECT batch, contact, {_NUMBER} FROM whole_rows WHERE outcome IS NOT NULL
UNION ALL SELECT batch, contact, NULL FROM whole_rows WHERE outcome IS NULL
ORDER BY 1, 2;
DROP TABLE whole_rows;
""",
    3: "ALTER TABLE known ADD COLUMN unconfirmed INTEGER REFERENCES tagsets;",
    # the words of the API at that time, read for the last time: from version 5 on a column tells the reason
    4: f"""
ALTER TABLE known ADD COLUMN spent TEXT NOT NULL DEFAULT '[]';
ALTER TABLE known ADD COLUMN reading TEXT;
ALTER TABLE known ADD COLUMN attempted_at INTEGER;
ALTER TABLE facts ADD COLUMN limits_at INTEGER;
ALTER TABLE answers ADD COLUMN rejection TEXT;
ALTER TABLE runs ADD COLUMN traced INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rows ADD COLUMN entered INTEGER;
{_ADOPTED}
UPDATE answers SET rejection = CASE message
    WHEN 'contact id is not a valid firebase id' THEN 'invalid'
    WHEN 'contact is deleted' THEN 'deleted'
    WHEN 'contact does not belong to location' THEN 'other location' END
WHERE outcome = 'rejected';
ALTER TABLE leases ADD COLUMN boot_id TEXT NOT NULL DEFAULT '';
ALTER TABLE leases ADD COLUMN pid_namespace TEXT NOT NULL DEFAULT '';
ALTER TABLE leases ADD COLUMN process_start TEXT NOT NULL DEFAULT '';
""",
    5: f"""
ALTER TABLE runs ADD COLUMN ending TEXT;
{_SHORTFALLS}
""",
    6: _PEOPLE_7,
    7: "ALTER TABLE snapshots ADD COLUMN missing TEXT NOT NULL DEFAULT '{}';",
    8: "ALTER TABLE facts ADD COLUMN tried TEXT NOT NULL DEFAULT '[]';",
}
"""From each older version to the next; `tests/store/golden` has a state of every version that there was."""
