"""The drift tests, tested on the reference itself: how often do they alarm without a shift, and which do they see?

Without a shift: the reference is split at random, by whole units, into two parts of the sizes at hand, and the very
tests are run on them. More alarms than the level allows, beyond what chance explains (Clopper & Pearson 1934), mean
that the tests must not be believed. Such splits are alike by construction, which real nights need not be: one night may
have its own writers, its own light. So where the reference is made of nights, each is also tested against all others.

With a shift: a growing share of the current part is changed, in two ways (after Rabanser et al. 2019, section 4): its
images move along the reference's principal direction while the model grows half as sure, or they are replaced by images
of the class predicted most often. The smallest share that is found in 8 of 10 tries says what the tests can see.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.intervals import Interval, clopper_pearson
from tasks.samples import Pool, Sample, lay_together
from tasks.shift_statistics import Statistics
from tasks.two_sample import adjusted_p_values, compare_samples, draw_labels

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # of the current images
FOUND = 0.8  # of the tries, where a shift counts as one that is seen
STRENGTH = 2.0  # standard deviations along the principal direction
CELLS = 4_000_000  # numbers of labels held at once
Injection = Callable[[Sample, np.ndarray, np.random.Generator], Sample]  # the sample, and which images to change


@dataclass(frozen=True)
class Sight:
    """The smallest share of images changed so at which `found` of `tries` alarmed; None where not even all do."""

    change: str
    share: float | None
    found: int
    tries: int


@dataclass(frozen=True)
class Audit:
    """`alarms` in `splits` of the reference into parts of so many images; `low` and `high` bound their true rate.

    `night_alarms` is how many of the reference's `nights` alarm against all others; bounds as if each were independent
    of the others. Without nights, 0 of 0, between 0 and 1.
    """

    n_reference: int
    n_current: int
    splits: int
    alarms: int
    nominal: float
    confidence: float
    low: float
    high: float
    nights: int
    night_alarms: int
    nights_low: float
    nights_high: float
    sights: tuple[Sight, ...]

    @property
    def calibrated(self) -> bool:
        """Whether the alarms may be believed: their rate is not shown to lie above nominal, of splits or of nights."""
        return self.low <= self.nominal and self.nights_low <= self.nominal


@dataclass(frozen=True)
class Effort:
    """What an audit may cost: random splits, tries for each share, permutations for each, images, and its level."""

    splits: int
    tries: int
    permutations: int
    largest: int
    confidence: float


def audit_tests(
    reference: Sample,
    current_units: int,
    nights: np.ndarray | None,
    nominal: float,
    effort: Effort,
    random: np.random.Generator,
) -> Audit:
    """Audit the tests for so many current units against this reference, whose images (n,) are of these `nights`.

    Of a larger reference `effort.largest` units, drawn at random, are split; the current part has at most half.
    """
    tested, alarmed = night_alarms(reference, nights, nominal, effort, random)
    if reference.unit_count > effort.largest:
        kept = random.permutation(reference.unit_count)[: effort.largest]
        reference = reference.take(np.isin(reference.unit_codes, kept))
    units = reference.unit_count
    current = max(1, min(current_units, units // 2))

    def split() -> tuple[Sample, Sample]:
        chosen = np.isin(reference.unit_codes, random.permutation(units)[:current])
        return reference.take(~chosen), reference.take(chosen)

    pool = lay_together(*split(), units, random)
    alarms = count_alarms(pool, nominal, effort.splits, effort.permutations, random)
    interval = clopper_pearson(alarms, effort.splits, effort.confidence)
    changes = {"moved and less sure": moved(reference), "of one class": of_one_class(reference)}
    sights = tuple(_sight(name, change, split, nominal, effort, random) for name, change in changes.items())
    bounds = clopper_pearson(alarmed, tested, effort.confidence) if tested else Interval(0.0, 1.0)
    counted = (*pool.counts, effort.splits, alarms)
    return Audit(*counted, nominal, effort.confidence, *interval, tested, alarmed, bounds.low, bounds.high, sights)


def night_alarms(
    reference: Sample, nights: np.ndarray | None, nominal: float, effort: Effort, random: np.random.Generator
) -> tuple[int, int]:
    """How many nights were tested against all others, and how many alarmed.

    Of more than `effort.splits` nights so many are drawn at random; one night alone is none. Two are one test: each
    against the other is the same comparison, and counted twice it would seem to be shown.
    """
    names = np.unique(nights) if nights is not None else np.array([])
    if nights is None or len(names) < 2:
        return 0, 0
    chosen = random.permutation(names)[: 1 if len(names) == 2 else effort.splits]
    found = 0
    for name in chosen:
        others, one = reference.take(nights != name), reference.take(nights == name)
        found += bool(compare_samples(others, one, effort.permutations, effort.largest, random).p <= nominal)
    return len(chosen), found


def count_alarms(pool: Pool, nominal: float, splits: int, permutations: int, random: np.random.Generator) -> int:
    """In how many random labellings of one pool the tests alarm, each against permutations of its own."""
    statistics, rows = Statistics(pool), permutations + 1
    at_once = max(1, CELLS // (rows * len(pool.current)))
    alarms = 0
    for start in range(0, splits, at_once):
        number = min(at_once, splits - start)
        values = statistics.of(draw_labels(pool.current, number * rows, random)).reshape(number, rows, -1)
        alarms += sum(bool(adjusted_p_values(v).min() <= nominal) for v in values)
    return alarms


def moved(reference: Sample) -> Injection:
    """Images move along the reference's principal direction, their probabilities halfway to those of a pure guess."""
    centred = reference.embeddings - reference.embeddings.mean(axis=0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    step = STRENGTH * float((centred @ direction).std()) * direction

    def change(sample: Sample, chosen: np.ndarray, random: np.random.Generator) -> Sample:
        embeddings, told = sample.embeddings.copy(), sample.probabilities.copy()
        embeddings[chosen] += step
        told[chosen] = (told[chosen] + 1 / told.shape[1]) / 2
        return Sample(told, embeddings, sample.units)

    return change


def of_one_class(reference: Sample) -> Injection:
    """Images are replaced by random reference images of the class that is predicted most often there."""
    predicted = reference.probabilities.argmax(axis=1)
    frequent = np.flatnonzero(predicted == np.bincount(predicted).argmax())

    def change(sample: Sample, chosen: np.ndarray, random: np.random.Generator) -> Sample:
        drawn = random.choice(frequent, len(chosen))
        embeddings, told = sample.embeddings.copy(), sample.probabilities.copy()
        embeddings[chosen], told[chosen] = reference.embeddings[drawn], reference.probabilities[drawn]
        return Sample(told, embeddings, sample.units)

    return change


def _sight(
    name: str,
    change: Injection,
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
            pool = lay_together(rest, change(current, chosen, random), effort.largest, random)
            labels = np.vstack([pool.current, draw_labels(pool.current, effort.permutations, random)])
            alarm = bool(adjusted_p_values(Statistics(pool).of(labels)).min() <= nominal)
            found, missed = found + alarm, missed + (not alarm)
        if found >= FOUND * effort.tries:
            return Sight(name, share, found, effort.tries)
    return Sight(name, None, found, found + missed)
