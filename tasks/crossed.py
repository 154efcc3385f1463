"""Intervals for what was measured with several seeds on the same images: both are a sample, and they are crossed.

Every seed sees every image, so an average over seeds and images errs from two sides. The variance is the sum of two
parts, each found by varying one side alone:

    images   the bootstrap over clusters of the figure averaged over the seeds (tasks/resampling.py says what a cluster
             is: groups such as subjects, or units)
    seeds    the variance of the seeds' own figures over their number

The sum counts once too often what belongs to neither side (Owen 2007, "The pigeonhole bootstrap", Annals of Applied
Statistics 1, section 4; Cameron, Gelbach & Miller 2011, "Robust inference with multiway clustering", subtract it): too
careful rather than too bold. Three seeds give two degrees of freedom, which no bootstrap of three values can make up
for; the quantile is Student's, at the degrees of freedom of such a sum (Satterthwaite 1946). tests/test_crossed.py
simulates the coverage.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from tasks.errors import EvidenceMissing
from tasks.estimates import DECIMALS, NO_SPREAD
from tasks.intervals import Interval, tango, wilson
from tasks.params import EvaluateParams
from tasks.resampling import Clusters, Weights, bootstrap, choose_clusters

METHOD = "seeds crossed with a bootstrap of {}"
Statistic = Callable[[Weights], np.ndarray]  # (B, n) -> (B, S): a column a seed


@dataclass(frozen=True)
class Estimate:
    """`value` in [`low`, `high`]: an average over `seeds`, from `n` images in `clusters` independent ones."""

    value: float
    low: float
    high: float
    n: int
    clusters: int
    seeds: int
    interval: str  # how it was made


def estimate_statistics(statistics: list[Statistic], rows: pd.DataFrame, params: EvaluateParams) -> list[Estimate]:
    """Each figure `statistic(weights)` of these rows, with Student's interval; all from the same resamples."""
    clusters = choose_clusters(rows, params.min_clusters)

    def everything(weights: Weights) -> np.ndarray:
        return np.stack([statistic(weights) for statistic in statistics], axis=1)  # (B, statistics, S)

    points = everything(np.ones((1, len(rows))))[0]
    resampled = bootstrap(everything, clusters, params.resamples, params.seed)
    estimates = []
    for place, figures in enumerate(points):
        variance, quantile = spread(figures, resampled[:, place], clusters, params.level)
        half = quantile * math.sqrt(variance)
        value = float(figures.mean())
        estimates.append(_estimate(value, [value - half, value + half], len(figures), clusters))
    return estimates


def estimate_means(stacks: list[np.ndarray], rows: pd.DataFrame, params: EvaluateParams) -> list[Estimate]:
    """The mean of each (S, n), booleans or the -1, 0 and 1 of a paired difference; all from the same resamples.

    The interval is the envelope of Student's and of the score interval (Wilson's or Tango's) at the effective number
    of images, which is the one of the two that stays honest when nothing differs.
    """
    clusters = choose_clusters(rows, params.min_clusters)
    columns = np.concatenate(stacks).astype(float)  # (all seeds of all stacks, n)

    def means(weights: Weights) -> np.ndarray:
        return weights @ columns.T / weights.sum(axis=1, keepdims=True)

    resampled = bootstrap(means, clusters, params.resamples, params.seed)
    estimates, start = [], 0
    for stack in stacks:
        part = resampled[:, start : start + len(stack)]
        start += len(stack)
        variance, quantile = spread(stack.mean(axis=1), part, clusters, params.level)
        half = quantile * math.sqrt(variance)
        value = float(stack.mean())
        least = 0.0 if stack.dtype == bool else -1.0
        ends = [
            max(least, value - half),
            min(1.0, value + half),
            *score_interval(stack, variance, quantile, clusters, params.level),
        ]
        estimates.append(_estimate(value, ends, len(stack), clusters))
    return estimates


def estimate_over_seeds(figures: list[float], level: float) -> list[float]:
    """Mean, low and high of one figure a seed, by Student's t: it says nothing of other images."""
    values = np.array(figures)
    half = float(t.ppf((1 + level) / 2, len(values) - 1)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return [round(x, DECIMALS) for x in (float(values.mean()) + side * half for side in (0, -1, 1))]


def spread(points: np.ndarray, resampled: np.ndarray, clusters: Clusters, level: float) -> tuple[float, float]:
    """The variance of the average over seeds, and Student's quantile for it.

    `points` (S,) are the seeds' figures on the images as they are, `resampled` (B, S) those in each resample.
    """
    count, images = len(points), clusters.count
    if count < 2 or images < 2:
        raise EvidenceMissing(
            f"{images} {clusters.kind} under {count} seeds have no spread; measure at least 2 of each"
        )
    from_seeds = float(points.var(ddof=1)) / count
    from_images = float(resampled.mean(axis=1).var()) * images / (images - 1)
    variance = from_seeds + from_images
    tail = (1 + level) / 2
    if variance <= NO_SPREAD:
        return 0.0, float(t.ppf(tail, images - 1))
    freedom = variance**2 / (from_seeds**2 / (count - 1) + from_images**2 / (images - 1))
    return variance, float(t.ppf(tail, freedom))


def score_interval(stack: np.ndarray, variance: float, quantile: float, clusters: Clusters, level: float) -> Interval:
    """Wilson's or Tango's interval at as many images as would vary like this average.

    When nothing varies each cluster counts once.
    """
    z = float(norm.ppf((1 + level) / 2))
    number = alone(stack) / variance * (z / quantile) ** 2 if variance > NO_SPREAD else float(clusters.count)
    return score_at(stack, number, level)


def alone(stack: np.ndarray) -> float:
    """The variance of one image under one seed."""
    gained, lost = float((stack > 0).mean()), float((stack < 0).mean())
    return gained + lost - (gained - lost) ** 2


def score_at(stack: np.ndarray, number: float, level: float) -> Interval:
    """Wilson's interval for a mean of booleans, Tango's for one of -1, 0 and 1, as if from `number` images."""
    gained, lost = float((stack > 0).mean()), float((stack < 0).mean())
    if stack.dtype == bool:
        return wilson(gained * number, number, level)
    return tango(gained * number, lost * number, number, level)


def _estimate(value: float, ends: list[float], seeds: int, clusters: Clusters) -> Estimate:
    value, low, high = (round(x, DECIMALS) for x in (value, min(value, *ends), max(value, *ends)))
    interval = METHOD.format(clusters.kind)
    return Estimate(value, low, high, len(clusters.codes), clusters.count, seeds, interval)
