"""One trial on small real components: what it measures, what it keeps, and what it does when a part is missing."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import tasks.run_trial
from tasks.conditions import apply_condition
from tasks.digests import sha256_file
from tasks.params import CertifyParams, FinetuneParams, load_section
from tasks.recipes import method_recipe
from tasks.run_trial import run_trial, simulate
from tasks.trials import Ground, Trial, file_stem, read_measured, survey, with_suffix

CERTIFY = load_section(CertifyParams, Path("params.yaml"))
FINETUNE = load_section(FinetuneParams, Path("params.yaml")).model_copy(update={"image_size": 32})
SPLITS = ("train", "train", "validation", "calibration", "test", "mirror")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 drawn images in two classes, their manifest, a small backbone, and the recipe of its source task."""
    root = tmp_path_factory.mktemp("ground")
    random = np.random.default_rng(0)
    rows = []
    for place in range(72):
        pixels = random.integers(90, 160, (32, 32, 3), dtype=np.uint8)
        pixels[:, :16] = 30 if place % 2 else 220
        path = f"{place:02d}.png"
        Image.fromarray(pixels).save(root / path)
        row = {
            "image_id": path,
            "path": path,
            "label": ["light", "dark"][place % 2],
            "sha256": sha256_file(root / path),
        }
        rows.append({**row, "split": SPLITS[place // 2 % 6], "group": f"s{place // 4}", "unit": path})
    (root / "split").mkdir()
    pd.DataFrame(rows).to_parquet(root / "split/manifest.parquet")
    (root / "backbone").mkdir()
    torch.manual_seed(5)
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), root / "backbone/backbone.safetensors")
    source = {"recipe": {"classes": 3, "image_size": 32, "seed": 3}}
    (root / "backbone/pretrain.json").write_text(json.dumps(source))
    passport = {"name": "tiny", "architecture": "test_resnet", "mean": [0.5] * 3, "std": [0.5] * 3, "sha256": "0" * 64}
    passport |= {"weights": {"file": str(root / "backbone/backbone.safetensors")}}
    (root / "backbone/passport.json").write_text(json.dumps(passport))
    return root


def ground_at(folder: Path, out: Path) -> Ground:
    return survey(folder, folder / "split", folder / "backbone", [3], out)


def trial_of(name: str, rates: list[float], seed: int = 1) -> Trial:
    recipe = method_recipe(name, FINETUNE, CERTIFY, 3).model_copy(update={"rates": rates})
    return Trial(recipe=recipe, labels=6, seed=seed)


def test_trial_measures_every_place_and_what_was_forgotten(folder: Path, tmp_path: Path) -> None:
    ground, trial = ground_at(folder, tmp_path), trial_of("full", [0.002, 0.01])
    outcome = run_trial.fn(trial, ground)
    measured = read_measured(file_stem(trial, outcome.best, ground))
    assert measured is not None
    facts, answers = measured
    counts = answers["place"].value_counts().to_dict()
    assert {counts[place] for place in ("test", "mirror", "test/simulated=noise 3")} == {12}
    assert len(counts) == 7
    assert 0 < facts["cka"] < 1
    assert 0 <= facts["source_after"] <= 1
    assert answers["told"].between(0, 1).all()
    assert (answers["confidence"] >= answers["told"] - 1e-12).all()
    assert outcome.best == min(outcome.losses, key=outcome.losses.__getitem__)


def test_probe_forgets_nothing(folder: Path, tmp_path: Path) -> None:
    ground, trial = ground_at(folder, tmp_path), trial_of("probe", [0.01])
    facts, _ = read_measured(file_stem(trial, run_trial.fn(trial, ground).best, ground)) or ({}, None)
    assert facts["cka"] == pytest.approx(1)
    assert facts["source_after"] == facts["source_before"]


def test_what_was_done_is_kept_and_only_what_is_missing_is_done_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground, trial = ground_at(folder, tmp_path), trial_of("scratch", [0.002, 0.01])
    first = run_trial.fn(trial, ground)
    stem = file_stem(trial, first.best, ground)
    before = {path.name: sha256_file(path) for path in stem.parent.iterdir()}
    fitted: list[float] = []
    real = tasks.run_trial.fit
    monkeypatch.setattr(tasks.run_trial, "fit", lambda t, rate, g: (fitted.append(rate), real(t, rate, g))[1])
    assert run_trial.fn(trial, ground) == first
    assert fitted == []
    with_suffix(stem, ".parquet").write_bytes(b"torn")
    assert run_trial.fn(trial, ground) == first
    assert fitted == [first.best]  # training is exact, so the same network comes again
    with_suffix(stem, ".trained.json").write_text('{"sha256": "0", "body": {"loss": 0.0}}')
    assert run_trial.fn(trial, ground) == first
    assert fitted == [first.best] * 2
    assert {path.name: sha256_file(path) for path in stem.parent.iterdir()} == before


def test_result_belongs_to_what_it_was_made_from(folder: Path, tmp_path: Path) -> None:
    ground, trial = ground_at(folder, tmp_path), trial_of("full", [0.01])
    stem = file_stem(trial, 0.01, ground)
    assert file_stem(trial.model_copy(update={"seed": 2}), 0.01, ground) != stem
    assert file_stem(trial, 0.02, ground).name[-16:] != stem.name[-16:]
    smoother = trial.recipe.params.model_copy(update={"label_smoothing": 0.3})
    other = trial.model_copy(update={"recipe": trial.recipe.model_copy(update={"params": smoother})})
    assert file_stem(other, 0.01, ground) != stem
    assert file_stem(trial, 0.01, ground.model_copy(update={"digest": "other"})) != stem
    assert survey(folder, folder / "split", folder / "backbone", [2], tmp_path).digest != ground.digest


def test_simulated_condition_is_that_of_the_sample_and_grey_stays_grey() -> None:
    random = np.random.default_rng(0)
    scan = random.integers(0, 256, (32, 32), dtype=np.uint8)
    pixels = torch.from_numpy(np.stack([scan] * 3)[None])
    changed = simulate("noise", pixels, 3).numpy()[0]
    expected = apply_condition("noise", scan.astype(np.float32), 3, np.random.default_rng([3, 0])).round()
    assert (changed == expected.astype(np.uint8)).all()
    assert (changed[0] == changed[1]).all()
