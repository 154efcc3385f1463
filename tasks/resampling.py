"""The bootstrap over independent units: images of one subject or of one scan are drawn together or not at all.

A resample is a row of weights, how often each image was drawn, so a metric written for weights (B, n) gives all B
resampled values in one go (percentile method: Efron & Tibshirani 1993, chapter 13; clusters: Davison & Hinkley 1997,
section 3.8).

Drawing n clusters one by one costs n draws. Where statistics cannot tell many of the clusters apart, it is enough to
draw how many of each kind there are, which has the same distribution, a multinomial: a confusion matrix of ten thousand
images takes a hundred draws (`bootstrap_of_kinds`).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.intervals import NOTHING, Interval

Weights = np.ndarray  # (B, n) float64; a column is an image
Statistics = Callable[[Weights], np.ndarray]  # (B, n) -> (B, M), one column for each of M metrics
CELLS = 200_000  # numbers in a chunk of weights: it stays within the processor's cache
WORTHWHILE = 1 / 3  # kinds a cluster; above, drawing clusters one by one is as quick


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


def draw_weights(clusters: Clusters, resamples: int, seed: int, cells: int = CELLS) -> Iterator[Weights]:
    """Chunks (b, n) of weights whose b add up to `resamples`, of about `cells` numbers each."""
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


def bootstrap_of_kinds(
    statistics_of: Callable[[np.ndarray], Statistics], told: np.ndarray, clusters: Clusters, resamples: int, seed: int
) -> np.ndarray:
    """What `bootstrap` gives, from fewer draws, for statistics that read nothing of an image but its code `told` (n,).

    `statistics_of(images)` is the statistics for weights (B, m) of the images numbered so, in that order.
    """
    images, codes, counts = kinds_of(clusters, told)
    if len(counts) > WORTHWHILE * clusters.count:
        return bootstrap(statistics_of(np.arange(len(told))), clusters, resamples, seed)
    random, statistics = np.random.default_rng(seed), statistics_of(images)
    shares, size = counts / clusters.count, max(1, CELLS // len(images))

    def values(rows: int) -> np.ndarray:
        drawn = random.multinomial(clusters.count, shares, rows).astype(float)
        return statistics(drawn if clusters.independent else drawn[:, codes])

    return np.concatenate([values(min(size, resamples - start)) for start in range(0, resamples, size)])


def kinds_of(clusters: Clusters, told: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clusters that hold the same codes `told`, each as often, are of one kind.

    Returns the images (m,) of one cluster of each kind, the kind (m,) of each of these images, and how many clusters
    are of each kind (D,).
    """
    values, codes = np.unique(told, return_inverse=True)
    marks = np.random.default_rng(0).integers(0, 2**64, len(values), dtype=np.uint64)
    sums = np.zeros(clusters.count, dtype=np.uint64)
    np.add.at(sums, clusters.codes, marks[codes])  # two unlike clusters have the same sum once in 2^64
    _, first, counts = np.unique(sums, return_index=True, return_counts=True)
    order = np.argsort(first)  # kinds in the order of their first cluster: single images then are their own kind
    first, counts = first[order], counts[order]
    kind = np.full(clusters.count, -1)
    kind[first] = np.arange(len(first))
    images = np.flatnonzero(kind[clusters.codes] >= 0)
    return images, kind[clusters.codes[images]], counts


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


def pivotal(value: float, ends: Interval) -> Interval:
    """The pivotal interval of a value that cannot be negative, from its percentile interval: that mirrored about it."""
    return Interval(max(0.0, 2 * value - ends.high), max(0.0, 2 * value - ends.low))
