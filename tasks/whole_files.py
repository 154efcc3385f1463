"""Files that appear whole or not at all."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the place, force to disk, rename; a kill or a second writer never leaves a torn file."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
