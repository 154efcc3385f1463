"""All images of a manifest as one uint8 tensor, decoded once, in parallel, each checked against its sha256."""

import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tasks.errors import DigestMismatch
from tasks.images import decode
from tasks.scorer import to_pixels

logger = logging.getLogger("tasks.pixels")


def load_pixels(root: Path, manifest: pd.DataFrame, size: int) -> torch.Tensor:
    """The images of `manifest` (columns path, sha256), in its order, as uint8 (N, 3, size, size).

    Raises DigestMismatch when a file is not the one that the manifest lists.
    """
    pixels = np.empty((len(manifest), 3, size, size), dtype=np.uint8)

    def read(place: int, path: str, sha256: str) -> None:
        content = (root / path).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DigestMismatch(f"{root / path} changed after the data check; run the release again from the start")
        pixels[place] = to_pixels(decode(content, path), size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(read, range(len(manifest)), manifest["path"], manifest["sha256"]))
    logger.info("decoded %d images at %d x %d", len(manifest), size, size)
    return torch.from_numpy(pixels)
