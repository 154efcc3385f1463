"""Between two models: the ends are the models, BatchNorm is measured anew, and flips decide before accuracy does."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from flows.release import refused_before
from tasks.digests import identity, sha256_file
from tasks.interpolate import blend, can_interpolate, interpolate
from tasks.params import InterpolateParams
from tasks.scorer import FACTS, WEIGHTS, Scorer, normalise

FACTS_OF: dict[str, Any] = {
    "architecture": "test_resnet",
    "options": {},
    "classes": ["cat", "dog"],
    "image_size": 32,
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "temperature": 1.0,
    "training": ["trained here"],
}


def write_model(folder: Path, seed: int, **facts: Any) -> Path:
    torch.manual_seed(seed)
    folder.mkdir()
    net = timm.create_model("test_resnet", num_classes=2)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, folder / WEIGHTS)
    (folder / FACTS).write_text(json.dumps(FACTS_OF | facts))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("models")
    return write_model(root / "old", 1), write_model(root / "new", 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images of noise, each in its split, and their manifest."""
    root, random, rows = tmp_path_factory.mktemp("data"), np.random.default_rng(0), []
    for place in range(48):
        Image.fromarray(random.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(root / f"{place}.png")
        split = ("train", "validation", "calibration")[place % 3]
        rows.append((str(place), f"{place}.png", ["cat", "dog"][place % 2], split, str(place)))
    table = pd.DataFrame(rows, columns=["image_id", "path", "label", "split", "group"])
    (root / "split").mkdir()
    table["sha256"] = [sha256_file(root / path) for path in table["path"]]
    table.to_parquet(root / "split/manifest.parquet")
    return root, root / "split"


def test_parameters_lie_between_and_statistics_are_those_of_the_training_images(models: tuple[Path, Path]) -> None:
    old, new = (Scorer(folder, "cpu").net for folder in models)
    ends = [dict(Scorer(folder, "cpu").net.named_parameters()) for folder in models]
    images = torch.randint(0, 255, (100, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    blend(old, new, 0.25, images, FACTS_OF)
    for name, parameter in new.named_parameters():
        assert torch.allclose(parameter, 0.25 * ends[1][name] + 0.75 * ends[0][name])
    inputs = []
    first = next(m for m in new.modules() if isinstance(m, torch.nn.BatchNorm2d))
    hook = first.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        new(normalise(images, FACTS_OF["mean"], FACTS_OF["std"]))
    hook.remove()
    assert torch.allclose(first.running_mean, inputs[0].mean(dim=(0, 2, 3)), atol=1e-4)
    assert not new.training


@pytest.mark.parametrize(("budget", "fewest"), [(1.0, False), (-1.0, True)])
def test_the_share_is_chosen_on_validation(
    models: tuple[Path, Path], data: tuple[Path, Path], tmp_path: Path, budget: float, fewest: bool
) -> None:
    shares = [0.2, 0.5, 0.8]
    interpolate.fn(*data, *models, budget, InterpolateParams(shares=shares), tmp_path)
    chosen = json.loads((tmp_path / FACTS).read_text())["interpolated"]
    pixels = torch.from_numpy(np.stack([_pixels(data[0], k) for k in range(1, 48, 3)]))
    train = torch.from_numpy(np.stack([_pixels(data[0], k) for k in range(0, 48, 3)]))
    truth = np.array([k % 2 for k in range(1, 48, 3)])
    old = Scorer(models[0], "cpu")
    before, outcomes = old.probabilities(pixels).argmax(axis=1) == truth, {}
    for share in shares:
        new = Scorer(models[1], "cpu")
        blend(old.net, new.net, share, train, FACTS_OF)
        hits = new.probabilities(pixels).argmax(axis=1) == truth
        outcomes[share] = (hits.mean(), (before & ~hits).mean())
    wanted = min(v[1] for v in outcomes.values()) if fewest else max(v[0] for v in outcomes.values())
    assert outcomes[chosen["share"]][1 if fewest else 0] == wanted
    assert chosen["of"] == identity(models[1])
    assert (chosen["validation_accuracy"], chosen["validation_negative_flips"]) == outcomes[chosen["share"]]
    assert not torch.equal(
        load_file(tmp_path / WEIGHTS)["conv1.0.weight"], load_file(models[1] / WEIGHTS)["conv1.0.weight"]
    )


def test_a_candidate_is_not_compared_with_a_champion_that_was_mixed_from_it(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    for name, made_of in (("mixed", identity(models[1])), ("other", "somebody else")):
        write_model(tmp_path / name, 1, interpolated={"share": 0.5, "of": made_of})
    run, champions = tmp_path / "run", tmp_path / "champions"
    shutil.copytree(models[1], run / "model")
    for name in ("mixed", "other"):
        shutil.copytree(tmp_path / name, champions / name / "model")
    assert "the mixture of it and the one before" in str(refused_before(run, champions / "mixed"))
    assert refused_before(run, champions / "other") is None
    assert refused_before(run, tmp_path / "nobody") is None


def _pixels(root: Path, place: int) -> np.ndarray:
    return np.asarray(Image.open(root / f"{place}.png")).transpose(2, 0, 1).copy()


def test_only_weights_of_one_network_and_the_same_classes_can_be_mixed(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    assert can_interpolate(*models)
    assert not can_interpolate(tmp_path / "nobody", models[1])
    assert not can_interpolate(write_model(tmp_path / "birds", 1, classes=["bird", "dog"]), models[1])
