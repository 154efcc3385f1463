"""What a scored window holds, and the tables that the questions of a night are asked of."""

import datetime as dt
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.errors import DataRejected, EvidenceMissing
from tasks.folders import read_labels
from tasks.metrics import PROBABILITY, classes_of
from tasks.project import Project
from tasks.slices import PROPERTIES, SLICE
from tasks.windows import Window, images_digest, with_late_labels

WINDOW, CONTRACT, SCORES = "window.parquet", "contract.json", "scores"
KEPT = "kept"  # of a window of the prediction log: the sha256 of the file that was kept of an image, "" without one
PREDICTIONS, EMBEDDINGS = "predictions.parquet", "embeddings.npy"
SHOWN = 3  # broken rules that a sentence quotes
logger = logging.getLogger("tasks.night_tables")


@dataclass(frozen=True)
class ScoredWindow:
    """One night's images on disk: measured, held against the contract, and scored by one model or more."""

    night: str
    folder: Path

    def table(self) -> pd.DataFrame:
        """A row an image: image_id, path, label ("" where unknown), group, unit, sha256, the measures, slices."""
        return _read(self.folder / WINDOW)

    def digest(self) -> str:
        """What identifies the window."""
        return images_digest(self.table()["sha256"])

    def contract(self) -> dict[str, Any]:
        """How the data contract fared: tasks/contracts.py, ContractResult.record."""
        found: dict[str, Any] = json.loads((self.folder / CONTRACT).read_text(encoding="utf-8"))
        return found

    def broken(self) -> list[str]:
        """A sentence for each rule of the contract that does not hold."""
        checks = [check for check in self.contract()["checks"] if not check["success"]]
        return [f"{check['says']}: {_found(check)}" for check in checks]

    def answers(self, digest: str) -> pd.DataFrame:
        """The table joined with one model's predictions, for the images that could be read."""
        predictions = _read(self.folder / SCORES / digest / PREDICTIONS)
        kept = ["image_id", "predicted", "model", *(PROBABILITY + c for c in classes_of(predictions))]
        return predictions[kept].merge(self.table(), on="image_id", how="left", validate="one_to_one")

    def embeddings(self, digest: str) -> np.ndarray:
        """float16 (N, D), the rows of `answers`; mapped, not read."""
        file = self.folder / SCORES / digest / EMBEDDINGS
        try:
            rows: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise EvidenceMissing(f"cannot read {file}: {error}; run the night again") from error
        return rows

    def has(self, digest: str) -> bool:
        """Whether the model has answered."""
        return (self.folder / SCORES / digest / PREDICTIONS).is_file()


def labelled_images(
    pairs: Iterable[tuple[Window, ScoredWindow]], known_by: dt.date, requests: dict[str, dict[str, float]]
) -> pd.DataFrame:
    """The images of scored windows whose labels are known on that day: image_id, path, sha256, label, unit.

    For comparing versions: `requests` are the images that were asked for, night by night, and their labels are left out
    until the window is whole (tasks/best_version.py), like images that the prediction log did not keep and windows
    whose labels cannot be read. Paths are below the folder of all windows.
    """
    parts = []
    for window, scored in pairs:
        if not window.folder.is_dir() or not (scored.folder / WINDOW).is_file() or scored.broken():
            continue
        try:
            table = with_labels(scored.table(), window.folder, known_by)
        except DataRejected as error:  # it holds up no others
            logger.warning("the labels of the night %s are left out: %s", window.name, error)
            continue
        told = table[table["label"] != ""]
        weight = fair_weights(told["image_id"], requests.get(window.name, {}), whole=len(told) == len(table))
        told = told[weight == 1]
        if KEPT in told:
            told = told[told[KEPT] != ""].assign(sha256=lambda rows: rows[KEPT])
        path = f"{window.name}/" + told["path"]
        parts.append(told.assign(image_id=path, path=path))
    columns = ["image_id", "path", "sha256", "label", "unit"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def fair_weights(images: pd.Series, asked: dict[str, float], whole: bool) -> pd.Series:
    """The weight of the loss of each labelled image of one window; nan for a label that has to wait.

    Where only labels arrived that were asked for, they have the weights of their drawing. Labels that came by
    themselves have a weight of 1; labels that were asked for among them were sought where errors are likely, and wait
    until the `whole` window is labelled, when nothing is sought any more.
    """
    weights = images.map(asked).astype(float)
    if whole or weights.isna().all():
        return pd.Series(1.0, index=images.index)
    return weights if weights.notna().all() else weights.isna().astype(float).where(weights.isna())


def with_labels(table: pd.DataFrame, folder: Path, known_by: dt.date) -> pd.DataFrame:
    """A window's images (columns path, label) with the labels that were known by that day, wherever they were told."""
    labels = table["path"].map(read_labels(folder))
    return with_late_labels(table.assign(label=labels.where(labels.notna(), table["label"])), folder, known_by)


def window_table(images: pd.DataFrame, about: Project, night: str) -> pd.DataFrame:
    """The table of a window, from measured images; a column of the project that the window lacks is empty.

    An image without a unit is a unit of its own, whatever an image of another night is called.
    """
    empty = pd.Series("", index=images.index)
    table = pd.DataFrame({"image_id": images["path"], "path": images["path"], "label": images["label"]})
    table["group"] = images.get(about.group, images["path"]) if about.group else images["path"]
    unit = images.get(about.unit, empty) if about.unit else empty
    table["unit"] = unit.where(unit != "", f"{night}/" + images["path"])
    for column in ("sha256", "problem", *PROPERTIES):
        table[column] = images[column]
    for column in ("captured_at", "source"):
        table[column] = images.get(column, empty)
    for column in about.slices:
        table[SLICE + column] = images.get(column, empty)
    return table


def _read(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise EvidenceMissing(f"cannot read {file}: {error}; run the night again") from error


def _found(check: dict[str, Any]) -> str:
    if check["unexpected"]:
        return f"{check['unexpected']} break it, the first: {', '.join(check['first'][:SHOWN])}"
    return f"found {check['observed']}"
