"""Simultaneous intervals hold for all groups at once, and are no wider than they must be."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from tasks.estimates import share_interval
from tasks.intervals import Interval, wilson
from tasks.metrics import group_means
from tasks.resampling import Clusters, bootstrap
from tasks.simultaneous import Family, critical_value, gap_intervals, group_intervals


def family(
    hits: np.ndarray, groups: np.ndarray, count: int, clusters: Clusters, seed: int, resamples: int = 300
) -> Family:
    def score(level: float) -> list[Interval]:
        return [share_interval(hits[groups == g], clusters.of(groups == g), level) for g in range(count)]

    values = group_means(hits, groups, count, np.ones((1, len(hits))))[0]
    resampled = bootstrap(lambda w: group_means(hits, groups, count, w), clusters, resamples, seed)
    return Family(values, resampled, score)


def alone(n: int) -> Clusters:
    return Clusters(np.arange(n), n, "images")


def test_the_critical_value_of_independent_normals_is_sidaks() -> None:
    drawn = np.random.default_rng(1).normal(size=(200_000, 6))
    assert critical_value([drawn[:, :2], drawn[:, 2:]], 0.95) == pytest.approx(
        norm.ppf((1 + 0.95 ** (1 / 6)) / 2), abs=0.02
    )


def test_the_critical_value_is_never_below_that_of_one_figure_alone() -> None:
    assert critical_value([np.zeros((100, 3))], 0.95) == pytest.approx(norm.ppf(0.975))


def test_resamples_without_a_figure_are_the_worst_of_all() -> None:
    deviations = np.zeros((100, 2))
    deviations[:10, 0] = math.nan
    assert critical_value([deviations], 0.95) == math.inf
    resampled = np.tile([0.5, 0.6], (100, 1)) + np.linspace(-0.1, 0.1, 100)[:, None]
    resampled[:10, 0] = math.nan
    some = Family(np.array([0.5, 0.6]), resampled, lambda level: [Interval(0.4, 0.7)] * 2)
    assert group_intervals(some, 0.95) == [(-math.inf, math.inf)] * 2
    assert gap_intervals([some], 0.95) == [(0, math.inf)]


def test_flawless_groups_are_no_certainty() -> None:
    groups = np.repeat([0, 1], 30)
    flawless = family(np.ones(60, bool), groups, 2, alone(60), seed=1)
    for interval in group_intervals(flawless, 0.95):
        assert interval == pytest.approx(wilson(30, 30, 0.95), abs=1e-6)
    [gap] = gap_intervals([flawless], 0.95)
    assert (gap.low, gap.high) == pytest.approx((0, 1 - wilson(30, 30, 0.95).low), abs=1e-6)


def test_a_gap_of_two_independent_groups_is_newcombes_or_wider() -> None:
    groups, hits = np.repeat([0, 1], 100), np.concatenate([np.arange(100) < 90, np.arange(100) < 70])
    [gap] = gap_intervals([family(hits, groups, 2, alone(200), seed=2, resamples=2000)], 0.95)
    one, other = wilson(90, 100, 0.95), wilson(70, 100, 0.95)
    low, high = 0.2 - math.hypot(0.9 - one.low, other.high - 0.7), 0.2 + math.hypot(one.high - 0.9, 0.7 - other.low)
    assert gap.low <= low + 0.005
    assert gap.high >= high - 0.005
    assert (gap.low, gap.high) == pytest.approx((low, high), abs=0.02)


def test_a_gap_within_the_same_scans_is_surer_than_one_between_others() -> None:
    random, units = np.random.default_rng(3), 120
    hard = random.uniform(size=units)
    hits = np.concatenate([hard < 0.8, hard < 0.7])
    groups = np.repeat([0, 1], units)
    shared = family(hits, groups, 2, Clusters(np.tile(np.arange(units), 2), units, "units"), seed=4)
    apart = family(hits, groups, 2, alone(2 * units), seed=4)
    widths = [np.std(f.resampled[:, 0] - f.resampled[:, 1]) for f in (shared, apart)]
    assert widths[0] < 0.7 * widths[1]
    assert gap_intervals([shared], 0.95)[0].low >= gap_intervals([apart], 0.95)[0].low - 1e-9


def test_all_intervals_hold_at_once_about_as_often_as_they_say() -> None:
    """Clustered answers of four groups of unequal size; one pointwise interval a group would fail far more often."""
    random, sets, chances = np.random.default_rng(5), 150, np.array([0.95, 0.9, 0.85, 0.7])
    groups = np.repeat(np.arange(4), [60, 80, 120, 160])
    codes = np.arange(len(groups)) // 2
    clusters = Clusters(codes, codes.max() + 1, "units")
    missed_groups = missed_gap = missed_alone = 0
    for seed in range(sets):
        hard = norm.cdf(
            math.sqrt(0.3) * random.normal(size=clusters.count)[codes] + math.sqrt(0.7) * random.normal(size=len(codes))
        )
        drawn = family(hard < chances[groups], groups, 4, clusters, seed)
        intervals = group_intervals(drawn, 0.95)
        missed_groups += any(not i.low <= p <= i.high for i, p in zip(intervals, chances, strict=True))
        missed_alone += any(not i.low <= p <= i.high for i, p in zip(drawn.score(0.95), chances, strict=True))
        [gap] = gap_intervals([drawn], 0.95)
        missed_gap += not gap.low <= np.ptp(chances) <= gap.high
    allowed = 0.05 + 3 * math.sqrt(0.05 * 0.95 / sets)
    assert missed_groups / sets <= allowed
    assert missed_gap / sets <= allowed < missed_alone / sets
