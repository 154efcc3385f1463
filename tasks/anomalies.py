"""Which images of a night are least like the reference: how far away their nearest reference images lie.

The mean distance to the k nearest reference embeddings (Ramaswamy, Rastogi & Shim 2000, "Efficient algorithms for
mining outliers from large data sets", SIGMOD), told in units of what is usual among the reference's own images, and as
a conformal p value: how many of those lie as far out (Laxhammar & Falkman 2015, Ann. Math. Artif. Intell. 74).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.errors import EvidenceMissing
from tasks.samples import Sample, distances

CHUNK = 10_000  # images whose distances are held at once


@dataclass(frozen=True)
class Anomaly:
    """One image: `score` 1 is as far out as the median reference image; `p` is the share of those as far out."""

    image_id: str
    score: float
    p: float


def most_anomalous(
    image_ids: Sequence[str],
    current: np.ndarray,
    reference: Sample,
    neighbours: int,
    shown: int,
    largest: int,
    random: np.random.Generator,
) -> tuple[Anomaly, ...]:
    """The `shown` images that lie furthest out, furthest first; `current` (n, D) are their embeddings.

    Of the reference, at most `largest` images are read, drawn at random. Its own images are measured against those of
    other units only. Raises EvidenceMissing when fewer than `neighbours` such images are left.
    """
    if len(reference) > largest:
        reference = reference.take(np.sort(random.choice(len(reference), largest, replace=False)))
    own = distances(reference.embeddings, reference.embeddings)
    own[reference.unit_codes[:, None] == reference.unit_codes] = np.inf
    usual = _nearest(own, neighbours)
    if not np.isfinite(usual).all():
        raise EvidenceMissing(
            f"the reference has images with fewer than {neighbours} images of other units beside them; lower the "
            "rule `neighbours`, or bring a larger reference"
        )
    parts = [current[start : start + CHUNK] for start in range(0, len(current), CHUNK)]
    far = np.concatenate([_nearest(distances(part, reference.embeddings), neighbours) for part in parts])
    p = (1 + len(usual) - np.searchsorted(np.sort(usual), far)) / (1 + len(usual))
    middle = float(np.median(usual))
    if middle <= 0:
        raise EvidenceMissing("at least half of the reference's embeddings are all alike; score the reference again")
    furthest = np.argsort(-far, kind="stable")[:shown]
    return tuple(Anomaly(str(image_ids[i]), float(far[i] / middle), float(p[i])) for i in furthest)


def _nearest(distances: np.ndarray, neighbours: int) -> np.ndarray:
    """The mean of each row's smallest distances, (n,); infinite where there are fewer columns than that."""
    if distances.shape[1] < neighbours:
        return np.full(len(distances), np.inf)
    return np.asarray(np.partition(distances, neighbours - 1, axis=1)[:, :neighbours].mean(axis=1))
