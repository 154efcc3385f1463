"""The tables of the feedback store: what is kept of a report, and what a row becomes when it is deleted."""

import datetime as dt
import json
from typing import Any

from sqlalchemy import Column, Double, Engine, Integer, MetaData, String, Table, Text, create_engine, event
from sqlalchemy.engine import Connection, make_url

from tasks.feedback import DELETED, Filed, Told

metadata = MetaData()
reports = Table(
    "reports",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("project", String(80), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("request_id", String(120), nullable=False, index=True),
    Column("rating", Integer),
    Column("correct_label", String(80)),
    Column("text", Text),
    Column("groups", Text, nullable=False),  # JSON
    Column("retention", String(20), nullable=False),
    Column("expires", String(10)),
    Column("at", String(40), nullable=False),
    Column("client", String(64), nullable=False),
    Column("answer", String(80)),  # this and the next three: what the log has of the answer, once looked up
    Column("sure", Double),
    Column("version", String(80)),
    Column("sha256", String(64)),
    Column("reviewed_by", String(200), nullable=False),
    Column("reviewed_at", String(40), nullable=False),
    Column("why", Text, nullable=False),
)
declined = Table(  # reports without consent: that they came, and nothing else
    "declined",
    metadata,
    Column("project", String(80), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("count", Integer, nullable=False),
)
deletions = Table(  # under way; a row goes when all is gone
    "deletions",
    metadata,
    Column("id", String(32), primary_key=True),  # the ledger's entries about it say it
    Column("project", String(80), nullable=False),
    Column("plan", Text, nullable=False),  # JSON: what tasks/forget_reports.py has to remove
)
BLANK: dict[str, str | None] = {
    **dict.fromkeys(("rating", "correct_label", "text", "expires", "answer", "sure", "version", "sha256")),
    **dict.fromkeys(("request_id", "retention", "at", "client", "why"), ""),
    "groups": "{}",
    "state": DELETED,
}


def engine_of(url: str) -> Engine:
    """The database; errors never repeat what was to be written, and SQLite overwrites what it deletes."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, hide_parameters=True)
    engine = create_engine(parsed, hide_parameters=True, connect_args={"timeout": 20})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # pysqlite must not begin on its own: see `_immediate`
        for pragma in ("busy_timeout=20000", "journal_mode=WAL", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _immediate(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # a reader that turns writer would fail beside another one

    return engine


def filed_of(row: Any) -> Filed:
    """A row as a record."""
    told = None if row.answer is None else Told(row.answer, row.sure, row.version, row.sha256)
    same = ("id", "project", "state", "request_id", "rating", "correct_label", "text", "retention", "client")
    return Filed(
        **{name: getattr(row, name) for name in (*same, "reviewed_by", "reviewed_at", "why")},
        groups=json.loads(row.groups),
        expires=dt.date.fromisoformat(row.expires) if row.expires else None,
        at=dt.datetime.fromisoformat(row.at) if row.at else None,
        told=told,
    )
