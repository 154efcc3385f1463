"""An interval is never surer than its sample: clusters, averages over classes and flawless results included."""

import math

import numpy as np
import pandas as pd
import pytest

from tasks import metrics
from tasks.estimates import Measure, estimate_change, estimate_gain, estimate_measures, estimate_rate, estimate_sum
from tasks.evaluators.accuracy import even_number, even_number_of_pairs
from tasks.intervals import tango, wilson
from tasks.params import EvaluateParams

PARAMS = EvaluateParams(level=0.95, resamples=400, min_clusters=20, calibration_bins=10, seed=1)


def images(units: int, each: int) -> pd.DataFrame:
    unit = np.repeat(np.arange(units), each).astype(str)
    return pd.DataFrame({"group": "one", "unit": unit})


def test_a_share_of_independent_images_gets_wilsons_interval() -> None:
    hits = np.arange(200) < 180
    finding = estimate_rate("accuracy", "test", hits, images(200, 1), PARAMS)
    assert (finding.low, finding.high) == pytest.approx(wilson(180, 200, 0.95))
    assert (finding.method, finding.n, finding.clusters) == ("wilson", 200, 200)


def test_a_gain_on_independent_images_gets_tangos_interval() -> None:
    gains = np.array([1] * 20 + [-1] * 8 + [0] * 72)
    finding = estimate_gain("accuracy_gain_over_scratch", "test", gains, images(100, 1), PARAMS)
    assert (finding.value, finding.low, finding.high) == pytest.approx((0.12, *tango(20, 8, 100, 0.95)))
    assert finding.method == "tango"


def test_images_that_agree_within_their_unit_count_about_once_a_unit() -> None:
    hits = np.repeat(np.arange(60) < 48, 5)
    finding = estimate_rate("accuracy", "mirror", hits, images(60, 5), PARAMS)
    low, high = wilson(48, 60, 0.95)
    assert finding.low == pytest.approx(low, abs=0.02)
    assert finding.high == pytest.approx(high, abs=0.02)
    assert finding.method == "wilson and bootstrap of units"


@pytest.mark.parametrize("right", [True, False])
def test_flawless_clusters_are_no_certainty(right: bool) -> None:
    finding = estimate_rate("accuracy", "mirror", np.full(250, right), images(50, 5), PARAMS)
    low, high = wilson(50 * right, 50, 0.95)
    assert finding.low <= low + 1e-9
    assert finding.high >= high - 1e-9


def test_no_difference_anywhere_is_no_certainty_of_none() -> None:
    finding = estimate_gain("accuracy_gain_over_scratch", "mirror", np.zeros(250, int), images(50, 5), PARAMS)
    assert finding.low < -0.06
    assert finding.high > 0.06


def test_a_single_unit_says_nothing() -> None:
    finding = estimate_rate("accuracy", "mirror", np.full(5, True), images(1, 5), PARAMS)
    assert (finding.low, finding.high) == pytest.approx((0, 1), abs=1e-5)
    assert finding.clusters == 1


def test_a_slice_without_images_is_reported_as_not_a_number() -> None:
    finding = estimate_rate("recall", "test/label=a", np.zeros(0, bool), images(0, 1), PARAMS)
    assert math.isnan(finding.value)
    assert finding.n == 0


def test_a_sum_of_shares_is_the_mean_of_what_they_count() -> None:
    one, other = np.arange(200) < 30, np.arange(200) >= 180
    finding = estimate_sum("expected_cost", "test", [(0.6, one), (0.05, other)], images(200, 1), PARAMS)
    assert finding.value == pytest.approx((0.6 * 30 + 0.05 * 20) / 200)
    assert finding.low < finding.value < finding.high


def test_a_cost_that_the_sample_never_paid_is_no_certainty_of_none() -> None:
    never = np.zeros(100, bool)
    finding = estimate_sum("expected_cost", "test", [(0.6, never)], images(100, 1), PARAMS)
    assert (finding.low, finding.value) == (0, 0)
    assert finding.high == pytest.approx(0.6 * wilson(0, 100, 0.95).high)


@pytest.mark.parametrize("factors", [(12.0, 1.0), (11.0, -1.0)])
def test_sums_of_shares_miss_the_truth_about_as_often_as_they_say(factors: tuple[float, float]) -> None:
    """Student's interval alone misses rare and dear errors: half of these samples of 150 hold at most one."""
    random, rows, sets = np.random.default_rng(6), images(150, 1), 400
    truth = 0.01 * factors[0] + 0.15 * factors[1]
    missed = alone = 0
    for _ in range(sets):
        luck = random.uniform(size=150)
        parts = [(factors[0], luck < 0.01), (factors[1], luck > 0.85)]
        finding = estimate_sum("expected_cost", "test", parts, rows, PARAMS)
        student = estimate_change("c", "test", sum(f * hits for f, hits in parts), rows, PARAMS)
        missed += not finding.low <= truth <= finding.high
        alone += not student.low <= truth <= student.high
    allowed = 0.05 + 3 * math.sqrt(0.05 * 0.95 / sets)
    assert missed / sets <= allowed < alone / sets


def classified(counts: dict[str, int]) -> pd.DataFrame:
    """That many images of each class, all of them right and all sure."""
    label = np.repeat(list(counts), list(counts.values()))
    told = {f"prob_{c}": (label == c).astype(float) for c in counts}
    return pd.DataFrame({"label": label, "predicted": label, "group": "one", "unit": np.arange(len(label)), **told})


@pytest.mark.parametrize("metric", [metrics.macro_f1, metrics.macro_roc_auc])
def test_flawless_averages_are_as_unsure_as_their_rarest_class(metric: metrics.Metric) -> None:
    most = even_number_of_pairs if metric is metrics.macro_roc_auc else even_number
    measure = Measure("macro_f1", metric, most)
    [even] = estimate_measures([measure], "test", classified({"a": 100, "b": 100}), PARAMS)
    [uneven] = estimate_measures([measure], "test", classified({"a": 195, "b": 5}), PARAMS)
    assert even.value == uneven.value == 1
    assert even.low == pytest.approx(wilson(200, 200, 0.95).low, abs=0.01)
    assert uneven.low < 0.87


def test_a_calibration_error_lies_in_its_interval() -> None:
    random = np.random.default_rng(2)
    told = random.uniform(0.5, 1, 400)
    label = np.where(random.uniform(size=400) < told, "a", "b")
    table = pd.DataFrame({"label": label, "predicted": "a", "group": "one", "unit": np.arange(400)})
    table = table.assign(prob_a=told, prob_b=1 - told)
    [finding] = estimate_measures([Measure("ece", metrics.ece(10), inflated=True)], "test", table, PARAMS)
    assert 0 <= finding.low < finding.value < finding.high
    assert finding.method == "percentile and pivotal bootstrap of images"


def clustered_hits(random: np.random.Generator, share: float, units: int, each: int, likeness: float) -> np.ndarray:
    strength = (1 - likeness) / likeness
    chances = random.beta(share * strength, (1 - share) * strength, units)
    return (random.uniform(size=(units, each)) < chances[:, None]).ravel()


def test_clustered_intervals_miss_a_share_about_as_often_as_they_say() -> None:
    """Wilson's interval alone, blind to the clusters, is above the truth four times as often as it says."""
    random, rows, sets = np.random.default_rng(4), images(150, 5), 400
    above, blind = 0, 0
    for _ in range(sets):
        hits = clustered_hits(random, 0.85, 150, 5, 0.3)
        above += estimate_rate("accuracy", "mirror", hits, rows, PARAMS).low > 0.85
        blind += wilson(hits.sum(), len(hits), 0.95).low > 0.85
    error = 3 * math.sqrt(0.025 * 0.975 / sets)
    assert above / sets <= 0.025 + error
    assert blind / sets > 0.025 + error
