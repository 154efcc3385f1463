"""Slices: the parts of test and mirror that are reported on their own, each as `<split>/<column>=<value>`."""

from collections.abc import Iterator

import pandas as pd

from tasks.digests import sha256_text

JUDGED = ("test", "mirror")  # the splits that evaluation reports
EXTERNAL = "external"  # begins the slices of an external set, `external/<name>`
CASES = "cases"  # begins the slice of a must-pass case
SLICE = "slice_"  # begins the manifest's slice columns
PROPERTIES = ("width", "height", "brightness", "contrast", "sharpness")  # of an image, as the data check measures them
EMPTY = "(empty)"  # stands for an empty value


def iter_splits(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each judged split that has images."""
    for split in JUDGED:
        rows = table[table["split"] == split]
        if len(rows):
            yield split, rows


def iter_slices(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each judged split, and within it every value of every slice column, however few its images."""
    for split, part in iter_splits(table):
        yield split, part
        for column in (c for c in table if c.startswith(SLICE)):
            values = part[column].replace("", EMPTY)
            for value in sorted(values.unique()):
                yield f"{split}/{column.removeprefix(SLICE)}={value}", part[values == value]


def drawn_images(manifest: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """At most `count` images of test, in the manifest's order; which ones depends on the seed and their ids alone."""
    test = manifest[manifest["split"] == "test"].reset_index(drop=True)
    places = test["image_id"].map(lambda name: sha256_text(f"{seed} {name}")).sort_values().index[:count]
    return test.loc[places.sort_values()].reset_index(drop=True)
