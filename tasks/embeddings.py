"""The table of embeddings: what each image of the manifest is like, as the stage embed writes and evaluators read it.

A row an image: `picture` (digest of its pixels), `hash` (64 perceptual bits in hexadecimal), `personal` (kinds of
personal data in its file, joined by "; "), `embedding` (the frozen backbone's features, float16); for train and test
also `reference_<label>` (a linear probe's out-of-fold probabilities), and for train `prob_<label>` (the candidate's
probabilities, which the predictions leave out because training images judge nothing) with `model` (its digest).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from tasks.errors import EvidenceMissing
from tasks.metrics import PROBABILITY, classes_of

FILE = "embeddings.parquet"
REFERENCE = "reference_"
JOINED = "; "
COLUMNS = ("image_id", "picture", "hash", "personal", "embedding", "model")
REFERRED = ("train", "test")  # the splits with reference probabilities


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The manifest's rows, each with what the table says of it; `rows` is numbered from 0, as all arrays are."""

    rows: pd.DataFrame

    @cached_property
    def features(self) -> np.ndarray:
        """float64 (n, D), standardised by the training images."""
        raw = np.stack(list(self.rows["embedding"])).astype(float)
        train = raw[self.of("train")]
        spread = train.std(axis=0)
        return (raw - train.mean(axis=0)) / np.where(spread > 0, spread, 1.0)

    @cached_property
    def hashes(self) -> np.ndarray:
        """uint64 (n,)."""
        return np.array([int(text, 16) for text in self.rows["hash"]], dtype=np.uint64)

    @property
    def classes(self) -> list[str]:
        """The labels, in the model's order."""
        return classes_of(self.rows)

    def of(self, split: str) -> np.ndarray:
        """The numbers of a split's rows."""
        return np.flatnonzero((self.rows["split"] == split).to_numpy())

    def truth(self, images: np.ndarray) -> np.ndarray:
        """The class numbers of the labels of the images numbered so."""
        return pd.Index(self.classes).get_indexer(self.rows["label"].iloc[images])

    def reference(self, images: np.ndarray) -> np.ndarray:
        """The out-of-fold probabilities (m, K) of images of train or test."""
        return self._probabilities(REFERENCE, images)

    def candidate(self, images: np.ndarray) -> np.ndarray:
        """The candidate's probabilities (m, K) of images of train."""
        return self._probabilities(PROBABILITY, images)

    def _probabilities(self, prefix: str, images: np.ndarray) -> np.ndarray:
        table: np.ndarray = self.rows[[prefix + label for label in self.classes]].to_numpy(dtype=float)[images]
        return table


def join_embeddings(table: pd.DataFrame, manifest: pd.DataFrame) -> Embeddings:
    """Each image of the manifest with its row of the table; EvidenceMissing names what is not there or not sound."""
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise EvidenceMissing(f"the embeddings lack the column {', '.join(missing)}; run the stage embed again")
    _refuse("embedded twice", table["image_id"][table["image_id"].duplicated()])
    _refuse("without an embedding", manifest["image_id"][~manifest["image_id"].isin(table["image_id"])])
    rows = manifest.merge(table, on="image_id", how="left", validate="one_to_one")
    found = Embeddings(rows)
    unknown = sorted(set(rows["label"]) - set(found.classes))
    if unknown:
        raise EvidenceMissing(f"labels {unknown[:5]} are unknown to the embeddings; run the stage embed again")
    for prefix, splits in ((REFERENCE, REFERRED), (PROBABILITY, ("train",))):
        columns = [prefix + label for label in found.classes]
        if not set(columns) <= set(rows):
            raise EvidenceMissing(f"the embeddings lack columns {prefix}<label>; run the stage embed again")
        told = rows.loc[rows["split"].isin(splits), columns].to_numpy(dtype=float)
        ids = rows.loc[rows["split"].isin(splits), "image_id"]
        _refuse(f"without sound probabilities {prefix}<label>", ids[~sound(told)])
    if not np.isfinite(found.features).all():
        raise EvidenceMissing("the embeddings hold numbers that are not finite; run the stage embed again")
    return found


def sound(told: np.ndarray) -> np.ndarray:
    """Whether each row of (n, K) is a distribution."""
    return (told >= 0).all(axis=1) & (np.abs(told.sum(axis=1) - 1) <= 1e-4)


def columns_of(prefix: str, classes: Sequence[str], probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Probabilities (n, K) as columns of the table."""
    return {prefix + label: probabilities[:, k] for k, label in enumerate(classes)}


def _refuse(what: str, ids: pd.Series) -> None:
    if len(ids):
        raise EvidenceMissing(
            f"{len(ids)} images {what}: {', '.join(map(str, ids[:5]))}; run the stage embed again for this manifest"
        )
