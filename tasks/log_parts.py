"""The prediction log's part files: Parquet of a stated version, of answers and of labels, and what is read from them.

Layout below the log's place: `<project>/answers/date=YYYY-MM-DD/part-*.parquet`, where the date is that of the request
in UTC, and `<project>/labels/part-*.parquet`.
"""

import datetime as dt
import io
import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import DataRejected
from tasks.log_store import LogStore
from tasks.logged_answer import LoggedAnswer

VERSION = b"1"
KEY = b"keel.prediction_log"
ANSWERS, LABELS, DATE = "answers", "labels", "date="
TRIES = 20  # readings of a folder whose parts others are replacing
_TEXTS = pa.list_(pa.string())
ANSWER_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("project", pa.string()),
        ("key", pa.string()),
        ("sha256", pa.string()),
        ("consent", pa.bool_()),
        ("measures", pa.string()),  # JSON
        ("arm", pa.string()),
        ("answered", pa.bool_()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("decision", pa.int64()),
        ("classes", _TEXTS),
        ("probabilities", pa.list_(pa.float64())),
        ("predicted", pa.string()),
        ("label", pa.string()),
        ("prediction_set", _TEXTS),
        ("reasons", _TEXTS),
        ("embedding", pa.binary()),
        ("guards", pa.string()),  # JSON
        ("latency_ms", pa.float64()),
        ("error", pa.string()),
        ("image", pa.binary()),
        ("about", pa.string()),  # JSON
    ],
    metadata={KEY: VERSION},
)
LABEL_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("request_id", "label", "labelled_at", "source")], metadata={KEY: VERSION}
)
JSON_COLUMNS = ("measures", "guards", "about")
TUPLE_COLUMNS = ("classes", "probabilities", "prediction_set", "reasons")
ONCE = ["request_id", "model", "answered"]  # what one row is of; written twice, it counts once


def answers_folder(project: str, day: dt.date) -> str:
    """The folder of one day of UTC."""
    return f"{project}/{ANSWERS}/{DATE}{day.isoformat()}"


def labels_folder(project: str) -> str:
    """The folder of the labels."""
    return f"{project}/{LABELS}"


def answers_content(rows: Sequence[LoggedAnswer]) -> bytes:
    """The part file of these rows. Raises ArrowException, TypeError or ValueError for a value of another type."""
    columns: dict[str, list[Any]] = {}
    for name in ANSWER_SCHEMA.names:
        values = [getattr(row, name) for row in rows]
        columns[name] = [json.dumps(value, ensure_ascii=False) for value in values] if name in JSON_COLUMNS else values
    return content_of(pa.table(columns, schema=ANSWER_SCHEMA))


def content_of(table: pa.Table) -> bytes:
    """A table as the bytes of a part file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def read_part(store: LogStore, name: str, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """One part file; DataRejected names it where it is torn, foreign or of another version."""
    try:
        file = pq.ParquetFile(io.BytesIO(store.read(name)))
        said = (file.schema_arrow.metadata or {}).get(KEY)
        if said != VERSION or file.schema_arrow.names != schema.names:
            raise DataRejected(
                f"{name} below the prediction log is of version {said.decode() if said else 'unknown'}, and this Keel "
                f"reads {VERSION.decode()}; read it with the Keel that wrote it, or take the file out"
            )
        return file.read(columns=list(columns) if columns is not None else None)
    except (pa.ArrowException, ValueError) as error:
        raise DataRejected(
            f"{name} below the prediction log is no whole Parquet file ({error}); take it out, or put "
            "it back from a copy"
        ) from error


def read_parts(store: LogStore, folder: str, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a folder; a part that is replaced while this reads makes it begin again."""
    for _ in range(TRIES):
        try:
            tables = [read_part(store, f"{folder}/{name}", schema, columns) for name in store.parts(folder)]
        except FileNotFoundError:
            continue
        empty = schema.empty_table()
        return pa.concat_tables(tables) if tables else empty.select(list(columns)) if columns is not None else empty
    raise DataRejected(f"{folder} below the prediction log is being rewritten over and over; read it again later")


def days_written(store: LogStore, project: str) -> list[dt.date]:
    """The days of UTC that have a folder, oldest first."""
    names = store.names(f"{project}/{ANSWERS}")
    return [dt.date.fromisoformat(name.removeprefix(DATE)) for name in names if name.startswith(DATE)]


def answers_frame(table: pa.Table) -> pd.DataFrame:
    """Rows of answers with the types of LoggedAnswer's fields, the earliest first, each once."""
    frame = table.to_pandas()
    for name in JSON_COLUMNS:
        if name in frame:
            frame[name] = frame[name].map(json.loads)
    for name in TUPLE_COLUMNS:
        if name in frame:
            frame[name] = frame[name].map(tuple)
    once = frame.drop_duplicates(ONCE) if set(ONCE) <= set(frame) else frame
    order = [name for name in ("at", "request_id") if name in frame]
    return once.sort_values(order, kind="stable").reset_index(drop=True) if order else once.reset_index(drop=True)
