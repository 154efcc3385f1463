"""Labels of logged answers: they come late, by request id, and join the day of their image."""

import datetime as dt
from collections.abc import Collection, Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa

from tasks.errors import BadInput, DataRejected
from tasks.log_parts import LABEL_SCHEMA, content_of, labels_folder, read_parts
from tasks.log_store import open_store, part_name

SHOWN = 5
REPORTED = "feedback "  # how the source of a label begins that a user's report became


def add_labels(place: str, project: str, rows: pd.DataFrame) -> int:
    """Write labels down and say how many were new; a label that is there already is not written again.

    `rows` has the columns request_id, label, labelled_at (ISO 8601) and source, all text. BadInput names what is
    missing or unclear; DataRejected the requests that have another label already.
    """
    _refuse_unsound(rows)
    fresh = rows[LABEL_SCHEMA.names].drop_duplicates(["request_id", "label"])
    known = read_labels_of(place, project).set_index("request_id")["label"]
    before = fresh["request_id"].map(known)
    twice = fresh["request_id"].duplicated(keep=False) | (before.notna() & (before != fresh["label"]))
    if twice.any():
        raise DataRejected(
            f"two labels for one request: {', '.join(fresh['request_id'][twice][:SHOWN])}; keep the one on record, or "
            "correct the new one"
        )
    fresh = fresh[before.isna()]
    if len(fresh):
        table = pa.Table.from_pandas(fresh, LABEL_SCHEMA, preserve_index=False).replace_schema_metadata(
            LABEL_SCHEMA.metadata
        )
        open_store(place).write(f"{labels_folder(project)}/{part_name()}", content_of(table))
    return len(fresh)


def read_label_list(file: Path, classes: Collection[str] | None, now: dt.datetime) -> pd.DataFrame:
    """The rows for `add_labels` of a CSV with the columns request_id and label; what it lacks of the others is `now`,
    and the file's name.

    BadInput where it cannot be read or has a label that is none of the `classes`.
    """
    try:
        rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {file}: {error}; give a CSV with the columns request_id and label") from error
    for name, value in {"labelled_at": now.isoformat(timespec="seconds"), "source": file.name}.items():
        rows[name] = rows.get(name, value)
    if classes is not None and "label" in rows:
        strange = rows["label"][~rows["label"].isin(classes)].unique()[:SHOWN]
        if len(strange):
            raise BadInput(f"{file} has labels that are no class: {', '.join(strange)}; they are {', '.join(classes)}")
    return rows


def read_labels_of(place: str, project: str, request_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """The labels, one a request, of all requests or of these: request_id, label, labelled_at, source.

    Where two writers told two labels at once, the one that was told first stands.
    """
    found = read_parts(open_store(place), labels_folder(project), LABEL_SCHEMA).to_pandas()
    if request_ids is not None:
        found = found[found["request_id"].isin(set(request_ids))]
    moments = found["labelled_at"].map(_moment)
    return found.iloc[moments.argsort(kind="stable")].drop_duplicates("request_id").reset_index(drop=True)


def _moment(text: str) -> float:
    at = dt.datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp()


def _refuse_unsound(rows: pd.DataFrame) -> None:
    missing = [name for name in LABEL_SCHEMA.names if name not in rows]
    if missing:
        raise BadInput(f"labels lack the column {', '.join(missing)}; they take {', '.join(LABEL_SCHEMA.names)}")
    for name in ("request_id", "label"):
        unsound = [repr(v) for v in rows[name] if not isinstance(v, str) or not v or v != v.strip()]
        if unsound:
            raise BadInput(f"{name} {', '.join(unsound[:SHOWN])} is empty or padded; correct it")
    for text in rows["labelled_at"]:
        try:
            _moment(text)
        except (TypeError, ValueError) as error:
            raise BadInput(f"labelled_at {text!r} is no time; write it as 2026-06-01T08:00") from error
