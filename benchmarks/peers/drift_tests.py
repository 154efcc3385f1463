"""What others would say of two samples, each as its library or paper has it by default: does it raise an alarm?

BBSD            Kolmogorov-Smirnov on the probability of each class, Bonferroni (Lipton et al. 2018; Rabanser et al.
                2019); alibi-detect's KSDrift on a model's outputs with `correction="bonferroni"`, written anew
KS features     the same on each embedding dimension: alibi-detect's KSDrift on features
MMD             unbiased, a Gaussian kernel at the median distance, permutations: alibi-detect's MMDDrift, but with
                the correction of Phipson & Smyth (2010), without which it alarms too often
Evidently ...   `evidently.metrics.embeddings` and DataDriftPreset of version 0.7: each method at its own threshold
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests import get_stattest
from evidently.legacy.core import ColumnType
from evidently.metrics.embeddings import DistanceDriftMethod, MMDDriftMethod, ModelDriftMethod, RatioDriftMethod
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp

from tasks.samples import Sample

LEVEL, PERMUTATIONS = 0.05, 399
DRIFT_SHARE = 0.5  # DataDriftPreset's default: the data set drifts when so many of its columns do
MOST_PAIRS = 4000  # images of both samples together whose kernel matrix is made; MMD and Evidently's need all of it
BOOTSTRAP_BELOW = 1000  # reference rows; Evidently's EmbeddingsDrift bootstraps its model method there
Says = Callable[[Sample, Sample, np.random.Generator], bool]


def ks_each(reference: np.ndarray, current: np.ndarray) -> bool:
    """Whether any column's Kolmogorov-Smirnov test falls below the level over their number."""
    p = ks_2samp(reference, current, axis=0).pvalue
    return bool(p.min() < LEVEL / reference.shape[1])


def mmd(reference: np.ndarray, current: np.ndarray, random: np.random.Generator) -> bool:
    """The permutation test of the unbiased MMD."""
    pooled, first = np.vstack([reference, current]), len(reference)
    squared = cdist(pooled, pooled, "sqeuclidean")
    kernel = np.exp(-squared / (2 * np.median(squared[squared > 0])))
    np.fill_diagonal(kernel, 0)
    kernel = kernel.astype(np.float32)
    labels = np.zeros((PERMUTATIONS + 1, len(pooled)), np.float32)
    labels[:, first:] = 1
    labels[1:] = random.permuted(labels[1:], axis=1)
    m, n, rows = len(current), first, labels @ kernel
    inside = np.einsum("bi,bi->b", rows, labels)
    crossed = rows.sum(axis=1) - inside
    outside = kernel.sum() - inside - 2 * crossed
    found = inside / (m * (m - 1)) + outside / (n * (n - 1)) - 2 * crossed / (m * n)
    return bool((found >= found[0] - 1e-9).mean() <= LEVEL)


def evidently_embeddings(method: Callable[..., tuple[float, bool, str]], reference: Sample, current: Sample) -> bool:
    """One of Evidently's methods for embeddings, on copies: they change what they are given, and NumPy's seed."""
    state = np.random.get_state()
    frames = [pd.DataFrame(s.embeddings).rename(columns=str) for s in (current, reference)]
    drifted = bool(method(*frames)[1])
    np.random.set_state(state)
    return drifted


def evidently_columns(reference: Sample, current: Sample) -> bool:
    """DataDriftPreset on the columns of probabilities: each by Evidently's default test, half of them must drift."""
    drifted = []
    for k in range(reference.probabilities.shape[1]):
        columns = [pd.Series(s.probabilities[:, k]) for s in (reference, current)]
        test = get_stattest(*columns, ColumnType.Numerical, None)
        drifted.append(test(*columns, ColumnType.Numerical, None).drifted)
    return float(np.mean(drifted)) >= DRIFT_SHARE


def evidently_default(reference: Sample, current: Sample) -> bool:
    """EmbeddingsDrift without a method: a classifier, against a bootstrap where the reference is small."""
    return evidently_embeddings(ModelDriftMethod(bootstrap=len(reference) < BOOTSTRAP_BELOW), reference, current)


PEERS: dict[str, Says] = {
    "BBSD": lambda r, c, _: ks_each(r.probabilities, c.probabilities),
    "KS features": lambda r, c, _: ks_each(r.embeddings, c.embeddings),
    "MMD": lambda r, c, random: mmd(r.embeddings, c.embeddings, random),
    "Evidently default": lambda r, c, _: evidently_default(r, c),
    "Evidently model": lambda r, c, _: evidently_embeddings(ModelDriftMethod(), r, c),
    "Evidently mmd": lambda r, c, _: evidently_embeddings(MMDDriftMethod(), r, c),
    "Evidently ratio": lambda r, c, _: evidently_embeddings(RatioDriftMethod(), r, c),
    "Evidently distance": lambda r, c, _: evidently_embeddings(DistanceDriftMethod(), r, c),
    "Evidently columns": lambda r, c, _: evidently_columns(r, c),
}
OF_PAIRS = ("MMD", "Evidently mmd")


def alarms(reference: Sample, current: Sample, random: np.random.Generator) -> dict[str, float]:
    """What each peer says, 1 or 0; NaN where its kernel matrix would be too large."""
    large = len(reference) + len(current) > MOST_PAIRS
    return {
        name: np.nan if large and name in OF_PAIRS else float(says(reference, current, random))
        for name, says in PEERS.items()
    }
