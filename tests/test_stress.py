"""The stage stress on drawn images: both models under every condition, the same bytes each time."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_model

from tasks.corruptions import CORRUPTIONS
from tasks.digests import sha256_file
from tasks.params import StressParams
from tasks.predict import score
from tasks.slices import drawn_images
from tasks.stress import stress

CLASSES = ["a", "b", "c"]
PARAMS = StressParams(images=10, severities=[1, 5], conditions=["skew"], radii=["4/255"], steps=2, seed=3)


def write_model(folder: Path, architecture: str, seed: int, size: int = 32) -> Path:
    """A model folder with random weights, as the stage finetune lays it out."""
    torch.manual_seed(seed)
    options = {"img_size": size} if "vit" in architecture else {}
    net = timm.create_model(architecture, num_classes=3, **options)
    folder.mkdir(parents=True)
    save_model(net, str(folder / "model.safetensors"))
    facts = {"architecture": architecture, "options": options, "classes": CLASSES, "image_size": size}
    facts |= {"mean": [0.5] * 3, "std": [0.25] * 3, "temperature": 1.5}
    (folder / "model.json").write_text(json.dumps(facts))
    return folder


def write_data(folder: Path, count: int = 24) -> pd.DataFrame:
    """Images of noise with a block of ink, and the manifest of them, the last four not in test."""
    random, rows = np.random.default_rng(0), []
    (folder / "data").mkdir(parents=True)
    for place in range(count):
        pixels = random.integers(150, 230, (32, 32, 3), dtype=np.uint8)
        pixels[8:24, 8 + place % 3 * 4 : 16 + place % 3 * 4] = 30
        file = folder / "data" / f"{place}.png"
        Image.fromarray(pixels).save(file)
        row = {"image_id": f"i{place}", "path": file.name, "sha256": sha256_file(file), "label": CLASSES[place % 3]}
        rows.append(row | {"split": "test" if place < count - 4 else "train"})
    manifest = pd.DataFrame(rows)
    (folder / "split").mkdir()
    manifest.to_parquet(folder / "split/manifest.parquet")
    return manifest


@pytest.fixture
def inputs(tmp_path: Path, own_state: Path) -> dict[str, Path]:
    write_data(tmp_path)
    models = {name: write_model(tmp_path / name, "test_resnet", seed) for seed, name in enumerate(("model", "scratch"))}
    return {"data": tmp_path / "data", "manifest": tmp_path / "split", **models}


def test_both_models_answer_the_same_images_under_every_condition(inputs: dict[str, Path], tmp_path: Path) -> None:
    out = stress.fn(**inputs, params=PARAMS, out=tmp_path / "stress")
    table = pd.read_parquet(out / "stress.parquet")
    conditions = {f"{kind} {s}" for kind in (*CORRUPTIONS, "skew") for s in (1, 5)} | {"fgsm 4/255", "pgd 4/255"}
    assert set(table["condition"]) == conditions
    assert set(table["family"]) == {"corruption", "scanner", "attack"}
    counts = table.groupby(["condition", "model"])["image_id"].nunique()
    assert set(counts) == {10}
    assert len(counts) == 2 * len(conditions)
    assert table.filter(like="prob_").sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    again = stress.fn(**inputs, params=PARAMS, out=tmp_path / "again")
    assert (again / "stress.parquet").read_bytes() == (out / "stress.parquet").read_bytes()


def test_attacks_lower_the_probability_of_the_truth(inputs: dict[str, Path], tmp_path: Path) -> None:
    out = stress.fn(**inputs, params=PARAMS, out=tmp_path / "stress")
    table, manifest = pd.read_parquet(out / "stress.parquet"), pd.read_parquet(inputs["manifest"] / "manifest.parquet")
    as_taken = score(inputs["data"], manifest[manifest["image_id"].isin(table["image_id"])], inputs["model"])
    answers = pd.concat([as_taken, table[table["model"] == as_taken["model"].iloc[0]]])
    answers = answers.merge(manifest[["image_id", "label"]], on="image_id")
    answers["told"] = [row[f"prob_{row['label']}"] for _, row in answers.iterrows()]
    told = answers.groupby("condition")["told"].mean()
    assert told["pgd 4/255"] < told["as taken"]
    assert told["fgsm 4/255"] < told["as taken"]


def test_which_images_are_drawn_depends_on_seed_and_ids_alone(tmp_path: Path) -> None:
    manifest = write_data(tmp_path)
    chosen = set(drawn_images(manifest, 10, 3)["image_id"])
    assert set(drawn_images(manifest.iloc[::-1], 10, 3)["image_id"]) == chosen
    assert set(drawn_images(manifest, 10, 4)["image_id"]) != chosen
    assert not chosen & set(manifest.loc[manifest["split"] == "train", "image_id"])
    assert len(drawn_images(manifest, 1000, 3)) == 20
