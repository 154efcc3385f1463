"""Which training images keep their labels at each point of a label curve.

Draws are nested: what a seed draws at 5 labels a class is among what it draws at 10, so that a step of the curve adds
labels and exchanges none. Within a class the groups (subjects, sites) take turns, so that few labels come from as many
groups as there are.
"""

from typing import Literal

import numpy as np
import pandas as pd

Labels = int | Literal["all"]


def draw_labels(train: pd.DataFrame, labels: Labels, seed: int) -> pd.DataFrame:
    """The rows (columns label, group) that keep their labels, in the order of `train`.

    A class with fewer images gives all that it has.
    """
    if labels == "all":
        return train
    random = np.random.default_rng(seed)
    shuffled = train.iloc[random.permutation(len(train))]
    turn = shuffled.groupby(["label", "group"]).cumcount()
    # the groups of one turn stay in the order of the shuffle, which differs from class to class
    ranked = shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")]
    kept = ranked.groupby("label").head(labels).index
    return train[train.index.isin(kept)]


def curve_points(train: pd.DataFrame, labels: list[Labels]) -> dict[Labels, int]:
    """Each point with its number of images, without those at which every class would give all that it has."""
    most = int(train["label"].value_counts().max())
    kept = [count for count in labels if count == "all" or count < most]
    if len(kept) < len(labels) and "all" not in kept:
        kept.append("all")
    return {count: len(draw_labels(train, count, 0)) for count in kept}


def describe_labels(labels: Labels) -> str:
    """`10 labels a class`, `all labels`."""
    return "all labels" if labels == "all" else f"{labels} label{'s' if labels > 1 else ''} a class"
