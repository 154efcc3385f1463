"""A model folder of the smallest architecture with random weights, and images with what it says of them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from tasks.digests import identity, sha256_file
from tasks.fit_guard import answer_all, fit_distances, threshold_of
from tasks.guard import Facts, Guard
from tasks.penultimate import FeatureScorer
from tasks.predict import score
from tasks.suspicion import HIGH_FREQUENCY, OOD, SQUEEZING, distances, high_frequency, moved, squeezed
from tasks.told import Terms

FACTS = {"architecture": "test_resnet", "classes": ["cat", "dog"], "image_size": 32, "temperature": 1.5, "options": {}}


def write_model(folder: Path, seed: int = 0) -> Path:
    """The folder, as finetune leaves one."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    save_file(timm.create_model("test_resnet", num_classes=2).state_dict(), folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps({**FACTS, "mean": [0.5] * 3, "std": [0.5] * 3}))
    return folder


def write_guard(folder: Path, model: Path, images: int = 120, rate: float = 0.01) -> Path:
    """A guard of the model, fitted and calibrated on drawn static: half of the images for each."""
    scorer = FeatureScorer(model, "cpu")
    size, half = scorer.facts["image_size"], images // 2
    drawn = np.random.default_rng(0).integers(0, 255, (images, 3, size, size), dtype=np.uint8)
    pixels = torch.from_numpy(drawn)
    told, features = answer_all(scorer, pixels)
    whitener, centres = fit_distances(features[:half], np.arange(half) % len(scorer.classes), len(scorer.classes))
    again, _ = answer_all(scorer, squeezed(pixels[half:], 5, 3))
    scores = {
        OOD: distances(features[half:], whitener, centres),
        SQUEEZING: moved(told[half:], again),
        HIGH_FREQUENCY: high_frequency(pixels[half:], 1.0),
    }
    thresholds = {name: threshold_of(score, rate, 0.95, score) for name, score in scores.items()}
    folder.mkdir(parents=True)
    facts = Facts(identity(model), tuple(scorer.classes), 5, 3, 1.0, 1.0)
    Guard(facts, Terms(0.6, 0.9), thresholds, whitener, centres).save(folder)
    return folder


def write_pictures(folder: Path, count: int, seed: int = 0) -> pd.DataFrame:
    """`count` drawn images and their rows: file_name, label, sha256."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for place in range(count):
        name = f"{place:02d}.png"
        Image.fromarray(random.integers(0, 255, (40, 36, 3), dtype=np.uint8)).save(folder / name)
        rows.append({"file_name": name, "label": ["cat", "dog"][place % 2], "sha256": sha256_file(folder / name)})
    return pd.DataFrame(rows)


def write_run(root: Path, count: int = 24) -> dict[str, Path]:
    """Data, manifest (train and test in turn), model and predictions, by their arguments to a stage."""
    table = write_pictures(root / "data", count).rename(columns={"file_name": "path"})
    table = table.assign(image_id=table["path"], split=["train", "test"] * (count // 2))
    (root / "split").mkdir()
    table.to_parquet(root / "split/manifest.parquet", index=False)
    model = write_model(root / "model")
    (root / "predictions").mkdir()
    outside = table[table["split"] != "train"].reset_index(drop=True)
    score(root / "data", outside, model).to_parquet(root / "predictions/predictions.parquet", index=False)
    return {
        "data": root / "data",
        "manifest": root / "split",
        "predictions": root / "predictions",
        "model": model,
    }
