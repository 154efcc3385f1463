"""Nights on record: whose error a night shows."""

from pathlib import Path
from typing import Any

import pytest

from tasks.intervals import wilson
from tasks.ledger import Ledger
from tasks.nights import figures


def enter(ledger: Ledger, night: str, model: str, counted: dict[str, tuple[int, int]]) -> None:
    """A night of that model; `counted` are the labels and wrong answers that it counted, by the night of the image."""
    found = {window: {"n": n, "wrong": wrong} for window, (n, wrong) in counted.items()}
    body: dict[str, Any] = {"night": night, "verdict": "HEALTHY", "sentence": "", "model": model}
    ledger.append("night", "digits", {**body, "harm": {"figures": found}})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def test_late_labels_are_with_the_night_of_their_image(ledger: Ledger) -> None:
    enter(ledger, "2026-06-01", "old", {"2026-06-01": (10, 1)})
    enter(ledger, "2026-06-02", "old", {"2026-06-01": (30, 5), "2026-06-02": (20, 2)})
    found = figures(ledger.read("digits"), 0.9)
    low, high = wilson(6, 40, 0.9)
    assert found["2026-06-01"] == {"n": 40, "wrong": 6, "error": 0.15, "low": low, "high": high}
    assert found["2026-06-02"]["n"] == 20


def test_night_shows_the_error_of_the_model_that_it_was_judged_by(ledger: Ledger) -> None:
    enter(ledger, "2026-06-01", "old", {"2026-06-01": (40, 16)})
    enter(ledger, "2026-06-02", "new", {"2026-06-01": (40, 2), "2026-06-02": (40, 3)})
    enter(ledger, "2026-06-03", "old", {"2026-06-02": (40, 20), "2026-06-03": (40, 12)})
    found = figures(ledger.read("digits"), 0.95)
    assert {night: figure["wrong"] for night, figure in found.items()} == {
        "2026-06-01": 16,
        "2026-06-02": 3,
        "2026-06-03": 12,
    }


def test_night_that_was_judged_again_shows_the_newer_model(ledger: Ledger) -> None:
    enter(ledger, "2026-06-01", "old", {"2026-06-01": (40, 16)})
    enter(ledger, "2026-06-01", "new", {"2026-06-01": (40, 2)})
    assert figures(ledger.read("digits"), 0.95)["2026-06-01"]["wrong"] == 2
