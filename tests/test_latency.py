"""Order statistics against scipy and simulation, waiting against a clock, and what the gate makes of both."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.stats import lognorm, quantile_test

from tasks.errors import PlanInvalid
from tasks.findings import TIMINGS, Finding, index_findings, read_findings
from tasks.intervals import order_statistics
from tasks.latency import CHAMPION, METRICS, RATIO, compare, measure, responses, why_not, write_latency
from tasks.metrics import REGISTRY
from tasks.plan import load_plan
from tasks.verdict import FAIL, INCONCLUSIVE, NOT_APPLICABLE, PASS, read_verdict
from tests.drawn_predictions import PARAMS
from tests.plan_documents import plan_document


def timings(scale: float = 5.0, seed: int = 1, **changes: Any) -> dict[str, Any]:
    """Drawn as a shape with a long tail: 80 blocks of 10 single times and of 2 batches."""
    random = np.random.default_rng(seed)
    single, batch = (scale * random.lognormal(0, 0.3, (80, n)) for n in (10, 2))
    told = {"why_not": None, "single_ms": single.tolist(), "batch_ms": (6 * batch).tolist(), "cold_start_s": 4.0}
    told |= {"params": {"rate_per_s": 20, "deadline_ms": 12.0, "threads": 1}, "hardware": {"cores": 2, "device": "cpu"}}
    return told | {"model_size_mb": 1.5, "peak_memory_mb": 700.0} | changes


@pytest.mark.parametrize(("share", "n"), [(0.5, 40), (0.95, 200), (0.99, 600), (0.5, 7)])
def test_order_statistics_are_scipy_s(share: float, n: int) -> None:
    values = np.random.default_rng(n).exponential(size=n)
    ends = quantile_test(values, q=float(np.median(values)), p=share).confidence_interval(0.95)
    ours = order_statistics(values, share, 0.95)
    assert (ours.low, ours.high) == pytest.approx((ends.low, ends.high))


def test_an_end_that_few_values_cannot_show_is_infinite() -> None:
    values = np.arange(1.0, 101)
    assert order_statistics(values, 0.99, 0.95).high == np.inf  # 0.99^100 = 0.37 of samples lie below the quantile
    assert order_statistics(values, 0.95, 0.95).high == 100  # P(count >= 99) is 3.7 %, P(100) 0.6 %
    assert order_statistics(values, 0.95, 0.95, number=40).high == np.inf
    assert np.isnan(order_statistics(np.array([]), 0.5, 0.95).low)


def test_intervals_hold_the_quantile_as_often_as_they_say_though_blocks_are_alike() -> None:
    random, hits, plain = np.random.default_rng(5), 0, 0
    truth = float(lognorm(np.hypot(0.4, 0.3)).ppf(0.95))
    for _ in range(200):
        blocks = np.exp(0.4 * random.normal(size=(60, 1)) + 0.3 * random.normal(size=(60, 10)))
        told = timings(single_ms=blocks.tolist())
        found = index_findings(measure(told, PARAMS))["latency_p95_ms", "test"]
        hits += found.low <= truth <= found.high
        ends = order_statistics(blocks.ravel(), 0.95, 0.95)
        plain += ends.low <= truth <= ends.high
    assert hits >= 184  # 95 % of 200, less two standard errors
    assert plain < 176  # as if the times were independent: far too short


def test_every_metric_is_known_and_comes_with_its_interval() -> None:
    found = index_findings(measure(timings(), PARAMS))
    assert {name for name, _ in found} == set(METRICS) - {RATIO}
    assert set(METRICS) <= set(REGISTRY)
    median = found["latency_p50_ms", "test"]
    assert median.low < median.value < median.high
    single = np.concatenate(timings()["single_ms"])
    assert median.value == pytest.approx(np.quantile(single, 0.5, method="inverted_cdf"))
    assert (median.n, median.clusters) == (800, 80)
    assert median.low < 5 < median.high
    size = found["model_size_mb", "test"]
    assert (size.value, size.low, size.high, size.n) == (1.5, 1.5, 1.5, 1)


def test_images_wait_for_a_slow_answer_before_them() -> None:
    service = np.random.default_rng(2).exponential(40, 300)
    free, expected = 0.0, []
    for place, taken in enumerate(service):  # every 50 ms one arrives, and is answered when the server is free
        arrival = 50.0 * place
        free = max(free, arrival) + taken
        expected.append(free - arrival)
    assert responses(service, 20) == pytest.approx(np.array(expected))
    assert list(responses(np.array([120.0, 10, 10]), 20)) == [120, 80, 40]
    slow = timings(single_ms=[[30.0, 5.0, 5.0]] * 40, params={"rate_per_s": 50, "deadline_ms": 14.0})
    assert index_findings(measure(slow, PARAMS))["deadline_misses", "test"].value == pytest.approx(2 / 3)


def test_the_ratio_of_medians_holds_the_true_one_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(200):
        ratio = compare(timings(6.0, 2 * seed), timings(5.0, 2 * seed + 1), PARAMS)
        hits += ratio.low <= 1.2 <= ratio.high
    assert hits >= 184


def test_only_timings_of_like_hardware_and_load_are_compared() -> None:
    ours = timings()
    assert why_not(ours, timings(seed=2)) is None
    assert why_not(ours, None) == "there are no timings of another model in use to compare with"
    other = timings(hardware={"cores": 8, "device": "cpu"}, params={**ours["params"], "threads": 4})
    reason = why_not(ours, other)
    assert reason == "the champion was timed on other hardware or otherwise: cores, threads differ"
    assert why_not({"why_not": "the plan asks nothing of latency"}, ours) == "the plan asks nothing of latency"


def judged(folder: Path, told: dict[str, Any], champion: dict[str, Any], **bounds: float) -> tuple[str, list[str]]:
    criterion = {"slice": "test", "minimum_n": 1, "severity": "block", "reason": "r"}
    asked = [{"name": m, "metric": m, "at_most": bound, **criterion} for m, bound in bounds.items()]
    standard = [{**criterion, "name": "accuracy", "metric": "accuracy", "at_least": 0.5}]
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan_document(*standard, latency=asked)))
    (folder / TIMINGS).write_text(json.dumps(told))
    (folder / CHAMPION).write_text(json.dumps(champion))
    (folder / "out").mkdir(exist_ok=True)
    write_latency(folder, folder / "plan.yaml", PARAMS, {}, folder / "out")
    verdict = read_verdict(folder / "out")
    assert set(verdict.digests) == {"timings", "champion_timings", "latency"}
    return verdict.overall, [j.sentence for j in verdict.judgements]


def test_the_section_latency_is_judged(tmp_path: Path) -> None:
    nobody = {"why_not": "nobody is champion", "timings": None}
    assert judged(tmp_path, timings(), nobody, latency_p95_ms=20, deadline_misses=0.1)[0] == PASS
    assert judged(tmp_path, timings(), nobody, latency_p95_ms=6)[0] == FAIL
    middle = float(np.quantile(np.concatenate(timings()["single_ms"]), 0.95))
    overall, said = judged(tmp_path, timings(), nobody, latency_p95_ms=middle * 1.01)
    assert overall == INCONCLUSIVE
    assert "more timings in test would make it a PASS" in said[0]
    overall, said = judged(tmp_path, timings(), nobody, latency_ratio_to_champion=1.5)
    assert (overall, said) == (PASS, [f"{NOT_APPLICABLE} {REGISTRY[RATIO].title} on test: nobody is champion"])
    slower = {"why_not": None, "timings": timings(2.0)}
    assert judged(tmp_path, timings(), slower, latency_ratio_to_champion=1.5)[0] == FAIL


def test_without_timings_a_criterion_fails_by_name(tmp_path: Path) -> None:
    nothing = {"why_not": "the plan asks nothing of latency"}
    overall, said = judged(tmp_path, nothing, nothing | {"timings": None}, latency_p95_ms=20)
    assert (overall, read_findings(tmp_path / "out")) == (FAIL, [])
    assert "no evidence" in said[0]


def test_a_percentile_that_the_timings_cannot_show_is_no_number(tmp_path: Path) -> None:
    few = timings(single_ms=np.full((20, 10), 5.0).tolist())
    found: Finding = index_findings(measure(few, PARAMS))["latency_p99_ms", "test"]
    assert (found.value, found.high) == (5.0, np.inf)
    overall, said = judged(tmp_path, few, {"why_not": "nobody", "timings": None}, latency_p99_ms=1000)
    assert overall == FAIL
    assert "not a number (n = 200)" in said[0]


def test_a_bound_below_which_times_must_not_fall_is_refused(tmp_path: Path) -> None:
    criterion = {"name": "c", "metric": "latency_p95_ms", "slice": "test", "at_least": 5, "minimum_n": 1}
    (tmp_path / "plan.yaml").write_text(
        yaml.safe_dump(plan_document(latency=[{**criterion, "severity": "block", "reason": "r"}]))
    )
    with pytest.raises(PlanInvalid, match="a bound on latency_p95_ms is an at_most"):
        load_plan(tmp_path / "plan.yaml")
