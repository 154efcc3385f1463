"""Golden answers: which images, and what makes a version not the one that was judged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.errors import DigestMismatch, EvidenceMissing, RegistryTrouble
from tasks.golden import APART, COUNT, GOLDEN, check_answers, golden_answers, read_golden
from tests.small_model import write_run

PROBABILITIES = ["prob_cat", "prob_dog"]


class Answers:
    """A model that answers what it is given."""

    def __init__(self, answer: pd.DataFrame) -> None:
        self.answer = answer

    def predict(self, images: pd.DataFrame) -> pd.DataFrame:
        assert list(images) == ["image"]
        return self.answer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def golden(run: dict[str, Path]) -> pd.DataFrame:
    return golden_answers(run["data"], run["manifest"], run["predictions"])


def test_images_are_the_test_images_that_the_model_was_least_sure_of(
    run: dict[str, Path], golden: pd.DataFrame
) -> None:
    judged = pd.read_parquet(run["predictions"] / "predictions.parquet").set_index("image_id")[PROBABILITIES]
    least = sorted(judged.max(axis=1))[:COUNT]
    assert list(golden[PROBABILITIES].max(axis=1)) == pytest.approx(least)
    for name, content in zip(golden["image_id"], golden["image"], strict=True):
        assert content == (run["data"] / name).read_bytes()
        assert judged.loc[name].to_list() == golden.set_index("image_id").loc[name, PROBABILITIES].to_list()


def test_they_come_back_from_beside_the_model_as_they_went(golden: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(EvidenceMissing, match=r"version 1 has no golden\.parquet beside it"):
        read_golden(tmp_path, "version 1")
    golden.to_parquet(tmp_path / GOLDEN, index=False)
    pd.testing.assert_frame_equal(read_golden(tmp_path, "version 1"), golden, check_exact=True)


def test_answers_may_differ_by_rounding_alone(golden: pd.DataFrame) -> None:
    near = golden.assign(prob_cat=golden["prob_cat"] + APART / 2)
    assert check_answers(Answers(near), golden, "version 1") == pytest.approx(APART / 2)
    with pytest.raises(RegistryTrouble, match=r"version 1 answers differently from what was judged, by up to 0\.0002"):
        check_answers(Answers(golden.assign(prob_cat=golden["prob_cat"] + 2 * APART)), golden, "version 1")


def test_answer_that_is_no_number_is_a_different_answer(golden: pd.DataFrame) -> None:
    with pytest.raises(RegistryTrouble, match="differently"):
        check_answers(Answers(golden.assign(prob_cat=np.nan)), golden, "version 1")


def test_classes_in_another_order_are_other_classes(golden: pd.DataFrame) -> None:
    turned = golden[["image_id", "image", *PROBABILITIES[::-1]]]
    with pytest.raises(RegistryTrouble, match="other classes"):
        check_answers(Answers(turned), golden, "version 1")


def test_image_that_is_not_the_judged_one_is_refused(run: dict[str, Path], golden: pd.DataFrame) -> None:
    file = run["data"] / golden["image_id"][0]
    content = file.read_bytes()
    try:
        file.write_bytes(content + b"more")
        with pytest.raises(DigestMismatch, match="is not the image that was judged"):
            golden_answers(run["data"], run["manifest"], run["predictions"])
    finally:
        file.write_bytes(content)


def test_predictions_without_a_test_image_are_missing_evidence(run: dict[str, Path], tmp_path: Path) -> None:
    table = pd.read_parquet(run["predictions"] / "predictions.parquet")
    table.head(0).to_parquet(tmp_path / "predictions.parquet")
    with pytest.raises(EvidenceMissing, match="no image of test"):
        golden_answers(run["data"], run["manifest"], tmp_path)
