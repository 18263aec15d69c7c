-- The ledger of harkd. Times are milliseconds since the epoch, ids the 16 bytes of a UUIDv7.

-- One row a job. `about` is the job as JSON with the version of its form; the columns beside it are what is searched by.
CREATE TABLE job (
    id         BLOB PRIMARY KEY,
    source     TEXT NOT NULL,
    duty       TEXT,                      -- what is owed next; NULL: nothing, or only to its pieces
    due        INTEGER NOT NULL,          -- not before
    accepted   INTEGER NOT NULL,
    ended      INTEGER,                   -- when the last event was written
    stream_seq INTEGER NOT NULL DEFAULT 0,-- of its last event that JetStream has acknowledged
    outcome    TEXT,                      -- completed, failed, canceled; NULL: it has not ended
    about      TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX job_by_duty ON job (duty, source, due, id) WHERE duty IS NOT NULL;
CREATE INDEX job_by_source ON job (source, ended, duty);
CREATE INDEX job_by_ended ON job (ended) WHERE ended IS NOT NULL;
-- Lists have the newest job first: the key of each index goes on with the id.
CREATE INDEX job_of_source ON job (source);
CREATE INDEX job_of_outcome ON job (outcome);

-- What one request carries: a span of time on some channels of a job's recording.
CREATE TABLE piece (
    job        BLOB NOT NULL,
    number     INTEGER NOT NULL,
    source     TEXT NOT NULL,
    recognizer TEXT NOT NULL,
    duty       TEXT,
    due        INTEGER NOT NULL,
    about      TEXT NOT NULL,
    heard      TEXT,                      -- the transcript; NULL once the last event is acknowledged
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE INDEX piece_by_duty ON piece (duty, recognizer, source, due, job, number) WHERE duty IS NOT NULL;
-- What is counted at every step of a job: the rows themselves have the texts, and a job may have a thousand of them.
CREATE INDEX piece_counted ON piece (job, duty, heard IS NOT NULL, json_extract(about, '$.failures'));
CREATE INDEX piece_sending ON piece (job, number) WHERE json_extract(about, '$.state.name') = 'sending';

-- Requests that may cost. Written before they leave; `fate` says what became of them.
CREATE TABLE attempt (
    job        BLOB NOT NULL,
    piece      INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    daemon     BLOB NOT NULL,             -- that sends it
    began      INTEGER NOT NULL,
    marker     TEXT,                      -- unique name of its upload
    handle     TEXT,                      -- of its task at the recognizer
    fate       TEXT NOT NULL,
    seconds    INTEGER NOT NULL,          -- that were billed
    input_tokens  INTEGER,                -- that were billed; NULL: the model has no price per token
    output_tokens INTEGER,
    cost_micro INTEGER NOT NULL,          -- millionths of a dollar
    reserved_micro INTEGER NOT NULL,      -- in the budget of the day on which it began; counts as spent until the bill is known
    raw        BLOB,                      -- a paid answer that could not be read; NULL once the last event is acknowledged
    PRIMARY KEY (job, piece, number)
) WITHOUT ROWID;
CREATE INDEX attempt_with_handle ON attempt (began) WHERE handle IS NOT NULL;

-- What the events of a job have published, as far as later events depend on it (published.rs). Removed once the last event is
-- acknowledged.
CREATE TABLE published (
    job        BLOB NOT NULL,
    key        TEXT NOT NULL,
    count      INTEGER NOT NULL,          -- how many of a series, or how far an alert is
    body       TEXT,                      -- an alert that is tentative; the annotation.speech
    PRIMARY KEY (job, key)
) WITHOUT ROWID;

-- The files that the daemon wrote for plugins.
CREATE TABLE written (
    folder     BLOB NOT NULL,             -- path, absolute
    name       BLOB NOT NULL,
    job        BLOB NOT NULL,
    recording  TEXT NOT NULL,             -- hex digest
    identity   TEXT NOT NULL,             -- from stat, as it was written
    sha256     TEXT NOT NULL,
    replaces   INTEGER NOT NULL,          -- inode of the file in whose place it comes; 0: none
    PRIMARY KEY (folder, name)
) WITHOUT ROWID;
CREATE INDEX written_by_job ON written (job);
CREATE INDEX written_by_recording ON written (recording, folder);

-- What the attempts of this daemon cost, or have reserved, by the UTC day (since the epoch) on which they began; millionths of a dollar.
CREATE TABLE spend (
    day        INTEGER NOT NULL,
    source     TEXT NOT NULL,
    recognizer TEXT NOT NULL,
    micro      INTEGER NOT NULL,
    PRIMARY KEY (day, source, recognizer)
) WITHOUT ROWID;

-- Objects in a bucket of the operator's own, without a signature. Written before an object is made, removed when it is deleted.
CREATE TABLE remote_object (
    url  TEXT PRIMARY KEY,
    made INTEGER NOT NULL,
    job  BLOB NOT NULL
) WITHOUT ROWID;

-- The stored events of jobs, in the order in which they were caused. Those without a `stream_seq` are the outbox: JetStream has not
-- acknowledged them. The others are kept as long as their job, for the live page and the API.
CREATE TABLE event (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    job        BLOB NOT NULL,
    source     TEXT NOT NULL,
    kind       TEXT NOT NULL,             -- family.name
    sequence   INTEGER NOT NULL,
    time       TEXT NOT NULL,
    stream_seq INTEGER,
    behind     INTEGER,                   -- of an event that was acknowledged late: the highest stream_seq that was known before
    body       TEXT NOT NULL
);
CREATE INDEX event_of_job ON event (job, sequence);
CREATE INDEX event_waiting ON event (id) WHERE stream_seq IS NULL;
CREATE INDEX event_stored ON event (stream_seq) WHERE stream_seq IS NOT NULL;
CREATE INDEX event_late ON event (behind, stream_seq) WHERE behind IS NOT NULL;
CREATE INDEX event_raised ON event (id) WHERE kind = 'alert.raised';
CREATE INDEX event_of_rule ON event (json_extract(body, '$.rule'), job) WHERE kind = 'alert.raised';

-- What a search for text looks through: one row for each transcript.final, with the id of its event. Three letters in a row are a word of the
-- index, so scripts without spaces are found too. Erased texts leave nothing in the index.
CREATE VIRTUAL TABLE search USING fts5 (text, tokenize = 'trigram');
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);

-- What was seen in watched folders, for as long as it is there. A file is known by its device and inode; its path is a column, so a rename is
-- an update. Neither is unique: a filesystem that makes inode numbers up (FAT, FUSE) may give one file's to another, and a new file may
-- have the path of one that was moved. `job` is NULL for files that were there before the first start; the hash of such a file, only once it
-- was touched.
CREATE TABLE file (
    id       INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: the daemon notes which files are missing by it
    source   TEXT NOT NULL,
    dev      INTEGER NOT NULL,
    inode    INTEGER NOT NULL,
    path     BLOB NOT NULL,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256   TEXT,
    job      BLOB
);
CREATE INDEX file_by_inode ON file (source, inode, dev);
CREATE INDEX file_by_path ON file (source, path);
CREATE INDEX file_by_sha256 ON file (source, sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX file_unread ON file (source, size, mtime_ns) WHERE job IS NULL AND sha256 IS NULL;

-- Files of jobs that an operator had forgotten, and further names of files that were moved or deleted: known by their identity alone, so that
-- they are not heard again. A row goes when another file has its inode, or when the file is gone.
CREATE TABLE forgotten_file (
    id       INTEGER PRIMARY KEY,
    source   TEXT NOT NULL,
    dev      INTEGER NOT NULL,
    inode    INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256   TEXT
);
CREATE INDEX forgotten_file_by_inode ON forgotten_file (source, inode);

-- Messages taken in, by their id or place, for as long as their job is kept.
CREATE TABLE intake (
    key TEXT PRIMARY KEY,
    job BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX intake_by_job ON intake (job);

-- What was ever watched: a folder (dev and inode 0) since it was first to be watched, and each place that was found at its path: a folder
-- (its dev and inode), or a filesystem below it (its dev, inode 0). What is older than `since` in a place that is met for the first time was
-- there before; once `scanned`, all of it is in `file`.
CREATE TABLE source (
    name    TEXT NOT NULL,
    path    BLOB NOT NULL,
    dev     INTEGER NOT NULL,
    inode   INTEGER NOT NULL,
    since   INTEGER NOT NULL,             -- nanoseconds, comparable with a ctime
    scanned INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (name, path, dev, inode)
) WITHOUT ROWID;

-- What an operator has paused.
CREATE TABLE pause (
    scope TEXT PRIMARY KEY,               -- source:<name>
    since INTEGER NOT NULL
) WITHOUT ROWID;

-- The id by which other daemons on the same stream know this one, over restarts. One row.
CREATE TABLE daemon (id BLOB NOT NULL);
