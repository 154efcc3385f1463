"""How far several annotators agree beyond chance: Krippendorff's alpha for categories, with ratings missing or not."""

import numpy as np
import pandas as pd

from tasks.resampling import Weights

ANNOTATOR = "annotator_"  # begins the columns of metadata.csv, one an annotator, that hold each one's own label


def ratings(rows: pd.DataFrame) -> np.ndarray:
    """How often each image (n,) was given each label, (n, K), by its annotator columns; an empty cell is no rating."""
    columns = [column for column in rows if column.startswith(ANNOTATOR)]
    given = rows[columns].fillna("").astype(str)
    labels = sorted(set(given.to_numpy().ravel()) - {""})
    return np.stack([(given == label).sum(axis=1) for label in labels], axis=1) if labels else np.zeros((len(rows), 0))


def krippendorff_alpha(counts: np.ndarray, weights: Weights) -> np.ndarray:
    """Alpha (B,) of ratings (n, K) under weights (B, n): 1 for agreement, 0 for chance (Krippendorff 2018, 12.3.2).

    An image that fewer than two rated tells nothing and is left out. NaN where all ratings are one category, or none.
    """
    rated = counts.sum(axis=1)
    paired = rated >= 2
    observed = np.where(paired, (rated**2 - (counts**2).sum(axis=1)) / np.maximum(rated - 1, 1), 0.0)
    totals = weights @ np.where(paired[:, None], counts, 0.0)  # (B, K)
    number = totals.sum(axis=1)
    expected = number**2 - (totals**2).sum(axis=1)  # times (number - 1), what chance alone would make of `observed`
    share = np.divide(
        (number - 1) * (weights @ observed), expected, out=np.full(len(weights), np.nan), where=expected > 0
    )
    return 1 - share
