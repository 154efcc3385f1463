"""Score registered versions on labelled images of now: one loss an image and version, to choose a fallback by."""

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.best_version import IMAGE_ID, UNIT
from tasks.errors import EvidenceMissing
from tasks.history import registrations
from tasks.predict import score
from tasks.registry import Registry
from tasks.versions import served_model

NEEDED = (IMAGE_ID, "path", "sha256", "label", UNIT)
logger = logging.getLogger("tasks.score_versions")


@task(cache_policy=NO_CACHE)
def score_versions(registry: Registry, versions: Iterable[str], data: Path, images: pd.DataFrame) -> pd.DataFrame:
    """The columns image_id, unit and one a version: 0 where it reads the image right, 1 where not.

    `images` has a row for each labelled image below `data`: image_id, path, sha256, label, unit. Raises EvidenceMissing
    when a label or a column is not there, DigestMismatch when MLflow serves another model than was registered.
    """
    absent = [name for name in NEEDED if name not in images]
    if absent or images["label"].isna().any():
        raise EvidenceMissing(
            f"versions are compared on labelled images alone: {', '.join(absent) or 'a label'} is missing; the columns "
            f"are {', '.join(NEEDED)}"
        )
    losses = images[[IMAGE_ID, UNIT]].reset_index(drop=True)
    entries = registry.ledger.read(registry.project)
    for version in dict.fromkeys(versions):
        losses[version] = _losses(
            registry, version, registrations(entries)[version][0].body["model_digest"], data, images
        )
        if len(losses):
            logger.info("version %s loses %.4g on %d images", version, losses[version].mean(), len(losses))
    return losses


def _losses(registry: Registry, version: str, digest: str, data: Path, images: pd.DataFrame) -> list[float]:
    if images.empty:
        return []
    with served_model(registry, version, digest) as folder:
        answers = score(data, images, folder)
    return [float(right != told) for right, told in zip(images["label"], answers["predicted"], strict=True)]
