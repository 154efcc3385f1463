"""Must-pass cases: single images, each with a history, that a model has to read right before it is released.

A folder holds `cases.csv` and the images beside it. Each case says when it was added, where it comes from and why it
must pass; `at_least`, where it is filled in, is the probability that the right class must get. A case that one could
train on would prove nothing, so none may be in the parts of the data that a model is made from.
"""

import csv
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from tasks.digests import sha256_file
from tasks.errors import BadInput, DataRejected, EvidenceMissing
from tasks.findings import Finding
from tasks.metrics import PROBABILITY, classes_of
from tasks.slices import CASES

LIST, ANSWERS = "cases.csv", "cases.parquet"
COLUMNS = ("file_name", "label", "added", "provenance", "why")  # none may be empty
AT_LEAST = "at_least"
MADE_FROM = ("train", "validation", "calibration")  # the splits that a model is made from
FIRST = 5  # names in a message


def read_cases(folder: Path | None) -> pd.DataFrame:
    """The columns case, image_id, path, label, added, provenance, why, at_least and sha256, by case; none: no rows.

    A case's name is its file's, without the ending. Raises BadInput when there is no such list, DataRejected when a row
    is not sound.
    """
    names = ["case", "image_id", "path", *COLUMNS[1:], AT_LEAST, "sha256"]
    if folder is None:
        return pd.DataFrame(columns=names).astype(dict.fromkeys(names, str) | {AT_LEAST: float})
    try:
        text = (folder / LIST).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {folder / LIST}, which lists the must-pass cases: {error}") from error
    rows = list(csv.DictReader(text.splitlines()))
    found = [_row(row, folder, number) for number, row in enumerate(rows, start=2)]
    table = pd.DataFrame(found, columns=names).sort_values("case").reset_index(drop=True)
    _refuse(table["case"][table["case"].duplicated()], f"are listed twice in {folder / LIST}; name each once")
    beside = {p.name for p in folder.iterdir() if p.name != LIST and not p.name.startswith(".")}
    _refuse(pd.Series(sorted(beside - set(table["path"]))), f"lie in {folder} and not in {LIST}; list or remove them")
    return table


def refuse_trained_on(images: pd.DataFrame, manifest: pd.DataFrame, what: str) -> None:
    """DataRejected when an image (columns image_id, sha256) is one of those that a model is made from."""
    known = manifest[manifest["split"].isin(MADE_FROM)].set_index("sha256")["split"]
    both = images[images["sha256"].isin(known.index)]
    if len(both):
        first = ", ".join(f"{name} ({known[[sha]].iloc[0]})" for name, sha in _pairs(both.head(FIRST)))
        raise DataRejected(
            f"{len(both)} images of {what} are among those that the model is made from: {first}; take them out of one "
            "of the two, for what was learnt by heart proves nothing"
        )


def passed(cases: pd.DataFrame) -> pd.Series:
    """Whether each case of cases.parquet was read right, and surely enough where it says how sure."""
    if cases.empty:
        return pd.Series(dtype=bool)
    unknown = sorted(set(cases["label"]) - set(classes_of(cases)))
    if unknown:
        raise EvidenceMissing(f"the must-pass cases have labels that the model does not know: {', '.join(unknown)}")
    told = pd.Series([row[PROBABILITY + row["label"]] for row in cases.to_dict("records")], index=cases.index)
    return (cases["label"] == cases["predicted"]) & (cases[AT_LEAST].isna() | (told >= cases[AT_LEAST]))


def case_findings(metric: str, cases: pd.DataFrame, hits: pd.Series, level: float) -> Iterator[Finding]:
    """A case is no sample of others: its interval is the value itself."""
    for name, hit in zip(cases["case"], hits, strict=True):
        yield Finding(
            metric, f"{CASES}/case={name}", float(hit), float(hit), float(hit), 1, 1, "the case itself", level
        )


def _row(row: dict[str, str], folder: Path, number: int) -> dict[str, object]:
    where = f"{folder / LIST}, line {number}"
    unknown = sorted(key or "a value too many" for key in set(row) - {*COLUMNS, AT_LEAST})
    empty = [name for name in COLUMNS if not (row.get(name) or "").strip()]
    if unknown or empty:
        raise DataRejected(
            f"{where}: empty or missing: {', '.join(empty) or 'nothing'}; unknown: {', '.join(unknown) or 'nothing'}; "
            f"the columns are {', '.join(COLUMNS)} and, for a probability, {AT_LEAST}"
        )
    file = folder / row["file_name"]
    if file.name != row["file_name"] or set("/=") & set(file.stem) or not file.is_file():
        raise DataRejected(f"{where}: {row['file_name']!r} is no image beside the list, named without / and =")
    try:
        dt.date.fromisoformat(row["added"])
        least = float(row.get(AT_LEAST) or "nan")
    except ValueError as error:
        raise DataRejected(f"{where}: {error}; added is a date like 2026-01-31, {AT_LEAST} a number") from error
    if least <= 0 or least > 1:
        raise DataRejected(f"{where}: {AT_LEAST} is {least:g}; it is a probability above 0 and up to 1, or empty")
    said = {name: row[name].strip() for name in COLUMNS[1:]}
    return {"case": file.stem, "image_id": file.name, "path": file.name, **said, AT_LEAST: least} | {
        "sha256": sha256_file(file)
    }


def _refuse(names: pd.Series, what: str) -> None:
    if len(names):
        raise DataRejected(f"{len(names)} must-pass cases {what}: {', '.join(map(str, names[:FIRST]))}")


def _pairs(images: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(images["image_id"], images["sha256"], strict=True))
