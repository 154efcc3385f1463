"""Which labels a rollout may bet on."""

import pandas as pd

from tasks.watch_rollout import usable_labels


def told(request: str, label: str, source: str) -> dict[str, str]:
    return {"request_id": request, "label": label, "labelled_at": "2026-11-02T12:00", "source": source}


def test_labels_of_complaints_and_of_no_class_tell_nothing_of_two_models() -> None:
    rows = [told("a", "cat", "desk"), told("b", "dog", "feedback 12ab"), told("c", "Cat", "desk"), told("d", "dog", "")]
    assert usable_labels(pd.DataFrame(rows), {"cat", "dog"}) == {"a": "cat", "d": "dog"}
