"""Write windows as production might see them: images of earlier nights, under a fault of the scanner or the lens.

For rehearsals and for newcomers: what a drift, a harm and a recovery look like, without waiting for one.
"""

import csv
import datetime as dt
import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.conditions import CONDITIONS
from tasks.corruptions import CORRUPTIONS, corrupt
from tasks.errors import BadInput
from tasks.folders import METADATA
from tasks.images import decode
from tasks.scorer import to_pixels
from tasks.windows import days

FAULTS = (*CONDITIONS, *CORRUPTIONS)
SIDE = 64  # pixels of what is written: the faults are made for scans of that size
logger = logging.getLogger("tasks.simulate")


@task(cache_policy=NO_CACHE)
def simulate(
    source: pd.DataFrame,
    condition: str | None,
    severity: int,
    first: dt.date,
    nights: int,
    images: int,
    labelled: float,
    out: Path,
) -> list[Path]:
    """Write `nights` windows below `out` and return their folders; the same arguments write the same bytes.

    `source` lists the images to draw from: `file`, and the columns of metadata.csv. `condition` is one of FAULTS, None
    for images as they are; a share `labelled` of them keeps its label. BadInput for an unknown fault, a severity
    outside 1 to 5, or a window that is there already.
    """
    if condition is not None and condition not in FAULTS:
        raise BadInput(f"there is no fault '{condition}'; there are {', '.join(FAULTS)}")
    if not 1 <= severity <= 5:
        raise BadInput(f"severity {severity} is outside 1 to 5")
    if min(nights, images) < 1 or not 0 <= labelled <= 1:
        raise BadInput(
            f"{nights} nights of {images} images, {labelled:g} of them labelled: take one of both or more, a share "
            "between 0 and 1"
        )
    if len(source) == 0:
        raise BadInput("there are no images to draw from: no window of an earlier night, and no test images")
    folders = []
    for day in days(first, first + dt.timedelta(days=nights - 1)):
        folder = out / day.isoformat()
        if folder.exists():
            raise BadInput(f"{folder} is there already; choose another --from, or remove it")
        random = np.random.default_rng((day.toordinal(), severity))
        drawn = source.iloc[np.sort(random.choice(len(source), min(images, len(source)), replace=False))]
        write_window(drawn, condition, severity, day, labelled, random, folder)
        folders.append(folder)
    logger.info("wrote %d windows of %d images below %s", len(folders), min(images, len(source)), out)
    return folders


def write_window(
    drawn: pd.DataFrame,
    condition: str | None,
    severity: int,
    day: dt.date,
    labelled: float,
    random: np.random.Generator,
    folder: Path,
) -> None:
    """One window, whole or not at all."""
    fresh = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "images").mkdir(parents=True)
    columns = [c for c in drawn if c not in ("file", "path", "label", "captured_at")]
    keeps = random.random(len(drawn)) < labelled
    with (fresh / METADATA).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["file_name", "label", *columns, "captured_at"], lineterminator="\n")
        writer.writeheader()
        for place, row in enumerate(drawn.to_dict("records")):
            name = f"images/{day:%m%d}-{place:04d}.png"
            pixels = torch.from_numpy(to_pixels(decode(Path(row["file"]), name), SIDE).copy())[None]
            if condition is not None:
                pixels = corrupt(condition, pixels, severity, [int(random.integers(2**31))])
            Image.fromarray(pixels[0].numpy().transpose(1, 2, 0)).save(fresh / name)
            at = dt.datetime.combine(day, dt.time(8)) + dt.timedelta(seconds=30 * place)
            told = {"captured_at": at.isoformat(), "label": row["label"] if keeps[place] else ""}
            writer.writerow({"file_name": name, **{c: row[c] for c in columns}, **told})
    fresh.rename(folder)
