"""What travels between the web process and the workers; nothing heavy is imported for it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Kept:
    """A checked version on disk, and what answers say about it."""

    version: str
    digest: str  # of the model folder
    model: Path
    guard: Path
    decision: int
    data_version: str
    classes: tuple[str, ...]
    image_size: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Images uint8 (N, 3, S, S) for one model. Without images the model is loaded, and nobody waits for that."""

    kept: Kept
    pixels: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model says of N images: probabilities float64 (N, K), features float16 (N, D), guard scores."""

    probabilities: np.ndarray
    features: np.ndarray
    scores: list[dict[str, float]]


@dataclass(frozen=True)
class Prepared:
    """How far a worker is with a model: `loading`, `ready`, or the sentence why it cannot."""

    worker: int
    state: str


@dataclass(frozen=True)
class Failed:
    """Why there is no answer."""

    sentence: str
