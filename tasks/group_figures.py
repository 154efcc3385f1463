"""Worst group and gap of several arms: accuracies of G groups averaged over seeds, with intervals that hold at once.

A gap is a maximum and the worst group a minimum, so the noise of images and of seeds pulls them: their intervals come
from tasks/simultaneous.py, on resamples of the images to which the seeds' own deviations are added with random signs
of normal size (a multiplier bootstrap: van der Vaart & Wellner 1996, section 2.9), the same for all groups and arms.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from tasks.crossed import METHOD, Estimate, alone, score_at
from tasks.estimates import DECIMALS, NO_SPREAD
from tasks.intervals import Interval
from tasks.metrics import between_groups, group_means
from tasks.params import EvaluateParams
from tasks.resampling import Weights, bootstrap, choose_clusters
from tasks.simultaneous import Family, gap_change_interval, gap_intervals, group_intervals, worst_change_interval

WORST, GAP = "worst group", "group gap"


@dataclass(frozen=True)
class Measured:
    """One arm, or the difference of two: by seed (S, G), in resamples of the images (B, G), and what each image said.

    `said` (S, n) is whether each image was right, or -1, 0 and 1 of a paired difference.
    """

    by_seed: np.ndarray
    resampled: np.ndarray
    said: np.ndarray

    def minus(self, other: "Measured") -> "Measured":
        """The paired difference."""
        said = self.said.astype(np.int8) - other.said.astype(np.int8)
        return Measured(self.by_seed - other.by_seed, self.resampled - other.resampled, said)


class GroupFigures:
    """The arms' `hits` (S, n) on the same images, whose groups are `codes` (n,), 0 to G - 1.

    `rows` say how the images cluster. Every arm has the same S seeds, at least two.
    """

    def __init__(
        self, hits: Mapping[Any, np.ndarray], codes: np.ndarray, rows: pd.DataFrame, params: EvaluateParams
    ) -> None:
        self.hits, self.codes, self.params = hits, codes, params
        self.count, self.clusters = int(codes.max()) + 1, choose_clusters(rows, params.min_clusters)
        self.seeds = len(next(iter(hits.values())))
        random = np.random.default_rng(params.seed)
        self.signs = random.normal(size=(params.resamples, self.seeds)) / math.sqrt(self.seeds * (self.seeds - 1))

    def of(self, arm: Any) -> dict[str, Estimate]:
        """Worst group and gap of one arm."""
        measured = self.measured[arm]
        family, freedom = self._family(measured), self._freedom([measured])
        groups = group_intervals(family, self.params.level, freedom)
        worst = Interval(min(i.low for i in groups), min(i.high for i in groups))
        [gap] = gap_intervals([family], self.params.level, freedom)
        return {
            WORST: self._estimate(float(family.values.min()), worst, 0.0),
            GAP: self._estimate(float(between_groups(family.values)), gap, 0.0),
        }

    def change(self, arm: Any, against: Any) -> dict[str, Estimate]:
        """Their differences to another arm's, paired by image and seed."""
        ours, theirs = self.measured[arm], self.measured[against]
        all_three = [ours, theirs, ours.minus(theirs)]
        first, second, third = (self._family(m) for m in all_three)
        mine, other, freedom = first.values, second.values, self._freedom(all_three)
        worst = worst_change_interval(first, second, third, self.params.level, freedom)
        gap = gap_change_interval(first, second, third, self.params.level, freedom)
        return {
            WORST: self._estimate(float(mine.min() - other.min()), worst, -1.0),
            GAP: self._estimate(float(between_groups(mine) - between_groups(other)), gap, -1.0),
        }

    @cached_property
    def measured(self) -> dict[Any, Measured]:
        """Every arm, all from the same resamples."""
        averages = {arm: hits.mean(axis=0) for arm, hits in self.hits.items()}

        def everything(weights: Weights) -> np.ndarray:
            return np.stack([group_means(a, self.codes, self.count, weights) for a in averages.values()], axis=1)

        drawn = bootstrap(everything, self.clusters, self.params.resamples, self.params.seed)
        ones = np.ones((1, len(self.codes)))
        return {
            arm: Measured(
                np.concatenate([group_means(seed, self.codes, self.count, ones) for seed in hits]), drawn[:, k], hits
            )
            for k, (arm, hits) in enumerate(self.hits.items())
        }

    def _family(self, measured: Measured) -> Family:
        values = measured.by_seed.mean(axis=0)
        own = measured.by_seed.var(axis=0, ddof=1)
        wider = np.sqrt(np.maximum(1, own.mean() / np.maximum(own, NO_SPREAD)))  # a group whose seeds happen to agree
        resampled = measured.resampled + self.signs @ ((measured.by_seed - values) * wider)
        variances = np.nanvar(resampled, axis=0)

        def score(level: float) -> list[Interval]:
            return [self._score(measured.said[:, self.codes == g], variances[g], level) for g in range(self.count)]

        return Family(values, resampled, score)

    def _score(self, said: np.ndarray, variance: float, level: float) -> Interval:
        """Wilson's or Tango's interval at as many images as would vary like this average; as in tasks/crossed.py."""
        number = alone(said) / variance if variance > NO_SPREAD else self._clusters_among(said.shape[1])
        return score_at(said, min(number, float(said.size)), level)

    def _clusters_among(self, images: int) -> float:
        return max(1.0, self.clusters.count * images / len(self.codes))

    def _freedom(self, measured: list[Measured]) -> float:
        """Satterthwaite's degrees of freedom from seeds and clusters, the fewest of any of the figures.

        The seeds' variance counts as estimated by half of the groups: no group's is taken below their average, and what
        a seed does to one group it may do to others.
        """
        fewest = math.inf
        for m in measured:
            seeds = float(m.by_seed.var(axis=0, ddof=1).mean()) / self.seeds
            images = float(np.nanvar(m.resampled, axis=0).mean())
            freedom = (self.seeds - 1) * self.count / 2
            under = seeds**2 / freedom + images**2 / max(1, self.clusters.count - 1)
            if under > 0:
                fewest = min(fewest, (seeds + images) ** 2 / under)
        return fewest

    def _estimate(self, value: float, ends: Interval, least: float) -> Estimate:
        low, high = max(least, min(value, ends.low)), min(1.0, max(value, ends.high))
        value, low, high = (round(x, DECIMALS) for x in (value, low, high))
        method = f"max-t, {METHOD.format(self.clusters.kind)}"
        return Estimate(value, low, high, len(self.codes), self.clusters.count, self.seeds, method)
