"""The evaluator of leaks and labels on drawn tables: planted copies, wrong labels, annotators and cues are reported."""

import numpy as np
import pandas as pd
import pytest
from drawn_predictions import CLASSES, PARAMS, draw_embeddings, draw_manifest

from tasks.errors import EvidenceMissing
from tasks.evaluators import leakage
from tasks.evaluators.leakage import BY_FEATURES, EXACT, details, pairs
from tasks.evidence import Evidence
from tasks.findings import Finding, index_findings

MANIFEST = draw_manifest(test=120, train=150).assign(group=lambda table: table["image_id"])
TABLE = draw_embeddings(MANIFEST, seed=1)


def found(table: pd.DataFrame, manifest: pd.DataFrame = MANIFEST) -> dict[tuple[str, str], Finding]:
    return index_findings(leakage.evaluate(evidence(table, manifest)))


def evidence(table: pd.DataFrame, manifest: pd.DataFrame = MANIFEST) -> Evidence:
    return Evidence(manifest, manifest, PARAMS, embeddings=table)


def with_copies(count: int, column: str) -> pd.DataFrame:
    """The first test images take what the column says of the training images with their numbers."""
    table = TABLE.set_index("image_id").copy()
    for number in range(count):
        table.at[f"test/{number}", column] = table.at[f"train/{number}", column]
    return table.reset_index()


def test_without_copies_none_are_reported() -> None:
    index = found(TABLE)
    for split in ("test", "mirror"):
        assert index["near_duplicate_share", split].value == index["exact_duplicates", split].value == 0
    assert pairs(evidence(TABLE)) == []


def test_planted_copies_are_counted_and_named_with_the_image_that_they_copy() -> None:
    table = with_copies(6, "embedding")
    finding = found(table)["near_duplicate_share", "test"]
    assert finding.value == pytest.approx(6 / 120)
    assert finding.low < finding.value < finding.high
    named = pairs(evidence(table))
    assert [(p["image"], p["of"], p["why"]) for p in named] == [
        (f"test/{i}", f"train/{i}", BY_FEATURES) for i in range(6)
    ]
    assert all(p["adjusted_p"] <= PARAMS.false_discovery_rate for p in named)


def test_the_same_pixels_are_found_whatever_the_features_and_the_label_say() -> None:
    table = with_copies(2, "picture")
    manifest = MANIFEST.assign(label=MANIFEST["label"].where(MANIFEST["image_id"] != "test/0", "b"))
    index = found(table, manifest)
    assert index["exact_duplicates", "test"].value == 2
    assert index["exact_duplicates", "mirror"].high == 0
    assert {(p["image"], p["of"], p["why"]) for p in pairs(evidence(table, manifest))} == {
        ("test/0", "train/0", EXACT),
        ("test/1", "train/1", EXACT),
    }


def test_the_same_hash_alone_is_no_copy() -> None:
    """The features of these six are far from those of every training image."""
    table = with_copies(6, "hash").set_index("image_id")
    for number in range(6):
        table.at[f"test/{number}", "embedding"] = np.full(6, -9, dtype=np.float16)
    assert found(table.reset_index())["near_duplicate_share", "test"].value == 0


def test_a_train_split_too_small_to_judge_by_gives_no_figure() -> None:
    manifest = draw_manifest(test=60, train=9)
    assert not found(draw_embeddings(manifest, 1), manifest)["near_duplicate_share", "test"].is_number


def test_wrong_labels_are_estimated_and_listed_with_what_they_may_be() -> None:
    sure = draw_embeddings(MANIFEST, seed=2, skill=8)
    wrong = MANIFEST["image_id"].isin([f"test/{i}" for i in range(0, 24, 2)])
    turned = MANIFEST["label"].map(dict(zip(CLASSES, ["b", "c", "a"], strict=True)))
    manifest = MANIFEST.assign(label=MANIFEST["label"].mask(wrong, turned))
    index = found(sure, manifest)
    assert index["label_error_share", "test"].value == pytest.approx(0.1, abs=0.03)
    assert index["label_error_share", "train"].value < 0.03
    listed = [row for row in details(evidence(sure, manifest))["label_errors"] if row["split"] == "test"]
    truth = MANIFEST.set_index("path")["label"]
    assert {row["image"] for row in listed} >= {f"test/{i}" for i in range(0, 24, 2)}
    assert np.mean([row["suggested"] == truth[row["image"]] for row in listed]) > 0.8


def test_annotators_are_compared_where_there_are_several() -> None:
    assert ("annotator_alpha", "test") not in found(TABLE, MANIFEST.assign(annotator_1=MANIFEST["label"]))
    random = np.random.default_rng(1)
    second = MANIFEST["label"].where(random.uniform(size=len(MANIFEST)) < 0.9, "a")
    index = found(TABLE, MANIFEST.assign(annotator_1=MANIFEST["label"], annotator_2=second))
    finding = index["annotator_alpha", "test"]
    assert 0.8 < finding.low <= finding.value <= finding.high < 1


def test_a_device_that_tells_the_label_is_reported_and_one_that_varies_not_at_all_tells_nothing() -> None:
    index = found(TABLE, MANIFEST.assign(slice_device=MANIFEST["label"] + " camera"))
    assert index["label_cue", "train/device=*"].low > 0.9
    assert index["label_cue", "train/condition=*"].high == 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t[t["image_id"] != "test/3"], "1 images without an embedding: test/3"),
        (lambda t: pd.concat([t, t.head(1)]), "embedded twice: train/0"),
        (lambda t: t.drop(columns="hash"), "lack the column hash"),
        (lambda t: t.assign(reference_a=1.0), "without sound probabilities reference_"),
        (lambda t: t.assign(prob_b=np.nan), "without sound probabilities prob_"),
        (lambda t: t.drop(columns="prob_c"), "unknown to the embeddings"),
    ],
)
def test_an_unsound_table_is_refused_by_name(spoil: object, said: str) -> None:
    with pytest.raises(EvidenceMissing, match=said):
        found(spoil(TABLE))  # type: ignore[operator]
