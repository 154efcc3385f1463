"""External sets: labelled images from elsewhere, pinned by their digest in the plan, on which a model is only judged.

The answers are in external.parquet: a row an image, with the columns set, image_id, label, group, unit, predicted,
model, prob_<label> and scratch_predicted. Images of one group count as dependent.
"""

from collections.abc import Iterator

import pandas as pd

from tasks.slices import EXTERNAL

ANSWERS = "external.parquet"
COLUMNS = ("set", "image_id", "label", "group", "unit", "sha256", "predicted", "model", "scratch_predicted")


def no_answers() -> pd.DataFrame:
    """The table where the plan names no set."""
    return pd.DataFrame(columns=list(COLUMNS)).astype(str)


def iter_sets(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each set's rows under the name of its slice, `external/<name>`."""
    for name, rows in table.groupby("set", sort=True):
        yield f"{EXTERNAL}/{name}", rows
