"""The ledger: every decision, registration, promotion and repair, in order, for good.

One append-only table. Each entry carries the hash of the one before it, so that an edited, removed or reordered row
breaks the chain (Haber & Stornetta 1991, section 5.1); the database itself refuses UPDATE and DELETE. It is also the
write-ahead journal of the registry: an `intent` is written before anything moves, and a later entry (`done`, `undone`,
`decision`) names it, once.
"""

import datetime as dt
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import DDL, Column, Engine, Integer, MetaData, String, Table, Text, create_engine, event, select, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tasks.digests import canonical_json, sha256_text
from tasks.errors import RegistryTrouble
from tasks.settings import without_password

GENESIS = "0" * 64
Guard = Callable[[Connection], None]
metadata = MetaData()
entries = Table(
    "ledger",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("project", String(80), nullable=False),
    Column("body", Text, nullable=False),
    Column("previous", String(64), nullable=False, unique=True),  # two entries cannot follow the same one
    Column("hash", String(64), nullable=False, unique=True),
)
for verb in ("UPDATE", "DELETE"):
    refuse = f"CREATE TRIGGER IF NOT EXISTS ledger_no_{verb.lower()} BEFORE {verb} ON ledger BEGIN "
    refuse += "SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    event.listen(entries, "after_create", DDL(refuse).execute_if(dialect="sqlite"))
    rule = f"CREATE RULE ledger_no_{verb.lower()} AS ON {verb} TO ledger DO INSTEAD NOTHING"
    event.listen(entries, "after_create", DDL(rule).execute_if(dialect="postgresql"))

Rows = tuple[Table, list[dict[str, Any]]]


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. `hash` covers all the other fields."""

    number: int
    at: str
    kind: str
    project: str
    body: dict[str, Any]
    previous: str
    hash: str

    def expected_hash(self) -> str:
        """What `hash` must be."""
        return _hash(self.number, self.at, self.kind, self.project, canonical_json(self.body), self.previous)


class Ledger:
    """The ledger behind a SQLAlchemy URL; the table is made on first use."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.engine = _engine(url)
        except (SQLAlchemyError, ImportError, OSError) as error:  # ImportError: the URL's driver is not installed
            raise trouble_of(error, url) from error
        self.make(metadata)

    def make(self, tables: MetaData) -> None:
        """Make those of the tables that are not there yet."""
        try:
            tables.create_all(self.engine)
        except (SQLAlchemyError, OSError) as error:
            raise trouble_of(error, self.url) from error

    @contextmanager
    def writing(self, table: Table) -> Iterator[Connection]:
        """A transaction that no other writer of the table comes between; they queue up behind each other."""
        try:
            with self.engine.begin() as connection:
                if self.engine.dialect.name == "postgresql":  # SQLite takes its lock at BEGIN, see `_engine`
                    connection.execute(text(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE"))
                yield connection
        except SQLAlchemyError as error:
            raise trouble_of(error, self.url) from error

    def append(
        self,
        kind: str,
        project: str,
        body: dict[str, Any],
        also: Rows | None = None,
        guard: Guard | None = None,
    ) -> Entry:
        """Add one entry at the end. An entry that names an intent closes it; RegistryTrouble when one did already.

        `also` are rows of another table that are written with it, or not at all. `guard` is asked within the same
        transaction, and nothing is written when it raises.
        """
        with self.writing(entries) as connection:
            if guard:
                guard(connection)
            if "intent" in body:
                _refuse_twice(connection, project, body["intent"])
            last = _last(connection)
            number, previous = (last.number + 1, last.hash) if last else (1, GENESIS)
            at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
            content = canonical_json(body)
            hash_ = _hash(number, at, kind, project, content, previous)
            row = {"number": number, "at": at, "kind": kind, "project": project}
            connection.execute(entries.insert().values(**row, body=content, previous=previous, hash=hash_))
            if also and also[1]:
                connection.execute(also[0].insert(), also[1])
        return Entry(number, at, kind, project, json.loads(content), previous, hash_)

    def read(self, project: str | None = None, kind: str | None = None) -> list[Entry]:
        """The entries, oldest first, of one project or kind if asked."""
        query = select(entries).order_by(entries.c.number)
        if project is not None:
            query = query.where(entries.c.project == project)
        if kind is not None:
            query = query.where(entries.c.kind == kind)
        try:
            with self.engine.connect() as connection:
                return [_entry(row) for row in connection.execute(query)]
        except SQLAlchemyError as error:
            raise trouble_of(error, self.url) from error

    def sound(self, project: str) -> list[Entry]:
        """The project's entries; RegistryTrouble when the chain does not hold, for then they answer for nothing."""
        for fault in self.faults():
            raise RegistryTrouble(f"{fault}; `keel audit` lists every fault; restore the ledger from a backup first")
        return self.read(project)

    def open_intents(self, project: str) -> list[Entry]:
        """Intents that nothing has closed, newest first: what a killed process left behind."""
        all_entries = self.read(project)
        closed = {e.body["intent"] for e in all_entries if "intent" in e.body}
        return [e for e in reversed(all_entries) if e.kind == "intent" and e.number not in closed]

    def faults(self) -> Iterator[str]:
        """Walk the chain; one sentence for each place where it does not hold."""
        previous, number = GENESIS, 0
        for entry in self.read():
            number += 1
            if entry.number != number:
                yield f"entry {number} is missing: the next one is {entry.number}"
                number = entry.number
            elif entry.previous != previous:
                yield f"entry {entry.number} does not follow the one before it: one of the two was changed"
            if entry.expected_hash() != entry.hash:
                about = f"entry {entry.number} ({entry.kind}, {entry.at})"
                yield f"{about} was changed after it was written, or forged: its hash is not that of its content"
            previous = entry.hash


def _hash(number: int, at: str, kind: str, project: str, content: str, previous: str) -> str:
    return sha256_text("\n".join((str(number), at, kind, project, content, previous)))


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed)
    engine = create_engine(parsed, connect_args={"timeout": 20})

    @event.listens_for(engine, "connect")
    def _manual(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # pysqlite must not begin on its own: see `_immediate`

    @event.listens_for(engine, "begin")
    def _immediate(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # take the write lock first, or two writers read the same end

    return engine


def _refuse_twice(connection: Connection, project: str, intent: int) -> None:
    later = select(entries).where(entries.c.project == project, entries.c.number > intent)
    for entry in map(_entry, connection.execute(later)):
        if entry.body.get("intent") == intent:
            raise RegistryTrouble(
                f"change {intent} of {project} was closed already, by entry {entry.number} ({entry.kind}): another "
                "process took it for dead; `keel status` shows where things stand, then run the same command again"
            )


def _last(connection: Connection) -> Entry | None:
    row = connection.execute(select(entries).order_by(entries.c.number.desc()).limit(1)).first()
    return _entry(row) if row else None


def _entry(row: Any) -> Entry:
    try:
        body = json.loads(row.body)
    except ValueError as error:
        raise RegistryTrouble(
            f"entry {row.number} of the ledger ({row.kind}, {row.at}) was changed after it was written: {error} in its "
            "body; restore the ledger from a backup"
        ) from error
    return Entry(row.number, row.at, row.kind, row.project, body, row.previous, row.hash)


def trouble_of(error: Exception, url: str) -> RegistryTrouble:
    """What a database says, as one sentence that names the ledger."""
    cause = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return RegistryTrouble(
        f"the ledger at {without_password(url)} does not answer: {cause}; set KEEL_LEDGER_URL or mend it"
    )
