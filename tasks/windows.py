"""Production windows: one folder a night, `<root>/<YYYY-MM-DD>/`, in the form of an image folder (tasks/folders.py).

Labels may be missing and come late: later in the window's own metadata.csv, or in a `labels.csv` beside it with the
columns file_name, label and, where known, labelled_at (ISO 8601). Late labels belong to the night of their image. What
identifies a window is its images alone, so that a label which comes late does not make another night of it.
"""

import csv
import datetime as dt
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.digests import canonical_json, sha256_file, sha256_text
from tasks.errors import BadInput, DataRejected
from tasks.folders import METADATA

LABELS = "labels.csv"
LABELLED_AT = "labelled_at"


@dataclass(frozen=True)
class Window:
    """One night's images, in a folder that may be missing."""

    date: dt.date
    folder: Path

    @property
    def name(self) -> str:
        """The night as everything calls it."""
        return self.date.isoformat()


def parse_date(text: str) -> dt.date:
    """2026-06-01 as a date; BadInput otherwise."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"'{text}' is no date; write it as 2026-06-01") from error


def find_windows(root: Path) -> list[Window]:
    """Every window below `root`, oldest first; BadInput where there is no such folder.

    A folder whose name is no date is refused: its images would never be looked at.
    """
    if not root.is_dir():
        raise BadInput(f"there is no folder of production windows {root}; `dvc pull` fetches the recorded version")
    found, strangers = [], []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        try:
            found.append(Window(dt.date.fromisoformat(folder.name), folder))
        except ValueError:
            strangers.append(folder.name)
    if strangers:
        raise DataRejected(f"{root} holds folders that name no night: {', '.join(strangers)}; rename them YYYY-MM-DD")
    return found


def nights_between(root: Path, first: dt.date, last: dt.date) -> list[Window]:
    """A window for every day from `first` to `last`, both included, there or not."""
    if last < first:
        raise BadInput(f"the last night, {last}, lies before the first, {first}")
    return [Window(day, root / day.isoformat()) for day in days(first, last)]


def days(first: dt.date, last: dt.date) -> Iterable[dt.date]:
    """Every day from `first` to `last`, both included."""
    return (first + dt.timedelta(days=n) for n in range((last - first).days + 1))


def images_digest(sha256: Iterable[str]) -> str:
    """What identifies a window: its images' contents, in any order, labels left out."""
    return sha256_text(canonical_json(sorted(sha256)))


def with_late_labels(table: pd.DataFrame, folder: Path, known_by: dt.date) -> pd.DataFrame:
    """The window's images (columns path, label) with the labels of `labels.csv` that were known on the day `known_by`.

    A label without `labelled_at` counts as known. A second label that contradicts the first is refused by name.
    """
    file = folder / LABELS
    if not file.is_file():
        return table
    late = _read_late(file)
    known = [not at or dt.datetime.fromisoformat(at).date() <= known_by for at in late[LABELLED_AT]]
    late = late[np.array(known, dtype=bool)]
    strangers = sorted(set(late["file_name"]) - set(table["path"]))
    if strangers:
        raise DataRejected(f"{file} labels images that the window does not have: {', '.join(strangers[:5])}")
    told = late.set_index("file_name")["label"].reindex(table["path"]).fillna("").to_numpy()
    before = table["label"].to_numpy()
    disputed = table["path"][(told != "") & (before != "") & (told != before)]
    if len(disputed):
        raise DataRejected(
            f"{file} contradicts the labels of {', '.join(disputed[:5])}; correct one of the two, or take the line out"
        )
    return table.assign(label=[new or old for new, old in zip(told, before, strict=True)])


def _read_late(file: Path) -> pd.DataFrame:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataRejected(f"{file} is not UTF-8 (byte {error.start}); save it again as CSV UTF-8") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not {"file_name", "label"} <= set(reader.fieldnames or ()):
        raise DataRejected(f"{file} has the columns {reader.fieldnames}; it takes file_name, label and {LABELLED_AT}")
    rows = [
        {"file_name": row["file_name"], "label": row["label"] or "", LABELLED_AT: row.get(LABELLED_AT) or ""}
        for row in reader
    ]
    late = pd.DataFrame(rows, columns=["file_name", "label", LABELLED_AT], dtype=str)
    padded = late["file_name"][late["label"] != late["label"].str.strip()]
    if len(padded):
        raise DataRejected(f"{file}: the labels of {', '.join(padded[:5])} begin or end with a space; remove it")
    for at in late[LABELLED_AT]:
        try:
            dt.datetime.fromisoformat(at or "2026-01-01")
        except ValueError as error:
            raise DataRejected(f"{file}: {LABELLED_AT} '{at}' is no time; write it as 2026-06-01T08:00") from error
    doubled = late["file_name"][late["file_name"].duplicated()]
    if len(doubled):
        raise DataRejected(f"{file} labels {', '.join(doubled[:5])} more than once; keep one line for each")
    return late


def labels_source(folder: Path, known_by: dt.date) -> str:
    """What tells whether a window's labels may have changed since they were last read."""
    files = [folder / METADATA, folder / LABELS]
    parts = [sha256_file(file) if file.is_file() else "" for file in files]
    return sha256_text(canonical_json([*parts, known_by.isoformat() if parts[1] else ""]))
