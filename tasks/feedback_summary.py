"""What may be told of the reports: counts, ratings and how often users name another class; no single report.

By day, answer, version and group. Each table splits all reports, so its cells add up to the total; what a report does
not say is a cell of its own. Which cells are shown, or how much noise they get, is what governance/feedback.yaml says.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.feedback import Filed
from tasks.feedback_rules import CellRules, PrivateRules
from tasks.noisy_counts import least_to_show, noisy
from tasks.small_cells import hidden_cells

ALL, UNKNOWN = "all", "not known"
MIDDLE = 3  # of the ratings 1 to 5; sums are of the distance from it, which one report changes by 2 at most
QUERIES = 5  # figures of a cell that get noise
Table = dict[str, list[Filed]]


@dataclass(frozen=True)
class Cell:
    """The figures of one cell; None for what is not shown. `compared` reports name a class and have an answer."""

    table: str
    name: str
    reports: int | None
    rated: int | None
    rating: float | None  # mean
    compared: int | None
    disagreement: float | None  # share of those compared

    def line(self) -> str:
        """For a terminal."""
        rating = "not shown" if self.rating is None else f"{self.rating:.1f} of {self.rated}"
        share = "not shown" if self.disagreement is None else f"{100 * self.disagreement:.0f} % of {self.compared}"
        return f"{self.table:16}{self.name:20}{self.reports:>6} reports, rating {rating}, another class {share}"


def tables_of(filed: Iterable[Filed]) -> dict[str, Table]:
    """The reports by day, answer, version and each group attribute that anybody gave."""
    held = list(filed)
    named: dict[str, Callable[[Filed], str]] = {
        "day": lambda f: f.at.date().isoformat() if f.at else UNKNOWN,
        "answer": lambda f: f.told.answer if f.told else UNKNOWN,
        "version": lambda f: f.told.version if f.told else UNKNOWN,
    }
    for group in sorted({name for f in held for name in f.groups}):
        named[f"group {group}"] = lambda f, group=group: f.groups.get(group, UNKNOWN)  # type: ignore[misc]
    tables: dict[str, Table] = {ALL: {ALL: held}}
    for name, key in named.items():
        tables[name] = {cell: [f for f in held if key(f) == cell] for cell in sorted({key(f) for f in held})}
    return tables


def without_small_cells(filed: Iterable[Filed], rules: CellRules) -> list[Cell]:
    """The cells with enough people in them, of each figure those that the total does not betray."""
    found = []
    for name, table in tables_of(filed).items():
        least, small = rules.least_people, hidden_cells(_people(table), rules.least_people)
        unrated = hidden_cells(_people({cell: _rated(rows) for cell, rows in table.items()}), least, small)
        uncompared = hidden_cells(_people({cell: _compared(rows) for cell, rows in table.items()}), least, small)
        for cell, rows in table.items():
            if cell not in small:
                rated, compared = _rated(rows), _compared(rows)
                far, wrong = sum(_distance(f) for f in rated), sum(bool(f.disagrees) for f in compared)
                figures = _figures(len(rated), far, len(compared), wrong, cell in unrated, cell in uncompared)
                found.append(Cell(name, cell, len(rows), *figures))
    return found


def with_noise(filed: Iterable[Filed], rules: PrivateRules, random: np.random.Generator) -> list[Cell]:
    """All cells with noise that costs `epsilon` together; cells too small to be sure of are left out.

    A person counts with the first `reports_a_person` reports. The budget is split evenly over tables and figures
    (Dwork & Roth 2014, theorem 3.16).
    """
    tables = tables_of(_first_of_each(filed, rules.reports_a_person))
    each, most = rules.epsilon / len(tables) / QUERIES, rules.reports_a_person
    least = least_to_show(each, rules.delta / len(tables), most)
    found = []
    for name, table in tables.items():
        for cell, rows in table.items():
            rated, compared = _rated(rows), _compared(rows)
            counts = (len(rows), len(rated), len(compared), sum(bool(f.disagrees) for f in compared))
            reports, ratings, answers, wrong = (noisy(count, each, most, random) for count in counts)
            far = noisy(sum(_distance(f) for f in rated), each, 2 * most, random)
            if name == ALL or reports > least:
                figures = _figures(max(0, ratings), far, max(0, answers), wrong, False, False)
                found.append(Cell(name, cell, max(0, reports), *figures))
    return found


def _figures(
    rated: int, far: int, compared: int, wrong: int, no_rating: bool, no_share: bool
) -> tuple[int | None, float | None, int | None, float | None]:
    mean = None if no_rating or not rated else min(5.0, max(1.0, MIDDLE + far / rated))
    share = None if no_share or not compared else min(1.0, max(0.0, wrong / compared))
    return (None if no_rating else rated), mean, (None if no_share else compared), share


def _people(table: Table) -> dict[str, set[str]]:
    """Who is in each cell; reports that do not say who sent them count as one person's."""
    return {cell: {f.client for f in rows} for cell, rows in table.items()}


def _first_of_each(filed: Iterable[Filed], most: int) -> list[Filed]:
    seen: dict[str, int] = {}
    kept = []
    for f in filed:
        seen[f.client] = seen.get(f.client, 0) + 1
        kept += [f] if seen[f.client] <= most else []
    return kept


def _rated(rows: Sequence[Filed]) -> list[Filed]:
    return [f for f in rows if f.rating is not None]


def _compared(rows: Sequence[Filed]) -> list[Filed]:
    return [f for f in rows if f.disagrees is not None]


def _distance(filed: Filed) -> int:
    return (filed.rating or MIDDLE) - MIDDLE
