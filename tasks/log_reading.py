"""Read the prediction log: the answers of one day in a time zone, or of one request."""

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa

from tasks.log_parts import ANSWER_SCHEMA, answers_folder, answers_frame, days_written, read_parts
from tasks.log_store import LogStore, open_store, written_at


def read_log(
    place: str, project: str, date: dt.date, time_zone: str, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """The rows of one day in that time zone, the earliest first; the columns are the fields of LoggedAnswer.

    A day without requests has no rows. DataRejected names a file that is torn or foreign.
    """
    store = open_store(place)
    first, after = bounds(date, time_zone)
    wanted = None if columns is None else list(dict.fromkeys([*columns, "at", "request_id", "model", "answered"]))
    days = [first.date() + dt.timedelta(days=n) for n in range((after.date() - first.date()).days + 1)]
    tables = [read_parts(store, answers_folder(project, day), ANSWER_SCHEMA, wanted) for day in days]
    rows = answers_frame(pa.concat_tables(tables))
    return rows[(rows["at"] >= first) & (rows["at"] < after)].reset_index(drop=True)


def lookup(place: str, project: str, request_id: str) -> pd.DataFrame:
    """The rows of one request, what each model said of it; none where it is not known."""
    store = open_store(place)
    for day in reversed(days_written(store, project)):
        folder = answers_folder(project, day)
        names = read_parts(store, folder, ANSWER_SCHEMA, ["request_id"])["request_id"]
        if request_id in names.to_pylist():
            rows = answers_frame(read_parts(store, folder, ANSWER_SCHEMA))
            return rows[rows["request_id"] == request_id].reset_index(drop=True)
    return answers_frame(ANSWER_SCHEMA.empty_table())


def last_written(place: str, project: str) -> dt.datetime | None:
    """When the newest part of the newest day was written, by its name alone; None where nothing was."""
    store = open_store(place)
    for day in reversed(days_written(store, project)):
        if names := store.parts(answers_folder(project, day)):
            return written_at(names[-1])
    return None


def parts_of(store: LogStore, project: str, date: dt.date, time_zone: str) -> list[str]:
    """The names of the files that the rows of that day may lie in; other names, other rows perhaps."""
    first, after = bounds(date, time_zone)
    days = [first.date() + dt.timedelta(days=n) for n in range((after.date() - first.date()).days + 1)]
    return [
        f"{folder}/{name}" for day in days for folder in [answers_folder(project, day)] for name in store.parts(folder)
    ]


def days_of(store: LogStore, project: str, time_zone: str) -> list[dt.date]:
    """The days in that time zone that may have rows, oldest first."""
    found: set[dt.date] = set()
    for day in days_written(store, project):
        start = dt.datetime.combine(day, dt.time(), dt.UTC)
        last = start + dt.timedelta(days=1) - dt.timedelta(microseconds=1)
        found |= {moment.astimezone(ZoneInfo(time_zone)).date() for moment in (start, last)}
    return sorted(found)


def bounds(date: dt.date, time_zone: str) -> tuple[dt.datetime, dt.datetime]:
    """When a day begins and when it is over, in UTC."""
    zone = ZoneInfo(time_zone)
    begins = dt.datetime.combine(date, dt.time(), zone)
    over = dt.datetime.combine(date + dt.timedelta(days=1), dt.time(), zone)
    return begins.astimezone(dt.UTC), over.astimezone(dt.UTC)
