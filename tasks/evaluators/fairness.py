"""Does the model serve every group alike: accuracy, errors and calibration by the values of each slice column.

The groups of a column are its values, those of two crossed columns the pairs of values that occur. A group (or, for a
rate of one class, a cell) with fewer than `min_group` images is not assessable: the finding's method names it, and
whatever is said of all groups gets the interval that any truth about the missing one leaves open, so that no bound is
met without it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from tasks.estimates import gain_interval, make_finding, share_interval
from tasks.evidence import Evidence
from tasks.findings import Finding
from tasks.intervals import Interval
from tasks.metrics import (
    between_groups,
    classes_of,
    false_positive_rates,
    group_means,
    outcomes_of,
    true_positive_rates,
)
from tasks.params import EvaluateParams
from tasks.resampling import Clusters, Weights, bootstrap, choose_clusters
from tasks.simultaneous import Family, gap_change_interval, gap_intervals, group_intervals
from tasks.slices import EMPTY, SLICE, iter_splits

METRICS = (
    *("group_accuracy", "worst_group_accuracy", "accuracy_gap", "accuracy_gap_change"),
    *("tpr_gap", "fpr_gap", "equalised_odds_difference", "calibration_gap"),
)
CROSS = " & "  # between two column names, and between two values
ANY = "=*"  # ends the slice of a figure that compares all values of a column
NAMED = 3  # groups that a method names


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """For each slice column and each two crossed, on test and on the mirror; a column with one value says nothing.

    `group_accuracy` is on each group's own slice, with intervals that hold for all groups of the column at once. What
    compares groups is on `<split>/<column>=*`, the rates of one class on `<split>/label & <column>=<class> & *`, and
    its n is the smallest group's. `equalised_odds_difference` is the largest of these rates' gaps; `calibration_gap`
    compares mean confidence minus accuracy. `accuracy_gap_change` is the gap minus the baseline's, paired by image:
    positive when the bias is amplified.
    """
    theirs = evidence.baseline_judged
    for split, rows in iter_splits(evidence.judged):
        for column, labels in groupings(rows):
            grouped = Grouped(split, column, labels, rows, evidence.params)
            yield from grouped.accuracy()
            yield from grouped.rates()
            yield grouped.calibration()
            if theirs is not None:
                yield grouped.amplification((theirs["predicted"] == theirs["label"])[rows.index].to_numpy())


def groupings(rows: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """Name and values of each slice column with at least two values, then of each two of them crossed."""
    columns = {c.removeprefix(SLICE): rows[c].replace("", EMPTY) for c in rows if c.startswith(SLICE)}
    several = {name: values for name, values in columns.items() if values.nunique() > 1}
    yield from several.items()
    for one, other in combinations(several, 2):
        yield f"{one}{CROSS}{other}", several[one] + CROSS + several[other]


@dataclass(frozen=True)
class Cell:
    """The images of one group that a figure is over: `hits` (n,) and how they cluster.

    The figure is the share of hits, or `offset` minus it (mean confidence minus accuracy).
    """

    name: str
    hits: np.ndarray
    clusters: Clusters
    offset: float | None = None

    @property
    def value(self) -> float:
        """The figure; NaN without images."""
        share = float(self.hits.mean()) if len(self.hits) else math.nan
        return share if self.offset is None else self.offset - share

    def interval(self, level: float) -> Interval:
        """Its score interval."""
        low, high = share_interval(self.hits, self.clusters, level)
        return Interval(low, high) if self.offset is None else Interval(self.offset - high, self.offset - low)


class Compared:
    """One figure in every group: its cells, and its resampled values (B, G)."""

    def __init__(self, cells: list[Cell], resampled: np.ndarray, min_group: int) -> None:
        self.cells = cells
        self.fit = [g for g, cell in enumerate(cells) if len(cell.hits) >= min_group]
        self.small = [f"{c.name} ({len(c.hits)} of {min_group} images)" for c in cells if len(c.hits) < min_group]
        self.resampled = resampled[:, self.fit]

    @property
    def family(self) -> Family:
        """The figures of the groups that are assessable."""
        fit = [self.cells[g] for g in self.fit]
        return Family(np.array([c.value for c in fit]), self.resampled, lambda level: [c.interval(level) for c in fit])


class Grouped:
    """One split by one column (or two crossed); all figures come from the same resamples."""

    def __init__(self, split: str, column: str, labels: pd.Series, rows: pd.DataFrame, params: EvaluateParams) -> None:
        self.split, self.column, self.params = split, column, params
        self.codes, names = pd.factorize(labels, sort=True)
        self.names, self.classes = list(names), classes_of(rows)
        self.outcomes, self.clusters = outcomes_of(rows), choose_clusters(rows, params.min_clusters)
        self.surplus = self.outcomes.probabilities.max(axis=1) - self.outcomes.hits  # confidence beyond accuracy
        shape = (params.resamples, -1, len(self.names))
        drawn = bootstrap(self._figures, self.clusters, params.resamples, params.seed).reshape(shape)
        self.hit, self.beyond, (self.true, self.false) = drawn[:, 0], drawn[:, 1], np.split(drawn[:, 2:], 2, axis=1)

    def accuracy(self) -> Iterator[Finding]:
        """Of each group, of the worst of them, and the gap."""
        compared = self._compare(self.outcomes.hits, self.hit)
        intervals = dict(zip(compared.fit, self._of_groups(compared), strict=True))
        for g, cell in enumerate(compared.cells):
            ends, said = intervals.get(g, Interval(0, 1)), "" if g in intervals else f"{cell.name} is not assessable"
            yield self._finding("group_accuracy", f"={cell.name}", cell.value, ends, [cell], [said] if said else [])
        if compared.fit:
            worst = min(compared.cells[g].value for g in compared.fit)
            low = 0.0 if compared.small else min(i.low for i in intervals.values())
            ends = Interval(low, min(i.high for i in intervals.values()))
            yield self._finding("worst_group_accuracy", ANY, worst, ends, compared.cells, compared.small)
        yield self._gap("accuracy_gap", ANY, [compared])

    def rates(self) -> Iterator[Finding]:
        """The gaps of the true and false positive rates of each class (not where columns cross), and the largest."""
        found: list[Compared] = []
        for k, label in enumerate(self.classes):
            own, called = self.outcomes.truth == k, self.outcomes.predicted == k
            pair = [
                self._compare(called, self.true[:, k], own, f"{label}{CROSS}"),
                self._compare(called, self.false[:, k], ~own, f"not {label}{CROSS}"),
            ]
            found += pair
            for metric, compared in zip(("tpr_gap", "fpr_gap"), pair, strict=True):
                if CROSS not in self.column:
                    yield self._gap(metric, f"={label}{CROSS}*", [compared], f"label{CROSS}{self.column}")
        yield self._gap("equalised_odds_difference", ANY, found)

    def calibration(self) -> Finding:
        """The gap in mean confidence minus accuracy."""
        compared = self._compare(self.outcomes.hits, self.beyond, surplus=True)
        return self._gap("calibration_gap", ANY, [compared], span=2)

    def amplification(self, theirs: np.ndarray) -> Finding:
        """The gap in accuracy minus that of the baseline, whose `theirs` (n,) are right, paired by image."""
        count, hits = len(self.names), self.outcomes.hits
        other = bootstrap(
            lambda w: group_means(theirs, self.codes, count, w), self.clusters, self.params.resamples, self.params.seed
        )
        ours, scratch = self._compare(hits, self.hit), self._compare(theirs, other)
        if len(ours.fit) < 2:
            return self._finding("accuracy_gap_change", ANY, math.nan, Interval(-1, 1), ours.cells, ours.small)
        gains = [(hits.astype(int) - theirs)[self.codes == g] for g in ours.fit]
        clusters = [ours.cells[g].clusters for g in ours.fit]
        change = Family(
            ours.family.values - scratch.family.values,
            ours.resampled - scratch.resampled,
            lambda level: [gain_interval(g, c, level) for g, c in zip(gains, clusters, strict=True)],
        )
        low, high = gap_change_interval(ours.family, scratch.family, change, self.params.level)
        ends = Interval(-1, 1) if ours.small else Interval(max(-1.0, low), min(1.0, high))
        value = float(between_groups(ours.family.values) - between_groups(scratch.family.values))
        return self._finding("accuracy_gap_change", ANY, value, ends, ours.cells, ours.small)

    def _figures(self, weights: Weights) -> np.ndarray:
        """Accuracy, confidence beyond it, true and false positive rates of each class, for each group, side by side."""
        count = len(self.names)
        means = [group_means(v, self.codes, count, weights) for v in (self.outcomes.hits, self.surplus)]
        rates = [f(self.outcomes, self.codes, count, weights) for f in (true_positive_rates, false_positive_rates)]
        return np.concatenate([part.reshape(len(weights), -1) for part in (*means, *rates)], axis=1)

    def _compare(
        self,
        hits: np.ndarray,
        resampled: np.ndarray,
        among: np.ndarray | None = None,
        prefix: str = "",
        surplus: bool = False,
    ) -> Compared:
        cells = []
        for g, name in enumerate(self.names):
            mask = (self.codes == g) if among is None else (self.codes == g) & among
            confidence = float((self.surplus + self.outcomes.hits)[mask].mean()) if surplus else None
            cells.append(Cell(prefix + name, hits[mask], self.clusters.of(mask), confidence))
        return Compared(cells, resampled, self.params.min_group)

    def _of_groups(self, compared: Compared) -> list[Interval]:
        found = group_intervals(compared.family, self.params.level) if compared.fit else []
        return [Interval(max(0.0, low), min(1.0, high)) for low, high in found]

    def _gap(
        self, metric: str, ending: str, compared: list[Compared], column: str | None = None, span: float = 1.0
    ) -> Finding:
        """The largest of the gaps."""
        cells = [cell for c in compared for cell in c.cells]
        small = [name for c in compared for name in c.small]
        families = [c.family for c in compared if len(c.fit) > 1]
        if not families:
            return self._finding(metric, ending, math.nan, Interval(0, span), cells, small, column)
        intervals = gap_intervals(families, self.params.level)
        value = max(float(between_groups(f.values)) for f in families)
        high = span if small else min(span, max(i.high for i in intervals))
        return self._finding(metric, ending, value, Interval(max(i.low for i in intervals), high), cells, small, column)

    def _finding(
        self,
        metric: str,
        ending: str,
        value: float,
        ends: Interval,
        cells: list[Cell],
        small: list[str],
        column: str | None = None,
    ) -> Finding:
        smallest = min(cells, key=lambda c: len(c.hits)).clusters
        method = f"max-t bootstrap of {self.clusters.kind}"
        if small:
            more = f" and {len(small) - NAMED} more" if len(small) > NAMED else ""
            method += f"; not assessable: {', '.join(small[:NAMED])}{more}"
        place = f"{self.split}/{column or self.column}{ending}"
        return make_finding(metric, place, value, [ends], smallest, method, self.params)
