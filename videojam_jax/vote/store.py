"""The votes on disk: one SQLite file.

Rows are only ever added. An answer that is changed or taken back is a later row for the
same rater, pair and question, and the last one counts; so the file also tells when
someone wavered. Every row is on the disk before the rater is told that it was taken.

The file keeps SQLite's rollback journal instead of a write-ahead log: between two votes
it is one file, which can be copied, and it works on a network file system.
"""

import contextlib
import dataclasses
import datetime
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from videojam_jax.errors import UserError
from videojam_jax.vote.order import Key
from videojam_jax.vote.questions import NAMES
from videojam_jax.vote.raters import rater_key

APPLICATION = 0x564A766F  # "VJvo": in the file's header, so that another program's is refused
VERSION = 1
SKIP = "skip"  # stands where an answer names its question, and where it names A or B

SCHEMA = """
CREATE TABLE study (
  name TEXT PRIMARY KEY,  -- fingerprint, seed, secret, name_a, name_b
  value TEXT NOT NULL
);
CREATE TABLE pairs (
  pair INTEGER PRIMARY KEY,
  prompt TEXT NOT NULL,
  number INTEGER NOT NULL,
  UNIQUE (prompt, number)
);
CREATE TABLE raters (
  rater TEXT PRIMARY KEY,  -- the name as it is compared
  name TEXT NOT NULL,      -- as it was first given
  began TEXT NOT NULL
);
CREATE TABLE votes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at TEXT NOT NULL,        -- UTC
  rater TEXT NOT NULL REFERENCES raters,
  pair INTEGER NOT NULL REFERENCES pairs,
  question TEXT NOT NULL,  -- or 'skip': of the pair as a whole
  choice TEXT CHECK (choice IN ('a', 'b', 'skip')),  -- NULL: taken back
  a_side TEXT NOT NULL CHECK (a_side IN ('left', 'right')),
  CHECK (choice IS NULL OR (question = 'skip') = (choice = 'skip'))
);
CREATE INDEX votes_of_rater ON votes (rater, pair, question);
-- What a rater last said of each thing, if it was not taken back.
CREATE VIEW standing AS
  SELECT * FROM votes
  WHERE id IN (SELECT max(id) FROM votes GROUP BY rater, pair, question)
    AND choice IS NOT NULL;
-- What counts: not the answers of a pair that was skipped after all.
CREATE VIEW counted AS
  SELECT * FROM standing AS vote
  WHERE question <> 'skip' AND NOT EXISTS (
    SELECT 1 FROM standing AS skipped
    WHERE skipped.rater = vote.rater AND skipped.pair = vote.pair AND skipped.question = 'skip'
  );
"""


@dataclasses.dataclass(frozen=True)
class Vote:
    """One answer that counts.

    Attributes:
      rater: the name as it is compared.
      pair: the pair's place in `Record.keys`.
      question: one of `questions.NAMES`.
      choice: "a" or "b".
      a_side: where A's clip was, "left" or "right".
    """

    rater: str
    pair: int
    question: str
    choice: str
    a_side: str


@dataclasses.dataclass(frozen=True)
class Record:
    """All that a votes file says.

    Attributes:
      names: of A and of B.
      seed: of sides and orders.
      keys: each pair's prompt and number.
      raters: from the name as it is compared to the name as it was given.
      votes: the answers that count.
      skipped: for each pair that a rater skipped, the rater and the pair.
    """

    names: tuple[str, str]
    seed: int
    keys: tuple[Key, ...]
    raters: dict[str, str]
    votes: tuple[Vote, ...]
    skipped: tuple[tuple[str, int], ...]


class Votes:
    """An open votes file; its methods may be called from several threads.

    Attributes:
      path: the file.
      names: of A and of B.
      secret: drawn when the file was made; what a browser is told is derived from it.
    """

    def __init__(
        self,
        path: Path,
        keys: Sequence[Key],
        fingerprint: str,
        *,
        seed: int,
        names: tuple[str, str] | None,
        default_names: tuple[str, str] = ("A", "B"),
    ):
        """Makes the file, or goes on with it.

        Args:
          path: the file.
          keys: prompt and number of each pair.
          fingerprint: of the pairs, as `folders.fingerprint` gives it.
          seed: of sides and orders.
          names: of A and of B; they replace those of the file. None keeps them.
          default_names: for a new file where `names` is None.

        Raises:
          UserError: the file is no votes file, of other clips or another seed, or cannot
            be written.
        """
        self.path = path
        self._lock = threading.RLock()
        with _is_votes_file(path):
            self._database = _connect(path, "rwc")
            try:
                with self.transaction():
                    if _is_new(self._database):
                        self._make(keys, fingerprint, seed, names or default_names)
                    study = _study(self._database, path)
                    self._check(study, fingerprint, seed)
                    for key, name in zip(("name_a", "name_b"), names or ()):
                        study[key] = name
                        self._write("UPDATE study SET value = ? WHERE name = ?", name, key)
            except BaseException:
                self._database.close()
                raise
        self.names = (study["name_a"], study["name_b"])
        self.secret = bytes.fromhex(study["secret"])

    def _make(self, keys, fingerprint, seed, names) -> None:
        for statement in SCHEMA.split(";\n"):
            self._write(statement)
        self._write(f"PRAGMA application_id = {APPLICATION}")
        self._write(f"PRAGMA user_version = {VERSION}")
        study = {
            "fingerprint": fingerprint,
            "seed": str(seed),
            "secret": secrets.token_hex(32),
            "name_a": names[0],
            "name_b": names[1],
        }
        for name, value in study.items():
            self._write("INSERT INTO study VALUES (?, ?)", name, value)
        for pair, (prompt, number) in enumerate(keys):
            self._write("INSERT INTO pairs VALUES (?, ?, ?)", pair, prompt, number)

    def _check(self, study: dict[str, str], fingerprint: str, seed: int) -> None:
        if study["fingerprint"] != fingerprint:
            raise UserError(
                f"{self.path}: holds votes on other clips; give the folders it was begun with "
                "(the clips unchanged, A and B not exchanged), or another --votes file"
            )
        if study["seed"] != str(seed):
            raise UserError(
                f"{self.path}: was begun with --seed {study['seed']}, which decides what raters "
                f"see where; give that instead of {seed}, or another --votes file"
            )

    def close(self) -> None:
        """Waits for a vote that is being written, and closes the file."""
        with self._lock:
            self._database.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What is read and written within is one step, kept whole or not at all.

        It is on the disk when this is left.
        """
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise

    def enter(self, name: str) -> str:
        """Notes a rater, or recognises one; gives the name as it is compared.

        Raises:
          ValueError: see `rater_key`.
        """
        rater = rater_key(name)
        with self.transaction():
            name = " ".join(name.split())
            self._write("INSERT OR IGNORE INTO raters VALUES (?, ?, ?)", rater, name, _now())
        return rater

    def rater_name(self, rater: str) -> str | None:
        """A rater's name as it was first given; None for one who never entered."""
        rows = self._read("SELECT name FROM raters WHERE rater = ?", rater)
        return rows[0][0] if rows else None

    def standing(self, rater: str) -> dict[tuple[int, str], str]:
        """From pair and question (or `SKIP`) to what the rater last chose."""
        rows = self._read("SELECT pair, question, choice FROM standing WHERE rater = ?", rater)
        return {(pair, question): choice for pair, question, choice in rows}

    def add(self, rater: str, pair: int, question: str, choice: str, a_side: str) -> None:
        """Adds an answer, or with `SKIP` for question and choice, that a pair was skipped."""
        self._add(rater, pair, question, choice, a_side)

    def take_back(self, rater: str) -> bool:
        """Takes back what the rater did last and had not taken back; False if there is nothing."""
        latest = "SELECT pair, question, a_side FROM standing WHERE rater = ? ORDER BY id DESC"
        with self.transaction():
            rows = self._read(f"{latest} LIMIT 1", rater)
            for pair, question, a_side in rows:
                self._add(rater, pair, question, None, a_side)
        return bool(rows)

    def _add(self, rater: str, pair: int, question: str, choice: str | None, a_side: str) -> None:
        columns = "(at, rater, pair, question, choice, a_side)"
        values = (_now(), rater, pair, question, choice, a_side)
        self._write(f"INSERT INTO votes {columns} VALUES (?, ?, ?, ?, ?, ?)", *values)

    def _read(self, query: str, *values) -> list[tuple]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def _write(self, statement: str, *values) -> None:
        with self._lock:
            self._database.execute(statement, values)


def read_votes(path: Path) -> Record:
    """All that counts in a votes file, which a server may be writing to.

    Raises:
      UserError: there is no such file, or it is no votes file.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; votes are gathered with --a DIR --b DIR")
    with _is_votes_file(path), contextlib.closing(_connect(path, "rw")) as database:
        # One transaction, so that all queries see the same moment.
        database.execute("BEGIN")
        study = _study(database, path)

        def read(query):
            return database.execute(query).fetchall()

        columns = "rater, pair, question, choice, a_side"
        skipped = f"SELECT rater, pair FROM standing WHERE question = '{SKIP}'"
        votes = read(f"SELECT {columns} FROM counted ORDER BY rater, pair, id")
        return Record(
            names=(study["name_a"], study["name_b"]),
            seed=int(study["seed"]),
            keys=tuple(read("SELECT prompt, number FROM pairs ORDER BY pair")),
            raters=dict(read("SELECT rater, name FROM raters ORDER BY began, rater")),
            votes=tuple(Vote(*row) for row in votes if row[2] in NAMES),
            skipped=tuple(read(f"{skipped} ORDER BY rater, pair")),
        )


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=10,
        isolation_level=None,  # transactions begin where we say so
        check_same_thread=False,  # Votes has a lock
    )
    # A vote survives the loss of power too, not only of the process.
    database.execute("PRAGMA synchronous = EXTRA")
    database.execute("PRAGMA foreign_keys = ON")
    return database


@contextlib.contextmanager
def _is_votes_file(path: Path) -> Iterator[None]:
    """SQLite's errors as UserError that names the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UserError(f"{path}: cannot be opened as a votes file ({error})") from error
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path}: is no votes file ({error}); name another --votes") from error


def _is_new(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def _study(database: sqlite3.Connection, path: Path) -> dict[str, str]:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise UserError(f"{path}: is a database, but of no votes; name another --votes file")
    if version != VERSION:
        raise UserError(
            f"{path}: has the votes in form {version}, and this version of videojam reads form "
            f"{VERSION}; use the version it was begun with"
        )
    return dict(database.execute("SELECT name, value FROM study").fetchall())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
