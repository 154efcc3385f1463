"""A p value read off a finding is the test behind its interval, and Holm's correction is the textbook's."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from statsmodels.stats.multitest import multipletests

from tasks.findings import Finding
from tasks.intervals import tango, tango_score, wilson
from tasks.multiplicity import chance_of_miss, holm


def share(hits: int, n: int) -> Finding:
    return Finding("accuracy", "test", hits / n, *wilson(hits, n, 0.95), n, n, "wilson")


def test_holm_agrees_with_statsmodels() -> None:
    values = np.random.default_rng(0).uniform(0, 1, 12) ** 3
    assert holm(list(values)) == pytest.approx(multipletests(values, method="holm")[1])
    assert holm([]) == []


@pytest.mark.parametrize(("hits", "n", "bound"), [(70, 100, 0.8), (3, 40, 0.2), (0, 25, 0.1), (95, 100, 0.8)])
def test_the_chance_for_a_share_is_the_binomials(hits: int, n: int, bound: float) -> None:
    expected = binomtest(hits, n, bound, alternative="less").pvalue
    assert chance_of_miss(share(hits, n), bound, "at_least") == pytest.approx(expected, rel=1e-6)
    expected = binomtest(hits, n, bound, alternative="greater").pvalue
    assert chance_of_miss(share(hits, n), bound, "at_most") == pytest.approx(expected, rel=1e-6)


def test_the_chance_for_clustered_images_is_that_of_their_effective_number() -> None:
    half = Finding("accuracy", "mirror", 0.7, *wilson(70, 100, 0.95), 500, 100, "wilson and bootstrap of units")
    assert chance_of_miss(half, 0.8, "at_least") == pytest.approx(binomtest(70, 100, 0.8, alternative="less").pvalue)
    assert chance_of_miss(half, 0.8, "at_least", 2) == pytest.approx(
        binomtest(140, 200, 0.8, alternative="less").pvalue
    )


def test_another_interval_that_ends_on_the_bound_is_significant_at_just_its_level() -> None:
    finding = Finding("nll", "test", 0.3, 0.2, 0.45, 100, 100, "bootstrap of images")
    assert chance_of_miss(finding, finding.high, "at_least") == pytest.approx(0.025)
    assert chance_of_miss(finding, finding.low, "at_most") == pytest.approx(0.025)
    assert chance_of_miss(finding, finding.low, "at_most", 4) == pytest.approx(norm.sf(2 * norm.isf(0.025)))


def test_for_a_paired_gain_the_chance_is_near_that_of_tangos_statistic() -> None:
    gained, lost, n = 20, 55, 500
    finding = Finding("gain", "test", (gained - lost) / n, *tango(gained, lost, n, 0.95), n, n, "tango")
    for bound in (-0.04, -0.03, -0.02, -0.01):
        expected = norm.cdf(tango_score(gained, lost, n, bound))
        assert chance_of_miss(finding, bound, "at_least") == pytest.approx(expected, rel=0.25)


def test_a_value_on_the_bound_or_without_width_is_no_division_by_zero() -> None:
    assert chance_of_miss(share(80, 100), 0.8, "at_least") == pytest.approx(0.5, abs=0.05)
    assert chance_of_miss(share(0, 100), 0.8, "at_most") == 1
    assert chance_of_miss(share(99, 100), 1.0, "at_least") == 0
    sure = Finding("nll", "test", 0.3, 0.3, 0.3, 100, 100, "bootstrap of images")
    assert (chance_of_miss(sure, 0.4, "at_least"), chance_of_miss(sure, 0.2, "at_least")) == (0, 1)
