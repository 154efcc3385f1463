"""The same images on every path: bit for bit on a CPU, and a path that differs fails by its name."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tasks.check_parity import PARITY, check_parity
from tasks.errors import AnswersDiffer
from tests.small_model import write_run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    return {**write_run(tmp_path), "out": tmp_path / "parity"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="bits are promised on a CPU alone")
def test_training_predictions_and_logged_model_agree_bit_for_bit(run: dict[str, Path]) -> None:
    check_parity.fn(**run)
    told = json.loads((run["out"] / PARITY).read_text())
    assert told["device"] == "cpu"
    assert [(path["images"], path["largest"], path["allowed"]) for path in told["paths"][:3]] == [(12, 0.0, 0.0)] * 3
    alone = told["paths"][3]
    assert alone["between"].startswith("the logged model, image by image")
    assert alone["largest"] <= alone["allowed"] == 1e-5


def test_predictions_of_other_pixels_fail_by_name(run: dict[str, Path]) -> None:
    file = run["predictions"] / "predictions.parquet"
    table = pd.read_parquet(file)
    table.loc[3, ["prob_cat", "prob_dog"]] += [0.01, -0.01]
    table.to_parquet(file, index=False)
    with pytest.raises(
        AnswersDiffer, match=r"through the network and predict's table: apart by up to 0.01 on 12 images"
    ):
        check_parity.fn(**run)
    assert not (run["out"] / PARITY).exists()


def test_a_logged_model_that_resizes_otherwise_fails_by_name(
    run: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nearest(image: Image.Image, size: int) -> np.ndarray:
        return np.asarray(image.resize((size, size), Image.Resampling.NEAREST), dtype=np.uint8).transpose(2, 0, 1)

    monkeypatch.setattr("tasks.scorer.to_pixels", nearest)  # which the logged code takes, and training does not
    with pytest.raises(AnswersDiffer, match="the logged model and predict's table: apart by up to"):
        check_parity.fn(**run)


def test_pixels_that_are_decoded_otherwise_in_use_fail_by_name(
    run: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.check_parity.decode", lambda content, name: Image.new("RGB", (36, 40)))
    with pytest.raises(AnswersDiffer, match="pixels in training and in use, grey levels: apart by up to 2"):
        check_parity.fn(**run)
