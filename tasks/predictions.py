"""Predictions, checked and joined with the manifest: the one table that every evaluator reads.

Evaluation must see each image of test and mirror exactly once, with sound probabilities; anything else is
EvidenceMissing and names the images.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.errors import EvidenceMissing
from tasks.metrics import PROBABILITY, classes_of
from tasks.slices import JUDGED, SLICE

AS_TAKEN = "as taken"
ATTRIBUTED = (
    *("deletion_auc", "insertion_auc", "random_deletion_auc", "random_insertion_auc"),
    *("random_weights_correlation", "border_share", "border_changes", "background_changes"),
)
TOLERANCE = 1e-4  # of a sum of float32 probabilities


def read_table(path: Path) -> pd.DataFrame:
    """Read a parquet file, given as itself or as the folder that holds it alone."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file():
        raise EvidenceMissing(f"expected one parquet file at {path}, found {len(files)}; run the stage that writes it")
    try:
        return pd.read_parquet(files[0])
    except (OSError, ValueError) as error:
        raise EvidenceMissing(f"cannot read {files[0]}: {error}; run the stage that writes it again") from error


def join_predictions(
    predictions: pd.DataFrame, manifest: pd.DataFrame, splits: tuple[str, ...] = JUDGED
) -> pd.DataFrame:
    """The rows of test and mirror, or of other splits, in the manifest's order, each with its prediction and
    probabilities."""
    _require("the predictions", predictions, ["image_id", "predicted", "model"])
    _require("the manifest", manifest, ["image_id", "label", "split", "group", "unit"])
    if "condition" in predictions:
        predictions = predictions[predictions["condition"] == AS_TAKEN]
    _refuse("twice in the manifest", manifest["image_id"][manifest["image_id"].duplicated()])
    _refuse("predicted twice", predictions["image_id"][predictions["image_id"].duplicated()])
    _refuse(
        "predicted but not in the manifest",
        predictions["image_id"][~predictions["image_id"].isin(manifest["image_id"])],
    )
    judged = manifest[manifest["split"].isin(splits)]
    if judged.empty:
        raise EvidenceMissing(f"the manifest has no image in {' or '.join(splits)}; check the split stage's parameters")
    _refuse("without a prediction", judged["image_id"][~judged["image_id"].isin(predictions["image_id"])])
    columns = ["image_id", "label", "split", "group", "unit", *(c for c in judged if c.startswith(SLICE))]
    kept = ["image_id", "predicted", "model", *(PROBABILITY + c for c in classes_of(predictions))]
    table = judged[columns].merge(predictions[kept], on="image_id", how="left", validate="one_to_one")
    _check_values(table)
    return table


def join_conditions(stress: pd.DataFrame, manifest: pd.DataFrame, model: str) -> pd.DataFrame:
    """One model's answers to test images under every condition (tasks/stress.py): condition after condition, each with
    the same images in the manifest's order.
    """
    _require("the stressed predictions", stress, ["image_id", "condition", "family", "predicted", "model"])
    found = stress[stress["model"] == model]
    if found.empty:
        raise EvidenceMissing(f"the stressed predictions hold none of model {model[:12]}; run the stage stress again")
    images, conditions = found["image_id"].drop_duplicates(), found["condition"].drop_duplicates()
    _refuse("stressed twice in one way", found["image_id"][found.duplicated(["image_id", "condition"])])
    _refuse(
        "stressed in one way and not in another", images[images.map(found["image_id"].value_counts()) < len(conditions)]
    )
    test = manifest[(manifest["split"] == "test") & manifest["image_id"].isin(images)]
    _refuse("stressed but not in test", images[~images.isin(test["image_id"])])
    columns = ["image_id", "label", "split", "group", "unit"]
    kept = ["image_id", "condition", "family", "predicted", "model", *(PROBABILITY + c for c in classes_of(stress))]
    order = pd.Index(conditions).get_indexer(found["condition"])
    table = test[columns].merge(found[kept].assign(order=order), on="image_id", how="left", validate="one_to_many")
    table = table.sort_values("order", kind="stable").drop(columns="order").reset_index(drop=True)
    _check_values(table)
    return table


def join_attributions(attributions: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """The attributed test images (tasks/attribute.py) with their group and unit, in the manifest's order."""
    _require("the attributions", attributions, ["image_id", "model", *ATTRIBUTED])
    _refuse("attributed twice", attributions["image_id"][attributions["image_id"].duplicated()])
    test = manifest[manifest["split"] == "test"]
    _refuse("attributed but not in test", attributions["image_id"][~attributions["image_id"].isin(test["image_id"])])
    columns = ["image_id", "label", "split", "group", "unit"]
    return test[columns].merge(attributions, on="image_id", how="inner", validate="one_to_one")


def model_of(table: pd.DataFrame) -> str:
    """The digest of the one model that made these predictions."""
    digests = sorted(set(table["model"]))
    if len(digests) != 1:
        raise EvidenceMissing(
            f"the predictions come from {len(digests)} models, {digests}; run the stage predict again"
        )
    return str(digests[0])


def _check_values(table: pd.DataFrame) -> None:
    classes = classes_of(table)
    if not classes:
        raise EvidenceMissing(f"the predictions have no column {PROBABILITY}<label>; run the stage predict again")
    unknown = sorted({str(label) for label in table["label"]} - set(classes))
    if unknown:
        raise EvidenceMissing(f"labels {unknown[:5]} are unknown to the model, which knows {', '.join(classes)}")
    probabilities = table[[PROBABILITY + c for c in classes]].to_numpy(dtype=float)
    ids = table["image_id"]
    _refuse("with a probability that is not a number from 0 to 1", ids[~_within(probabilities)])
    _refuse("whose probabilities do not add up to 1", ids[np.abs(probabilities.sum(axis=1) - 1) > TOLERANCE])
    place = pd.Index(classes).get_indexer(table["predicted"])
    told = probabilities[np.arange(len(table)), place]
    _refuse("whose predicted label is not the most probable", ids[(place < 0) | (told < probabilities.max(axis=1))])


def _within(probabilities: np.ndarray) -> np.ndarray:
    inside: np.ndarray = (probabilities >= -TOLERANCE) & (probabilities <= 1 + TOLERANCE)  # False for NaN
    return np.logical_and.reduce(inside, axis=1)


def _require(what: str, table: pd.DataFrame, columns: Iterable[str]) -> None:
    missing = [c for c in columns if c not in table]
    if missing:
        raise EvidenceMissing(f"{what} lack the column {', '.join(missing)}; run the stage that writes them again")


def _refuse(what: str, ids: pd.Series) -> None:
    if len(ids):
        shown = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
        raise EvidenceMissing(f"{len(ids)} images {what}: {shown}; run the stage predict again for this manifest")
