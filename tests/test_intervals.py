"""Intervals against independent computations, and against what they promise."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binom, chi2
from statsmodels.stats.proportion import proportion_confint

from tasks.intervals import clopper_pearson, tango, tango_score, wilson

COUNTS = [(0, 1), (1, 1), (0, 30), (30, 30), (1, 30), (17, 40), (483, 509), (999, 1000)]


@pytest.mark.parametrize(("successes", "n"), COUNTS)
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_wilson_and_clopper_pearson_agree_with_statsmodels(successes: int, n: int, level: float) -> None:
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "beta")):
        expected = proportion_confint(successes, n, alpha=1 - level, method=method)
        assert ours(successes, n, level) == pytest.approx(expected, abs=1e-10)


def test_intervals_of_nothing_are_nan() -> None:
    for ends in (wilson(0, 0, 0.95), clopper_pearson(0, 0, 0.95), tango(0, 0, 0, 0.95)):
        assert all(math.isnan(end) for end in ends)


@pytest.mark.parametrize(("bound", "n"), [(0.85, 509), (0.9, 300), (0.95, 509), (0.75, 1290), (0.65, 250)])
def test_a_share_on_the_bound_passes_wilson_in_at_most_2_5_percent_of_samples(bound: float, n: int) -> None:
    passes = [k for k in range(n + 1) if wilson(k, n, 0.95).low >= bound]
    assert binom.pmf(passes, n, bound).sum() <= 0.0285  # exact; the steps of a binomial explain the excess over 2.5 %


def constrained_score(gained: int, lost: int, n: int, delta: float) -> float:
    """Tango's statistic with the constrained estimate found by maximising the multinomial likelihood itself."""

    def minus_log_likelihood(q: float) -> float:
        counts_and_shares = ((gained, q + delta), (lost, q), (n - gained - lost, 1 - 2 * q - delta))
        return -sum(k * math.log(max(p, 1e-300)) for k, p in counts_and_shares if k)

    ends = (max(0.0, -delta), (1 - delta) / 2)
    q = minimize_scalar(minus_log_likelihood, bounds=ends, method="bounded", options={"xatol": 1e-13}).x
    return (gained - lost - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))


@pytest.mark.parametrize(("gained", "lost", "n"), [(9, 2, 40), (2, 9, 40), (1, 0, 25), (60, 31, 509), (12, 12, 30)])
def test_tango_agrees_with_the_constrained_likelihood(gained: int, lost: int, n: int) -> None:
    z, difference = math.sqrt(chi2.ppf(0.95, 1)), (gained - lost) / n
    low = brentq(lambda d: constrained_score(gained, lost, n, d) - z, -0.99, difference)
    high = brentq(lambda d: constrained_score(gained, lost, n, d) + z, difference, 0.99)
    assert tango(gained, lost, n, 0.95) == pytest.approx((low, high), abs=1e-5)
    assert tango_score(gained, lost, n, 0.1) == pytest.approx(constrained_score(gained, lost, n, 0.1), abs=1e-4)


def test_tango_at_no_difference_is_mcnemars_statistic() -> None:
    assert tango_score(9, 2, 40, 0.0) == pytest.approx((9 - 2) / math.sqrt(9 + 2))


def test_tango_without_discordant_images_is_symmetric_and_not_certain() -> None:
    low, high = tango(0, 0, 100, 0.95)
    z2 = chi2.ppf(0.95, 1)
    assert (low, high) == pytest.approx((-z2 / (100 + z2), z2 / (100 + z2)))


@pytest.mark.parametrize(("gained", "lost", "n"), [(10, 0, 10), (0, 10, 10), (5, 5, 10), (1, 0, 1), (0.2, 0.1, 0.5)])
def test_tango_holds_its_point_and_stays_in_range(gained: float, lost: float, n: float) -> None:
    low, high = tango(gained, lost, n, 0.95)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert high - low > 0.1


@pytest.mark.parametrize(("gain", "loss", "n"), [(0.15, 0.10, 100), (0.05, 0.05, 60), (0.2, 0.02, 200)])
def test_tango_covers_the_truth_as_often_as_it_says(gain: float, loss: float, n: int) -> None:
    draws = np.random.default_rng(5).multinomial(n, [gain, loss, 1 - gain - loss], size=3000)
    scores = np.array([tango_score(b, c, n, gain - loss) for b, c, _ in draws])  # covered: |score| within z
    missed_low, missed_high = (scores > 1.96).mean(), (scores < -1.96).mean()
    error = 3 * math.sqrt(0.025 * 0.975 / 3000)
    assert missed_low <= 0.025 + error
    assert missed_high <= 0.025 + error
