-- Tasks that the service was given, for as long as its list tells of them: which of the list are this daemon's, whatever became of their
-- jobs since.
CREATE TABLE task (
    id   TEXT PRIMARY KEY,
    made INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX task_by_made ON task (made);
