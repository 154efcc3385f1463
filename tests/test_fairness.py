"""Fairness: rates and gaps against tables worked out by hand, and nothing passed on a group too small to judge."""

import math

import numpy as np
import pandas as pd
import pytest
from drawn_predictions import CLASSES, PARAMS, draw_manifest, draw_predictions

from tasks import metrics
from tasks.evaluators import fairness
from tasks.evidence import Evidence
from tasks.findings import Finding, index_findings
from tasks.gate import decide
from tasks.metrics import Outcomes, between_groups
from tasks.plan import Criterion

# y_true, y_pred and group of two groups: of "f" 4 positives, 3 found, and 4 negatives, 1 taken for positive; of "m" 5
# and 2, and 3 and 2. TPR 3/4 and 2/5, FPR 1/4 and 2/3: fairlearn's equalized_odds_difference is max(0.35, 5/12).
TRUTH = np.array([1] * 4 + [0] * 4 + [1] * 5 + [0] * 3)
PREDICTED = np.array([1, 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0])
GROUPS = np.repeat([0, 1], 8)
TWO = Outcomes(TRUTH, PREDICTED, np.eye(2)[PREDICTED])
ONES = np.ones((1, 16))
TPR, FPR = [3 / 4, 2 / 5], [1 / 4, 2 / 3]


def test_rates_of_two_groups_are_those_worked_out_by_hand() -> None:
    assert metrics.true_positive_rates(TWO, GROUPS, 2, ONES)[0, 1] == pytest.approx(TPR)
    assert metrics.false_positive_rates(TWO, GROUPS, 2, ONES)[0, 1] == pytest.approx(FPR)
    assert metrics.true_positive_rates(TWO, GROUPS, 2, ONES)[0, 0] == pytest.approx([1 - rate for rate in FPR])
    assert metrics.group_means(TWO.hits, GROUPS, 2, ONES)[0] == pytest.approx([6 / 8, 3 / 8])


def test_equalised_odds_difference_agrees_with_fairlearn() -> None:
    fairlearn = pytest.importorskip("fairlearn.metrics")
    rates = (metrics.true_positive_rates, metrics.false_positive_rates)
    ours = max(between_groups(rate(TWO, GROUPS, 2, ONES)[0, 1]) for rate in rates)
    theirs = fairlearn.equalized_odds_difference(TRUTH, PREDICTED, sensitive_features=GROUPS)
    assert ours == pytest.approx(theirs)


@pytest.mark.parametrize("rate", [metrics.true_positive_rates, metrics.false_positive_rates])
def test_weights_count_an_image_as_often_as_it_was_drawn(rate: object) -> None:
    random = np.random.default_rng(1)
    truth, predicted, groups = random.integers(0, 3, (3, 90))
    drawn = random.integers(0, 90, (5, 90))
    weights = np.stack([np.bincount(row, minlength=90) for row in drawn]).astype(float)
    o = Outcomes(truth, predicted, np.eye(3)[predicted])
    repeated = [
        rate(Outcomes(truth[r], predicted[r], o.probabilities[r]), groups[r], 3, np.ones((1, 90))) for r in drawn
    ]
    assert rate(o, groups, 3, weights) == pytest.approx(np.concatenate(repeated), nan_ok=True)


def tables(copies: int, **columns: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The sixteen images above, so many times over, as manifest and predictions of the test split."""
    n = 16 * copies
    ids = [f"test/{i}" for i in range(n)]
    label, predicted = (np.array(["no", "yes"])[np.tile(v, copies)] for v in (TRUTH, PREDICTED))
    manifest = pd.DataFrame({"image_id": ids, "label": label, "split": "test", "group": "one", "unit": ids})
    manifest = manifest.assign(slice_sex=np.array(["f", "m"])[np.tile(GROUPS, copies)], **columns)
    told = {"prob_no": np.where(predicted == "no", 0.9, 0.1), "prob_yes": np.where(predicted == "no", 0.1, 0.9)}
    return manifest, pd.DataFrame({"image_id": ids, "predicted": predicted, "model": "a" * 64, **told})


def found(copies: int, baseline: pd.DataFrame | None = None, **columns: list[str]) -> dict[tuple[str, str], Finding]:
    manifest, predictions = tables(copies, **columns)
    return index_findings(fairness.evaluate(Evidence(predictions, manifest, PARAMS, baseline)))


def test_findings_are_those_worked_out_by_hand() -> None:
    index = found(40)
    expected = {
        ("group_accuracy", "test/sex=f"): 6 / 8,
        ("group_accuracy", "test/sex=m"): 3 / 8,
        ("worst_group_accuracy", "test/sex=*"): 3 / 8,
        ("accuracy_gap", "test/sex=*"): 3 / 8,
        ("tpr_gap", "test/label & sex=yes & *"): TPR[0] - TPR[1],
        ("fpr_gap", "test/label & sex=yes & *"): FPR[1] - FPR[0],
        ("tpr_gap", "test/label & sex=no & *"): FPR[1] - FPR[0],
        ("equalised_odds_difference", "test/sex=*"): FPR[1] - FPR[0],
        ("calibration_gap", "test/sex=*"): 3 / 8,  # every confidence is 0.9
    }
    for key, value in expected.items():
        assert index[key].value == pytest.approx(value), key
        assert index[key].low < index[key].value < index[key].high
        assert "not assessable" not in index[key].method
    assert index["tpr_gap", "test/label & sex=yes & *"].n == 4 * 40  # of the smaller group


def test_the_change_of_the_gap_is_paired_with_the_baselines() -> None:
    manifest, predictions = tables(40)
    even = manifest["label"].to_numpy().copy()  # a baseline that is right on all
    told = {"prob_no": (even == "no").astype(float), "prob_yes": (even == "yes").astype(float)}
    baseline = predictions.assign(predicted=even, model="b" * 64, **told)
    change = index_findings(fairness.evaluate(Evidence(predictions, manifest, PARAMS, baseline)))[
        "accuracy_gap_change", "test/sex=*"
    ]
    assert change.value == pytest.approx(3 / 8)
    assert 0 < change.low < change.value < change.high
    same = index_findings(fairness.evaluate(Evidence(predictions, manifest, PARAMS, predictions)))[
        "accuracy_gap_change", "test/sex=*"
    ]
    assert same.value == 0
    assert same.low < 0 < same.high  # that no resample differs is no certainty


@pytest.mark.parametrize(("ours", "theirs"), [((0.99, 0.99), (0.6, 0.6)), ((0.95, 0.75), (0.9, 0.8))])
def test_the_change_of_a_gap_is_missed_no_more_often_than_said(
    ours: tuple[float, float], theirs: tuple[float, float]
) -> None:
    """Of four groups one may differ. Noise alone widens the gap of the first baseline, by ten points on average."""
    random, sets, missed = np.random.default_rng(4), 100, 0
    truth = (ours[0] - ours[1]) - (theirs[0] - theirs[1])
    group = np.repeat(["p", "q", "r", "s"], 80)
    ids = [f"test/{i}" for i in range(320)]
    manifest = pd.DataFrame({"image_id": ids, "label": "yes", "split": "test", "group": "one", "unit": ids})
    manifest["slice_site"] = group
    for _ in range(sets):
        luck = random.uniform(size=320)
        tables = []
        for name, (most, last) in (("a", ours), ("b", theirs)):
            right = luck < np.where(group == "s", last, most)
            told = {"prob_no": np.where(right, 0.1, 0.9), "prob_yes": np.where(right, 0.9, 0.1)}
            said = np.where(right, "yes", "no")
            tables.append(pd.DataFrame({"image_id": ids, "predicted": said, "model": name * 64, **told}))
        index = index_findings(fairness.evaluate(Evidence(tables[0], manifest, PARAMS, tables[1])))
        change = index["accuracy_gap_change", "test/site=*"]
        missed += not change.low <= truth <= change.high
    assert missed / sets <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / sets)


def test_a_group_too_small_is_named_and_leaves_everything_open() -> None:
    few = ["x"] * 5 + ["y"] * 300 + ["z"] * 335
    index = found(40, slice_device=few)
    group, gap, worst = (
        index[key]
        for key in (
            ("group_accuracy", "test/device=x"),
            ("accuracy_gap", "test/device=*"),
            ("worst_group_accuracy", "test/device=*"),
        )
    )
    assert (group.n, group.low, group.high) == (5, 0, 1)
    for finding in (gap, worst):
        assert finding.n == 5
        assert "not assessable: x (5 of 20 images)" in finding.method
    assert (gap.high, worst.low) == (1, 0)
    lax = {"name": "lax", "slice": "test/device=*", "minimum_n": 1, "severity": "block", "reason": "because"}
    for finding, bound in ((gap, {"at_most": 0.999}), (worst, {"at_least": 0.001})):
        criterion = Criterion.model_validate({**lax, "metric": finding.metric, **bound})
        assert decide(finding.low, finding.high, criterion) == "INCONCLUSIVE"


def test_columns_are_crossed_and_one_with_a_single_value_says_nothing() -> None:
    index = found(40, slice_device=["x", "y"] * 320, slice_place=["here"] * 640)
    places = {place for metric, place in index if metric == "accuracy_gap"}
    assert places == {"test/sex=*", "test/device=*", "test/sex & device=*"}
    assert index["group_accuracy", "test/sex & device=f & x"].n == 160


def test_groups_of_the_mirror_are_resampled_by_unit() -> None:
    manifest = draw_manifest(scans=40)
    ours, theirs = draw_predictions(manifest, 2, seed=1), draw_predictions(manifest, 1, seed=2)
    index = index_findings(fairness.evaluate(Evidence(ours, manifest, PARAMS, theirs)))
    gap = index["accuracy_gap", "mirror/condition=*"]
    assert (gap.n, gap.clusters, gap.method) == (40, 40, "max-t bootstrap of units")
    assert {m for m, _ in index} == set(fairness.METRICS)
    assert {f"mirror/label & condition={c} & *" for c in CLASSES} == {p for m, p in index if m == "tpr_gap"}
