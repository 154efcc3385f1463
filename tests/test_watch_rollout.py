"""Which labels a rollout may bet on, and how often."""

import numpy as np
import pandas as pd

from tasks.watch_rollout import bet_on_before, usable_labels


def told(request: str, label: str, source: str) -> dict[str, str]:
    return {"request_id": request, "label": label, "labelled_at": "2026-11-02T12:00", "source": source}


def test_labels_of_complaints_and_of_no_class_tell_nothing_of_two_models() -> None:
    rows = [told("a", "cat", "desk"), told("b", "dog", "feedback 12ab"), told("c", "Cat", "desk"), told("d", "dog", "")]
    assert usable_labels(pd.DataFrame(rows), {"cat", "dog"}) == {"a": "cat", "d": "dog"}


def test_a_unit_is_bet_on_in_one_run_and_never_again() -> None:
    rows = [
        ("paired", "desk 1", "", "cat", "cat"),
        ("paired too", "desk 1", "", "cat", "cat"),
        ("alone", "desk 2", "", None, "cat"),
        ("alone too", "desk 2", "", None, "cat"),
        ("of a form", "desk 3", "form 7", "cat", "cat"),
        ("of it too", "desk 4", "form 7", "cat", "cat"),
    ]
    names = ["request_id", "key", "unit", "predicted_champion", "predicted_challenger"]
    table = pd.DataFrame(rows, columns=names)
    counted = np.array([True, False] * 3)
    assert table["request_id"][~bet_on_before(table, counted)].tolist() == ["paired too"]
