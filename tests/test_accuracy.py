"""The accuracy evaluator reports every split, slice and class."""

import math

import pytest
from drawn_predictions import CLASSES, PARAMS, draw_manifest, draw_predictions

from tasks.evaluators import accuracy
from tasks.evidence import Evidence
from tasks.findings import index_findings

MANIFEST = draw_manifest()
PREDICTIONS = draw_predictions(MANIFEST, 2, seed=1)
FOUND = index_findings(accuracy.evaluate(Evidence(PREDICTIONS, MANIFEST, PARAMS)))


def test_every_slice_is_reported_however_small() -> None:
    conditions = {f"mirror/condition={c}" for c in ("faded", "noise", "white on dark")}
    expected = {"test", "test/condition=as scanned", "mirror", *conditions}
    assert {place for metric, place in FOUND if metric == "accuracy"} == expected
    assert FOUND["accuracy", "mirror/condition=faded"].n == 12


@pytest.mark.parametrize("metric", [m.name for m in accuracy.AVERAGES])
def test_every_average_is_reported_on_every_slice(metric: str) -> None:
    assert {p for m, p in FOUND if m == metric} == {p for m, p in FOUND if m == "accuracy"}


def test_units_of_the_mirror_are_resampled_together() -> None:
    mirror, test = FOUND["accuracy", "mirror"], FOUND["accuracy", "test"]
    assert (mirror.n, mirror.clusters, mirror.method) == (36, 12, "wilson and bootstrap of units")
    assert (test.n, test.clusters, test.method) == (60, 60, "wilson")


def test_recall_is_over_the_images_of_a_class_and_precision_over_its_predictions() -> None:
    rows = MANIFEST.merge(PREDICTIONS, on="image_id").query("split == 'test'")
    hits = ((rows["label"] == "b") & (rows["predicted"] == "b")).sum()
    recall, precision = FOUND["recall", "test/label=b"], FOUND["precision", "test/label=b"]
    assert (recall.n, recall.value) == (20, pytest.approx(hits / 20))
    assert (precision.n, precision.value) == (called := (rows["predicted"] == "b").sum(), pytest.approx(hits / called))


def test_a_class_without_test_images_is_reported_as_not_a_number() -> None:
    manifest = MANIFEST[(MANIFEST["label"] != "c") | (MANIFEST["split"] != "test")]
    predictions = PREDICTIONS[PREDICTIONS["image_id"].isin(manifest["image_id"])]
    found = index_findings(accuracy.evaluate(Evidence(predictions, manifest, PARAMS)))
    assert {f"test/label={c}" for c in CLASSES} <= {place for metric, place in found if metric == "recall"}
    assert math.isnan(found["recall", "test/label=c"].value)


def test_an_empty_slice_value_has_a_name() -> None:
    manifest = MANIFEST.assign(slice_condition="")
    found = index_findings(accuracy.evaluate(Evidence(PREDICTIONS, manifest, PARAMS)))
    assert ("accuracy", "mirror/condition=(empty)") in found
