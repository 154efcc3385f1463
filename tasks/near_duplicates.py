"""Near-duplicates: which image of another split is nearer to a training image than look-alikes are to each other.

What "near" means differs from one data set to another, and the images of one class look alike. So the threshold comes
from the training images themselves: how far is each from its nearest one of the same class and of another group (say,
another subject)? An image of another split is such a look-alike under the null hypothesis, for its groups are others
too; one that is much nearer is a copy, or shows what a training image shows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

TAIL = 0.1  # share of the null distances whose form is fitted
LEAST = 40  # null distances; a tail of fewer says nothing
CENSORED = 0.25  # of the tail, counted and not measured: up to 2.5 % of copies within train do not widen the null
ROWS = 1000  # of a block of distances
TINY = 1e-9  # a distance below this is the rounding of features
Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (q, ...), (t, ...) -> distances (q, t)


@dataclass(frozen=True)
class Nearest:
    """Of each asked image the nearest known one: `place` (q,), -1 for none, `distance` (q,), out of how many."""

    place: np.ndarray
    distance: np.ndarray
    candidates: np.ndarray


def cosine_distances(asked: np.ndarray, known: np.ndarray) -> np.ndarray:
    """1 minus the cosine between rows, float (q, D) and (t, D): (q, t), from 0 to 2; no angle to a row of zeros."""
    lengths = np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(known, axis=1)[None]
    cosines = np.divide(asked @ known.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return np.round(np.maximum(0.0, 1 - cosines), 9)  # so that no thread count changes which one is nearest


def nearest(
    asked: np.ndarray, known: np.ndarray, asked_rows: pd.DataFrame, known_rows: pd.DataFrame, measure: Measure
) -> Nearest:
    """For each asked image the nearest known one of its class (column label) and of another group (column group)."""
    count = len(asked)
    found = Nearest(np.full(count, -1), np.full(count, np.inf), np.zeros(count, dtype=int))
    groups, _ = pd.factorize(pd.concat([asked_rows["group"], known_rows["group"]]))
    ours, theirs = groups[:count], groups[count:]
    for label in sorted(set(asked_rows["label"])):
        inside = np.flatnonzero((asked_rows["label"] == label).to_numpy())
        among = np.flatnonzero((known_rows["label"] == label).to_numpy())
        for start in range(0, len(inside) if len(among) else 0, ROWS):
            rows = inside[start : start + ROWS]
            distances = measure(asked[rows], known[among])
            distances[ours[rows][:, None] == theirs[among][None]] = np.inf
            best = distances.argmin(axis=1)
            found.candidates[rows] = np.isfinite(distances).sum(axis=1)
            found.distance[rows] = distances[np.arange(len(rows)), best]
            found.place[rows] = np.where(np.isfinite(found.distance[rows]), among[best], -1)
    return found


def chances(
    null: Nearest, null_labels: np.ndarray, asked: Nearest, asked_labels: np.ndarray, censored: float = CENSORED
) -> np.ndarray:
    """p (q,) of a nearest distance as small as each asked one among look-alikes; NaN where nothing can be said.

    Distances are divided by the null's median of their class and then pooled. An image with more candidates than those
    of the null had is that much more likely to have a near one, so p grows in proportion (union bound).
    """
    usable = np.isfinite(null.distance)
    scales, numbers = {}, {}
    for label in set(null_labels[usable]):
        inside = usable & (null_labels == label)
        scales[label] = max(TINY, float(np.median(null.distance[inside])))
        numbers[label] = float(null.candidates[inside].mean())
    scaled = null.distance[usable] / [scales[label] for label in null_labels[usable]]
    known = np.array([label in scales for label in asked_labels], dtype=bool) & (asked.place >= 0)
    found = np.full(len(asked.place), math.nan)
    if len(scaled) >= LEAST and known.any():
        labels = asked_labels[known]
        p = tail_chances(scaled, asked.distance[known] / [scales[label] for label in labels], censored)
        more = np.maximum(1.0, asked.candidates[known] / [numbers[label] for label in labels])
        found[known] = np.minimum(1.0, p * more)
    return found


def tail_chances(null: np.ndarray, asked: np.ndarray, censored: float = CENSORED) -> np.ndarray:
    """p (q,) that one more draw from the distribution of `null` (n,), positive, is as small as each of `asked` (q,).

    Down to the k-th smallest null it is the rank among n + 1 (the +1 of Phipson & Smyth 2010). Below, the distribution
    of a smallest distance is a power law near 0, so that log(edge / distance) is exponential; the exact predictive
    chance of an exponential excess e is (1 + e / T)^-r, for r measured excesses and total time on test T with the
    others censored at the largest of these (Lawless 2003, sections 4.1 and 4.3). The power law: Hill 1975; as the
    intrinsic dimension of distances: Amsaleg et al. 2015.
    """
    n, ranked = len(null), np.sort(np.maximum(null, TINY))
    asked = np.maximum(asked, TINY)
    by_rank = (1 + np.searchsorted(ranked, asked, "right")) / (n + 1)
    k = max(LEAST // 4, math.ceil(TAIL * n))
    edge, measured = ranked[k], math.ceil((1 - censored) * k)
    excess = np.log(edge / ranked[:k])[::-1]  # ascending
    total = float(excess[:measured].sum() + (k - measured) * excess[measured - 1])
    if total <= 0:
        return np.minimum(1.0, by_rank)
    beyond = (k + 1) / (n + 1) * (1 + np.log(np.maximum(edge / asked, 1)) / total) ** -measured
    return np.where(asked < edge, beyond, np.minimum(1.0, by_rank))
