"""Evidently's reports of a night: written wherever it can read the classes, from a drawing where images are many."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks import report_drift as module
from tasks.report_drift import classification_of, described, quality_report, report_drift
from tests.drawn_nights import MODEL, draw_window

TWO = [("cat", "cat"), ("dog", "dog"), ("cat", "dog")] * 4
ONE = [("cat", "cat")] * 5
THREE = [*TWO, ("cow", "cow"), ("cow", "dog")]


def sides(*pairs: list[tuple[str, str]]) -> list[pd.DataFrame]:
    return [pd.DataFrame(rows, columns=["label", "answer"]) for rows in pairs]


@pytest.mark.parametrize(
    ("now", "before", "kind"),
    [
        (THREE, THREE, "MulticlassClassification"),
        (TWO, TWO, "BinaryClassification"),
        (ONE, TWO, None),
        (TWO, ONE, None),
        (ONE, ONE, None),
        (TWO, THREE, None),
        (THREE, TWO, None),
    ],
)
def test_quality_is_reported_where_evidently_can_and_left_out_elsewhere(
    now: list[tuple[str, str]], before: list[tuple[str, str]], kind: str | None, tmp_path: Path
) -> None:
    tables = sides(now, before)
    told = classification_of(*tables)
    assert (type(told).__name__ if told else None) == kind
    tonight = draw_window(tmp_path, "2026-06-03")
    written = quality_report(*tables, tonight, "pets", tmp_path / "workspace")
    if kind is None:
        assert written == {}
        return
    metrics = json.loads((tonight.folder / "evidently_quality.json").read_text())["metrics"]
    accuracy = next(m["value"] for m in metrics if m["metric_name"].startswith("Accuracy"))
    assert accuracy == pytest.approx((tables[0]["label"] == tables[0]["answer"]).mean())


def test_a_night_beside_its_reference_gives_both_reports_and_one_project(tmp_path: Path) -> None:
    reference = [draw_window(tmp_path, "2026-06-01"), draw_window(tmp_path, "2026-06-02")]
    tonight = draw_window(tmp_path, "2026-06-03", wrong=3, shift=3)
    for _ in range(2):
        written = report_drift.fn(tonight, reference, MODEL, "pets", tmp_path / "workspace", 0)
    assert {name: file.name for name, file in written.items()} == {
        "evidently": "evidently.html",
        "evidently-quality": "evidently_quality.html",
    }
    told = (tonight.folder / "evidently.json").read_text()
    assert "component 1" in told
    projects = [json.loads(file.read_text()) for file in (tmp_path / "workspace").rglob("metadata.json")]
    assert [project["name"] for project in projects] == ["pets"]


def test_large_windows_are_drawn_from_and_described_along_the_references_axes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 20)
    before, now = draw_window(tmp_path, "2026-06-01"), draw_window(tmp_path, "2026-06-02", shift=3)
    table, (centre, axes) = described([before], MODEL, None, 0)
    shifted, kept = described([now], MODEL, (centre, axes), 0)
    assert (len(table), len(shifted)) == (20, 20)
    assert kept[0] is centre
    assert axes.T @ axes == pytest.approx(np.eye(axes.shape[1]), abs=1e-9)
    components = [f"component {k + 1}" for k in range(axes.shape[1])]
    assert table[components].mean().to_numpy() == pytest.approx(np.zeros(axes.shape[1]), abs=1e-9)
    moved = shifted[components].mean().to_numpy()
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm([3] * 4), abs=1.5)
