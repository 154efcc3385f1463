"""A challenger beside the champion: their errors are bet upon, label by label, until either is shown.

The difference of their losses on a unit (a scan, a subject) is bet upon twice: that the challenger is worse by less
than the margin, and that it is worse by more. Each capital is a test martingale of its hypothesis (Waudby-Smith &
Ramdas 2024, JRSS B 86; Shafer 2021, JRSS A 184), so that by Ville's inequality it ever reaches 1 / error with a
chance of at most `error`, however often one looks and whenever one stops. Where the two give equal answers they
cannot differ: what tells is the images on which they disagree, so that labels are worth asking for there.
"""

import math

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from tasks.e_detector import LARGEST
from tasks.errors import BadInput, EvidenceMissing

PROMOTE, DROP, HOLD = "PROMOTE", "DROP", "HOLD"
BETS = (0.05, 0.15, 0.4)  # shares of the largest stake that no difference turns into a debt


class ShadowState(BaseModel):
    """What is known of one challenger beside one champion: logarithms of the capitals, one for each of BETS."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    champion: str
    challenger: str
    better: tuple[float, ...] = (0.0,) * len(BETS)  # bets that it is worse by less than the margin
    worse: tuple[float, ...] = (0.0,) * len(BETS)
    nights: int = 0
    labels: int = 0
    units: int = 0
    disagreements: int = 0  # units on which they differ
    difference: float = 0.0  # the sum of the differences
    agreements: int = 0  # units without a label on which they agree, which count as no difference against harm


def advance_shadow(
    state: ShadowState, champion: np.ndarray, challenger: np.ndarray, units: np.ndarray, margin: float
) -> ShadowState:
    """The state after one night: losses (n,) in [0, 1] of both on the same images, and the unit (n,) of each.

    A night without labels counts as a night. EvidenceMissing for a loss that is not a number, BadInput for one outside
    [0, 1] or for arrays of different length.
    """
    if not len(champion) == len(challenger) == len(units):
        raise BadInput(f"{len(champion)} and {len(challenger)} losses came with {len(units)} units; they must match")
    if not len(units):
        return state.model_copy(update={"nights": state.nights + 1})
    both = np.concatenate([champion, challenger]).astype(float)
    if np.isnan(both).any() or pd.isna(units).any():
        raise EvidenceMissing("a loss or a unit is missing; give only labelled images that both models have answered")
    if both.min() < 0 or both.max() > 1:
        raise BadInput(f"losses go from {both.min():g} to {both.max():g}; they lie between 0 and 1")
    apart = pd.Series(np.asarray(challenger, float) - champion).groupby(np.asarray(units)).mean().to_numpy()
    growth, shrink = (logs.sum(axis=0) for logs in log_bets(apart, margin))
    return state.model_copy(
        update={
            "better": tuple((np.array(state.better) + growth).tolist()),
            "worse": tuple((np.array(state.worse) + shrink).tolist()),
            "nights": state.nights + 1,
            "labels": state.labels + len(units),
            "units": state.units + len(apart),
            "disagreements": state.disagreements + int((apart != 0).sum()),
            "difference": state.difference + float(apart.sum()),
        }
    )


def advance_agreements(state: ShadowState, units: int, margin: float) -> ShadowState:
    """The state after so many units without a label on which the two gave equal answers: neither can err more there.

    Who labels disagreements alone would else see nothing but differences, and a challenger that is a little worse as
    one that is much worse. They weigh in the bet that it does harm alone: promotion is for labels to show.
    """
    _, shrink = log_bets(np.zeros(1), margin)
    worse = tuple((np.array(state.worse) + units * shrink[0]).tolist())
    return state.model_copy(update={"worse": worse, "agreements": state.agreements + units})


def log_bets(apart: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """What differences (units,) add to the logarithms of the bets on better and on worse, both (units, bets)."""
    better = np.log1p(np.outer(margin - apart, stakes(1 - margin)))
    return better, np.log1p(np.outer(apart - margin, stakes(1 + margin)))


def stakes(largest_loss: float) -> np.ndarray:
    """The stakes (bets,) where one unit can lose at most so much a stake of 1."""
    return np.array(BETS) / largest_loss


def capital(logs: tuple[float, ...]) -> float:
    """The mean capital of the bets."""
    return float(np.exp(np.minimum(logs, LARGEST)).mean())


def judge_shadow(state: ShadowState, margin: float, error: float) -> tuple[str, str]:
    """PROMOTE, DROP or HOLD, and the sentence that says why; each of the first two is wrong with that chance of error.

    PROMOTE: it is shown to err by less than the margin more than the champion. DROP: it is shown to err by more.
    """
    enough, points = 1 / error, f"{100 * margin:g} points"
    if capital(state.worse) >= enough:
        return DROP, f"it errs more than the champion by more than {points}: {seen(state)}"
    if capital(state.better) < enough:
        return HOLD, f"about {units_needed(state, margin, error)} more labels are needed to tell: {seen(state)}"
    return PROMOTE, f"it errs more by less than {points}, if at all: {seen(state)}"


def seen(state: ShadowState) -> str:
    """What the bets rest on, in words."""
    return (
        f"{state.labels} labels in {state.nights} looks, {state.disagreements} of {all_units(state)} units answered "
        f"differently, {100 * mean_difference(state):+.1f} points of errors"
    )


def mean_difference(state: ShadowState) -> float:
    """How much more the challenger errs so far, on average over the units."""
    return state.difference / all_units(state) if state.units else 0.0


def all_units(state: ShadowState) -> int:
    """Those with a label, and those without on which the two agree."""
    return state.units + state.agreements


def units_needed(state: ShadowState, margin: float, error: float) -> int:
    """Units until the better bet is settled, if it goes on as it went; with equal answers where it went nowhere."""
    goal = math.log(1 / error)
    best = max(state.better)
    pace = best / state.units if state.units else 0.0
    if pace <= 0:
        best, pace = 0.0, float(np.log1p(margin * stakes(1 - margin)).max())
    return max(1, math.ceil((goal + math.log(len(BETS)) - best) / pace))
