"""The bootstrap over independent units: images of one subject or of one scan are drawn together or not at all.

A resample is a row of weights, how often each image was drawn, so a metric written for weights (B, n) gives all B
resampled values in one go (percentile method: Efron & Tibshirani 1993, chapter 13; clusters: Davison & Hinkley 1997,
section 3.8).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.intervals import NOTHING, Interval

Weights = np.ndarray  # (B, n) float64; a column is an image
Statistics = Callable[[Weights], np.ndarray]  # (B, n) -> (B, M), one column for each of M metrics


@dataclass(frozen=True)
class Clusters:
    """Which images are drawn together: `codes` (n,) in 0..count-1; `kind` is images, units or groups."""

    codes: np.ndarray
    count: int
    kind: str

    @property
    def independent(self) -> bool:
        """Whether each image stands alone."""
        return self.count == len(self.codes)

    def of(self, chosen: np.ndarray) -> "Clusters":
        """The clusters of some of the images, `chosen` (n,) being a mask."""
        codes, names = pd.factorize(self.codes[chosen])
        return Clusters(codes, len(names), self.kind)


def choose_clusters(rows: pd.DataFrame, least: int) -> Clusters:
    """Draw the column `group` when the rows hold at least `least` of them, else the column `unit`.

    With few groups a bootstrap over groups is worth nothing; the interval over units is then one for these groups
    only, not for groups to come.
    """
    groups, units = rows["group"].nunique(), rows["unit"].nunique()
    column = "group" if groups >= least else "unit"
    codes = pd.factorize(rows[column])[0]
    count = groups if column == "group" else units
    return Clusters(codes, count, "images" if count == len(rows) else f"{column}s")


def draw_weights(clusters: Clusters, resamples: int, seed: int, cells: int = 200_000) -> Iterator[Weights]:
    """Chunks (b, n) of weights whose b add up to `resamples`; `cells` keeps a chunk within the processor's cache."""
    random = np.random.default_rng(seed)
    size = max(1, cells // max(1, len(clusters.codes)))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = random.integers(0, clusters.count, (rows, clusters.count))
        flat = (drawn + np.arange(rows)[:, None] * clusters.count).ravel()
        counts = np.bincount(flat, minlength=rows * clusters.count).reshape(rows, clusters.count)
        # images along the slow axis of memory: metrics gather whole rows of the transpose
        yield np.ascontiguousarray(counts.T, dtype=float)[clusters.codes].T


def bootstrap(statistics: Statistics, clusters: Clusters, resamples: int, seed: int) -> np.ndarray:
    """The M metrics in each resample, (resamples, M)."""
    return np.concatenate([statistics(weights) for weights in draw_weights(clusters, resamples, seed)])


def percentiles(values: np.ndarray, level: float) -> Interval:
    """The percentile interval of resampled values (B,).

    A resample in which the metric is undefined (a class gone missing) counts as worse than any other, at both ends;
    when they reach into the tails, both ends are NaN.
    """
    if len(values) == 0:
        return NOTHING
    tail, undefined = (1 - level) / 2, np.isnan(values)
    low = float(np.quantile(np.where(undefined, -np.inf, values), tail, method="lower"))
    high = float(np.quantile(np.where(undefined, np.inf, values), 1 - tail, method="higher"))
    return Interval(low, high) if math.isfinite(low) and math.isfinite(high) else NOTHING
