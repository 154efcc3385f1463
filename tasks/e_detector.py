"""Whether a risk has risen above what is tolerated, watched night after night without a planned end: an e-detector.

Somebody bets each night that the losses exceed the tolerated risk. With stake `b`, a loss L in [0, 1] multiplies the
capital by 1 + b (L - tolerated), which gains nothing on average while the risk is at most tolerated, whatever came
before (Waudby-Smith & Ramdas 2024, JRSS B 86; of a deployed model's risk: Podkopaev & Ramdas 2022, ICLR). As nobody
knows when harm begins, a new gambler with capital 1 joins every night; M, what all of them hold, is a Shiryaev-Roberts
statistic (Shin, Ramdas & Rinaldo 2024, "E-detectors", NEJSDS 2):

    M(t) = (M(t - 1) + 1) * e(t)        e(t): the product of one night's bets

No stake suits every harm, so each of `BETS` has its own M, and their mean is the evidence (their mixtures of
baselines). M(t) - t never rises on average without harm, which gives two promises: evidence reaches A after A nights
on average or later, and within T nights with a chance of at most T / A.

What is assumed: a unit's mean loss has, given all that was seen before it, a mean of at most the tolerated risk. Nights
and units may depend on each other in any way that leaves this true. Images of one unit may depend freely, as a unit is
one bet on its mean. A night that strikes all of its units at once, above the tolerated risk, counts as harm even when
other nights make up for it. Labels must not be sought where errors are likely, unless each loss is weighted by how much
more likely its image was to be asked about (tasks/unlabelled.py): a bet asks of a loss only its mean and that it is not
negative, so weighted losses above 1 do no harm.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from tasks.errors import BadInput, EvidenceMissing

# Stakes, as shares of 1 / tolerated, the largest that no loss turns into a debt. On losses of 0 and 1 the share f grows
# fastest at a risk of tolerated + f (1 - tolerated): about 2, 5 and 15 points of harm (benchmarks/monitor.py).
BETS = (0.02, 0.05, 0.15)
LARGEST = 690.0  # a logarithm whose exponential a float can hold
Log = Annotated[float, Field(allow_inf_nan=False)]
OF_EACH_BET = Field(min_length=len(BETS), max_length=len(BETS), strict=False)  # a JSON list is read as a tuple
Logs = Annotated[tuple[Log, ...], OF_EACH_BET]
Nights = Annotated[tuple[str, ...], OF_EACH_BET]
NOTHING_WON = (0.0,) * len(BETS)


class MonitorState(BaseModel):
    """What a monitor remembers of the nights since it began; one entry of a tuple for each of BETS.

    `capitals` are the logarithms of 1 + M, `runs` those of the likeliest gambler's winnings, who joined on the night
    in `joined`. `labels` counts images, `units` the bets.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    champion: str = Field(min_length=1)
    tolerated: float = Field(gt=0, lt=1)
    capitals: Logs = NOTHING_WON
    runs: Logs = NOTHING_WON
    joined: Nights = ("",) * len(BETS)
    nights: int = Field(ge=0, default=0)
    units: int = Field(ge=0, default=0)
    labels: int = Field(ge=0, default=0)
    last: str = ""

    @property
    def evidence(self) -> float:
        """The mean of the statistics M: 0 at the start, at most 1e299."""
        return float(evidence_of(np.array(self.capitals)))

    @property
    def began(self) -> str | None:
        """The night on which harm most likely began, if there is any: the start of the run that won most.

        The maximum likelihood estimate over the night and the bets (Page 1954; Lorden 1971); None when no run has won.
        """
        best = int(np.argmax(self.runs))
        return self.joined[best] if self.runs[best] > 0 else None


def begin(champion: str, tolerated: float, place: str = "the risk") -> MonitorState:
    """A monitor that has seen nothing. BadInput, naming the `place`, when what is tolerated leaves no room to bet."""
    if not 0 < tolerated < 1:
        raise BadInput(
            f"{place}: a tolerated risk of {tolerated:g} cannot be watched, it must lie between 0 and 1; change the "
            "margin, or watch a slice with more images at release"
        )
    return MonitorState(champion=champion, tolerated=float(tolerated))


def advance(
    state: MonitorState, losses: np.ndarray, weights: np.ndarray, units: Sequence[object] | np.ndarray, night: str
) -> MonitorState:
    """The state after the labels that arrived on one night: of each image loss in [0, 1], weight and unit, each (n,).

    A weight is 1 for a label that came by itself, else what `to_label` said. Each label is given once, on the night
    that it arrives. No labels leave the state as it is. EvidenceMissing for a loss, weight or unit that is missing,
    BadInput for one that makes no sense and for a night that is not after the last one counted.
    """
    if len(losses) == 0:
        return state
    _check_night(state, night)
    means = unit_means(losses, weights, units)
    growth = log_bets(means, state.tolerated).sum(axis=0)
    anew = np.array(state.runs) <= 0
    return state.model_copy(
        update={
            "capitals": tuple(compound(np.array(state.capitals), growth).tolist()),
            "runs": tuple((np.maximum(state.runs, 0) + growth).tolist()),
            "joined": tuple(night if new else old for new, old in zip(anew, state.joined, strict=True)),
            "nights": state.nights + 1,
            "units": state.units + len(means),
            "labels": state.labels + len(losses),
            "last": night,
        }
    )


def lowered(state: MonitorState, most: float) -> MonitorState:
    """The state with each bet's M at `most`: less of an e-detector is one as well."""
    return state.model_copy(update={"capitals": tuple(np.minimum(state.capitals, np.log1p(most)).tolist())})


def unit_means(losses: np.ndarray, weights: np.ndarray, units: Sequence[object] | np.ndarray) -> np.ndarray:
    """The mean weighted loss of each unit, ascending (u,): the same bits for the same images in any order."""
    loss, weight, unit = (np.asarray(a, kind) for a, kind in ((losses, float), (weights, float), (units, object)))
    if not len(loss) == len(weight) == len(unit):
        raise BadInput(f"{len(loss)} losses, {len(weight)} weights and {len(unit)} units; each image has one of all")
    missing = {"losses": np.isnan(loss), "weights": np.isnan(weight), "units": pd.isna(unit)}
    for what, where in missing.items():
        if where.any():
            raise EvidenceMissing(
                f"{int(where.sum())} of {len(where)} {what} are missing, the first at place {int(where.argmax())}; "
                "give the monitor labelled images with sound probabilities, a weight and a unit"
            )
    if loss.min() < 0 or loss.max() > 1 or weight.min() < 0 or np.isinf(weight).any():
        raise BadInput(
            f"losses go from {loss.min():g} to {loss.max():g} and weights from {weight.min():g} to {weight.max():g}; "
            "losses lie between 0 and 1, and weights are finite and not negative"
        )
    codes, values = pd.factorize(unit)[0], weight * loss
    order = np.lexsort((values, codes))  # a sum then does not depend on the order that the images came in
    return np.sort(np.bincount(codes[order], weights=values[order]) / np.bincount(codes))


def log_bets(means: np.ndarray, tolerated: float, bets: Sequence[float] = BETS) -> np.ndarray:
    """The logarithm of what each bet makes of 1 at each mean loss that is not negative: (u,) -> (u, bets)."""
    stakes = np.array(bets) / tolerated
    return np.log1p(stakes * (np.asarray(means)[:, None] - tolerated))


def compound(capitals: np.ndarray, growth: np.ndarray) -> np.ndarray:
    """log(1 + M) after a night from that before it and from log e: M' = (1 + M) e, for arrays of any one shape."""
    return np.logaddexp(0.0, capitals + growth)


def evidence_of(capitals: np.ndarray) -> np.ndarray:
    """The mean over the last axis, the bets, of M = exp(capitals) - 1."""
    return np.asarray(np.expm1(np.minimum(capitals, LARGEST)).mean(axis=-1))


def chance_of_false_alarm(nights: int, level: float) -> float:
    """At most this is the chance that evidence reaches `level` within so many nights without harm."""
    return min(1.0, nights / level)


def _check_night(state: MonitorState, night: str) -> None:
    try:
        dt.date.fromisoformat(night)
    except ValueError as error:
        raise BadInput(f"night '{night}' is not a date such as 2026-06-01") from error
    if night <= state.last:
        raise BadInput(
            f"night {night} is not after {state.last}, the last that the monitor counted: its labels count once; "
            "start from the state of the night before"
        )
