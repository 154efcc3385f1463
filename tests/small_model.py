"""A model folder of the smallest architecture with random weights, and images with what it says of them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from tasks.digests import sha256_file
from tasks.predict import score

FACTS = {"architecture": "test_resnet", "classes": ["cat", "dog"], "image_size": 32, "temperature": 1.5, "options": {}}


def write_model(folder: Path, seed: int = 0) -> Path:
    """The folder, as finetune leaves one."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    save_file(timm.create_model("test_resnet", num_classes=2).state_dict(), folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps({**FACTS, "mean": [0.5] * 3, "std": [0.5] * 3}))
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
