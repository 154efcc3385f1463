"""The transfer evaluator compares two models image by image."""

import pytest
from drawn_predictions import PARAMS, draw_manifest, draw_predictions

from tasks.errors import EvidenceMissing
from tasks.evaluators import transfer
from tasks.evidence import Evidence
from tasks.findings import index_findings
from tasks.intervals import tango

MANIFEST = draw_manifest(test=200)
OURS, THEIRS = draw_predictions(MANIFEST, 3, seed=1), draw_predictions(MANIFEST, 1, seed=2)
GAIN = "accuracy_gain_over_scratch"


def test_the_gain_is_the_paired_difference_in_accuracy() -> None:
    found = index_findings(transfer.evaluate(Evidence(OURS, MANIFEST, PARAMS, THEIRS)))
    rows = MANIFEST.merge(OURS, on="image_id").merge(THEIRS, on="image_id").query("split == 'test'")
    ours, theirs = rows["predicted_x"] == rows["label"], rows["predicted_y"] == rows["label"]
    finding = found[GAIN, "test"]
    expected = tango((ours & ~theirs).sum(), (theirs & ~ours).sum(), 200, 0.95)
    assert finding.value == pytest.approx(ours.mean() - theirs.mean())
    assert (finding.low, finding.high) == pytest.approx(expected)


def test_test_mirror_and_each_slice_of_the_mirror_are_compared() -> None:
    found = index_findings(transfer.evaluate(Evidence(OURS, MANIFEST, PARAMS, THEIRS)))
    conditions = {f"mirror/condition={c}" for c in ("faded", "noise", "white on dark")}
    assert {place for _, place in found} == {"test", "mirror", *conditions}
    assert found[GAIN, "mirror"].method == "tango and bootstrap of units"


def test_the_order_of_the_baselines_rows_does_not_matter() -> None:
    shuffled = THEIRS.sample(frac=1, random_state=1)
    expected = list(transfer.evaluate(Evidence(OURS, MANIFEST, PARAMS, THEIRS)))
    assert list(transfer.evaluate(Evidence(OURS, MANIFEST, PARAMS, shuffled))) == expected


def test_without_a_baseline_nothing_is_claimed() -> None:
    assert list(transfer.evaluate(Evidence(OURS, MANIFEST, PARAMS))) == []


def test_a_model_is_not_compared_with_itself() -> None:
    with pytest.raises(EvidenceMissing, match="the same model"):
        list(transfer.evaluate(Evidence(OURS, MANIFEST, PARAMS, OURS)))
