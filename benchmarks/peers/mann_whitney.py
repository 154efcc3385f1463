"""Kayenta's rule for a canary: a Mann-Whitney test of the canary's metric against a baseline's, at a fixed horizon.

Kayenta (Netflix and Google, 2018; MannWhitneyClassifier) calls a metric High when it differs at 98 % confidence, and
the canary passes unless it does. Here the metric is 1 for an answer that is wrong and 0 for one that is right, so the
test depends on the counts alone; two-sided, the normal approximation with the corrections for ties and continuity.
"""

import numpy as np
from scipy.stats import norm

CONFIDENCE = 0.98


def p_value(wrong: np.ndarray, n: int, other: np.ndarray, m: int) -> np.ndarray:
    """The two-sided p of counts of wrong answers (...,) of n and of m."""
    n_all, ties = n + m, np.add(wrong, other).astype(float)
    greater = wrong * (m - other) + 0.5 * (wrong * other + (n - wrong) * (m - other))  # U of the first
    tied = (ties**3 - ties + (n_all - ties) ** 3 - (n_all - ties)) / (n_all * (n_all - 1))
    spread = np.sqrt(n * m / 12 * (n_all + 1 - tied))
    apart = np.abs(greater - n * m / 2) - 0.5
    z = np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0)
    return np.asarray(np.minimum(1, 2 * norm.sf(z)))


def passes(wrong: np.ndarray, n: int, baseline: np.ndarray, m: int) -> np.ndarray:
    """Whether the canary passes: it is not shown to err more."""
    worse = np.asarray(wrong) / n > np.asarray(baseline) / m
    return np.asarray(~(worse & (p_value(wrong, n, baseline, m) < 1 - CONFIDENCE)))
