"""Write the days of the prediction log as production windows, so that a night reads them as it reads any folder.

A window is written again when the files of its day changed: more requests came, or some were forgotten. Labels are
joined by request id every time.
"""

import csv
import datetime as dt
import json
import logging
import shutil
from pathlib import Path

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import DataRejected
from tasks.folders import METADATA
from tasks.log_labels import read_labels_of
from tasks.log_reading import days_of, parts_of, read_log
from tasks.log_store import open_store
from tasks.log_upkeep import compact
from tasks.logged_window import ANSWERS, REQUESTS, TRAFFIC, LoggedWindow, labels_file, logged_window
from tasks.whole_files import write_whole
from tasks.windows import LABELS

SOURCE, PROBLEM = "log.json", "problem.txt"
STILL_WRITING = dt.timedelta(hours=1)  # after midnight, until the day's last rows are surely on disk
logger = logging.getLogger("tasks.window_of_log")


@task(cache_policy=NO_CACHE)
def window_of_log(place: str, project: str, time_zone: str, last: dt.date, out: Path) -> Path:
    """Write a window below `out` for each day of the log until `last` that has rows, and return `out`.

    A day whose files cannot be read gets a window that says so, and judges nothing. Past days are compacted first.
    """
    store = open_store(place)
    out.mkdir(parents=True, exist_ok=True)
    tidy(place, project)
    labels = read_labels_of(place, project)
    for day in (day for day in days_of(store, project, time_zone) if day <= last):
        folder, source = out / day.isoformat(), json.dumps(parts_of(store, project, day, time_zone))
        if not (folder / SOURCE).is_file() or (folder / SOURCE).read_text(encoding="utf-8") != source:
            write_window(place, project, day, time_zone, source, folder)
        if (folder / REQUESTS).is_file():
            told = labels_file(pd.read_parquet(folder / REQUESTS), labels, time_zone)
            write_whole(folder / LABELS, told.to_csv(index=False, lineterminator="\n").encode())
    return out


def tidy(place: str, project: str) -> None:
    """Compact the days that are over; a log that may only be read stays as it is."""
    try:
        saved = compact(place, project, before=(dt.datetime.now(dt.UTC) - STILL_WRITING).date())
    except (OSError, DataRejected) as error:
        logger.warning("the prediction log is not compacted: %s", error)
    else:
        logger.info("the prediction log of %s has %d files less", project, saved)


def write_window(place: str, project: str, day: dt.date, time_zone: str, source: str, folder: Path) -> None:
    """One window, whole or not at all; nothing where the day has no rows."""
    fresh = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        rows = read_log(place, project, day, time_zone)
    except DataRejected as error:
        (fresh / PROBLEM).write_text(str(error), encoding="utf-8")
    else:
        if rows.empty:
            shutil.rmtree(fresh)
            shutil.rmtree(folder, ignore_errors=True)
            return
        fill(logged_window(rows), fresh)
    (fresh / SOURCE).write_text(source, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def fill(window: LoggedWindow, folder: Path) -> None:
    """The files of a window, but its labels."""
    window.metadata.to_csv(folder / METADATA, index=False, quoting=csv.QUOTE_ALL, lineterminator="\n")
    window.answers.to_parquet(folder / ANSWERS, index=False)
    window.requests.to_parquet(folder / REQUESTS, index=False)
    (folder / TRAFFIC).write_text(json.dumps(window.traffic, indent=1) + "\n", encoding="utf-8")
    for name, content in window.kept.items():
        (folder / name).write_bytes(content)
