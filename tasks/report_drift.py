"""Evidently's report of a night: image properties, answers, confidence, embeddings, and quality where labels are.

It is for reading. Nothing in it decides: its defaults raise alarms on windows that did not change (the figures are in
the README), so the night's verdict comes from tasks/drift.py and tasks/harm.py. A large window is drawn from, and the
report says so.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE
from threadpoolctl import threadpool_limits

from tasks.metrics import PROBABILITY, classes_of
from tasks.night_tables import ScoredWindow
from tasks.slices import PROPERTIES

REPORT, QUALITY, WORKSPACE = "evidently", "evidently_quality", "evidently"
MOST = 2000  # images of either side
BINARY = 2  # classes
COMPONENTS = 5  # of the embeddings, by principal component analysis of the reference
logger = logging.getLogger("tasks.report_drift")


@task(cache_policy=NO_CACHE)
def report_drift(
    tonight: ScoredWindow, reference: list[ScoredWindow], model: str, project: str, workspace: Path, seed: int
) -> dict[str, Path]:
    """Write evidently.html and .json beside the window, evidently_quality.* where both sides have labels.

    Both go into the Evidently workspace as well, for `evidently ui --workspace <folder>`.
    """
    with threadpool_limits(1):
        before, directions = described(reference, model, None, seed)
        now, _ = described([tonight], model, directions, seed)
        written = dict(drift_report(now, before, tonight, project, workspace))
        if (now["label"] != "").any() and (before["label"] != "").any():
            written |= quality_report(now, before, tonight, project, workspace)
    return written


def described(
    windows: list[ScoredWindow], model: str, directions: tuple[np.ndarray, np.ndarray] | None, seed: int
) -> tuple[pd.DataFrame, tuple[np.ndarray, np.ndarray]]:
    """A row an image for Evidently, at most MOST of them, and the centre and directions (D, COMPONENTS) used."""
    table = pd.concat([window.answers(model) for window in windows], ignore_index=True)
    features = np.concatenate([window.embeddings(model) for window in windows])
    kept = np.sort(np.random.default_rng(seed).permutation(len(table))[:MOST])
    table, features = table.iloc[kept].reset_index(drop=True), features[kept].astype(np.float64)
    if directions is None:
        centre = features.mean(axis=0)
        _, _, axes = np.linalg.svd(features - centre, full_matrices=False)
        directions = centre, axes[:COMPONENTS].T
    centre, axes = directions
    probabilities = table[[PROBABILITY + c for c in classes_of(table)]]
    columns = {name: table[name].astype(float) for name in PROPERTIES}
    columns |= {"confidence": probabilities.max(axis=1), "answer": table["predicted"], "label": table["label"]}
    components = (features - centre) @ axes
    columns |= {f"component {k + 1}": pd.Series(components[:, k]) for k in range(components.shape[1])}
    return pd.DataFrame(columns), directions


def drift_report(
    now: pd.DataFrame, before: pd.DataFrame, tonight: ScoredWindow, project: str, workspace: Path
) -> dict[str, Path]:
    """Property by property, tonight beside the reference."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = [c for c in now if c not in ("answer", "label") and before[c].nunique() > 1]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=["answer"])
    report = Report(
        [
            DataDriftPreset(
                columns=[*numbers, "answer"], num_method="ks", num_threshold=0.01, cat_method="jensenshannon"
            )
        ],
        tags=["nightly", project],
        metadata={"night": tonight.night, "drawn": f"{len(now)} images beside {len(before)} of the reference"},
    )
    kept = [*numbers, "answer"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sides = [Dataset.from_pandas(side[kept], definition) for side in (now, before)]
        return _keep(report.run(*sides), REPORT, tonight, project, workspace)


def quality_report(
    now: pd.DataFrame, before: pd.DataFrame, tonight: ScoredWindow, project: str, workspace: Path
) -> dict[str, Path]:
    """Classification quality on the images with labels."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import ClassificationPreset

    sides = [side.loc[side["label"] != "", ["label", "answer"]] for side in (now, before)]
    told = classification_of(*sides)
    if told is None:
        logger.info("%s: too few classes have labels for Evidently's report of quality", tonight.night)
        return {}
    definition = DataDefinition(categorical_columns=["label", "answer"], classification=[told])
    report = Report([ClassificationPreset()], tags=["nightly", project], metadata={"night": tonight.night})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _keep(
            report.run(*(Dataset.from_pandas(side, definition) for side in sides)), QUALITY, tonight, project, workspace
        )


def classification_of(now: pd.DataFrame, before: pd.DataFrame) -> Any:
    """How Evidently is to read the columns label and answer; None where it cannot.

    It takes any table of two classes for a binary one and then fails without a positive class, whatever the task has.
    """
    from evidently import BinaryClassification, MulticlassClassification

    seen = [sorted(set(side["label"]) | set(side["answer"])) for side in (now, before)]
    if min(map(len, seen)) > BINARY:
        return MulticlassClassification(target="label", prediction_labels="answer")
    if seen[0] == seen[1] and len(seen[0]) == BINARY:
        return BinaryClassification(target="label", prediction_labels="answer", pos_label=seen[0][1])
    return None


def _keep(found: object, name: str, tonight: ScoredWindow, project: str, workspace: Path) -> dict[str, Path]:
    from evidently.ui.workspace import Workspace

    page, data = (tonight.folder / f"{name}.{kind}" for kind in ("html", "json"))
    found.save_html(str(page))  # type: ignore[attr-defined]
    found.save_json(str(data))  # type: ignore[attr-defined]
    place = Workspace.create(str(workspace))
    same = [p for p in place.search_project(project) if p.name == project]
    place.add_run((same[0] if same else place.create_project(project)).id, found)
    return {name.replace("_", "-"): page}
