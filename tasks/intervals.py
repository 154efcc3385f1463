"""Confidence intervals for a share, for the difference between two shares of the same images, and for a quantile.

All are two-sided and equal-tailed: at level 0.95 each end errs in about 2.5 % of samples. Counts may be fractions, so
that an effective number of images can stand in for the real one.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta, binom, norm


class Interval(NamedTuple):
    """A lower and an upper end; (nan, nan) where there is nothing to judge by."""

    low: float
    high: float


NOTHING = Interval(math.nan, math.nan)


def wilson(successes: float, n: float, level: float) -> Interval:
    """The score interval for a proportion (Wilson 1927; recommended by Brown, Cai & DasGupta 2001)."""
    if n <= 0:
        return NOTHING
    z = float(norm.ppf((1 + level) / 2))
    share, shrink = successes / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / shrink
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    high = 1.0 if successes >= n else min(1.0, centre + half)
    return Interval(low, high)


def clopper_pearson(successes: int, n: int, level: float) -> Interval:
    """The exact interval for a proportion (Clopper & Pearson 1934): never errs more often than it says."""
    if n <= 0:
        return NOTHING
    tail = (1 - level) / 2
    low = 0.0 if successes <= 0 else float(beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes >= n else float(beta.ppf(1 - tail, successes + 1, n - successes))
    return Interval(low, high)


def order_statistics(values: np.ndarray, share: float, level: float, number: float | None = None) -> Interval:
    """The interval for the quantile at `share` of what `values` (n,) were drawn from, whatever its distribution.

    Its ends are two of the ordered values; of n independent ones the quantile lies below the k-th as often as a
    binomial(n, share) count stays below k (Conover 1999, "Practical Nonparametric Statistics", section 3.2; Le Boudec
    2010, "Performance Evaluation", theorem 2.1). Of values worth only `number` independent ones, the ranks are those of
    so many, stretched (Woodruff 1952). An end that so few cannot show is infinite.
    """
    ordered, n = np.sort(np.asarray(values, float)), len(values)
    m = n if number is None else min(n, math.floor(number))
    if m < 1:
        return Interval(-math.inf, math.inf) if n else NOTHING
    tail = (1 - level) / 2
    below = int(binom.ppf(tail, m, share))  # the largest k at which P(count < k) is at most `tail`
    above = int(binom.ppf(1 - tail, m, share)) + 1  # the smallest k at which P(count >= k) is at most `tail`
    low = float(ordered[math.floor(below * n / m) - 1]) if below >= 1 else -math.inf
    high = float(ordered[math.ceil(above * n / m) - 1]) if above <= m else math.inf
    return Interval(low, high)


def tango(gained: float, lost: float, n: float, level: float) -> Interval:
    """The score interval for (gained - lost) / n, the difference of two paired proportions (Tango 1998).

    Of n images, `gained` are right only under the first model and `lost` only under the second.
    """
    if n <= 0:
        return NOTHING
    z = float(norm.ppf((1 + level) / 2))
    difference = (gained - lost) / n

    def distance(delta: float) -> float:
        return min(tango_score(gained, lost, n, delta) ** 2, 1e9) - z * z  # finite, for the root finder

    low = -1.0 if difference <= -1 else float(brentq(distance, -1, difference, xtol=1e-12))
    high = 1.0 if difference >= 1 else float(brentq(distance, difference, 1, xtol=1e-12))
    return Interval(low, high)


def tango_score(gained: float, lost: float, n: float, delta: float) -> float:
    """Tango's statistic for a true difference `delta`: standard normal if that is the truth (1998, section 2).

    The probability of `lost` is estimated under the constraint that the difference be delta.
    """
    b = (2 * n - gained + lost) * delta - gained - lost
    c = -lost * delta * (1 - delta)
    q = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    excess = gained - lost - n * delta
    if variance <= 1e-12 * n:  # delta is -1 or 1, or nothing differs and delta is 0
        return 0.0 if abs(excess) <= 1e-9 * n else math.copysign(math.inf, excess)
    return excess / math.sqrt(variance)
