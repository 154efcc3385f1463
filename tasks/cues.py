"""Does something beside the picture give the label away: a device, a site, a condition that goes with a class?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.resampling import Clusters, draw_weights


@dataclass(frozen=True)
class Cue:
    """The information of a column about the label, corrected for chance: `value` in [`low`, `high`], and p of none."""

    value: float
    low: float
    high: float
    p: float


def cue(labels: np.ndarray, values: np.ndarray, clusters: Clusters, resamples: int, level: float, seed: int) -> Cue:
    """What `values` (n,) tell of `labels` (n,): normalised mutual information, 0 for chance and 1 for all.

    Corrected by its mean under permutations, as the adjusted mutual information is (Vinh, Epps & Bailey 2010, equation
    on page 2844, arithmetic mean of the entropies). What is the same throughout a cluster is dealt out by whole
    clusters, for ten photographs of a subject are no ten proofs. The interval is the bootstrap's over clusters,
    brought back onto the value: a resample's mutual information lies above the sample's own.
    """
    first, second = pd.factorize(labels)[0], pd.factorize(values)[0]
    random = np.random.default_rng(seed)
    ones = np.ones(len(first))
    chance = np.array([shared(*_permuted(first, second, clusters, random), ones) for _ in range(resamples)])
    told, mean = shared(first, second, ones), float(chance.mean())
    drawn = np.array([shared(first, second, w) for chunk in draw_weights(clusters, resamples, seed) for w in chunk])
    value, drawn = _beyond(told, mean), _beyond(drawn, mean)
    ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) - drawn.mean() + value
    p = (1 + int((chance >= told - 1e-12).sum())) / (resamples + 1)
    return Cue(float(value), float(max(-1.0, ends[0])), float(min(1.0, ends[1])), p)


def shared(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> float:
    """The normalised mutual information of two codings (n,) under weights (n,): over the mean of both entropies."""
    k, m = first.max() + 1, second.max() + 1
    joint = np.bincount(first * m + second, weights, k * m).reshape(k, m) / weights.sum()
    one, other = _entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0))
    return (one + other - _entropy(joint.ravel())) / max((one + other) / 2, 1e-12)


def _beyond(told: np.ndarray | float, mean: float) -> np.ndarray:
    return (np.asarray(told) - mean) / max(1 - mean, 1e-12)


def _entropy(shares: np.ndarray) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())


def _permuted(
    first: np.ndarray, second: np.ndarray, clusters: Clusters, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The two codings with one dealt out anew: that which is the same throughout each cluster, else by images."""
    for kept, dealt in ((first, second), (second, first)):
        of_cluster = np.zeros(clusters.count, dtype=int)
        of_cluster[clusters.codes] = dealt
        if (of_cluster[clusters.codes] == dealt).all():
            return kept, of_cluster[random.permutation(clusters.count)][clusters.codes]
    return first, random.permutation(second)
