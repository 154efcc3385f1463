"""Score the candidate and the baseline from scratch on the same test images, made harder step by step.

Common corruptions (tasks/corruptions.py), faults of a scanner (tasks/conditions.py), and adversarial images
(tasks/attacks.py), made against each network by its own gradient.
"""

import logging
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tasks.attacks import ATTACKS, Network, attack
from tasks.corruptions import CORRUPTIONS, corrupt
from tasks.digests import sha256_file, sha256_text
from tasks.metrics import PROBABILITY
from tasks.params import StressParams
from tasks.pixels import load_pixels
from tasks.scorer import WEIGHTS, Scorer
from tasks.slices import drawn_images
from tasks.stage import stage

TABLE = "stress.parquet"
BATCH = 64  # images: what a layer writes stays in the processor's cache, twice as quick as 256
WORKERS = 4  # at most; each holds the images under one condition
logger = logging.getLogger("tasks.stress")


@stage
def stress(data: Path, manifest: Path, model: Path, scratch: Path, params: StressParams, out: Path) -> None:
    """Write stress.parquet, predictions by condition (`shot noise 3`, `pgd 2/255`) of both models."""
    table = drawn_images(pd.read_parquet(manifest / "manifest.parquet"), params.images, params.seed)
    models = [Model(Scorer(folder), sha256_file(folder / WEIGHTS)) for folder in (model, scratch)]
    pixels = load_pixels(data, table, models[0].scorer.facts["image_size"])
    images = Images(table, pixels, params)
    conditions = [
        *(("corruption", kind, str(level)) for kind in CORRUPTIONS for level in params.severities),
        *(("scanner", kind, str(level)) for kind in params.conditions for level in params.severities),
        *(("attack", kind, radius) for kind in ATTACKS for radius in params.radii),
    ]
    # One thread a condition: the bytes then do not depend on the cores, and threads do not wait for one another.
    pool = ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1), "stress", torch.set_num_threads, (1,))
    with warnings.catch_warnings(), pool:
        warnings.filterwarnings("ignore", "Input Tensor")  # Captum says at each step that it switched gradients on
        parts = list(pool.map(lambda condition: images.under(models, *condition), conditions))
    pd.concat(parts, ignore_index=True).to_parquet(out / TABLE, index=False)
    logger.info("scored %d test images under %d conditions, by 2 models", len(table), len(conditions))


@dataclass(frozen=True)
class Model:
    """A network that answers, and the digest of its weights."""

    scorer: Scorer
    digest: str

    @property
    def network(self) -> Network:
        """Logits from images of 0 to 1."""
        return Network(self.scorer.net, self.scorer.facts)

    def predictions(self, images: torch.Tensor) -> pd.DataFrame:
        """float (N, 3, S, S) of 0 to 1 -> predicted, model and the probabilities, as tasks/predict.py has them."""
        classes, temperature = self.scorer.classes, self.scorer.facts["temperature"]
        with torch.inference_mode():
            logits = torch.cat([self.network(part.to(self.scorer.device)).cpu() for part in images.split(BATCH)])
        told = torch.softmax(logits.double() / temperature, dim=1).numpy().astype(np.float32)
        columns = {f"{PROBABILITY}{label}": told[:, k] for k, label in enumerate(classes)}
        return pd.DataFrame({"predicted": [classes[k] for k in told.argmax(axis=1)], "model": self.digest, **columns})


@dataclass(frozen=True)
class Images:
    """The test images: their rows of the manifest, and uint8 pixels (N, 3, S, S)."""

    table: pd.DataFrame
    pixels: torch.Tensor
    params: StressParams

    def under(self, models: list[Model], family: str, kind: str, level: str) -> pd.DataFrame:
        """What the models say of the images under one condition; families are corruption, scanner and attack."""
        found = []
        for model, images in zip(models, self._changed(kind, level, models), strict=True):
            rows = model.predictions(images)
            rows.insert(0, "image_id", self.table["image_id"])
            rows.insert(1, "condition", f"{kind} {level}")
            rows.insert(2, "family", family)
            found.append(rows)
        return pd.concat(found, ignore_index=True)

    def _changed(self, kind: str, level: str, models: list[Model]) -> list[torch.Tensor]:
        """For each model the images, float (N, 3, S, S) of 0 to 1; a corruption is the same for all."""
        if kind in ATTACKS:
            return [self._attacked(kind, level, model) for model in models]
        seeds = [int(sha256_text(f"{self.params.seed} {name}")[:15], 16) for name in self.table["image_id"]]
        return [corrupt(kind, self.pixels, int(level), seeds).float() / 255] * len(models)

    def _attacked(self, kind: str, radius: str, model: Model) -> torch.Tensor:
        truth = torch.from_numpy(pd.Index(model.scorer.classes).get_indexer(self.table["label"]))
        images, device = self.pixels.float() / 255, model.scorer.device
        size, steps = float(Fraction(radius)), self.params.steps
        return attack(kind, model.network, images.to(device), truth.to(device), size, steps).cpu()
