"""Which version is best on the images of now: the question that decides whether a rollback can help.

An older model is put back only where it is proved better than the champion on the same images. Harm alone is no reason:
where the input broke, every version suffers, and moving back trades a known model for an older one and hides the
cause.

The images are those of the nights since harm began, which flatter every other version: they were picked because the
champion did badly there, and they are asked again each night until something moves. So the proof is a bet that holds
for any first night and however often one looks. With stake `b` a unit's mean gain g, the champion's loss less the
version's, multiplies a capital by 1 + b g, which on average gains nothing while the version is no better
(Waudby-Smith & Ramdas 2024, JRSS B 86). Uniform weight lies on `STAKES`, as in a universal portfolio (Cover 1991,
Mathematical Finance 1). The gamblers who join on each night hold together a Shiryaev-Roberts statistic (Shin, Ramdas &
Rinaldo 2024, "E-detectors", NEJSDS 2), of which the one that joined on whichever night was picked is a part: where a
move needs a capital of A for each version that is asked, moves that help nobody come once in A nights or more rarely.
The ends of an interval are the gains that bets of the same height do not refute.

What is assumed: a unit's mean gain has, given all that was seen before it, a mean of at most 0 where the version is no
better. Images of one unit may depend freely, as a unit is one bet. Labels that were asked for stay out until their
window is whole: their weights make a loss fair to bet on, whose mean then only falls, but not a difference of two.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from scipy.optimize import brentq
from scipy.special import logsumexp

from tasks.e_detector import LARGEST
from tasks.errors import BadInput, EvidenceMissing
from tasks.intervals import Interval

IMAGE_ID, UNIT = "image_id", "unit"
STAKES = np.arange(1, 20) / 20  # shares of the largest stake that no gain turns into a debt
NARROWEST = 1e-9  # of -1 and 1, where a stake has no largest size
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class RollbackRules(BaseModel):
    """When the nightly run may put an earlier version back by itself: the section `rollback` of governance/watch.yaml.

    `average_run_length` are the nights after which, on average or later, a move helps nobody; `cool_down_nights` those
    between a rollback and the next automatic one, whichever release came in between; `least_labels` the labelled images
    that a move needs at all; `candidates` how many accepted versions are asked beside the one before the champion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    average_run_length: int = Field(ge=2)
    cool_down_nights: int = Field(ge=0)
    least_labels: int = Field(ge=1)
    candidates: int = Field(ge=0, le=20)
    reason: Text


@dataclass(frozen=True)
class Compared:
    """One version beside the champion: its mean loss, by how much that is lower, and what bets on it have won.

    `low` and `high`, in [-1, 1], are the gains that bets do not refute at the height that a move needs.
    """

    version: str
    loss: float
    gain: float
    low: float
    high: float
    evidence: float
    needed: float

    @property
    def proved(self) -> bool:
        """Whether it is better for sure."""
        return self.evidence >= self.needed


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
    average_run_length: int
    labels_needed: int | None = None  # more of them would prove the likeliest version better, if its gain holds

    def as_evidence(self) -> dict[str, Any]:
        """The figures for the ledger."""
        return {**asdict(self), "compared": [asdict(row) for row in self.compared]}


def choose(losses: pd.DataFrame, champion: str, average_run_length: int, least: int = 1) -> Choice:
    """Choose among the versions that have a column of `losses`, a row an image: image_id, unit, and one loss each.

    A loss is in [0, 1]: 0 right and 1 wrong, or a cost as a share of the highest. Images of one `unit` are dependent.
    Figures are means over units. A version qualifies when the bets on it have won `average_run_length` for each version
    asked; the one on which they won most is chosen. `least` labelled images are needed for a move at all. Raises
    EvidenceMissing when a loss is missing or the champion has none, BadInput when a loss is outside [0, 1] or an image
    is listed twice.
    """
    versions = _versions(losses, champion)
    codes, units = pd.factorize(losses[UNIT])
    about = Choice(None, "", champion, None, (), len(losses), len(units), average_run_length)
    if losses.empty:
        return replace(about, sentence=_no_label(least))
    counts = np.bincount(codes)
    means = {name: np.bincount(codes, losses[name].to_numpy(float)) / counts for name in [champion, *versions]}
    about = replace(about, champion_loss=float(means[champion].mean()))
    if not versions:
        return replace(about, sentence=_nobody(about))
    needed = float(average_run_length * len(versions))
    rows, paces = [], {}
    for name in versions:
        gains = means[champion] - means[name]
        won, ends = log_capitals(gains), gains_in_question(gains, needed)
        evidence = float(np.exp(min(log_evidence(gains), LARGEST)))
        rows.append(Compared(name, float(means[name].mean()), float(gains.mean()), *ends, evidence, needed))
        paces[name] = float(won.max())
    return _settle(replace(about, compared=tuple(rows)), paces, least)


def log_capitals(gains: np.ndarray, beyond: float = 0.0) -> np.ndarray:
    """The logarithms of what each of STAKES makes of 1 on gains (u,) in [-1, 1] above `beyond`."""
    stakes = STAKES / (1 + beyond)
    return np.asarray(np.log1p(np.outer(stakes, gains - beyond)).sum(axis=1))


def log_evidence(gains: np.ndarray, beyond: float = 0.0) -> float:
    """The logarithm of the mean capital, which falls as `beyond` rises."""
    return float(logsumexp(log_capitals(gains, beyond)) - np.log(len(STAKES)))


def gains_in_question(gains: np.ndarray, needed: float) -> Interval:
    """The mean gains that neither bets on more nor bets on less refute with evidence `needed`, within [-1, 1]."""
    return Interval(_low_end(gains, needed), -_low_end(-gains, needed))


def _low_end(gains: np.ndarray, needed: float) -> float:
    def above(gain: float) -> float:
        return log_evidence(gains, gain) - float(np.log(needed))

    ends = (NARROWEST - 1, 1 - NARROWEST)
    if above(ends[0]) <= 0 or above(ends[1]) >= 0:
        return -1.0 if above(ends[0]) <= 0 else 1.0
    return float(brentq(above, *ends))


def _settle(about: Choice, paces: dict[str, float], least: int) -> Choice:
    best = max(about.compared, key=lambda row: (row.evidence, row.gain))
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
    more = _more_labels(likeliest, paces[likeliest.version], about)
    settled = (
        f"about {more} more labels would prove it if the gain holds" if more else "no number of labels is in sight"
    )
    return replace(
        about,
        sentence=f"no move: no accepted version is proved better than the champion ({_said(likeliest, about)}; "
        f"{settled}); label more, and meanwhile quarantine the source that changed, or retrain on it",
        labels_needed=more,
    )


def _more_labels(row: Compared, won: float, about: Choice) -> int | None:
    """Labels until the stake that has `won` most, a logarithm, has what is needed for all; None where none wins."""
    if won <= 0:
        return None
    units = (np.log(row.needed * len(STAKES)) - won) * about.units / won
    return max(1, int(np.ceil(units * about.n / about.units)))


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
        f"[{100 * row.low:+.1f}, {100 * row.high:+.1f}], evidence {_figure(row.evidence)} of the {row.needed:,.0f} "
        "that a move needs"
    )


def _figure(evidence: float) -> str:
    return f"{evidence:,.1f}" if evidence < 1e6 else "over a million"


def _no_label(least: int) -> str:
    return (
        f"no move: no label has arrived that versions can be compared by, {least} are needed; one that was asked for "
        "waits for the rest of its window"
    )


def _nobody(about: Choice) -> str:
    return (
        f"no move: version {about.champion} has no accepted version beside it to move to; quarantine the source that "
        "changed, or retrain on it"
    )
