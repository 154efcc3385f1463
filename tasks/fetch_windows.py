"""Fetch production windows from wherever fsspec reaches: `s3://...`, `gs://...`, `https://...`, `file://...`.

What is there stays: images of a window that was fetched are not fetched again, its metadata and late labels are. A
window appears whole or not at all.
"""

import logging
import re
import shutil
from pathlib import Path, PurePosixPath

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import BadInput
from tasks.folders import METADATA
from tasks.settings import without_password
from tasks.windows import LABELS

NIGHT = re.compile(r"\d{4}-\d{2}-\d{2}")
logger = logging.getLogger("tasks.fetch_windows")


@task(cache_policy=NO_CACHE)
def fetch_windows(url: str, out: Path) -> Path:
    """Copy every window below `url` to `out` and return it; BadInput when the place cannot be read."""
    import fsspec

    try:
        store, root = fsspec.core.url_to_fs(url)
        names = sorted(PurePosixPath(path).name for path in store.ls(root, detail=False))
        nights = [name for name in names if NIGHT.fullmatch(name)]
        for night in nights:
            fetch_window(store, f"{root.rstrip('/')}/{night}", out / night)
    except (OSError, ValueError, ImportError) as error:
        raise BadInput(
            f"the windows at {without_password(url)} cannot be read: {error}; check the address and what fsspec needs "
            "for it (such as `pip install s3fs`)"
        ) from error
    logger.info("%d windows of %s are at %s", len(nights), without_password(url), out)
    return out


def fetch_window(store: object, place: str, out: Path) -> None:
    """One window: all of it where it is new, else what tells its labels."""
    get, there = store.get, store.exists  # type: ignore[attr-defined]
    if out.is_dir():
        for name in (METADATA, LABELS):
            if there(f"{place}/{name}"):
                get(f"{place}/{name}", str(out / f"{name}.partial"))
                (out / f"{name}.partial").replace(out / name)
        return
    fresh = out.with_name(out.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    get(f"{place}/", f"{fresh}/", recursive=True)
    fresh.rename(out)
