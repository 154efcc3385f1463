"""The noise is the geometric mechanism's, and it hides one person as well as it says."""

import math
from collections import Counter

import numpy as np
import pytest

from tasks.noisy_counts import least_to_show, noisy


def draws(count: int, epsilon: float, sensitivity: int, seed: int, n: int = 40_000) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.array([noisy(count, epsilon, sensitivity, random) for _ in range(n)])


@pytest.mark.parametrize(("epsilon", "sensitivity"), [(1.0, 1), (0.5, 2)])
def test_noise_has_the_mean_and_variance_of_the_two_sided_geometric_distribution(
    epsilon: float, sensitivity: int
) -> None:
    ratio = math.exp(-epsilon / sensitivity)
    variance = 2 * ratio / (1 - ratio) ** 2  # Ghosh, Roughgarden & Sundararajan 2012, section 2.2
    drawn = draws(20, epsilon, sensitivity, seed=1)
    assert drawn.mean() == pytest.approx(20, abs=4 * math.sqrt(variance / len(drawn)))
    assert drawn.var() == pytest.approx(variance, rel=0.08)


def test_one_report_more_changes_no_outcomes_odds_by_more_than_epsilon_allows() -> None:
    with_it, without = (Counter(draws(count, 1.0, 1, seed).tolist()) for count, seed in ((8, 2), (7, 3)))
    common = [value for value in with_it if with_it[value] > 1500 and without[value] > 1500]
    assert len(common) >= 3
    for value in common:
        assert abs(math.log(with_it[value] / without[value])) < 1.0 + 0.1


def test_cell_of_one_person_shows_as_rarely_as_delta_says() -> None:
    least = least_to_show(1.0, 0.01, 2)
    ratio = math.exp(-1.0 / 2)
    exact = ratio ** (least + 1 - 2) / (1 + ratio)  # P(2 + noise > least)
    assert 2 * exact < 0.01
    assert (draws(2, 1.0, 2, seed=4) > least).mean() == pytest.approx(exact, abs=0.002)
