"""Summaries tell of crowds: figures that are right, none of them about a few people."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import BadInput
from tasks.feedback import NEW, Filed, Told
from tasks.feedback_rules import CellRules, PrivateRules
from tasks.feedback_summary import ALL, Cell, with_noise, without_small_cells
from tasks.ledger import Ledger
from tasks.sum_up import KIND, sum_up
from tests.small_feedback import AT, MARKER

RULES = CellRules(method="k-anonymity", least_people=5, reason="r")
NOISE = PrivateRules(method="differential-privacy", epsilon=1.0, delta=1e-6, reports_a_person=2, budget=2.5, reason="r")


def filed(n: int, **changes: object) -> Filed:
    """The n-th person's report: cat was told, dog would be right for every second."""
    said: dict[str, object] = {"rating": 1 + n % 5, "correct_label": ["cat", "dog"][n % 2], "text": MARKER, "at": AT}
    told = Told("cat", 0.9, "3", "s")
    return Filed(**{"id": f"{n}", "project": "pets", "state": NEW, "client": f"{n}", "told": told, **said, **changes})  # type: ignore[arg-type]


def by_name(cells: list[Cell], table: str) -> dict[str, Cell]:
    return {cell.name: cell for cell in cells if cell.table == table}


def test_figures_are_counted_rated_and_compared_by_day_answer_version_and_group() -> None:
    held = [filed(n, groups={"desk": "AB"[n % 2]}) for n in range(20)]
    cells = without_small_cells(held, RULES)
    assert by_name(cells, ALL)[ALL] == Cell(ALL, ALL, 20, 20, 3.0, 20, 0.5)
    assert {cell.table: cell.name for cell in cells if cell.table in ("day", "answer", "version")} == {
        "day": "2026-06-01",
        "answer": "cat",
        "version": "3",
    }
    desks = by_name(cells, "group desk")
    assert [(name, c.reports, c.disagreement) for name, c in desks.items()] == [("A", 10, 0.0), ("B", 10, 1.0)]


def test_a_cell_of_few_people_and_the_one_that_would_betray_it_are_not_shown() -> None:
    days = [AT + dt.timedelta(days=d) for d in (0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2)]
    cells = without_small_cells([filed(n, at=at) for n, at in enumerate(days)], RULES)
    assert list(by_name(cells, "day")) == ["2026-06-03"]
    assert by_name(cells, ALL)[ALL].reports == 16


def test_ten_reports_of_one_person_are_one_person() -> None:
    cells = without_small_cells([filed(n, client="same") for n in range(10)], RULES)
    assert cells == []


def test_ratings_of_few_are_not_shown_in_a_cell_of_many() -> None:
    held = [filed(n, rating=1 if n < 3 else None) for n in range(12)]
    (cell,) = by_name(without_small_cells(held, RULES), ALL).values()
    assert (cell.reports, cell.rated, cell.rating, cell.compared) == (12, None, None, 12)
    assert "rating not shown" in cell.line()


def test_noise_is_around_the_truth_and_cells_that_few_are_in_do_not_show() -> None:
    held = [filed(n, at=AT if n else AT + dt.timedelta(days=1)) for n in range(6000)]
    drawn = [by_name(with_noise(held, NOISE, np.random.default_rng(seed)), ALL)[ALL].reports for seed in range(60)]
    each = NOISE.epsilon / 4 / 5  # tables and figures
    assert np.mean(drawn) == pytest.approx(6000, abs=4 * np.sqrt(2) * NOISE.reports_a_person / each / np.sqrt(60))
    assert len(set(drawn)) > 20
    assert list(by_name(with_noise(held, NOISE, np.random.default_rng(0)), "day")) == ["2026-06-01"]


def test_with_noise_a_person_counts_with_so_many_reports_at_most() -> None:
    held = [filed(n, client="same") for n in range(5000)]
    assert by_name(with_noise(held, NOISE, np.random.default_rng(0)), ALL)[ALL].reports < 1000


def test_the_budget_of_noise_is_kept_in_the_ledger_and_runs_out(tmp_path: Path) -> None:
    ledger, held = Ledger(f"sqlite:///{tmp_path}/ledger.db"), [filed(n) for n in range(50)]
    said = [sum_up(held, ledger, "pets", NOISE, seed)[-1] for seed in range(2)]
    assert said == [f"with noise: epsilon 1, delta 1e-06; {n} of 2.5 spent" for n in (1, 2)]
    with pytest.raises(BadInput, match=r"have spent 2 of a budget of 2.5, and one more costs 1"):
        sum_up(held, ledger, "pets", NOISE, 3)
    assert [entry.body["epsilon"] for entry in ledger.read("pets", KIND)] == [1.0, 1.0]


@pytest.mark.parametrize("rules", [RULES, NOISE])
def test_no_summary_holds_a_text(tmp_path: Path, rules: CellRules | PrivateRules) -> None:
    lines = sum_up([filed(n) for n in range(50)], Ledger(f"sqlite:///{tmp_path}/ledger.db"), "pets", rules, 0)
    assert MARKER not in "".join(lines)
    assert MARKER.encode() not in (tmp_path / "ledger.db").read_bytes()
    assert len(lines) > 1
