-- The ledger of harkd. Times are milliseconds since the epoch, ids the 16 bytes of a UUIDv7.

-- One row a job. `body` is the whole job as JSON; the columns beside it are what is searched by.
CREATE TABLE job (
    id         BLOB PRIMARY KEY,
    source     TEXT NOT NULL,
    duty       TEXT NOT NULL,             -- what is owed next
    due        INTEGER NOT NULL,          -- not before; below zero: at once (see jobs.rs)
    sending    INTEGER NOT NULL DEFAULT 0,-- a request that costs may have left and its answer is not here
    stream_seq INTEGER NOT NULL DEFAULT 0,-- of its last event that JetStream has acknowledged
    ended      INTEGER,                   -- when the last event was written
    body       TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX job_by_duty ON job (duty, source, due, id);
CREATE INDEX job_sending ON job (id) WHERE sending = 1;
CREATE INDEX job_by_ended ON job (ended) WHERE ended IS NOT NULL;

-- Stored events that JetStream has not acknowledged, in the order in which they were caused.
CREATE TABLE outbox (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    job      BLOB NOT NULL,
    source   TEXT NOT NULL,
    kind     TEXT NOT NULL,               -- family.name
    sequence INTEGER NOT NULL,
    time     TEXT NOT NULL,
    body     BLOB NOT NULL
);

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

-- The id by which other daemons on the same stream know this one, over restarts. One row.
CREATE TABLE daemon (id BLOB NOT NULL);
