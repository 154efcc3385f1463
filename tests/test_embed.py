"""The stage embed on a drawn image folder and a tiny network: what it writes, and that it writes it again alike."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from conftest import draw, encode
from PIL import ExifTags, Image
from safetensors.torch import save_file

from tasks.digests import sha256_file
from tasks.embed import embed
from tasks.embeddings import join_embeddings
from tasks.params import EmbedParams
from tasks.personal_data import POSITION, SERIAL

PARAMS = EmbedParams(folds=3, seed=1)
SPLITS = ("train", "test", "test", "train", "mirror", "calibration")


def photograph() -> bytes:
    """A JPEG that says where it was taken, and with which camera."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (48, 8, 0)})
    exif.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base.BodySerialNumber: "083024001234"})
    return encode(draw(77).convert("RGB"), "JPEG", exif=exif)


def put_model(folder: Path, name: str, facts: dict[str, object], classes: int) -> None:
    folder.mkdir()
    torch.manual_seed(classes)
    save_file(timm.create_model("test_resnet", num_classes=classes).state_dict(), folder / f"{name}.safetensors")
    about = {"architecture": "test_resnet", "mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / ("model.json" if classes else "passport.json")).write_text(json.dumps(about | facts))


@pytest.fixture
def inputs(image_folder: Callable[..., Path], own_state: Path, tmp_path: Path) -> dict[str, Path]:
    twin = draw(0).convert("RGB")
    data = image_folder({"images/a.jpg": ("a", photograph()), "images/b.bmp": ("b", encode(twin, "BMP"))}, sound=15)
    table = pd.read_csv(data / "metadata.csv").rename(columns={"file_name": "path"})
    table = table.assign(image_id=table["path"], split=[SPLITS[k % 6] for k in range(len(table))])
    table = table.assign(group=table["path"], unit=table["path"])
    table["sha256"] = [sha256_file(data / path) for path in table["path"]]
    (tmp_path / "split").mkdir()
    table.to_parquet(tmp_path / "split/manifest.parquet")
    put_model(tmp_path / "backbone", "backbone", {}, 0)
    facts = {"classes": ["a", "b"], "image_size": 32, "temperature": 1.0, "options": {}}
    put_model(tmp_path / "model", "model", facts, 2)
    return {name: tmp_path / name for name in ("backbone", "model")} | {"data": data, "manifest": tmp_path / "split"}


def test_every_image_is_described_and_only_what_is_asked_is_answered(inputs: dict[str, Path], tmp_path: Path) -> None:
    table = pd.read_parquet(embed.fn(**inputs, params=PARAMS, out=tmp_path / "one") / "embeddings.parquet")
    manifest = pd.read_parquet(inputs["manifest"] / "manifest.parquet")
    found = join_embeddings(table, manifest)
    assert list(table["image_id"]) == list(manifest["image_id"])
    assert len(table["embedding"][0]) == timm.create_model("test_resnet", num_classes=0).num_features
    answered = {prefix: set(found.rows.loc[table[f"{prefix}_a"].notna(), "split"]) for prefix in ("reference", "prob")}
    assert set(table["model"]) == {sha256_file(inputs["model"] / "model.safetensors")}
    assert answered == {"reference": {"train", "test"}, "prob": {"train"}}
    told = table.set_index("image_id")
    assert told.loc["images/a.jpg", "personal"] == f"{POSITION}; {SERIAL}"
    assert (told["personal"].drop("images/a.jpg") == "").all()
    assert told.loc["images/b.bmp", "picture"] == told.loc["images/00.png", "picture"]
    assert told["picture"].nunique() == len(told) - 1
    assert np.ptp(found.features, axis=0).any()


def test_it_writes_the_same_bytes_again(inputs: dict[str, Path], tmp_path: Path) -> None:
    one, other = (embed.fn(**inputs, params=PARAMS, out=tmp_path / name) for name in ("one", "other"))
    assert (one / "embeddings.parquet").read_bytes() == (other / "embeddings.parquet").read_bytes()
