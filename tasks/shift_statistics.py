"""Statistics of how far two samples lie apart, for a great many permutations of their labels at once.

    energy distance   of the embeddings (Szekely & Rizzo 2013, "Energy statistics: a class of statistics based on
                      distances", J. Stat. Plan. Inference 143)
    whitened energy   the same after the principal directions of both samples together are given equal spread: a move
                      along a direction in which images hardly differ counts as much as one along the widest
    kernel distance   of the embeddings: MMD with a Gaussian kernel as wide as the median distance (Gretton et al. 2012,
                      "A kernel two-sample test", JMLR 13)
    output ranks      black-box shift detection (Lipton et al. 2018, ICML; Rabanser et al. 2019, "Failing loudly",
                      NeurIPS): the largest Kolmogorov-Smirnov distance over the probability of each class and the
                      largest probability
    predicted class   chi-square of the counts of predicted classes

What is estimated from the images, such as the directions, is estimated from both samples together, so that it is the
same under every permutation and the tests stay exact.
"""

import numpy as np
from scipy.linalg import eigh

from tasks.samples import Pool, distances

CELLS, LEAST_CELLS, COLUMNS = 64, 8, 6400  # cut points of a probability; columns of all probabilities together
IMAGES_A_DIRECTION = 4  # principal directions that are whitened: at most one for so many images
FLOOR = 0.01  # of the mean variance of a direction, added to each: a direction without any is not blown up
ENERGY, WHITENED, KERNEL, OUTPUT_RANKS, PREDICTED = NAMES = (
    "energy distance",
    "whitened energy",
    "kernel distance",
    "output ranks",
    "predicted class",
)
EFFECTS = {
    ENERGY: "of the mean distance between the two samples, the share that is due to their difference",
    WHITENED: "of the mean whitened distance between the two samples, the share that is due to their difference",
    KERNEL: "MMD, from 0 to 1.4",
    OUTPUT_RANKS: "the largest distance of two distribution functions, from 0 to 1",
    PREDICTED: "the share of images whose predicted class would have to change",
}


def whiten(embeddings: np.ndarray) -> np.ndarray:
    """The embeddings (N, D) along their principal directions, each with about the same spread: (N, at most N / 4)."""
    centred = embeddings - embeddings.mean(axis=0, dtype=float)
    n, width = centred.shape
    smaller = centred.T @ centred if width <= n else centred @ centred.T  # both have the same eigenvalues
    kept = max(1, min(width, n // IMAGES_A_DIRECTION))
    values, vectors = eigh(smaller / n, subset_by_index=[len(smaller) - kept, len(smaller) - 1])
    values = np.maximum(values, 0)
    along = centred @ vectors if width <= n else vectors * np.sqrt(n * values)
    scale = np.sqrt(values + FLOOR * np.trace(smaller) / n / width)
    return np.asarray(along / np.where(scale > 0, scale, 1.0))


class Statistics:
    """The statistics of a pool under any labels of its blocks; all that does not depend on the labels is made once.

    With weights w of the images, 1/m for the m current ones and -1/n for the others, energy and kernel statistics are
    quadratic forms in w, ranks and classes linear ones (Sejdinovic et al. 2013, "Equivalence of distance-based and
    RKHS-based statistics", Ann. Statist. 41). After centring they are forms in the labels alone, times a power of
    1/m + 1/n, so that all permutations are one matrix product.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        apart, whitened = (_among(points) for points in (pool.embeddings, whiten(pool.embeddings)))
        width = float(np.median(apart[np.triu_indices(len(apart), 1)]))
        kernel = np.exp(-((apart / width) ** 2) / 2) if width > 0 else np.ones_like(apart)
        self.distances = (apart, whitened)
        self.forms = [self._by_block(form) for form in (-apart, -whitened, kernel)]  # each (M, M)
        self.read_sizes = np.bincount(pool.block[pool.read], minlength=len(pool.current)).astype(np.float32)
        self.steps = self._steps(pool.probabilities)  # (M, C)
        self.classes, self.shares = self._classes(pool.probabilities)  # (M, K), (K,)

    def of(self, labels: np.ndarray) -> np.ndarray:
        """The statistics (B, 5) under labels (B, M), True for a current block; in the order of NAMES."""
        drawn = labels.astype(np.float32)
        both = [_inverse_sizes(drawn, sizes) for sizes in (self.read_sizes, self.pool.sizes)]
        found = [both[0] ** 2 * np.einsum("bm,bm->b", drawn @ form, drawn) for form in self.forms]
        ranks = np.abs(drawn @ self.steps).max(axis=1) * both[1]
        counted = (drawn @ self.classes).astype(float) ** 2 @ (1 / self.shares)
        return np.stack([*found, ranks, counted * both[1]], axis=1)

    def effects(self, observed: np.ndarray, labels: np.ndarray, permuted: np.ndarray) -> list[float]:
        """The effects of `observed` (5,), noise taken off as the statistics `permuted` (B, 5) of `labels` show it."""
        energies = np.maximum(0.0, observed - permuted.mean(axis=0))
        ranks = max(0.0, observed[3] ** 2 - float((permuted[:, 3] ** 2).mean()))
        changed, usual = self._changed(self.pool.current[None]), self._changed(labels)
        classes = max(0.0, float(changed[0] ** 2 - (usual**2).mean()))
        between = [2 * self._between(distances) for distances in self.distances]
        shares = [float(e / b) if b > 0 else 0.0 for e, b in zip(energies[:2], between, strict=True)]
        return [*shares, *(float(np.sqrt(square)) for square in (energies[2], ranks, classes))]

    def _changed(self, labels: np.ndarray) -> np.ndarray:
        """The total variation (B,) between the predicted classes of the two samples."""
        drawn = labels.astype(np.float32)
        return np.asarray(np.abs(drawn @ self.classes).sum(axis=1) * _inverse_sizes(drawn, self.pool.sizes) / 2)

    def _between(self, distances: np.ndarray) -> float:
        """The mean distance of a current from a reference image."""
        current = self.pool.current[self.pool.block[self.pool.read]]
        return float(distances[np.ix_(current, ~current)].mean())

    def _by_block(self, form: np.ndarray) -> np.ndarray:
        """The centred form of images (r, r) as one of blocks (M, M)."""
        row = form.mean(axis=0)
        centred = form - row - row[:, None] + row.mean()
        block, blocks = self.pool.block[self.pool.read], len(self.pool.current)
        if len(block) == blocks:
            order = np.argsort(block)
            return centred[np.ix_(order, order)].astype(np.float32)
        by_block = np.zeros((blocks, len(block)))
        np.add.at(by_block, block, centred)
        both = np.zeros((blocks, blocks))
        np.add.at(both, block, by_block.T)
        return both.astype(np.float32)

    def _steps(self, probabilities: np.ndarray) -> np.ndarray:
        """How many images of each block lie at or below each cut point, less what its share of all would, (M, C)."""
        columns = np.column_stack([probabilities, probabilities.max(axis=1)])
        cells = min(len(columns), max(LEAST_CELLS, min(CELLS, COLUMNS // columns.shape[1])))
        places = np.ceil(np.arange(1, cells) * len(columns) / cells).astype(int) - 1
        found = [self._centred(_below(column, np.sort(column)[places])) for column in columns.T]
        return np.concatenate(found, axis=1) if cells > 1 else np.zeros((len(self.pool.current), 1), np.float32)

    def _classes(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        predicted = np.unique(probabilities.argmax(axis=1), return_inverse=True)[1]
        of_class = np.eye(predicted.max() + 1)[predicted]
        return self._centred(of_class), of_class.mean(axis=0)

    def _centred(self, values: np.ndarray) -> np.ndarray:
        """Values of images (N, C), each column less its mean, added up by block: (M, C)."""
        block, blocks = self.pool.block, len(self.pool.current)
        centred = values - values.mean(axis=0)
        order = np.argsort(block, kind="stable")
        starts = np.searchsorted(block[order], np.arange(blocks))
        return np.add.reduceat(centred[order], starts, axis=0).astype(np.float32)


def _among(points: np.ndarray) -> np.ndarray:
    apart = distances(points, points)
    np.fill_diagonal(apart, 0)
    return apart


def _below(column: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Whether each value (N,) lies at or below each cut point (C,), as numbers."""
    return (column[:, None] <= cuts).astype(np.float32)


def _inverse_sizes(drawn: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """1/m + 1/n for each row of labels, (B,)."""
    current = drawn.astype(float) @ sizes
    return np.asarray(1 / current + 1 / (sizes.sum() - current))
