"""Describe every image of the manifest: what the frozen backbone sees, fingerprints, personal data in its file.

With that come the answers of a reference model, out of fold, on train and test, and those of the candidate on train:
what the questions after leaks, copies, wrong labels and memorised images take. tasks/embeddings.py says which columns
embeddings.parquet has. Production windows are left out: they come after the model.
"""

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tasks.digests import sha256_file
from tasks.embeddings import FILE, JOINED, REFERENCE, REFERRED, columns_of
from tasks.fingerprints import perceptual_hash, picture_digest
from tasks.images import decode
from tasks.metrics import PROBABILITY
from tasks.params import EmbedParams
from tasks.personal_data import personal_data
from tasks.pixels import load_pixels
from tasks.reference import out_of_fold
from tasks.scorer import WEIGHTS, Scorer, outputs_of
from tasks.stage import stage
from tasks.weights import create_backbone

logger = logging.getLogger("tasks.embed")


@stage
def embed(data: Path, manifest: Path, backbone: Path, model: Path, params: EmbedParams, out: Path) -> None:
    """Write embeddings.parquet."""
    table = pd.read_parquet(manifest / "manifest.parquet")
    scorer = Scorer(model)
    pixels = load_pixels(data, table, scorer.facts["image_size"])
    features = frozen_features(backbone, scorer.facts["options"], pixels)
    described = describe_files(data, table)
    described["embedding"] = list(features)
    told = {REFERENCE: answers_of_reference(features, table, scorer.classes, params)}
    told[PROBABILITY] = np.full_like(told[REFERENCE], np.nan)
    train = np.flatnonzero((table["split"] == "train").to_numpy())
    told[PROBABILITY][train] = scorer.probabilities(pixels[torch.from_numpy(train)])
    columns = {k: v for prefix, p in told.items() for k, v in columns_of(prefix, scorer.classes, p).items()}
    described.assign(model=sha256_file(model / WEIGHTS), **columns).to_parquet(out / FILE, index=False)
    logger.info("described %d images by %d features each", *features.shape)


def frozen_features(backbone: Path, options: dict[str, Any], pixels: torch.Tensor) -> np.ndarray:
    """float16 (N, D): what the pretrained backbone, without a head, says of uint8 (N, 3, S, S)."""
    passport = json.loads((backbone / "passport.json").read_text(encoding="utf-8"))
    torch.manual_seed(0)  # a fresh part that the answer does not use
    net = create_backbone(passport["architecture"], backbone / "backbone.safetensors", 0, **options)
    net.eval().to("cuda" if torch.cuda.is_available() else "cpu").to(memory_format=torch.channels_last)
    features = outputs_of(net, pixels, passport["mean"], passport["std"]).numpy()
    most = float(np.finfo(np.float16).max)
    return np.clip(features, -most, most).astype(np.float16)


def answers_of_reference(
    features: np.ndarray, table: pd.DataFrame, classes: list[str], params: EmbedParams
) -> np.ndarray:
    """The probe's out-of-fold probabilities (N, K), NaN outside train and test."""
    told = np.full((len(table), len(classes)), np.nan)
    inside = table["split"].isin(REFERRED).to_numpy()
    rows = table[inside]
    truth = pd.Index(classes).get_indexer(rows["label"])
    few = rows["group"].nunique() < params.folds
    groups = pd.factorize(rows["unit" if few else "group"])[0]
    told[inside] = out_of_fold(features[inside].astype(float), truth, groups, len(classes), params.folds, params.seed)
    return told


def describe_files(data: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The columns image_id, picture, hash and personal, from the files themselves."""

    def describe(row: tuple[str, str]) -> tuple[str, str, str]:
        path, label = row
        content = (data / path).read_bytes()
        image = decode(content, path)
        kinds = personal_data(content, path, label)
        return picture_digest(image), f"{perceptual_hash(image):016x}", JOINED.join(kinds)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        told = list(pool.map(describe, zip(table["path"], table["label"], strict=True)))
    described = pd.DataFrame(told, columns=["picture", "hash", "personal"])
    described.insert(0, "image_id", table["image_id"].to_numpy())
    return described
