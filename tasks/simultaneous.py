"""Intervals for the figures of several groups that hold all at once, and for the gap between best and worst.

The critical value comes from the bootstrap of the largest deviation in the family (max-t: Westfall & Young 1993; as
bands: Montiel Olea & Plagborg-Moller 2019, Journal of Applied Econometrics 34), from the same resamples of clusters for
all groups, so that what groups share (a scan under five conditions) is counted. Resamples of a flawless group never
differ: each interval is the envelope with a score interval at the level that the critical value stands for.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from tasks.intervals import Interval

NO_ERROR = 1e-12  # a standard error below this is the rounding of sums


@dataclass(frozen=True)
class Family:
    """One figure of G groups: `values` (G,), `resampled` (B, G), and `score`, from a level to G intervals."""

    values: np.ndarray
    resampled: np.ndarray
    score: Callable[[float], list[Interval]]


def critical_value(deviations: Iterable[np.ndarray], level: float, freedom: float = math.inf) -> float:
    """The level's quantile of the largest of the studentised deviations, each (B, M); never below the normal's.

    A deviation that is undefined in a resample counts as infinite. With few degrees of `freedom` behind the errors the
    quantile is Student's at the level that the normal one stands for.
    """
    largest: np.ndarray | float = 0.0
    for part in deviations:
        largest = np.maximum(largest, np.where(np.isnan(part), np.inf, np.abs(part)).max(axis=1))
    found = max(float(norm.ppf((1 + level) / 2)), float(np.quantile(largest, level, method="higher")))
    return found if math.isinf(freedom) or math.isinf(found) else float(t.isf(norm.sf(found), freedom))


def group_intervals(family: Family, level: float, freedom: float = math.inf) -> list[Interval]:
    """For each group an interval; all hold at once with confidence `level`."""
    critical = critical_value([_alone(family)], level, freedom)
    return [Interval(low, high) for low, high in zip(*_ends_alone(family, critical), strict=True)]


def worst_change_interval(
    ours: Family, theirs: Family, change: Family, level: float, freedom: float = math.inf
) -> Interval:
    """The interval of our worst group's figure minus theirs, for two models on the same images and groups.

    As in gap_change_interval: a minimum is pulled by noise, so groups of all three families get intervals that hold at
    once. Our worst is at most our figure in the group that is their worst, whichever of those still possible that is;
    and likewise at least.
    """
    families = (ours, theirs, change)
    critical = critical_value((_alone(family) for family in families), level, freedom)
    (our_low, our_high), (their_low, their_high), (low, high) = (_ends_alone(f, critical) for f in families)
    ours_worst, theirs_worst = our_low <= our_high.min(), their_low <= their_high.min()
    return Interval(
        max(our_low.min() - their_high.min(), low[ours_worst].min()),
        min(our_high.min() - their_low.min(), high[theirs_worst].max()),
    )


def gap_intervals(families: list[Family], level: float, freedom: float = math.inf) -> list[Interval]:
    """For each family that of the difference between its best and its worst group; all hold at once."""
    critical = critical_value((d for family in families for d in _pairs(family)), level, freedom)
    return [_gap(family, critical) for family in families]


def gap_change_interval(
    ours: Family, theirs: Family, change: Family, level: float, freedom: float = math.inf
) -> Interval:
    """The interval of our gap minus theirs, for two models on the same images and groups; `change` is ours - theirs.

    Resampling the difference of the two gaps would not do: a gap is a maximum, which noise raises, and raises more for
    the noisier model. All pairs of groups of all three families get intervals that hold at once. Then the change is at
    most our largest upper end minus their largest lower one, and also at most the change in the pair that is our
    widest, whichever of those still possible that is; likewise at least.
    """
    families = (ours, theirs, change)
    critical = critical_value((d for family in families for d in _pairs(family)), level, freedom)
    if not math.isfinite(critical):
        return Interval(-math.inf, math.inf)
    (our_low, our_high), (their_low, their_high), (low, high) = (_ends(family, critical) for family in families)
    ours_widest, theirs_widest = our_high >= our_low.max(), their_high >= their_low.max()
    return Interval(
        max(max(0.0, our_low.max()) - their_high.max(), low[theirs_widest].min()),
        min(our_high.max() - max(0.0, their_low.max()), high[ours_widest].max()),
    )


def _gap(family: Family, critical: float) -> Interval:
    """The largest lower and the largest upper end over all ordered pairs of groups."""
    if not math.isfinite(critical):
        return Interval(0.0, math.inf)
    low, high = _ends(family, critical)
    return Interval(max(0.0, float(low.max())), float(high.max()))


def _ends(family: Family, critical: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of the difference of each ordered pair of groups, each (G * (G - 1),).

    A pair's score interval is made of its groups' (Newcombe 1998, method 10).
    """
    values = family.values
    difference = values[:, None] - values[None, :]  # (G, G)
    errors = np.zeros_like(difference)
    for g in range(len(values) - 1):
        errors[g, g + 1 :] = _spread(family.resampled[:, g + 1 :] - family.resampled[:, [g]])
    half = critical * (errors + errors.T)
    ends = np.array(_scores(family, critical))
    below, above = values - ends[:, 0], ends[:, 1] - values
    low = np.minimum(difference - half, difference - np.hypot(below[:, None], above[None, :]))
    high = np.maximum(difference + half, difference + np.hypot(above[:, None], below[None, :]))
    others = ~np.eye(len(values), dtype=bool)
    return low[others], high[others]


def _alone(family: Family) -> np.ndarray:
    """The studentised deviations of the groups' own figures, (B, G)."""
    return _studentised(family.resampled, family.values, _spread(family.resampled))


def _ends_alone(family: Family, critical: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of the groups' own figures, each (G,)."""
    if not math.isfinite(critical):
        return np.full(len(family.values), -math.inf), np.full(len(family.values), math.inf)
    half, scores = critical * _spread(family.resampled), np.array(_scores(family, critical))
    return np.minimum(scores[:, 0], family.values - half), np.maximum(scores[:, 1], family.values + half)


def _pairs(family: Family) -> Iterator[np.ndarray]:
    """The studentised deviations of the differences of each group to those after it, each (B, groups after it)."""
    for g in range(len(family.values) - 1):
        resampled = family.resampled[:, g + 1 :] - family.resampled[:, [g]]
        yield _studentised(resampled, family.values[g + 1 :] - family.values[g], _spread(resampled))


def _studentised(resampled: np.ndarray, values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    unmoved = np.where(np.isnan(resampled), np.nan, 0.0)
    return np.divide(resampled - values, errors, out=unmoved, where=errors > NO_ERROR)


def _spread(resampled: np.ndarray) -> np.ndarray:
    return np.asarray(np.nanstd(resampled, axis=0, ddof=1))


def _scores(family: Family, critical: float) -> list[Interval]:
    return family.score(min(float(2 * norm.cdf(critical) - 1), 1 - 1e-12))
