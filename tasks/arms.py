"""Arms of a comparison: what each recipe answered, seed by seed, on the same images in the same order.

Reads the files of trials and gives the figures that a certificate and an ablation are made of: accuracy, paired
differences, calibration, groups. Every figure is an Estimate of tasks/crossed.py.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.crossed import Estimate, Statistic, estimate_means, estimate_statistics
from tasks.errors import EvidenceMissing
from tasks.group_figures import GroupFigures
from tasks.label_draws import Labels
from tasks.metrics import Outcomes, ece, weighted_mean
from tasks.params import EvaluateParams
from tasks.slices import JUDGED, SLICE, iter_slices
from tasks.trials import Ground, Outcome, Trial, file_stem, read_measured

Key = tuple[str, Labels]  # recipe, labels
Pair = tuple[str, str]  # recipe, the recipe that it is compared with
Row = dict[str, Any]
Head = tuple[str, Labels, str | None]  # recipe, labels, the recipe that it is compared with


@dataclass(frozen=True)
class Answers:
    """What one arm said at one place, each (S, n)."""

    truth: np.ndarray
    predicted: np.ndarray
    told: np.ndarray  # the probability of the true class
    confidence: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        """Whether each image was predicted right."""
        return self.truth == self.predicted


@dataclass(frozen=True)
class Arm:
    """One recipe at one number of labels: its answers by place, and a record of facts a seed."""

    answers: dict[str, Answers]
    facts: list[dict[str, Any]]


def read_arms(trials: list[Trial], outcomes: list[Outcome], manifest: pd.DataFrame, ground: Ground) -> dict[Key, Arm]:
    """The arms of all trials; a measurement that is missing, or of other images, is EvidenceMissing by name."""
    found: dict[Key, list[tuple[Trial, float]]] = {}
    for trial, outcome in zip(trials, outcomes, strict=True):
        found.setdefault((trial.recipe.name, trial.labels), []).append((trial, outcome.best))
    return {key: _arm(runs, manifest, ground) for key, runs in found.items()}


def _arm(runs: list[tuple[Trial, float]], manifest: pd.DataFrame, ground: Ground) -> Arm:
    facts, tables = [], []
    for trial, rate in runs:
        stem = file_stem(trial, rate, ground)
        measured = read_measured(stem)
        if measured is None:
            raise EvidenceMissing(
                f"{stem.name} was not measured, or its files were changed; run the same command again"
            )
        facts.append(measured[0])
        tables.append(measured[1])
    answers = {}
    for place in tables[0]["place"].unique():
        parts = [table[table["place"] == place] for table in tables]
        wanted = place_rows(place, manifest)["image_id"].tolist()
        if any(part["image_id"].tolist() != wanted for part in parts):
            raise EvidenceMissing(f"{place}: the answers are not those of the manifest's images; remove {ground.out}")
        columns = ("truth", "predicted", "told", "confidence")
        answers[str(place)] = Answers(*(np.stack([part[c].to_numpy() for part in parts]) for c in columns))
    return Arm(answers, facts)


def place_rows(place: str, manifest: pd.DataFrame) -> pd.DataFrame:
    """The manifest's rows of a place, in its order; a simulated condition has the rows of test."""
    return manifest[manifest["split"] == place.split("/", maxsplit=1)[0]]


def slices_of(places: Iterable[str], manifest: pd.DataFrame) -> list[tuple[str, str, np.ndarray]]:
    """(name, place, positions within the place) of every place and of every slice of test and mirror."""
    found = [(place, place, np.arange(len(place_rows(place, manifest)))) for place in places]
    for name, rows in iter_slices(manifest):
        split = name.split("/")[0]
        if name != split and rows["unit"].nunique() > 1:  # one unit has no spread: `small_slices` names it
            found.append((name, split, place_rows(split, manifest).index.get_indexer(rows.index)))
    return found


def accuracy_rows(arms: dict[Key, Arm], manifest: pd.DataFrame, pairs: list[Pair], params: EvaluateParams) -> list[Row]:
    """Accuracy of every arm, and the difference of every pair at the same labels, at every place and slice.

    A row of a difference names what it is `against`.
    """
    rows: list[Row] = []
    compared = [(arm, arm[0], against) for arm in arms for name, against in pairs if arm[0] == name]
    for name, place, positions in slices_of(next(iter(arms.values())).answers, manifest):
        hits = {key: arm.answers[place].hits[:, positions] for key, arm in arms.items()}
        stacks = list(hits.values())
        heads: list[Head] = [(*key, None) for key in hits]
        for (_, labels), method, against in compared:
            difference = hits[method, labels].astype(np.int8) - hits[against, labels].astype(np.int8)
            stacks.append(difference)
            heads.append((method, labels, against))
        part = place_rows(place, manifest).iloc[positions]
        estimates = estimate_means(stacks, part, params)
        rows += [_row("accuracy", head, name, estimate) for head, estimate in zip(heads, estimates, strict=True)]
    return rows


def calibration_rows(
    arms: dict[Key, Arm], manifest: pd.DataFrame, pairs: list[Pair], params: EvaluateParams
) -> list[Row]:
    """Calibration error and negative log-likelihood, after temperature, on test and mirror, and their differences."""
    metrics: dict[str, Callable[[Answers], Statistic]] = {
        "ece": lambda answers: _ece(answers, params.calibration_bins),
        "nll": _nll,
    }
    return _statistic_rows(arms, manifest, pairs, params, metrics)


def group_rows(
    arms: dict[Key, Arm], manifest: pd.DataFrame, pairs: list[Pair], params: EvaluateParams, least: int
) -> list[Row]:
    """The accuracy of the worst group and the gap between best and worst, by slice column, and their differences.

    Both are of the groups' accuracies averaged over the seeds. The groups of a column are its values with at least
    `least` images; with fewer than two there is nothing to say.
    """
    rows: list[Row] = []
    for column in (c for c in manifest if c.startswith(SLICE)):
        for split in JUDGED:
            part = place_rows(split, manifest)
            counts = part[column].value_counts()
            large = sorted(value for value, count in counts.items() if count >= least)
            if len(large) < 2:
                continue
            among = part[column].isin(large).to_numpy()
            codes = pd.Categorical(part[column][among], large).codes
            hits = {key: arm.answers[split].hits[:, among] for key, arm in arms.items()}
            figures = GroupFigures(hits, codes, part[among], params)
            for (method, labels), against in [(key, None) for key in arms] + [
                (key, other) for key in arms for name, other in pairs if name == key[0]
            ]:
                theirs = None if against is None else (against, labels)
                found = figures.of((method, labels)) if theirs is None else figures.change((method, labels), theirs)
                place = f"{split}/{column.removeprefix(SLICE)}"
                rows += [_row(metric, (method, labels, against), place, e) for metric, e in found.items()]
    return rows


def small_slices(manifest: pd.DataFrame, least: int) -> list[str]:
    """The slices with fewer images than `least`, each with its number."""
    return [f"{name} (n = {len(rows)})" for name, rows in iter_slices(manifest) if len(rows) < least]


def _statistic_rows(
    arms: dict[Key, Arm],
    manifest: pd.DataFrame,
    pairs: list[Pair],
    params: EvaluateParams,
    metrics: dict[str, Callable[[Answers], Statistic]],
) -> list[Row]:
    rows: list[Row] = []
    for split in (s for s in JUDGED if s in next(iter(arms.values())).answers):
        heads: list[tuple[str, Head]] = []
        statistics: list[Statistic] = []
        for metric, statistic_of in metrics.items():
            figures = {key: statistic_of(arm.answers[split]) for key, arm in arms.items()}
            for (method, labels), figure in figures.items():
                heads.append((metric, (method, labels, None)))
                statistics.append(figure)
                for against in (other for name, other in pairs if name == method):
                    heads.append((metric, (method, labels, against)))
                    statistics.append(_difference(figure, figures[against, labels]))
        estimates = estimate_statistics(statistics, place_rows(split, manifest), params)
        rows += [_row(metric, head, split, e) for (metric, head), e in zip(heads, estimates, strict=True)]
    return rows


def _difference(ours: Statistic, theirs: Statistic) -> Statistic:
    return lambda weights: ours(weights) - theirs(weights)


def _ece(answers: Answers, bins: int) -> Statistic:
    error = ece(bins)
    seeds = [
        Outcomes(truth, predicted, confidence[:, None])
        for truth, predicted, confidence in zip(answers.truth, answers.predicted, answers.confidence, strict=True)
    ]
    return lambda weights: np.stack([error(outcomes, weights) for outcomes in seeds], axis=1)


def _nll(answers: Answers) -> Statistic:
    losses = -np.log(np.clip(answers.told, np.finfo(float).eps, 1))
    return lambda weights: np.stack([weighted_mean(seed, weights) for seed in losses], axis=1)


def _row(metric: str, head: Head, place: str, estimate: Estimate) -> Row:
    method, labels, against = head
    row = {"metric": metric, "method": method, "against": against, "labels": labels, "place": place}
    figures = asdict(estimate)
    if against is None:
        figures["low"] = max(0.0, estimate.low)  # none of these is negative
    return {**row, **figures}
