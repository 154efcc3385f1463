"""All images of a manifest as one uint8 tensor: decoded once, in parallel, and kept for whoever asks next.

What was decoded is kept under `state/pixels/`, one file of rows for each image size and version of the decoding code,
with an index of (sha256 of the image file, checksum of the row). Training, evaluation, the nightly run and the next
release so decode an image once. The image file is still read, and compared with its sha256, every time.
"""

import logging
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from tasks.digests import digest_of_code, sha256_bytes, sha256_text
from tasks.errors import DigestMismatch
from tasks.images import decode
from tasks.scorer import to_pixels
from tasks.settings import settings

MEGABYTE = 1_000_000
CHUNK = 512  # images that are decoded between two writes
logger = logging.getLogger("tasks.pixels")


def load_pixels(root: Path, manifest: pd.DataFrame, size: int, memory_mb: int = 2048) -> torch.Tensor:
    """The images of `manifest` (columns path, sha256), in its order, as uint8 (N, 3, size, size).

    Above `memory_mb` the tensor lies in a mapped file. Raises DigestMismatch when a file is not the one that the
    manifest lists.
    """
    folder = settings().state / "pixels" / f"{size}-{digest_of_code('scorer')[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        store = Store(folder, size)
        wanted = list(zip(manifest["path"], manifest["sha256"], strict=True))
        fresh = store.add(root, wanted)
        logger.info("decoded %d of %d images at %d x %d, the others were kept", fresh, len(wanted), size, size)
        return store.tensor([sha256 for _, sha256 in wanted], memory_mb)


class Store:
    """The rows of one image size: `rows` (uint8, one after the other) and `index` (a line a row)."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.shape = folder, (3, size, size)
        self.row_bytes = 3 * size * size
        self.places: dict[str, int] = {}
        self.checks: list[int] = []
        if (folder / "index").is_file():
            self._read_index()

    def add(self, root: Path, wanted: list[tuple[str, str]]) -> int:
        """Check every file against its sha256, decode those that are not kept yet, and say how many those were."""
        fresh = 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(wanted), CHUNK):
                part = wanted[start : start + CHUNK]
                rows = list(pool.map(lambda item: self._decode(root, *item), part))
                new = {sha: row for (_, sha), row in zip(part, rows, strict=True) if row is not None}
                self._append(new)
                fresh += len(new)
        return fresh

    def tensor(self, names: list[str], memory_mb: int) -> torch.Tensor:
        """The rows of these images, (N, 3, size, size): a copy in memory, or a mapped file when they are many."""
        if not names:
            return torch.empty((0, *self.shape), dtype=torch.uint8)
        places = [self.places[name] for name in names]
        rows = np.memmap(self.folder / "rows", np.uint8, "r", shape=(len(self.checks), *self.shape))
        if len(names) * self.row_bytes <= memory_mb * MEGABYTE:
            pixels = torch.empty((len(names), *self.shape), dtype=torch.uint8)
        else:
            file = self.folder / f"{sha256_text(' '.join(names))[:16]}.mapped"
            pixels = torch.from_file(str(file), True, len(names) * self.row_bytes, dtype=torch.uint8)
            pixels = pixels.view(len(names), *self.shape)
        for number, place in enumerate(places):
            row = np.array(rows[place])
            if zlib.crc32(row.data) != self.checks[place]:
                raise DigestMismatch(
                    f"{self.folder / 'rows'} does not hold what was decoded; remove {self.folder}, it is made again"
                )
            pixels[number] = torch.from_numpy(row)
        return pixels

    def _decode(self, root: Path, path: str, sha256: str) -> np.ndarray | None:
        content = (root / path).read_bytes()
        if sha256_bytes(content) != sha256:
            raise DigestMismatch(f"{root / path} changed after the data check; run the release again from the start")
        return None if sha256 in self.places else to_pixels(decode(content, path), self.shape[1])

    def _append(self, new: dict[str, np.ndarray]) -> None:
        """Write rows, then the index: rows that a kill left unlisted are written over by the next ones."""
        if not new:
            return
        file = self.folder / "rows"
        with file.open("r+b" if file.is_file() else "wb") as rows:
            rows.seek(len(self.checks) * self.row_bytes)
            rows.truncate()
            contents = {name: row.tobytes() for name, row in new.items()}
            rows.writelines(contents.values())
            rows.flush()
            os.fsync(rows.fileno())
        with (self.folder / "index").open("a", encoding="utf-8") as index:
            for name, content in contents.items():
                check = zlib.crc32(content)
                index.write(f"{name} {check}\n")
                self.places[name] = len(self.checks)
                self.checks.append(check)

    def _read_index(self) -> None:
        file = self.folder / "index"
        text = file.read_text(encoding="utf-8")
        if not text.endswith("\n"):  # a kill cut the last line short
            text = text[: text.rfind("\n") + 1]
            file.write_text(text, encoding="utf-8")
        for line in text.splitlines():
            name, check = line.split()
            self.places[name] = len(self.checks)
            self.checks.append(int(check))
