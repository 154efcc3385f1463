"""Selective prediction: the curve against its definition, the threshold against every other, costs against a table."""

import math

import numpy as np
import pytest
from drawn_predictions import PARAMS, draw_manifest, draw_predictions

from tasks import metrics
from tasks.evaluators import selective
from tasks.evaluators.selective import choose_threshold
from tasks.evidence import Evidence
from tasks.findings import index_findings
from tasks.metrics import Outcomes, outcomes_of, point
from tasks.plan import Costs
from tasks.predictions import join_predictions

COSTS = Costs(unit="EUR", wrong=0.6, ask=0.05, reason="for the test")
MANIFEST = draw_manifest(test=200)
PREDICTIONS = draw_predictions(MANIFEST, 2, seed=1)
FOUND = index_findings(selective.evaluate(Evidence(PREDICTIONS, MANIFEST, PARAMS, costs=COSTS)))


def outcomes(confidence: list[float], right: list[bool]) -> Outcomes:
    """Two classes, the first always predicted."""
    told = np.array(confidence)
    truth = np.where(right, 0, 1)
    return Outcomes(truth, np.zeros(len(told), int), np.column_stack([told, 1 - told]))


def drawn(seed: int, n: int, decimals: int = 6) -> Outcomes:
    random = np.random.default_rng(seed)
    told = random.uniform(0.5, 1, n).round(decimals)
    return outcomes(told.tolist(), (random.uniform(size=n) < told).tolist())


def area_by_definition(o: Outcomes) -> float:
    """Each image's confidence as the threshold: the share of errors among those at least as confident."""
    told = o.probabilities.max(axis=1)
    return float(np.mean([(~o.hits[told >= threshold]).mean() for threshold in told]))


@pytest.mark.parametrize("decimals", [6, 1])
def test_the_area_is_the_mean_selective_risk_over_the_images_as_thresholds(decimals: int) -> None:
    o = drawn(1, 150, decimals)
    assert point(metrics.aurc, o) == pytest.approx(area_by_definition(o), abs=1e-12)


def test_the_area_of_four_images_is_that_worked_out_by_hand() -> None:
    o = outcomes([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
    assert point(metrics.aurc, o) == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)


@pytest.mark.parametrize(("bound", "coverage"), [(0.01, 0.25), (0.34, 0.75), (0.5, 1.0)])
def test_coverage_at_risk_is_the_largest_that_keeps_the_bound(bound: float, coverage: float) -> None:
    o = outcomes([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
    assert point(metrics.coverage_at_risk(bound), o) == coverage


def test_no_coverage_where_the_surest_image_is_wrong() -> None:
    assert point(metrics.coverage_at_risk(0.1), outcomes([0.9, 0.8], [False, True])) == 0


@pytest.mark.parametrize("metric", [metrics.aurc, metrics.coverage_at_risk(0.1)])
def test_weights_count_an_image_as_often_as_it_was_drawn(metric: metrics.Metric) -> None:
    o, random = drawn(2, 80, decimals=2), np.random.default_rng(3)
    rows = random.integers(0, 80, (8, 80))
    weights = np.stack([np.bincount(row, minlength=80) for row in rows]).astype(float)
    repeated = [Outcomes(o.truth[r], o.predicted[r], o.probabilities[r]) for r in rows]
    assert metric(o, weights) == pytest.approx([point(metric, r) for r in repeated], abs=1e-12)


def cost_at(o: Outcomes, threshold: float) -> float:
    answered = o.probabilities.max(axis=1) >= threshold
    return float(np.mean(np.where(answered, COSTS.wrong * ~o.hits, COSTS.ask)))


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_costs_less_on_the_images_it_was_chosen_on(seed: int) -> None:
    o = drawn(seed, 60)
    grid = [*np.linspace(0, 1, 2001), math.inf]
    assert cost_at(o, choose_threshold(o, COSTS)) <= min(cost_at(o, t) for t in grid) + 1e-12


def test_the_threshold_of_calibrated_probabilities_is_chows() -> None:
    assert choose_threshold(drawn(4, 100_000, decimals=3), COSTS) == pytest.approx(
        1 - COSTS.ask / COSTS.wrong, abs=0.02
    )


@pytest.mark.parametrize(("right", "threshold"), [(True, 0.0), (False, math.inf)])
def test_always_answering_and_always_asking_can_be_chosen(right: bool, threshold: float) -> None:
    assert choose_threshold(outcomes([0.9, 0.7, 0.6], [right] * 3), COSTS) == threshold


def test_the_threshold_comes_from_the_calibration_split_and_is_judged_elsewhere() -> None:
    chosen = choose_threshold(Evidence(PREDICTIONS, MANIFEST, PARAMS).calibration, COSTS)
    table = join_predictions(PREDICTIONS, MANIFEST)
    for split in ("test", "mirror"):
        o = outcomes_of(table[table["split"] == split])
        answered = o.probabilities.max(axis=1) >= chosen
        assert FOUND["coverage", split].value == pytest.approx(answered.mean())
        assert FOUND["selective_accuracy", split].value == pytest.approx(o.hits[answered].mean())
        assert FOUND["selective_accuracy", split].n == answered.sum()
        cost = cost_at(o, chosen)
        assert FOUND["expected_cost", split].value == pytest.approx(cost)
        assert FOUND["saving_over_always_answer", split].value == pytest.approx(cost_at(o, 0) - cost)
        assert FOUND["saving_over_always_ask", split].value == pytest.approx(COSTS.ask - cost)


def test_without_costs_only_the_curve_is_reported() -> None:
    found = index_findings(selective.evaluate(Evidence(PREDICTIONS, MANIFEST, PARAMS)))
    assert {metric for metric, _ in found} == set(selective.ON_CURVE)


def test_the_curves_table_ends_at_full_coverage_with_the_error_of_all() -> None:
    table = join_predictions(PREDICTIONS, MANIFEST)
    last = selective.curves(table).groupby("split").last()
    assert (last["coverage"] == 1).all()
    assert last.loc["test", "risk"] == pytest.approx(1 - hits_of("test"))


def hits_of(split: str) -> float:
    table = join_predictions(PREDICTIONS, MANIFEST).query("split == @split")
    return float((table["predicted"] == table["label"]).mean())
