"""Do two samples of images come from one distribution? Permutation tests on what a model says and sees of them.

A p value is (1 + permutations at least as extreme) / (1 + permutations), which is never 0 and errs no more often than
it says (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9). All tests (tasks/shift_statistics.py) read the same
permutations and are adjusted together by the step-down procedure on the largest statistic (Westfall & Young 1993,
algorithm 2.8), which knows from the permutations how alike the tests are and so loses less than Holm's.
"""

from dataclasses import dataclass

import numpy as np

from tasks.samples import Pool, Sample, lay_together
from tasks.shift_statistics import NAMES, Statistics

ROUNDING = 1e-5  # sums of float32 in another order differ by less


@dataclass(frozen=True)
class TestResult:
    """One test: its p value alone (+1 correction) and an effect that a person can read.

    What `effect` means is told by EFFECTS of tasks/shift_statistics.py; what permuted samples show on average is taken
    off (of the last three: of their squares), so that it is about 0 without a shift whatever the number of images.
    """

    __test__ = False  # not a test for pytest
    name: str
    statistic: float
    p: float
    effect: float
    n_reference: int
    n_current: int


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
    reached = (largest >= scores[0, order] - ROUNDING * (1 + np.abs(scores[0, order]))).mean(axis=0)
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
    return compare_pool(lay_together(reference, current, largest, random), permutations, random)


def compare_pool(pool: Pool, permutations: int, random: np.random.Generator) -> Comparison:
    """The same of samples that are laid together already."""
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
