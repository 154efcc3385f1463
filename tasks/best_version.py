"""Which version is best on the images of now: the question that decides whether a rollback can help.

An older model is put back only where it is proved better than the champion on the same images. Harm alone is no reason:
where the input broke, every version suffers, and moving back trades a known model for an older one and hides the
cause. The gains of all versions asked get paired intervals that hold at once (tasks/simultaneous.py: max-t over one
bootstrap of units, in an envelope with Tango's score interval, 1998, at the effective number of images), so that asking
more versions does not make a lucky one likelier to be moved to.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tasks.errors import BadInput, EvidenceMissing
from tasks.estimates import clustered_mean, effective_number
from tasks.findings import Finding
from tasks.intervals import Interval, tango
from tasks.labels_needed import labels_needed
from tasks.resampling import Clusters, Statistics, bootstrap_of_kinds
from tasks.simultaneous import Family, group_intervals

IMAGE_ID, UNIT = "image_id", "unit"
RESAMPLES = 2000
FEW_UNITS = 2  # below, nothing can be said of the spread between units
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class RollbackRules(BaseModel):
    """When the nightly run may put an earlier version back by itself: the section `rollback` of governance/watch.yaml.

    `level` is the confidence of the intervals, all at once; `cool_down_nights` the nights between a rollback and the
    next automatic one, whichever release came in between; `least_labels` the labelled images that a move needs at all;
    `candidates` how many accepted versions are asked beside the one before the champion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    level: float = Field(ge=0.8, lt=1)
    cool_down_nights: int = Field(ge=0)
    least_labels: int = Field(ge=1)
    candidates: int = Field(ge=0, le=20)
    reason: Text


@dataclass(frozen=True)
class Compared:
    """One version beside the champion: its mean loss, and by how much that is lower, with an interval in [-1, 1]."""

    version: str
    loss: float
    gain: float
    low: float
    high: float

    @property
    def proved(self) -> bool:
        """Whether it is better for sure."""
        return self.low > 0


@dataclass(frozen=True)
class Choice:
    """The version to move to, or None, and why, in one sentence; all figures are on the same labelled images."""

    version: str | None
    sentence: str
    champion: str
    champion_loss: float | None  # None: no image was labelled
    compared: tuple[Compared, ...]
    n: int
    units: int
    level: float
    labels_needed: int | None = None  # more of them would prove the likeliest version better, if its gain holds

    def as_evidence(self) -> dict[str, Any]:
        """The figures for the ledger."""
        return {**asdict(self), "compared": [asdict(row) for row in self.compared]}


def choose(
    losses: pd.DataFrame, champion: str, level: float, least: int = 1, resamples: int = RESAMPLES, seed: int = 0
) -> Choice:
    """Choose among the versions that have a column of `losses`, a row an image: image_id, unit, one loss a version.

    A loss is in [0, 1]: 0 right and 1 wrong, or a cost as a share of the highest. Images of one `unit` are dependent.
    A version qualifies when the lower end of its paired gain is above 0; the one with the highest lower end is chosen.
    `least` labelled images are needed for a move at all. Raises EvidenceMissing when a loss is missing or the champion
    has none, BadInput when a loss is outside [0, 1] or an image is listed twice.
    """
    versions = _versions(losses, champion)
    codes, units = pd.factorize(losses[UNIT])
    about = Choice(None, "", champion, None, (), len(losses), len(units), level)
    if losses.empty:
        return replace(about, sentence=f"no label has arrived, {least} are needed: no version can be compared")
    about = replace(about, champion_loss=float(losses[champion].mean()))
    if not versions:
        return replace(about, sentence=_nobody(about))
    clusters = Clusters(codes, len(units), "images" if len(units) == len(losses) else "units")
    gains = losses[champion].to_numpy(float)[:, None] - losses[versions].to_numpy(float)  # (n, G)
    rows = zip(versions, gains.mean(axis=0), _intervals(gains, clusters, level, resamples, seed), strict=True)
    compared = tuple(
        Compared(v, float(losses[v].mean()), float(gain), max(-1.0, ends.low), min(1.0, ends.high))
        for v, gain, ends in rows
    )
    return _settle(replace(about, compared=compared), least)


def _settle(about: Choice, least: int) -> Choice:
    best = max(about.compared, key=lambda row: (row.low, row.gain))
    if about.n < least:
        short = f"{about.n} labelled images, and a move needs {least}: label {least - about.n} more of these windows"
        return replace(about, sentence=f"no move: there are {short}", labels_needed=least - about.n)
    if best.proved:
        return replace(about, version=best.version, sentence=f"{_said(best, about)}: it is proved better")
    likeliest = max(about.compared, key=lambda row: row.gain)
    if likeliest.gain <= 0:
        return replace(
            about,
            sentence=f"no move: no accepted version does better than the champion ({_said(likeliest, about)}), so the "
            "input is the likelier cause than the model; quarantine the source that changed, or retrain on it",
        )
    more = _more_labels(likeliest, about)
    settled = (
        f"about {more} more labels would prove it if the gain holds" if more else "no number of labels is in sight"
    )
    return replace(
        about,
        sentence=f"no move: no accepted version is proved better than the champion ({_said(likeliest, about)}; "
        f"{settled}); label more, and meanwhile quarantine the source that changed, or retrain on it",
        labels_needed=more,
    )


def _intervals(gains: np.ndarray, clusters: Clusters, level: float, resamples: int, seed: int) -> list[Interval]:
    """For each of G versions the interval of its mean gain, all at once at `level`; gains (n, G)."""
    if clusters.count < FEW_UNITS:
        return [Interval(-1.0, 1.0)] * gains.shape[1]

    def scores(at: float) -> list[Interval]:
        return [_score(column, clusters, at) for column in gains.T]

    def means_of(images: np.ndarray) -> Statistics:
        return lambda weights: weights @ gains[images] / weights.sum(axis=1, keepdims=True)

    told = np.unique(gains, axis=0, return_inverse=True)[1].ravel()
    resampled = bootstrap_of_kinds(means_of, told, clusters, resamples, seed)
    return group_intervals(Family(gains.mean(axis=0), resampled, scores), level, clusters.count - 1)


def _score(gains: np.ndarray, clusters: Clusters, level: float) -> Interval:
    """Tango's interval for the mean of gains (n,) in [-1, 1]; graded ones count by their sums, as in estimates.py."""
    n, won, lost = len(gains), float(gains.clip(min=0).sum()), float(-gains.clip(max=0).sum())
    number = float(n)
    if not clusters.independent:
        mean, error = clustered_mean(gains, clusters)
        number = effective_number(n, (won + lost) / n - mean**2, error**2, clusters, level)
    return tango(won * number / n, lost * number / n, number, level)


def _more_labels(row: Compared, about: Choice) -> int | None:
    gain = Finding("accuracy_gain_over_champion", "all", row.gain, row.low, row.high, about.n, about.units, "tango")
    return labels_needed(gain, 0.0)


def _versions(losses: pd.DataFrame, champion: str) -> list[str]:
    absent = [name for name in (IMAGE_ID, UNIT, champion) if name not in losses]
    if absent:
        raise EvidenceMissing(f"the losses have no column {', '.join(absent)}; they have {', '.join(map(str, losses))}")
    if losses[IMAGE_ID].duplicated().any():
        raise BadInput(
            f"image {losses[IMAGE_ID][losses[IMAGE_ID].duplicated()].iloc[0]} has more than one row of losses"
        )
    if losses[UNIT].isna().any():
        raise EvidenceMissing(f"{int(losses[UNIT].isna().sum())} images have no unit; say which images are dependent")
    columns = [name for name in losses if name not in (IMAGE_ID, UNIT)]
    for name in columns:
        values = losses[name].to_numpy(float)
        if np.isnan(values).any():
            raise EvidenceMissing(
                f"version {name} has no loss on {int(np.isnan(values).sum())} of {len(values)} images; score it on all "
                "of them, for versions are compared on the same images alone"
            )
        if len(values) and not (values.min() >= 0 and values.max() <= 1):
            wrong = values[(values < 0) | (values > 1)][0]
            raise BadInput(f"version {name} has a loss of {wrong:g}; a loss is a share, 0 to 1")
    return [str(name) for name in columns if name != champion]


def _said(row: Compared, about: Choice) -> str:
    """`version 2 loses 8.1 % on 212 labelled images, ...: a gain of +4.2 points [+1.1, +7.3]`."""
    units = f" from {about.units} units" if about.units < about.n else ""
    theirs = math.nan if about.champion_loss is None else about.champion_loss
    return (
        f"version {row.version} loses {100 * row.loss:.1f} % on {about.n} labelled images{units}, the champion, "
        f"version {about.champion}, {100 * theirs:.1f} %: a gain of {100 * row.gain:+.1f} points "
        f"[{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
    )


def _nobody(about: Choice) -> str:
    return (
        f"no move: version {about.champion} has no accepted version beside it to move to; quarantine the source that "
        "changed, or retrain on it"
    )
