"""Drawn samples for the tests of drift: correlated embeddings, and probabilities that depend on them."""

import numpy as np
import pandas as pd

from tasks.samples import Sample
from tasks.snapshot import Snapshot

CLASSES = 4


def drawn(n: int, random: np.random.Generator, shift: float = 0.0, width: int = 8) -> Sample:
    """Embeddings (n, width) of unequal spread, moved by `shift` along the narrowest direction."""
    embeddings = random.normal(size=(n, width)) * np.geomspace(3, 0.3, width)
    embeddings[:, -1] += shift
    told = np.exp(embeddings[:, :CLASSES])
    return Sample(told / told.sum(axis=1, keepdims=True), embeddings)


def snapshot_of(sample: Sample, prefix: str = "image") -> Snapshot:
    """The sample with ids and two slicings, one of which follows the first feature."""
    slices = pd.DataFrame(
        {
            "side": np.where(sample.embeddings[:, 0] > 0, "right", "left"),
            "parity": np.where(np.arange(len(sample)) % 2, "odd", "even"),
        }
    )
    ids = tuple(f"{prefix} {place}" for place in range(len(sample)))
    return Snapshot(ids, sample.probabilities, sample.embeddings, slices, sample.units)
