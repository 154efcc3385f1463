"""Which slice a drift sits in: the slice whose share of the images, or whose outputs, moved most.

Two questions for every value of every slice column, asked of the same permutations of whole blocks as the tests of
tasks/two_sample.py: is its share of the images another one, and within it, are the probabilities distributed otherwise
(the largest Kolmogorov-Smirnov distance over the classes and the largest probability)? The p values are adjusted for
all slices and both questions by the largest score (Westfall & Young 1993), so the most moved one is honest about having
been picked.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.samples import Pool
from tasks.slices import EMPTY
from tasks.two_sample import adjusted_p_values

CUTS = 8  # cut points of each probability within a slice
SHARE, OUTPUTS = "share", "outputs"


@dataclass(frozen=True)
class SliceMove:
    """How a slice `column=value` moved; `what` moved is its share or its outputs.

    `effect` is the change of its share, or the largest distance of two distribution functions; `p` is adjusted for
    every slice that was looked at.
    """

    slice: str
    what: str
    p: float
    effect: float
    reference_share: float
    current_share: float
    n_reference: int
    n_current: int


def most_moved_slice(pool: Pool, labels: np.ndarray, slices: pd.DataFrame, least: int) -> SliceMove | None:
    """The slice that moved most; None where there is no column, or no slice has `least` images.

    `slices` has a row for each image that was laid into the pool, the reference's first; `labels` (B, M) are random
    permutations of the pool's blocks.
    """
    rows = slices.iloc[pool.images].reset_index(drop=True)
    members = [(f"{c}={value}", inside) for c in rows for value, inside in _values(rows[c]) if inside.sum() >= least]
    if not members:
        return None
    drawn = np.vstack([pool.current, labels]).astype(np.float32)
    told = pool.probabilities
    columns = np.column_stack([told, told.max(axis=1)])
    values = [_shares(pool, drawn, inside) for _, inside in members]
    values += [_outputs(pool, drawn, inside, columns) for _, inside in members]
    adjusted = adjusted_p_values(np.stack([np.abs(v) for v in values], axis=1))
    place = int(np.argmin(adjusted))
    name, inside = members[place % len(members)]
    return _described(pool, name, inside, values[place], SHARE if place < len(members) else OUTPUTS, adjusted[place])


def _values(column: pd.Series) -> list[tuple[str, np.ndarray]]:
    """Each value of a column that does not hold for all images, with the mask of those that have it."""
    texts = column.astype(str).replace("", EMPTY).to_numpy()
    return [(value, texts == value) for value in np.unique(texts)] if len(np.unique(texts)) > 1 else []


def _shares(pool: Pool, drawn: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The slice's share of the current images less that of the reference, for each labelling: (B,)."""
    count = np.bincount(pool.block[inside], minlength=len(pool.current)).astype(np.float32)
    current, whole = drawn @ count, drawn @ pool.sizes
    return np.asarray(current / whole - (count.sum() - current) / (pool.sizes.sum() - whole))


def _outputs(pool: Pool, drawn: np.ndarray, inside: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The root of the effective number of images times their largest distance, for each labelling: (B,).

    The number makes labellings comparable that put more or fewer of the slice's images on one side; 0 where one side
    has none.
    """
    block, told = pool.block[inside], columns[inside]
    places = np.unique(np.ceil(np.arange(1, CUTS + 1) * len(told) / (CUTS + 1)).astype(int) - 1)
    cuts = np.sort(told, axis=0)[places]  # (cuts, K + 1)
    below = (told[:, None] <= cuts).reshape(len(told), -1)
    centred = np.zeros((len(pool.current), below.shape[1]))
    np.add.at(centred, block, below - below.mean(axis=0))
    count = np.bincount(block, minlength=len(pool.current))
    current = drawn @ count
    number = current * (count.sum() - current) / count.sum()
    moved = np.abs(drawn @ centred.astype(np.float32)).max(axis=1)
    return np.asarray(np.divide(moved, np.sqrt(number), out=np.zeros(len(drawn)), where=number > 0))


def _described(pool: Pool, name: str, inside: np.ndarray, values: np.ndarray, what: str, p: float) -> SliceMove:
    current = pool.current[pool.block]
    before, now = (int((inside & side).sum()) for side in (~current, current))
    effective = before * now / max(1, before + now)
    effect = values[0] if what == SHARE else values[0] / np.sqrt(effective) if effective else 0.0
    shares = float(before / (~current).sum()), float(now / current.sum())
    return SliceMove(name, what, float(p), float(effect), *shares, before, now)
