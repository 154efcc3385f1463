"""Where reports lie: one database, SQLite or PostgreSQL, written by the service and by whoever reviews.

The only place that holds what users wrote. Deleting overwrites: the row keeps its id and its state alone, and SQLite is
told to put zeros where the text was. What is to be forgotten is written down here before anything is, so that a
deletion that was killed is finished by the next start (tasks/forget_reports.py).
"""

import datetime as dt
import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tasks.errors import BadInput, RegistryTrouble
from tasks.feedback import DELETED, NEW, Filed, Report, Told
from tasks.feedback_tables import BLANK, declined, deletions, engine_of, filed_of, metadata, reports
from tasks.settings import without_password


class FeedbackStore:
    """The reports behind a SQLAlchemy URL, made on first use; RegistryTrouble when it does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.engine = engine_of(url)
            metadata.create_all(self.engine)
        except (SQLAlchemyError, ImportError, OSError) as error:
            raise self._trouble(error) from None

    def add(self, report: Report) -> str:
        """Keep a report and return its id; without consent count it, keep nothing and return ""."""
        with self._writing() as connection:
            if not report.consent:
                _count(connection, report.project, report.at.astimezone(dt.UTC).date().isoformat())
                return ""
            row = {
                "id": uuid.uuid4().hex[:16],
                "state": NEW,
                **report.model_dump(exclude={"consent", "consent_groups", "groups", "at"}),
                "groups": json.dumps(report.groups),
                "at": report.at.astimezone(dt.UTC).isoformat(timespec="seconds"),
                "expires": report.expires.isoformat() if report.expires else None,
                **dict.fromkeys(("reviewed_by", "reviewed_at", "why"), ""),
            }
            connection.execute(reports.insert().values(**row))
        return str(row["id"])

    def read(self, project: str, state: str | None = None) -> list[Filed]:
        """The project's reports, oldest first, deleted ones only when asked for by state."""
        query = select(reports).where(reports.c.project == project).order_by(reports.c.at, reports.c.id)
        query = query.where(reports.c.state == state if state else reports.c.state != DELETED)
        with self._writing() as connection:
            return [filed_of(row) for row in connection.execute(query)]

    def find(self, project: str, report: str) -> Filed:
        """One report by its id; BadInput when there is none."""
        with self._writing() as connection:
            query = select(reports).where(reports.c.project == project, reports.c.id == report)
            row = connection.execute(query).first()
        if row is None:
            raise BadInput(f"{project} has no report '{report[:40]}'; `keel feedback list` shows those that there are")
        return filed_of(row)

    def of_requests(self, project: str, request_ids: Iterable[str]) -> list[Filed]:
        """The reports about these requests."""
        wanted = set(request_ids)
        return [filed for filed in self.read(project) if filed.request_id in wanted]

    def tell(self, report: str, told: Told) -> None:
        """Put down what the log has of the answer, which may leave the log sooner than the report the store."""
        with self._writing() as connection:
            connection.execute(reports.update().where(reports.c.id == report).values(**asdict(told)))

    def review(self, report: str, state: str, by: str, why: str) -> None:
        """Settle a new report; BadInput when another reviewer was faster."""
        values = {
            "state": state,
            "reviewed_by": by,
            "reviewed_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "why": why,
        }
        with self._writing() as connection:
            new = (reports.c.id == report) & (reports.c.state == NEW)
            if connection.execute(reports.update().where(new).values(**values)).rowcount != 1:
                raise BadInput(f"report {report} is not new any more; `keel feedback list` says what became of it")

    def declined(self, project: str) -> int:
        """How many reports came without consent, of which nothing else is known."""
        with self._writing() as connection:
            query = select(func.coalesce(func.sum(declined.c["count"]), 0)).where(declined.c.project == project)
            return int(connection.execute(query).scalar_one())

    def plan_deletion(self, project: str, plan: dict[str, Any]) -> str:
        """Write down what is about to be removed, before anything is; the id that the ledger's entries say."""
        row = {"id": uuid.uuid4().hex, "project": project, "plan": json.dumps(plan)}
        with self._writing() as connection:
            connection.execute(deletions.insert().values(**row))
        return row["id"]

    def planned_deletions(self, project: str) -> dict[str, dict[str, Any]]:
        """The deletions under way, by id."""
        query = select(deletions).where(deletions.c.project == project).order_by(deletions.c.id)
        with self._writing() as connection:
            return {row.id: json.loads(row.plan) for row in connection.execute(query)}

    def blank(self, ids: Iterable[str]) -> None:
        """Take everything out of these reports but their ids and that they are deleted."""
        with self._writing() as connection:
            connection.execute(reports.update().where(reports.c.id.in_(list(ids))).values(**BLANK))
        self._shrink_journal()

    def end_deletion(self, deletion: str) -> None:
        """Take the plan away, which named what is gone."""
        with self._writing() as connection:
            connection.execute(deletions.delete().where(deletions.c.id == deletion))
        self._shrink_journal()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._trouble(error) from None  # the library's own message would repeat what was written

    def _shrink_journal(self) -> None:
        """SQLite's journal keeps old pages until it is emptied, outside any transaction."""
        if self.engine.dialect.name != "sqlite":
            return
        try:
            with closing(self.engine.raw_connection()) as connection:
                busy = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise self._trouble(error) from None
        if busy:
            raise RegistryTrouble(
                f"{without_password(self.url)} is being read, so what was deleted is in its journal still; run it again"
            )

    def _trouble(self, error: Exception) -> RegistryTrouble:
        cause = str(error.orig) if isinstance(error, DBAPIError) else type(error).__name__
        place = without_password(self.url)
        return RegistryTrouble(
            f"the feedback store at {place} does not answer: {cause}; set KEEL_FEEDBACK_URL or mend it"
        )


def _count(connection: Connection, project: str, day: str) -> None:
    row = (declined.c.project == project) & (declined.c.day == day)
    if connection.execute(declined.update().where(row).values(count=declined.c["count"] + 1)).rowcount == 0:
        connection.execute(declined.insert().values(project=project, day=day, count=1))
