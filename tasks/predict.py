"""Score every image outside the training part with one model: the table that all evaluation reads."""

import logging
from pathlib import Path

import pandas as pd

from tasks.digests import sha256_file
from tasks.pixels import load_pixels
from tasks.scorer import WEIGHTS, Scorer
from tasks.stage import stage

TABLE = "predictions.parquet"
AS_TAKEN = "as taken"
logger = logging.getLogger("tasks.predict")


@stage
def predict(data: Path, manifest: Path, model: Path, out: Path) -> None:
    """Write predictions.parquet: a row an image of validation, calibration, test and mirror."""
    table = scored_images(manifest)
    scored = score(data, table, model)
    scored.to_parquet(out / TABLE, index=False)
    logger.info("scored %d images with %s", len(scored), model)


def scored_images(manifest: Path) -> pd.DataFrame:
    """The manifest's rows outside train, in its order."""
    table = pd.read_parquet(manifest / "manifest.parquet")
    return table[table["split"] != "train"].reset_index(drop=True)


def score(data: Path, table: pd.DataFrame, model: Path) -> pd.DataFrame:
    """The predictions of the model folder for the images that `table` lists (columns image_id, path, sha256)."""
    scorer = Scorer(model)
    probabilities = scorer.probabilities(load_pixels(data, table, scorer.facts["image_size"]))
    predicted = [scorer.classes[k] for k in probabilities.argmax(axis=1)]
    columns = {f"prob_{label}": probabilities[:, k] for k, label in enumerate(scorer.classes)}
    return pd.DataFrame(
        {
            "image_id": table["image_id"],
            "condition": AS_TAKEN,
            "predicted": predicted,
            "model": sha256_file(model / WEIGHTS),
            **columns,
        }
    )
