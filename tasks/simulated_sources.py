"""The images that simulated windows are drawn from."""

import datetime as dt

import pandas as pd

from tasks.folders import PRODUCTION, read_folder, read_window
from tasks.project import Project
from tasks.windows import find_windows

LEAST, MOST = 5, 15  # windows: fewer repeat themselves, and later ones may have faults of their own


def sources(about: Project, before: dt.date) -> pd.DataFrame:
    """The labelled images of the first windows before that day, with the column `file`; else all labelled images."""
    root = about.data / PRODUCTION
    windows = [w for w in find_windows(root) if w.date < before][:MOST] if root.is_dir() else []
    if len(windows) < LEAST:
        listed = read_folder(about.data)
        return listed.assign(file=[str(about.data / path) for path in listed["path"]])
    parts = [
        read_window(w.folder).assign(file=lambda rows, w=w: [str(w.folder / p) for p in rows["path"]]) for w in windows
    ]
    table = pd.concat(parts, ignore_index=True).fillna("")
    return table[table["label"] != ""].reset_index(drop=True)
