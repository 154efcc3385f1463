"""The summary as it is told; noise is paid for out of a budget that the ledger keeps."""

from collections.abc import Iterable

import numpy as np

from tasks.decision import decided_by
from tasks.errors import BadInput
from tasks.feedback import Filed
from tasks.feedback_rules import CellRules, PrivateRules
from tasks.feedback_summary import Cell, with_noise, without_small_cells
from tasks.ledger import Ledger

KIND = "feedback-summary"


def sum_up(
    filed: Iterable[Filed], ledger: Ledger, project: str, rules: CellRules | PrivateRules, seed: int | None = None
) -> list[str]:
    """The lines of the summary. With noise, BadInput when the budget is spent; `seed` is for tests alone."""
    if isinstance(rules, CellRules):
        cells = without_small_cells(filed, rules)
        last = f"cells of fewer than {rules.least_people} people are not shown, nor any that would betray them"
        return [*_lines(cells), last]
    spent = sum(e.body["epsilon"] for e in ledger.read(project, KIND)) + rules.epsilon
    if spent > rules.budget + 1e-9:
        raise BadInput(
            f"the summaries of {project} have spent {spent - rules.epsilon:g} of a budget of {rules.budget:g}, and one "
            f"more costs {rules.epsilon:g}; read an earlier one in the ledger, or raise the budget with a reason"
        )
    cells = with_noise(filed, rules, np.random.default_rng(seed))
    lines = _lines(cells)
    ledger.append(KIND, project, {"epsilon": rules.epsilon, "delta": rules.delta, "lines": lines, "by": decided_by()})
    return [
        *lines,
        f"with noise: epsilon {rules.epsilon:g}, delta {rules.delta:g}; {spent:g} of {rules.budget:g} spent",
    ]


def _lines(cells: list[Cell]) -> list[str]:
    return [cell.line() for cell in cells] or ["no cell has enough people in it to be shown"]
