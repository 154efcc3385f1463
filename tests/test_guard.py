"""The guard of a model: read only whole, flags what is above its thresholds, abstains on what the rules name."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.errors import BadInput, DigestMismatch, EvidenceMissing
from tasks.guard import GUARD, TENSORS, Guard
from tasks.penultimate import FeatureScorer
from tests.small_model import write_guard, write_model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("guarded")
    write_guard(root / "guard", write_model(root / "model"))
    return root


@pytest.fixture
def copied(place: Path, tmp_path: Path) -> Path:
    for name in (GUARD, TENSORS):
        (tmp_path / name).write_bytes((place / "guard" / name).read_bytes())
    return tmp_path


def scored(place: Path, pixels: np.ndarray, guard: Guard) -> list[dict[str, float]]:
    scorer = FeatureScorer(place / "model", "cpu")
    return guard.ask(pixels, scorer.answer)[2]


def test_ordinary_images_pass_and_flat_ones_are_flagged_with_a_sentence(place: Path) -> None:
    guard = Guard.load(place / "guard")
    static = np.random.default_rng(9).integers(0, 255, (20, 3, 32, 32), dtype=np.uint8)
    ordinary = scored(place, static, guard)
    assert sum(bool(guard.blocks(found)) for found in ordinary) <= 2
    (found,) = scored(place, np.full((1, 3, 32, 32), 255, dtype=np.uint8), guard)
    (reason,) = guard.blocks(found)
    assert reason.startswith("the image is unlike those that the model learnt from: its distance")
    assert reason in guard.flags(found)


def test_monitors_block_only_where_the_rules_name_them(place: Path) -> None:
    guard = Guard.load(place / "guard")
    found = {"ood": 0.0, "squeezing": 2.0, "high_frequency": 0.0}
    assert guard.blocks(found) == ()
    (reason,) = guard.blocks(found, ("ood", "squeezing"))
    assert reason.startswith("the answer hangs on fine detail")


def test_score_that_is_no_number_or_missing_never_lets_an_image_in(place: Path) -> None:
    guard = Guard.load(place / "guard")
    assert guard.blocks({"ood": math.nan}) == ("the score ood is not a number",)
    with pytest.raises(EvidenceMissing, match="the scores ood are missing"):
        guard.blocks({"high_frequency": 0.0})


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_squeezing_asks_the_model_once_and_for_its_share_of_the_images(copied: Path, place: Path, share: float) -> None:
    document = json.loads((copied / GUARD).read_text())
    document["facts"]["squeeze_share"] = share
    (copied / GUARD).write_text(json.dumps(document))
    guard, scorer, asked = Guard.load(copied), FeatureScorer(place / "model", "cpu"), []
    pixels = np.random.default_rng(2).integers(0, 255, (200, 3, 32, 32), dtype=np.uint8)

    def answer(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(images))
        return scorer.answer(images)

    *told, found = guard.ask(pixels, answer)
    sampled = sum("squeezing" in scores for scores in found)
    assert sampled == pytest.approx(200 * share, abs=25)
    assert asked == [200 + 2 * sampled]
    for given, expected in zip(told, scorer.answer(torch.from_numpy(pixels)), strict=True):
        np.testing.assert_allclose(given, expected, atol=2e-3)
    alone = scored(place, pixels[:1], guard)  # the same image is sampled or not, in whatever batch
    assert ("squeezing" in alone[0]) == ("squeezing" in found[0])


def test_scores_of_one_image_cost_little_beside_its_answer(place: Path) -> None:
    guard, scorer = Guard.load(place / "guard"), FeatureScorer(place / "model", "cpu")
    pixels = np.random.default_rng(2).integers(0, 255, (1, 3, 64, 64), dtype=np.uint8)
    told = scorer.answer(torch.from_numpy(np.concatenate([pixels] * 3)))
    taken = []
    for _ in range(15):
        began = time.perf_counter()
        guard.ask(pixels, lambda images: tuple(one[: len(images)] for one in told))
        taken.append(time.perf_counter() - began)
    assert min(taken) < 0.005  # beyond the passes through the network; a busy machine only adds


def test_changed_tensors_are_not_opened(copied: Path) -> None:
    (copied / TENSORS).write_bytes((copied / TENSORS).read_bytes()[:-1] + b"\1")
    with pytest.raises(DigestMismatch, match=r"guard\.safetensors is not the file that guard\.json names"):
        Guard.load(copied)


@pytest.mark.parametrize("name", [GUARD, TENSORS])
def test_part_that_is_not_there_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(EvidenceMissing, match=f"has no {name}; a model without its guard is not served"):
        Guard.load(copied)


def test_guard_that_lacks_a_threshold_is_none(copied: Path) -> None:
    document = json.loads((copied / GUARD).read_text())
    del document["thresholds"]["squeezing"]
    (copied / GUARD).write_text(json.dumps(document))
    with pytest.raises(EvidenceMissing, match=r"is not a guard \('squeezing'\)"):
        Guard.load(copied)


def test_answers_for_other_images_are_refused(place: Path) -> None:
    guard = Guard.load(place / "guard")
    pixels, two = np.zeros((1, 3, 32, 32), dtype=np.uint8), np.zeros((2, 2))
    with pytest.raises(BadInput, match="came with 4 answers"):
        guard.ask(pixels, lambda _: (np.zeros((4, 2)), two))
