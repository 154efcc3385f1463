"""The bootstrap draws whole clusters, is the same each time, and covers what it says."""

import math
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from tasks import metrics
from tasks.metrics import Outcomes, weighted_mean
from tasks.resampling import (
    Clusters,
    bootstrap,
    bootstrap_of_kinds,
    choose_clusters,
    draw_weights,
    kinds_of,
    percentiles,
)


def rows(groups: int, units: int, images: int) -> pd.DataFrame:
    place = np.arange(images)
    return pd.DataFrame({"group": (place % groups).astype(str), "unit": (place % units).astype(str)})


def test_groups_are_drawn_when_there_are_enough_of_them() -> None:
    assert choose_clusters(rows(20, 60, 120), 20).kind == "groups"
    assert choose_clusters(rows(19, 57, 114), 20).kind == "units"
    alone = choose_clusters(rows(2, 50, 50), 20)
    assert (alone.kind, alone.independent, alone.count) == ("images", True, 50)


def test_a_resample_draws_whole_clusters_and_as_many_as_there_are() -> None:
    clusters = Clusters(np.array([0, 0, 1, 2, 2, 2]), 3, "units")
    weights = np.concatenate(list(draw_weights(clusters, 50, seed=1)))
    assert weights.shape == (50, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3:] == weights[:, 3:4]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_chunks_do_not_change_the_draw() -> None:
    clusters = Clusters(np.arange(30), 30, "images")
    whole = np.concatenate(list(draw_weights(clusters, 40, seed=2)))
    pieces = np.concatenate(list(draw_weights(clusters, 40, seed=2, cells=100)))
    assert (whole == pieces).all()


def test_the_resampled_mean_has_the_standard_error_of_the_mean() -> None:
    values = np.random.default_rng(3).normal(size=400)
    means = bootstrap(lambda w: weighted_mean(values, w)[:, None], Clusters(np.arange(400), 400, "images"), 2000, 4)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.06)


def test_undefined_resamples_widen_the_interval_until_they_undo_it() -> None:
    values = np.linspace(0, 1, 1000)
    assert percentiles(values, 0.95) == pytest.approx((0.025, 0.975), abs=0.002)
    few = np.where(np.arange(1000) % 100 == 50, math.nan, values)  # 1 % of the resamples
    assert percentiles(few, 0.95) == pytest.approx((0.015, 0.985), abs=0.003)
    many = np.where(np.arange(1000) % 20 == 10, math.nan, values)  # 5 %
    assert all(math.isnan(end) for end in percentiles(many, 0.95))


def test_the_bootstrap_of_clusters_covers_the_mean_and_that_of_images_does_not() -> None:
    random = np.random.default_rng(5)
    codes = np.repeat(np.arange(80), 5)
    missed = {"units": 0, "images": 0}
    for seed in range(300):
        values = random.normal(size=80)[codes] + random.normal(size=400)  # true mean 0, half the variance shared
        for kind, clusters in (("units", Clusters(codes, 80, "units")), ("images", Clusters(np.arange(400), 400, "i"))):
            means = bootstrap(lambda w, v=values: weighted_mean(v, w)[:, None], clusters, 300, seed)
            low, high = percentiles(means[:, 0], 0.95)
            missed[kind] += not low <= 0 <= high
    assert missed["units"] / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    assert missed["images"] / 300 > 0.15


def test_two_thousand_resamples_of_all_metrics_take_less_than_two_seconds() -> None:
    random = np.random.default_rng(6)
    probabilities = random.dirichlet(np.full(10, 0.3), 1500)
    truth = np.array([random.choice(10, p=p) for p in probabilities])
    outcomes = Outcomes(truth, probabilities.argmax(axis=1), probabilities)
    names = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "macro_roc_auc", "brier", "nll")
    chosen = [getattr(metrics, name) for name in names] + [metrics.ece(15)]
    started = time.process_time()
    bootstrap(
        lambda w: np.stack([m(outcomes, w) for m in chosen], axis=1), Clusters(np.arange(1500), 1500, "images"), 2000, 7
    )
    assert time.process_time() - started < 2


def test_clusters_that_hold_the_same_are_of_one_kind() -> None:
    clusters = Clusters(np.array([0, 0, 1, 1, 2, 2, 3]), 4, "units")
    images, kind, counts = kinds_of(clusters, np.array([7, 9, 9, 7, 7, 7, 9]))
    told = {tuple(sorted(np.array([7, 9, 9, 7, 7, 7, 9])[images[kind == k]])): int(c) for k, c in enumerate(counts)}
    assert told == {(7, 9): 2, (7, 7): 1, (9,): 1}


@pytest.mark.parametrize("each", [1, 5])
def test_drawing_kinds_has_the_distribution_of_drawing_clusters(each: int) -> None:
    """Two samples from one law: Kolmogorov and Smirnov's test of all five figures, and quantiles side by side."""
    random = np.random.default_rng(8)
    truth = random.integers(0, 4, 600)
    predicted = np.where(random.uniform(size=600) < 0.9, truth, random.integers(0, 4, 600))
    outcomes = Outcomes(truth, predicted, np.eye(4)[predicted])
    clusters = Clusters(np.arange(600) // each, 600 // each, "units")
    chosen = [metrics.accuracy, metrics.macro_f1, metrics.macro_recall, metrics.macro_precision]

    def statistics_of(images: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        some = outcomes.take(images)
        return lambda weights: np.stack([m(some, weights) for m in chosen], axis=1)

    told = truth * 4 + predicted if each == 1 else (truth == predicted).astype(int)
    if each > 1:  # few kinds of clusters: only right and wrong are told
        chosen = chosen[:1]
    quick = bootstrap_of_kinds(statistics_of, told, clusters, 20_000, 9)
    slow = bootstrap(statistics_of(np.arange(600)), clusters, 20_000, 10)
    for ours, theirs in zip(quick.T, slow.T, strict=True):
        assert ks_2samp(ours, theirs).statistic < 0.02
        assert np.quantile(ours, [0.025, 0.5, 0.975]) == pytest.approx(
            np.quantile(theirs, [0.025, 0.5, 0.975]), abs=2e-3
        )


def test_where_every_cluster_is_of_its_own_kind_they_are_drawn_one_by_one() -> None:
    values, clusters = np.random.default_rng(3).normal(size=200), Clusters(np.arange(200), 200, "images")

    def statistics_of(images: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda weights: weighted_mean(values[images], weights)[:, None]

    assert (
        bootstrap_of_kinds(statistics_of, np.arange(200), clusters, 100, 1)
        == bootstrap(statistics_of(np.arange(200)), clusters, 100, 1)
    ).all()
