"""Do two samples of images come from one distribution? Permutation tests on what a model says and sees of them.

Five statistics, each asked of the same permutations of the two samples' labels:

    energy distance   of the embeddings (Szekely & Rizzo 2013, "Energy statistics: a class of statistics based on
                      distances", J. Stat. Plan. Inference 143)
    kernel distance   of the embeddings: MMD with a Gaussian kernel as wide as the median distance (Gretton et al. 2012,
                      "A kernel two-sample test", JMLR 13)
    output energy     the energy distance of the logarithms of the probabilities
    output ranks      black-box shift detection (Lipton et al. 2018, ICML; Rabanser et al. 2019, "Failing loudly",
                      NeurIPS): the largest Kolmogorov-Smirnov distance over the probability of each class and the
                      largest probability
    predicted class   chi-square of the counts of predicted classes

A p value is (1 + permutations at least as extreme) / (1 + permutations), which is never 0 and errs no more often than
it says (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9). The tests are adjusted together by the step-down
procedure on the largest statistic (Westfall & Young 1993, algorithm 2.8), which knows from the permutations how alike
the tests are and so loses less than Holm's. Images of one unit (subject, scan) are permuted together.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial.distance import cdist

from tasks.errors import BadInput, EvidenceMissing

CELLS, LEAST_CELLS, COLUMNS = 64, 8, 6400  # cut points of a probability; columns of all probabilities together
SMALLEST = 1e-6  # a probability below this counts as this where its logarithm is taken
ROUNDING = 1e-5  # relative; sums of float32 in another order differ by less
ENERGY, KERNEL, OUTPUT_ENERGY, OUTPUT_RANKS, PREDICTED = NAMES = (
    "energy distance",
    "kernel distance",
    "output energy",
    "output ranks",
    "predicted class",
)


@dataclass(frozen=True)
class TestResult:
    """One test: its p value alone (+1 correction) and an effect that a person can read.

    `effect` is, of the energy distances, the share of the mean distance between the samples that is due to their
    difference, from 0 (none) to 1; of the kernel distance, MMD, from 0 to about 1.4; of the ranks, the largest
    distance of two distribution functions, and of the classes, the share of images whose class would have to change
    (total variation), both from 0 to 1. What permuted samples show on average is taken off all of them.
    """

    __test__ = False  # not a test for pytest
    name: str
    statistic: float
    p: float
    effect: float
    n_reference: int
    n_current: int


@dataclass(frozen=True, eq=False)
class Sample:
    """What a model says of n images: `probabilities` (n, K), `embeddings` (n, D), `units` (n,) or each on its own."""

    probabilities: np.ndarray
    embeddings: np.ndarray
    units: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.probabilities)

    def take(self, images: np.ndarray) -> "Sample":
        """The images numbered so."""
        units = None if self.units is None else self.units[images]
        return Sample(self.probabilities[images], self.embeddings[images], units)

    @cached_property
    def unit_codes(self) -> np.ndarray:
        """The number (n,) of each image's unit, from 0."""
        return np.arange(len(self)) if self.units is None else np.unique(self.units, return_inverse=True)[1]

    def check(self, name: str) -> None:
        """Refuse what is empty, not finite, of uneven length or no distribution, by the sample's name."""
        lengths = {len(part) for part in (self.probabilities, self.embeddings, self.units) if part is not None}
        if lengths != {len(self)} or self.probabilities.ndim != 2 or self.embeddings.ndim != 2 or len(self) == 0:
            raise EvidenceMissing(
                f"the {name} images: probabilities {self.probabilities.shape}, embeddings {self.embeddings.shape} and "
                f"units {None if self.units is None else self.units.shape} must have one row for each image, and some"
            )
        sound = np.isfinite(self.embeddings).all(axis=1) & np.isfinite(self.probabilities).all(axis=1)
        if not sound.all():
            raise EvidenceMissing(
                f"{(~sound).sum()} of the {len(self)} {name} images have a probability or an embedding that is not "
                f"a finite number, the first is number {int(np.argmin(sound))}; score them again"
            )
        if (self.probabilities < 0).any() or (np.abs(self.probabilities.sum(axis=1) - 1) > 1e-4).any():
            raise EvidenceMissing(f"the probabilities of the {name} images do not add up to 1; score them again")


@dataclass(frozen=True, eq=False)
class Pool:
    """Both samples laid together, the reference first, as blocks that are permuted whole.

    `rows` are the images; `block` (N,) is each one's block in 0..M-1; `current` (M,) says whose a block is; `read` are
    the rows whose distances are read. Below `largest` units a side a block is a unit, and all are read. Above, equally
    many units of either side are dealt to each of `largest` blocks: ranks and classes still read all of them, distances
    one image of each block.
    """

    rows: Sample
    block: np.ndarray
    current: np.ndarray
    read: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """The images in each block, (M,)."""
        return np.bincount(self.block, minlength=len(self.current)).astype(float)

    @property
    def counts(self) -> tuple[int, int]:
        """The images of reference and of current that ranks and classes read."""
        current = int(self.sizes[self.current].sum())
        return len(self.block) - current, current

    @property
    def distances_read(self) -> tuple[int, int]:
        """The images of reference and of current whose distances are read."""
        current = int(self.current[self.block[self.read]].sum())
        return len(self.read) - current, current


def lay_together(reference: Sample, current: Sample, largest: int, random: np.random.Generator) -> Pool:
    """The pool of two samples; `largest` bounds the blocks of either side."""
    reference.check("reference")
    current.check("current")
    if (reference.units is None) != (current.units is None):
        raise EvidenceMissing("one of the two samples has units and the other has none; give units to both or neither")
    shapes = [(s.probabilities.shape[1], s.embeddings.shape[1]) for s in (reference, current)]
    if shapes[0] != shapes[1]:
        raise EvidenceMissing(f"(classes, features) are {shapes[0]} in the reference and {shapes[1]} now; one model?")
    units = [int(sample.unit_codes.max()) + 1 for sample in (reference, current)]
    together = max(1, min(units) // largest)  # units in a block
    images, blocks = zip(
        *(_deal(s.unit_codes, n, together, largest, random) for s, n in zip((reference, current), units, strict=True)),
        strict=True,
    )
    first = int(blocks[0].max()) + 1
    block = np.concatenate([blocks[0], blocks[1] + first])
    parts = [sample.take(chosen) for sample, chosen in zip((reference, current), images, strict=True)]
    rows = Sample(*(np.concatenate([getattr(part, k) for part in parts]) for k in ("probabilities", "embeddings")))
    read = np.arange(len(block)) if together == 1 else np.unique(block, return_index=True)[1]
    return Pool(rows, block, np.arange(block.max() + 1) >= first, read)


def _deal(
    codes: np.ndarray, units: int, together: int, largest: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The images that are used, in random order, and the block of each, in 0..blocks-1."""
    block_of = random.permutation(units) // together
    images = random.permutation(len(codes))
    block = block_of[codes[images]]
    kept = block < min(units // together, largest)
    return images[kept], block[kept]


class Statistics:
    """The statistics of a pool under any labels of its blocks; all that does not depend on the labels is made once.

    With weights w of the images, 1/m for the m current ones and -1/n for the others, energy and kernel statistics are
    quadratic forms in w, ranks and classes linear ones (Sejdinovic et al. 2013, "Equivalence of distance-based and
    RKHS-based statistics", Ann. Statist. 41). After centring they are forms in the labels alone, times a power of
    1/m + 1/n, so that all permutations are one matrix product.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        images, read = pool.rows, pool.read
        embeddings, told = images.embeddings[read], np.log(np.maximum(images.probabilities[read], SMALLEST))
        apart = cdist(embeddings, embeddings)
        outputs = cdist(told, told)
        self.distances = (apart, outputs)
        width = float(np.median(apart[np.triu_indices(len(apart), 1)]))
        kernel = np.exp(-((apart / width) ** 2) / 2) if width > 0 else np.ones_like(apart)
        self.forms = [self._by_block(form) for form in (-apart, kernel, -outputs)]  # each (M, M)
        self.read_sizes = np.bincount(pool.block[read], minlength=len(pool.current)).astype(np.float32)
        self.steps = self._steps(images.probabilities)  # (M, C)
        self.classes, self.shares = self._classes(images.probabilities)  # (M, K), (K,)

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
        apart = [2 * self._between(distances) for distances in self.distances]
        return [
            float(energies[0] / apart[0]) if apart[0] > 0 else 0.0,
            float(np.sqrt(energies[1])),
            float(energies[2] / apart[1]) if apart[1] > 0 else 0.0,
            float(np.sqrt(ranks)),
            float(np.sqrt(classes)),
        ]

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


def _below(column: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Whether each value (N,) lies at or below each cut point (C,), as numbers."""
    return (column[:, None] <= cuts).astype(np.float32)


def _inverse_sizes(drawn: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """1/m + 1/n for each row of labels, (B,)."""
    current = drawn.astype(float) @ sizes
    return np.asarray(1 / current + 1 / (sizes.sum() - current))


def draw_labels(current: np.ndarray, number: int, random: np.random.Generator) -> np.ndarray:
    """Random permutations of labels (M,), one a row: (number, M)."""
    return random.permuted(np.broadcast_to(current, (number, len(current))), axis=1)


def normal_scores(values: np.ndarray) -> np.ndarray:
    """The columns of (B, S) on one scale: about standard normal, by the cube root of Wilson & Hilferty (1931).

    A gamma law of each column's mean, variance and skewness stands behind it. Any scale, so long as it treats all rows
    alike, leaves a permutation test exact; a poor one would only favour some of the statistics.
    """
    spread = values.std(axis=0)
    standard = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    skew = np.maximum((standard**3).mean(axis=0), 0.01)
    root = np.cbrt(np.maximum(1 + skew * standard / 2, 0))
    return np.asarray(6 / skew * (root - 1) + skew / 6)


def p_values(values: np.ndarray) -> np.ndarray:
    """The p value (S,) of row 0 of (1 + B, S) among all rows; a value equal up to rounding counts as reached."""
    reached = values >= values[0] - ROUNDING * np.abs(values[0])
    return np.asarray(reached.mean(axis=0))


def adjusted_p_values(values: np.ndarray) -> np.ndarray:
    """The same, adjusted for the S tests by the step-down maximum of `normal_scores` (Westfall & Young 1993, 2.8).

    The smallest of them is the p value of the largest score, an exact test by itself that both samples are alike.
    """
    scores = normal_scores(values)
    order = np.argsort(-scores[0], kind="stable")
    largest = np.maximum.accumulate(scores[:, order[::-1]], axis=1)[:, ::-1]  # of each test and those behind it
    reached = (largest >= scores[0, order] - ROUNDING * np.abs(scores[0, order])).mean(axis=0)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(reached)
    return adjusted


@dataclass(frozen=True)
class Comparison:
    """The tests of two samples, in the order of NAMES, and their adjusted p values; `p` is the smallest of these."""

    tests: tuple[TestResult, ...]
    adjusted: tuple[float, ...]

    @property
    def p(self) -> float:
        """How often samples of one distribution look as different as these, by the test that tells them best."""
        return min(self.adjusted)


def compare_samples(
    reference: Sample, current: Sample, permutations: int, largest: int, random: np.random.Generator
) -> Comparison:
    """All tests, on the same `permutations`; see `lay_together` for `largest`."""
    pool = lay_together(reference, current, largest, random)
    statistics = Statistics(pool)
    labels = draw_labels(pool.current, permutations, random)
    observed, permuted = statistics.of(pool.current[None])[0], statistics.of(labels)
    values = np.vstack([observed, permuted])
    effects = statistics.effects(observed, labels, permuted)
    numbers = [*[pool.distances_read] * 3, *[pool.counts] * 2]
    tests = (
        TestResult(name, float(value), float(p), effect, *count)
        for name, value, p, effect, count in zip(NAMES, observed, p_values(values), effects, numbers, strict=True)
    )
    return Comparison(tuple(tests), tuple(map(float, adjusted_p_values(values))))
