"""Where a request left its image: the project's cases, data and windows, the log's windows, pages that may show it.

An image is known by its bytes, as it came and as it was kept, and a case by its name as well.
"""

import datetime as dt
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.cases import LIST
from tasks.digests import sha256_bytes, sha256_file
from tasks.folders import METADATA
from tasks.image_lists import listed
from tasks.project import Project

LOG, NIGHTS, FETCHED = "log", "nights", "fetched"  # in the project's folder of results


def traces(about: Project, run: Path, rows: pd.DataFrame, cases: Collection[str]) -> dict[str, Any]:
    """`images`: list -> its images to take out; `windows` of the log and `pages` of nights, as paths.

    `run` is the project's folder of results, `rows` are those of the log, `cases` the file names of what became one.
    """
    digests = set(rows["sha256"]) | {sha256_bytes(bytes(image)) for image in rows["image"] if len(image)}
    own = [about.cases / name for name in cases] if about.cases else []
    digests |= {sha256_file(file) for file in own if file.is_file()}
    lists = [about.cases / LIST] if about.cases else []
    own_windows = [Path(about.windows)] if about.windows and "://" not in about.windows else []
    lists += [path for folder in (about.data, run / FETCHED, *own_windows) for path in sorted(folder.rglob(METADATA))]
    found = {str(path): listed(path, digests) for path in lists}
    days = _days_around(rows["at"])
    windows = {path.parent for path in (run / LOG).rglob(METADATA) if listed(path, digests)}
    return {
        "images": {path: names for path, names in found.items() if names},
        "windows": sorted(map(str, windows | {run / LOG / day for day in days})),
        "pages": [str(run / NIGHTS / day) for day in days if (run / NIGHTS / day).is_dir()],
    }


def _days_around(moments: Iterable[dt.datetime]) -> list[str]:
    """The nights that these moments may belong to, in any time zone."""
    return sorted({(at + dt.timedelta(days=n)).date().isoformat() for at in moments for n in (-1, 0, 1)})
