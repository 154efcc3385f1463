"""The drift tests, tested on the reference itself: how often do they alarm without a shift, and which do they see?

Without a shift: the reference is split at random, by whole units, into two parts of the sizes at hand, and the very
tests are run on them. More alarms than the level allows, beyond what chance explains (Clopper & Pearson 1934), mean
that the tests must not be believed. What this cannot show is a reference that is unlike an ordinary night: that takes
ordinary nights.

With a shift: a growing share of the current part is changed, in two ways (after Rabanser et al. 2019, section 4): its
images move along the reference's principal direction while the model grows half as sure, or they are replaced by images
of the class predicted most often. The smallest share that is found in 8 of 10 tries says what the tests can see.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.intervals import clopper_pearson
from tasks.samples import Pool, Sample, lay_together
from tasks.shift_statistics import Statistics
from tasks.two_sample import adjusted_p_values, draw_labels

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # of the current images
FOUND = 0.8  # of the tries, where a shift counts as one that is seen
STRENGTH = 2.0  # standard deviations along the principal direction
CELLS = 4_000_000  # numbers of labels held at once
Injection = Callable[[Sample, np.ndarray, Sample, np.random.Generator], Sample]


@dataclass(frozen=True)
class Sight:
    """The smallest share of images changed so at which `found` of `tries` alarmed; None where not even all do."""

    change: str
    share: float | None
    found: int
    tries: int


@dataclass(frozen=True)
class Audit:
    """`alarms` in `splits` of the reference into parts of so many images; `low` and `high` bound their true rate."""

    n_reference: int
    n_current: int
    splits: int
    alarms: int
    nominal: float
    confidence: float
    low: float
    high: float
    sights: tuple[Sight, ...]

    @property
    def calibrated(self) -> bool:
        """Whether the alarms may be believed: their rate is not shown to lie above nominal."""
        return self.low <= self.nominal


@dataclass(frozen=True)
class Effort:
    """What an audit may cost: random splits, tries for each share, permutations for each, images, and its level."""

    splits: int
    tries: int
    permutations: int
    largest: int
    confidence: float


def audit_tests(
    reference: Sample, current_units: int, nominal: float, effort: Effort, random: np.random.Generator
) -> Audit:
    """Audit the tests for so many current units against this reference.

    The current part has at most half of the reference's units, and both parts together at most `effort.largest`.
    """
    units = reference.unit_count
    together = min(units, effort.largest)
    current = max(1, min(current_units, together // 2))

    def split() -> tuple[Sample, Sample]:
        order = random.permutation(units)[:together]
        return tuple(reference.take(np.isin(reference.unit_codes, u)) for u in (order[current:], order[:current]))

    pool = lay_together(*split(), together, random)
    alarms = count_alarms(pool, nominal, effort.splits, effort.permutations, random)
    interval = clopper_pearson(alarms, effort.splits, effort.confidence)
    sights = tuple(_sight(name, change, reference, split, nominal, effort, random) for name, change in CHANGES.items())
    return Audit(*pool.counts, effort.splits, alarms, nominal, effort.confidence, *interval, sights)


def count_alarms(pool: Pool, nominal: float, splits: int, permutations: int, random: np.random.Generator) -> int:
    """In how many random labellings of one pool the tests alarm, each against permutations of its own."""
    statistics, rows = Statistics(pool), permutations + 1
    at_once = max(1, CELLS // (rows * len(pool.current)))
    alarms = 0
    for start in range(0, splits, at_once):
        number = min(at_once, splits - start)
        values = statistics.of(draw_labels(pool.current, number * rows, random)).reshape(number, rows, -1)
        alarms += sum(adjusted_p_values(v).min() <= nominal for v in values)
    return alarms


def moved(sample: Sample, chosen: np.ndarray, reference: Sample, random: np.random.Generator) -> Sample:
    """The chosen images moved along the principal direction, their probabilities halfway to those of a pure guess."""
    centred = reference.embeddings - reference.embeddings.mean(axis=0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    embeddings, told = sample.embeddings.copy(), sample.probabilities.copy()
    embeddings[chosen] += STRENGTH * spread[0] / np.sqrt(len(centred)) * directions[0]
    told[chosen] = (told[chosen] + 1 / told.shape[1]) / 2
    return Sample(told, embeddings, sample.units)


def of_one_class(sample: Sample, chosen: np.ndarray, reference: Sample, random: np.random.Generator) -> Sample:
    """The chosen images replaced by random reference images of the class that is predicted most often there."""
    predicted = reference.probabilities.argmax(axis=1)
    drawn = random.choice(np.flatnonzero(predicted == np.bincount(predicted).argmax()), len(chosen))
    embeddings, told = sample.embeddings.copy(), sample.probabilities.copy()
    embeddings[chosen], told[chosen] = reference.embeddings[drawn], reference.probabilities[drawn]
    return Sample(told, embeddings, sample.units)


CHANGES: dict[str, Injection] = {"moved and less sure": moved, "of one class": of_one_class}


def _sight(
    name: str,
    change: Injection,
    reference: Sample,
    split: Callable[[], tuple[Sample, Sample]],
    nominal: float,
    effort: Effort,
    random: np.random.Generator,
) -> Sight:
    """Growing shares until one is found often enough; a share is given up once too many tries have missed it."""
    for share in SHARES:
        found = missed = 0
        while found + missed < effort.tries and missed <= (1 - FOUND) * effort.tries:
            rest, current = split()
            chosen = random.permutation(len(current))[: max(1, round(share * len(current)))]
            pool = lay_together(rest, change(current, chosen, reference, random), len(reference), random)
            labels = np.vstack([pool.current, draw_labels(pool.current, effort.permutations, random)])
            alarm = adjusted_p_values(Statistics(pool).of(labels)).min() <= nominal
            found, missed = found + alarm, missed + (not alarm)
        if found >= FOUND * effort.tries:
            return Sight(name, share, int(found), effort.tries)
    return Sight(name, None, int(found), int(found + missed))
