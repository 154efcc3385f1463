"""The gate decides on the pessimistic end, and never passes on what is missing, not a number or too small."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from tasks.errors import EvidenceMissing, PlanInvalid
from tasks.findings import Finding
from tasks.gate import judge_report
from tasks.intervals import tango, wilson
from tasks.plan import Criterion, Plan
from tasks.verdict import FAIL, INCONCLUSIVE, NOT_APPLICABLE, PASS, Verdict
from tests.plan_documents import plan_document

FADED = Finding("accuracy", "mirror/condition=faded", 0.6115, 0.551, 0.669, 260, 260, "wilson")
TEST = Finding("accuracy", "test", 0.95, 0.92, 0.97, 500, 500, "wilson")


def criterion(**changes: Any) -> Criterion:
    base: dict[str, Any] = {
        "name": "accuracy",
        "metric": "accuracy",
        "slice": "test",
        "minimum_n": 100,
        "severity": "block",
        "reason": "because",
    }
    if "at_most" not in changes:
        base["at_least"] = 0.9
    return Criterion.model_validate(base | changes)


def plan(*criteria: Criterion) -> Plan:
    return Plan.model_validate(plan_document(*(c.model_dump() for c in criteria or (criterion(),))))


def judge(findings: list[Finding], *criteria: Criterion, **not_applicable: str) -> Verdict:
    return judge_report(findings, plan(*criteria), not_applicable)


@pytest.mark.parametrize(
    ("low", "high", "demand", "outcome"),
    [
        (0.90, 0.97, {"at_least": 0.90}, PASS),
        (0.89, 0.97, {"at_least": 0.90}, INCONCLUSIVE),
        (0.80, 0.90, {"at_least": 0.90}, INCONCLUSIVE),
        (0.80, 0.89, {"at_least": 0.90}, FAIL),
        (0.02, 0.05, {"metric": "ece", "at_most": 0.05}, PASS),
        (0.02, 0.06, {"metric": "ece", "at_most": 0.05}, INCONCLUSIVE),
        (0.06, 0.08, {"metric": "ece", "at_most": 0.05}, FAIL),
    ],
)
def test_the_interval_decides(low: float, high: float, demand: dict, outcome: str) -> None:
    demanded = criterion(**demand)
    finding = replace(TEST, metric=demanded.metric, value=(low + high) / 2, low=low, high=high)
    verdict = judge([finding], demanded)
    assert verdict.overall == verdict.judgements[0].outcome == outcome


def test_a_failure_says_what_was_seen_and_which_end_decided() -> None:
    verdict = judge([FADED], criterion(slice=FADED.slice, at_least=0.75))
    assert verdict.judgements[0].sentence == (
        "FAIL accuracy on mirror/condition=faded: 61.2 % [55.1, 66.9] (n = 260) must be at least 75 %; "
        "the upper end lies below it"
    )
    assert verdict.sentence == "FAIL: 1 of 1 blocking judgement failed: accuracy on mirror/condition=faded"


def test_a_gain_is_written_in_points_with_its_sign() -> None:
    gain = Finding("accuracy_gain_over_scratch", "mirror", 0.034, 0.011, 0.058, 1290, 258, "tango")
    [judgement] = judge([gain], criterion(metric=gain.metric, slice="mirror", at_least=0.0)).judgements
    assert "+3.4 points [+1.1, +5.8] (n = 1290 from 258 units) must be at least +0 points" in judgement.sentence


def test_a_figure_next_to_the_bound_is_written_with_enough_decimals() -> None:
    [judgement] = judge([replace(TEST, low=0.89997)]).judgements
    assert judgement.outcome == INCONCLUSIVE
    assert "95.000 % [89.997, 97.000]" in judgement.sentence


def test_a_missing_finding_fails_by_name() -> None:
    verdict = judge([FADED])
    assert verdict.overall == FAIL
    assert verdict.judgements[0].sentence == "FAIL accuracy on test: no evidence, the report holds no such finding"


def test_too_few_images_are_not_assessable_whatever_they_say() -> None:
    for value in (0.0, 1.0):
        verdict = judge([replace(TEST, value=value, low=value, high=value, n=60)])
        assert verdict.overall == INCONCLUSIVE
        assert verdict.judgements[0].sentence == (
            "INCONCLUSIVE accuracy on test: not assessable: 60 of 100 images, label 40 more"
        )
        assert verdict.judgements[0].labels_needed == 40


def test_an_interval_at_another_level_than_the_plans_fails() -> None:
    verdict = judge([replace(TEST, level=0.8)])
    assert verdict.overall == FAIL
    assert "no evidence at the plan's level 0.95, the report's interval is at 0.8" in verdict.judgements[0].sentence


BROKEN = [*product(("value", "low", "high"), (math.nan, math.inf, -math.inf)), ("n", 0), ("n", 99), ("level", 0.5)]


@pytest.mark.parametrize(("key", "broken"), BROKEN)
@pytest.mark.parametrize("demand", [{"at_least": 1e-9}, {"metric": "ece", "at_most": 0.999}])
def test_no_gate_passes_on_a_broken_figure_however_lax_the_bound(key: str, broken: float, demand: dict) -> None:
    demanded = criterion(**demand)
    verdict = judge([replace(TEST, metric=demanded.metric, **{key: broken})], demanded)
    assert verdict.overall in (FAIL, INCONCLUSIVE)


def test_the_gate_never_passes_where_any_blocking_evidence_is_missing_nan_or_small() -> None:
    names = ("accuracy", "macro_f1", "precision", "recall")
    criteria = [criterion(name=n, metric=n, at_least=0.5) for n in names]
    sound = [replace(TEST, metric=n) for n in names]
    assert judge(sound, *criteria).overall == PASS
    random = np.random.default_rng(1)
    for _ in range(300):
        broken = list(sound)
        for place in random.choice(4, random.integers(1, 4), replace=False):
            harm = [None, replace(sound[place], low=math.nan), replace(sound[place], n=int(random.integers(0, 100)))]
            broken[place] = harm[random.integers(3)]
        assert judge([f for f in broken if f], *criteria).overall != PASS


def test_a_wildcard_judges_each_value_on_its_own() -> None:
    findings = [replace(FADED, slice=f"mirror/condition={c}") for c in ("faded", "blur")] + [TEST]
    verdict = judge(findings, criterion(slice="mirror/condition=*", at_least=0.75))
    assert [j.slice for j in verdict.judgements] == ["mirror/condition=faded", "mirror/condition=blur"]


def test_a_wildcard_without_a_value_is_missing_evidence() -> None:
    verdict = judge([TEST], criterion(slice="mirror/condition=*"))
    assert verdict.overall == FAIL
    assert "accuracy on mirror/condition=*: no evidence" in verdict.judgements[0].sentence


def test_a_warning_is_reported_and_does_not_decide() -> None:
    warning = criterion(name="faded", slice=FADED.slice, severity="warn")
    verdict = judge([TEST, FADED], criterion(), warning)
    assert [j.outcome for j in verdict.judgements] == [PASS, FAIL]
    assert verdict.sentence == "PASS: 1 blocking judgement, all met; 1 warning: accuracy on mirror/condition=faded"


def test_failure_outweighs_doubt_and_doubt_outweighs_success() -> None:
    unsure = criterion(name="unsure", at_least=0.94)
    wrong = criterion(name="wrong", at_least=0.99)
    assert judge([TEST], criterion(), unsure).overall == INCONCLUSIVE
    assert judge([TEST], criterion(), unsure, wrong).overall == FAIL


def test_what_does_not_apply_is_named_with_its_reason() -> None:
    verdict = judge([TEST], criterion(), criterion(name="mirror", slice="mirror"), mirror="one desk only")
    assert verdict.overall == PASS
    assert verdict.judgements[1].outcome == NOT_APPLICABLE
    assert verdict.judgements[1].sentence == "NOT APPLICABLE accuracy on mirror: one desk only"


def test_a_plan_of_which_nothing_blocking_applies_cannot_pass() -> None:
    warning = criterion(name="faded", slice=FADED.slice, severity="warn", at_least=0.1)
    for verdict in (judge([TEST, FADED], criterion(), warning, accuracy="why not"), judge([FADED], warning)):
        assert verdict.overall == FAIL
        assert verdict.sentence == "FAIL: no blocking criterion applies, so nothing has been shown"


@pytest.mark.parametrize(("name", "reason"), [("acuracy", "typo"), ("accuracy", " ")])
def test_an_unknown_name_or_an_empty_reason_in_not_applicable_is_refused(name: str, reason: str) -> None:
    with pytest.raises(PlanInvalid, match=f"'{name}'"):
        judge([TEST], criterion(), **{name: reason})


def test_two_findings_for_one_criterion_are_refused() -> None:
    with pytest.raises(EvidenceMissing, match="two findings"):
        judge([TEST, replace(TEST, low=0.99)])


def needed(finding: Finding, **demand: float) -> int | None:
    [judgement] = judge([finding], criterion(**demand)).judgements
    assert judgement.outcome == INCONCLUSIVE
    return judgement.labels_needed


@pytest.mark.parametrize(("hits", "n", "bound"), [(276, 300, 0.9), (262, 300, 0.9), (120, 130, 0.89), (100, 100, 0.97)])
def test_the_labels_needed_for_a_share_are_exact(hits: int, n: int, bound: float) -> None:
    ends = wilson(hits, n, 0.95)
    more = needed(Finding("accuracy", "test", hits / n, *ends, n, n, "wilson"), at_least=bound)
    assert more is not None

    def settled(size: int) -> bool:
        low, high = wilson(hits / n * size, size, 0.95)
        return low >= bound or high < bound

    assert settled(n + more)
    assert not settled(n + more - 1)


def test_the_labels_needed_for_other_figures_scale_with_the_square_of_the_width() -> None:
    f1 = Finding("macro_f1", "test", 0.92, 0.88, 0.95, 200, 200, "bootstrap of images")
    assert needed(f1, metric="macro_f1", at_least=0.90) == 600  # half-width 0.04 must shrink to 0.02: four times 200
    loss = Finding("nll", "test", 0.30, 0.20, 0.36, 100, 100, "bootstrap of images")
    assert needed(loss, metric="nll", at_most=0.32) == 800  # 0.06 to 0.02
    assert needed(loss, metric="nll", at_most=0.25) == 300  # to a failure: 0.10 to 0.05


def test_a_value_on_the_bound_is_settled_by_no_number_of_labels() -> None:
    [judgement] = judge([replace(TEST, value=0.9, low=0.87, high=0.92)]).judgements
    assert judgement.labels_needed is None
    assert judgement.sentence.endswith("the value sits on the bound, so no number of labels settles it")


def test_what_more_labels_would_lead_to_is_said() -> None:
    low, high = wilson(262, 300, 0.95)
    [judgement] = judge([Finding("accuracy", "test", 262 / 300, low, high, 300, 300, "wilson")]).judgements
    assert "more labels in test would make it a FAIL if the value holds" in judgement.sentence


@pytest.mark.parametrize(("bound", "n"), [(0.9, 300), (0.85, 509), (0.95, 1290)])
def test_a_model_that_sits_on_the_bound_passes_in_at_most_2_5_percent_of_test_sets(bound: float, n: int) -> None:
    sets, passed = 20_000, 0
    drawn = zip(*np.unique(np.random.default_rng(2).binomial(n, bound, sets), return_counts=True), strict=True)
    for hits, times in drawn:
        finding = Finding("accuracy", "test", hits / n, *wilson(hits, n, 0.95), n, n, "wilson")
        passed += times * (judge([finding], criterion(at_least=bound)).overall == PASS)
    assert passed / sets <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / sets)


def test_a_transfer_that_gains_nothing_passes_in_at_most_2_5_percent_of_test_sets() -> None:
    sets, n, passed = 2000, 500, 0
    demand = criterion(metric="accuracy_gain_over_scratch", at_least=0.0)
    for gained, lost, _ in np.random.default_rng(3).multinomial(n, [0.08, 0.08, 0.84], sets):
        ends = tango(gained, lost, n, 0.95)
        finding = Finding("accuracy_gain_over_scratch", "test", (gained - lost) / n, *ends, n, n, "tango")
        passed += judge([finding], demand).overall == PASS
    assert passed / sets <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / sets)


def shares(hits: np.ndarray, n: int) -> list[Finding]:
    return [
        Finding("accuracy", f"test/desk={place}", h / n, *wilson(h, n, 0.95), n, n, "wilson")
        for place, h in enumerate(hits)
    ]


DESKS = criterion(slice="test/desk=*", at_least=0.9)


def test_a_good_slice_is_failed_no_more_often_for_having_many_neighbours() -> None:
    """Twenty slices, all on the bound: without Holm's correction a third of the verdicts would fail one of them."""
    sets, n, slices = 100, 200, 20
    corrected, alone = 0, 0
    for hits in np.random.default_rng(4).binomial(n, 0.9, (sets, slices)):
        findings = shares(hits, n)
        alone += any(f.high < 0.9 for f in findings)
        corrected += judge(findings, DESKS).overall == FAIL
    assert corrected / sets <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / sets)
    assert alone / sets > 0.25


def test_a_model_that_misses_the_bound_in_one_slice_passes_no_more_often_for_having_many() -> None:
    sets, n = 400, 300
    random = np.random.default_rng(5)
    passed = 0
    for _ in range(sets):
        hits = np.append(random.binomial(n, 0.99, 9), random.binomial(n, 0.9))
        passed += judge(shares(hits, n), DESKS).overall == PASS
    assert 0 < passed / sets <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / sets)


def test_a_slice_that_only_luck_may_have_failed_is_left_open_and_says_how_many_labels_settle_it() -> None:
    findings = shares(np.array([190] * 9 + [170]), 200)
    assert judge(findings[9:], DESKS).overall == FAIL
    [*_, left_open] = judge(findings, DESKS).judgements
    assert left_open.outcome == INCONCLUSIVE
    assert "the upper end lies below it, which one of 10 good slices may do by chance (p = 0." in left_open.sentence
    more = left_open.labels_needed
    assert more is not None
    assert f"about {more} more labels in test/desk=9 would make it a FAIL if the value holds" in left_open.sentence
    n = 200 + more
    again = Finding("accuracy", "test/desk=9", 0.85, *wilson(0.85 * n, n, 0.95), n, n, "wilson")
    [*_, settled] = judge([*findings[:9], again], DESKS).judgements
    assert settled.outcome == FAIL
    assert "after Holm's correction over 10 slices)" in settled.sentence


def test_slices_that_cannot_be_assessed_do_not_widen_the_family() -> None:
    small = [replace(f, n=10) for f in shares(np.array([9] * 8), 10)]
    wrong = replace(shares(np.array([165]), 200)[0], slice="test/desk=wrong")
    sound = replace(shares(np.array([190]), 200)[0], slice="test/desk=sound")
    [*_, judged] = judge([*small, sound, wrong], DESKS).judgements
    assert judged.outcome == FAIL
    assert "over 2 slices" in judged.sentence
