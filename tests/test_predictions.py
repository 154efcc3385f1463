"""What is evaluated is each image of test and mirror, once, with sound probabilities; all else is refused by name."""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from drawn_predictions import draw_manifest, draw_predictions

from tasks.errors import EvidenceMissing
from tasks.predictions import join_predictions, model_of, read_table

MANIFEST = draw_manifest()
PREDICTIONS = draw_predictions(MANIFEST, 2, seed=1)
Change = Callable[[pd.DataFrame], pd.DataFrame]


def test_the_joined_table_holds_test_and_mirror_alone_whatever_the_order() -> None:
    table = join_predictions(PREDICTIONS.sample(frac=1, random_state=0), MANIFEST)
    assert set(table["split"]) == {"test", "mirror"}
    assert table.equals(join_predictions(PREDICTIONS, MANIFEST))
    row = table.set_index("image_id").loc["mirror/3 noise"]
    assert (row["label"], row["unit"], row["slice_condition"]) == ("a", "mirror/3", "noise")


def put(column: str, value: object, image: str = "test/5") -> Change:
    def change(predictions: pd.DataFrame) -> pd.DataFrame:
        return predictions.assign(**{column: predictions[column].where(predictions["image_id"] != image, value)})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[p["image_id"] != "mirror/2 faded"], "1 images without a prediction: mirror/2 faded"),
        (lambda p: pd.concat([p, p[p["image_id"] == "test/7"]]), "1 images predicted twice: test/7"),
        (put("image_id", "test/999"), "1 images predicted but not in the manifest: test/999"),
        (put("condition", "blurred"), "without a prediction: test/5"),
        (put("prob_a", math.nan), "probability that is not a number from 0 to 1: test/5"),
        (put("prob_a", -0.5), "probability that is not a number from 0 to 1: test/5"),
        (put("prob_a", 0.9999), "whose probabilities do not add up to 1: test/5"),
        (put("predicted", "z"), "predicted label is not the most probable: test/5"),
        (lambda p: p.drop(columns=["prob_c"]), r"labels \['c'\] are unknown to the model, which knows a, b"),
        (lambda p: p.drop(columns=["prob_a", "prob_b", "prob_c"]), "no column prob_<label>"),
        (lambda p: p.drop(columns="predicted"), "lack the column predicted"),
    ],
)
def test_unsound_predictions_are_refused_by_name(change: Change, message: str) -> None:
    with pytest.raises(EvidenceMissing, match=message):
        join_predictions(change(PREDICTIONS), MANIFEST)


def test_only_the_first_of_many_images_are_named() -> None:
    with pytest.raises(EvidenceMissing, match=r"36 images without a prediction: mirror/0 faded, (.*, ){4}\.\.\."):
        join_predictions(PREDICTIONS[~PREDICTIONS["image_id"].str.startswith("mirror")], MANIFEST)


def test_a_manifest_with_nothing_to_judge_is_refused() -> None:
    with pytest.raises(EvidenceMissing, match="no image in test or mirror"):
        join_predictions(PREDICTIONS, MANIFEST.assign(split="train"))


def test_predictions_of_two_models_are_refused() -> None:
    with pytest.raises(EvidenceMissing, match="come from 2 models"):
        model_of(put("model", "f" * 64)(PREDICTIONS))


def test_a_table_is_read_from_its_file_or_its_folder(tmp_path: Path) -> None:
    PREDICTIONS.to_parquet(tmp_path / "predictions.parquet")
    assert read_table(tmp_path).equals(read_table(tmp_path / "predictions.parquet"))
    (tmp_path / "other.parquet").write_text("x")
    with pytest.raises(EvidenceMissing, match="found 2"):
        read_table(tmp_path)
    with pytest.raises(EvidenceMissing, match="cannot read"):
        read_table(tmp_path / "other.parquet")
