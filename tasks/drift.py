"""Has the night drifted from the reference? Calibrated tests, an audit of these tests, and where to look.

Drift here means that the images, as the champion sees them and answers them, are not a random draw from what the
reference was drawn from. It says nothing of harm: a night can drift and be answered well. An alarm is raised where the
smallest adjusted p value of tasks/two_sample.py is at most one in `false_alarm_every`, so that nights without drift
alarm as rarely as that. The slice and the images that are named are for looking; they raise no alarm of their own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.anomalies import Anomaly, most_anomalous
from tasks.drift_audit import Audit, Sight, audit_tests
from tasks.drift_rules import DriftRules
from tasks.drift_slices import SHARE, SliceMove, most_moved_slice
from tasks.errors import EvidenceMissing
from tasks.samples import lay_together
from tasks.shift_statistics import EFFECTS
from tasks.snapshot import Snapshot
from tasks.two_sample import TestResult, compare_pool, draw_labels

SLICE_PERMUTATIONS = 499  # slices are shown and decide nothing


@dataclass(frozen=True)
class Drift:
    """What is to be said of one night: the tests with their adjusted p values, the audit, and where to look.

    `coarser` is by how much more a comparison of the embeddings, and of the outputs, scatters than if all images had
    been read: 1 where they were.
    """

    alarm: bool
    level: float
    tests: tuple[TestResult, ...]
    adjusted: tuple[float, ...]
    permutations: int
    coarser: tuple[float, float]
    n_reference: int
    n_current: int
    slice: SliceMove | None
    anomalies: tuple[Anomaly, ...]
    audit: Audit

    @property
    def calibrated(self) -> bool:
        """Whether the tests kept their promise on the reference; if not, drift cannot be judged."""
        return self.audit.calibrated

    @property
    def p(self) -> float:
        """The smallest adjusted p value: how often a night without drift looks as different as this one."""
        return min(self.adjusted)

    @property
    def strongest(self) -> TestResult:
        """The test with the smallest adjusted p value; of equals, the one with the smallest p value alone."""
        return min(zip(self.adjusted, self.tests, strict=True), key=lambda pair: (pair[0], pair[1].p))[1]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The same as words, the decision first."""
        return tuple(_sentences(self))

    def as_dict(self) -> dict[str, Any]:
        """JSON-safe; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Drift":
        """The record that `as_dict` wrote; EvidenceMissing when a part of it is not there."""
        try:
            audit = dict(told["audit"])
            audit["sights"] = tuple(Sight(**sight) for sight in audit["sights"])
            found = {
                "tests": tuple(TestResult(**test) for test in told["tests"]),
                "adjusted": tuple(told["adjusted"]),
                "coarser": tuple(told["coarser"]),
                "slice": None if told["slice"] is None else SliceMove(**told["slice"]),
                "anomalies": tuple(Anomaly(**anomaly) for anomaly in told["anomalies"]),
                "audit": Audit(**audit),
            }
            return cls(**{**told, **found})
        except (KeyError, TypeError) as error:
            raise EvidenceMissing(f"a record of drift is not whole: {error}; judge the night again") from error


def judge_drift(reference: Snapshot, current: Snapshot, rules: DriftRules, seed: int) -> Drift:
    """Test one night against the reference, and the tests against the reference alone.

    The same seed gives the same answer. Raises EvidenceMissing for too few images and for anything that is missing or
    not a number.
    """
    reference.check("reference", max(2 * rules.neighbours, rules.least_images))
    current.check("night", rules.least_images)
    if list(reference.slices) != list(current.slices):
        raise EvidenceMissing(
            f"the slices of the reference are {list(reference.slices)}, those of the night {list(current.slices)}"
        )
    tests, slices, images, audit = (np.random.default_rng([seed, place]) for place in range(4))
    ours, theirs = current.sample, reference.sample
    pool = lay_together(theirs, ours, rules.largest_sample, tests)
    compared = compare_pool(pool, rules.permutations, tests)
    sizes = (len(theirs), len(ours))
    both = pd.concat([reference.slices, current.slices], ignore_index=True)
    return Drift(
        alarm=bool(compared.p <= rules.level),
        level=rules.level,
        tests=compared.tests,
        adjusted=compared.adjusted,
        permutations=rules.permutations,
        coarser=(_coarser(sizes, pool.distances_read), _coarser(sizes, pool.counts)),
        n_reference=sizes[0],
        n_current=sizes[1],
        slice=most_moved_slice(pool, draw_labels(pool.current, SLICE_PERMUTATIONS, slices), both, rules.least_slice),
        anomalies=most_anomalous(
            current.image_ids, ours.embeddings, theirs, rules.neighbours, rules.shown, rules.largest_sample, images
        ),
        audit=audit_tests(theirs, ours.unit_count, reference.nights, rules.level, rules.effort, audit),
    )


def _coarser(all_images: tuple[int, int], read: tuple[int, int]) -> float:
    """The standard error of a difference between the images read, in that between all images."""
    return float(np.sqrt((1 / read[0] + 1 / read[1]) / (1 / all_images[0] + 1 / all_images[1])))


def _sentences(drift: Drift) -> Iterator[str]:
    yield _decision(drift)
    audit = drift.audit
    parts = f"{audit.splits} random splits of the reference into {audit.n_reference} and {audit.n_current} images"
    bounds = f"{_rate(audit.alarms, audit.splits, audit.low, audit.high)}, promised are {_per_cent(audit.nominal)}"
    yield f"without a shift the tests alarmed in {audit.alarms} of {parts}: {bounds}"
    yield f"with that many images they see {'; '.join(map(_seen, audit.sights))}"
    yield _nights(audit)
    for what, factor in zip(("embeddings", "outputs"), drift.coarser, strict=True):
        if factor > 1.005:
            yield f"not all {what} were read: their comparison scatters {factor:.1f} times as much as that of all would"
    if drift.slice is not None:
        yield _moved(drift.slice)
    if drift.anomalies:
        furthest = ", ".join(f"{a.image_id} ({a.score:.1f}, p = {a.p:.2g})" for a in drift.anomalies)
        yield f"furthest from the reference, in times the usual distance: {furthest}"


def _decision(drift: Drift) -> str:
    test, error = drift.strongest, float(np.sqrt(drift.p * (1 - drift.p) / drift.permutations))
    figures = f"adjusted p = {drift.p:.2g} (Monte-Carlo error {error:.1g}), alarm at {drift.level:.2g}"
    where = f"{test.name} of {test.n_current} images from {test.n_reference} of the reference"
    where = f"{where}, effect {test.effect:.2g} ({EFFECTS[test.name]})"
    if not drift.calibrated:
        return f"drift cannot be judged, because the tests alarm too often without it: {figures}; {where}"
    return f"{'drift' if drift.alarm else 'no drift shown'}: {figures}; strongest is the {where}"


def _nights(audit: Audit) -> str:
    if not audit.nights:
        return "the reference names no nights, so whether ordinary nights differ among themselves was not audited"
    if audit.nights == 1:
        differ = "differ" if audit.night_alarms else "do not differ"
        return f"the reference's two nights {differ} by these tests; one comparison shows no rule"
    bounds = _rate(audit.night_alarms, audit.nights, audit.nights_low, audit.nights_high)
    return f"of the reference's {audit.nights} nights {audit.night_alarms} alarm against all others: {bounds}"


def _seen(sight: Sight) -> str:
    if sight.share is None:
        return f"images {sight.change} not reliably even when all are ({sight.found} of {sight.tries} tries)"
    return f"images {sight.change} from a share of {_per_cent(sight.share)} on ({sight.found} of {sight.tries} tries)"


def _moved(moved: SliceMove) -> str:
    if moved.what == SHARE:
        change = f"its share went from {_per_cent(moved.reference_share)} to {_per_cent(moved.current_share)}"
    else:
        change = f"its outputs moved by {moved.effect:.2f}, the distance of two distribution functions"
    return f"the slice that moved most is {moved.slice}: {change} (n = {moved.n_current}, adjusted p = {moved.p:.2g})"


def _rate(count: int, of: int, low: float, high: float) -> str:
    return f"{_per_cent(count / of)} [{100 * low:.1f}, {100 * high:.1f}]"


def _per_cent(share: float) -> str:
    return f"{100 * share:.3g} %"
