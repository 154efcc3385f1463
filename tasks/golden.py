"""Golden answers: a few test images with what was judged of them, kept beside each registered model.

`golden.parquet` is logged with the model and covered by its digest in the ledger, so that a version can be asked years
later, without its run folder or its data, whether it still answers as it was accepted. The images are those that the
model was least sure of: there a change of a library or of the hardware moves a probability soonest.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from tasks.digests import sha256_file
from tasks.errors import DigestMismatch, EvidenceMissing, RegistryTrouble
from tasks.metrics import PROBABILITY
from tasks.packaging import IMAGE
from tasks.registry import Registry, trouble

GOLDEN = "golden.parquet"
COUNT = 5  # images: enough for each class of a small problem, few enough to be kept with every version
APART = 1e-4  # in probability: what another batch, another machine or a GPU's rounding may change


def golden_answers(data: Path, manifest: Path, predictions: Path) -> pd.DataFrame:
    """The columns image_id, image (the file's bytes) and prob_<class>, in the model's order, least sure first.

    Raises EvidenceMissing without a judged test image, DigestMismatch when an image is not the one that was judged.
    """
    table = pd.read_parquet(manifest / "manifest.parquet").query("split == 'test'").set_index("image_id")
    judged = pd.read_parquet(predictions / "predictions.parquet").set_index("image_id")
    judged = judged.loc[judged.index.isin(table.index), [c for c in judged if c.startswith(PROBABILITY)]]
    if judged.empty:
        raise EvidenceMissing(f"{predictions} holds no image of test, so there is no answer to check a model by")
    chosen = judged.loc[judged.max(axis=1).sort_values(kind="stable").index[:COUNT]]
    images = [_bytes_of(data / table.at[name, "path"], table.at[name, "sha256"]) for name in chosen.index]
    return chosen.reset_index().assign(**{IMAGE: images})[["image_id", IMAGE, *chosen.columns]]


def read_golden(folder: Path, about: str) -> pd.DataFrame:
    """The golden answers in what MLflow serves as a version; EvidenceMissing when it was registered without."""
    file = next(folder.rglob(GOLDEN), None)
    if file is None:
        raise EvidenceMissing(
            f"{about} has no {GOLDEN} beside it in MLflow, so nobody can tell whether it answers as it was accepted; "
            "release that model again, which registers it with one"
        )
    return pd.read_parquet(file)


def check_answers(model: Any, golden: pd.DataFrame, about: str) -> float:
    """The largest difference in probability between a loaded pyfunc's answers and the golden ones.

    Raises RegistryTrouble when the classes or their order differ, or the difference is not below 1e-4.
    """
    columns = [c for c in golden if c.startswith(PROBABILITY)]
    answer = model.predict(golden[[IMAGE]])
    if columns != [c for c in answer if c.startswith(PROBABILITY)]:
        raise RegistryTrouble(f"{about} answers with other classes than were judged; it must not be served")
    apart = float(np.abs(answer[columns].to_numpy() - golden[columns].to_numpy()).max())
    if not apart < APART:
        raise RegistryTrouble(
            f"{about} answers differently from what was judged, by up to {apart:.2g} in probability; "
            "it must not be served"
        )
    return apart


def ask_champion(registry: Registry, version: str, golden: pd.DataFrame) -> None:
    """Load `models:/<name>@champion` as a client would; RegistryTrouble unless it is the version and answers so."""
    found = registry.aliases()["champion"]
    if found != version:
        raise RegistryTrouble(f"champion of {registry.project} is version {found or 'none'}, not version {version}")
    with trouble(registry.chosen):
        model = mlflow.pyfunc.load_model(f"models:/{registry.project}@champion")
    check_answers(model, golden, f"version {version}")


def _bytes_of(file: Path, digest: str) -> bytes:
    if sha256_file(file) != digest:
        raise DigestMismatch(f"{file} is not the image that was judged; bring it back, or run the release again")
    return file.read_bytes()
