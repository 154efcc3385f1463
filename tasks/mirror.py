"""The deployment mirror: which images stand for the place where the model will work.

They are picked by a column of metadata.csv (another device, another site) or by time, the newest first.
"""

import datetime as dt

import pandas as pd

from tasks.errors import BadInput, DataRejected
from tasks.project import Mirror, Project

FIRST = 5  # images named in a message


def mirrored(images: pd.DataFrame, group: pd.Series, project: Project) -> pd.Series:
    """Whether each image belongs to the project's mirror; a group lies in it whole or not at all."""
    mirror = project.mirror
    if mirror is None:
        return pd.Series(False, index=images.index)
    found = _newest(images, group, mirror.latest) if mirror.latest else _picked(images, mirror, project)
    both = sorted(set(group[found]) & set(group[~found]))
    if both:
        raise DataRejected(
            f"{len(both)} values of '{project.group}' lie in the mirror and outside it, the first is {both[0]}; "
            f"choose a mirror that keeps each whole, or correct the column, in the project file of {project.name}"
        )
    return found


def capture_times(images: pd.DataFrame) -> pd.Series:
    """When each image was taken: the column captured_at, dates or times of ISO 8601; without an offset, in UTC.

    Raises DataRejected for anything else: as text, 1/2/2024 lies before 31/12/2023, and nobody can say which day it is.
    """
    times = images["captured_at"].map(_instant)
    unclear = images[times.isna()]
    if len(unclear):
        first = ", ".join(f"{path} ({at!r})" for path, at in unclear[["path", "captured_at"]].head(FIRST).to_numpy())
        raise DataRejected(
            f"{len(unclear)} images have a captured_at that is no date of ISO 8601, the first: {first}; "
            "write it like 2026-01-31 or 2026-01-31T09:30:00+01:00"
        )
    return times


def _instant(text: str | None) -> pd.Timestamp | None:
    try:
        found = dt.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return pd.Timestamp(found if found.tzinfo else found.replace(tzinfo=dt.UTC)).tz_convert("UTC")


def _newest(images: pd.DataFrame, group: pd.Series, share: float) -> pd.Series:
    newest: pd.Series = capture_times(images).groupby(group).transform("max")
    return newest.rank(method="min", pct=True) > 1 - share


def _picked(images: pd.DataFrame, mirror: Mirror, project: Project) -> pd.Series:
    column = images[mirror.column].astype(str)
    found = column.isin(mirror.values)
    if not found.any():
        raise BadInput(
            f"project {project.name}: no image has {mirror.column} in {mirror.values}; "
            f"the column holds {sorted(column.unique())[:10]}"
        )
    return found
