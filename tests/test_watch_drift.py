"""Drift of one night: found where it is, benign where labels prove it, an early sign where none has come."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.night import CANNOT_JUDGE, WATCH, Answer
from tasks.night_tables import ScoredWindow
from tasks.versions import Served
from tasks.watch import Watch, load_watch
from tasks.watch_drift import not_to_ask, snapshot, tolerated_error, watch_drift, with_early_sign
from tasks.windows import Window
from tests.drawn_nights import MODEL, draw_served, draw_window
from tests.small_nights import write_watch

NIGHT = "2026-06-03"
UNASKED = Answer(False, "", ())


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    write_watch(tmp_path / "watch.yaml")
    return load_watch(tmp_path / "watch.yaml")


@pytest.fixture
def reference(tmp_path: Path) -> list[ScoredWindow]:
    return [draw_window(tmp_path, f"2026-06-0{day}", images=40) for day in (1, 2)]


def figures(wrong: int, n: int, high: float) -> Answer:
    """What the labels of the night say."""
    found = {"n": n, "wrong": wrong, "error": wrong / n, "low": 0.0, "high": high}
    return Answer(True, "", (), {"figures": {NIGHT: found}})


def ask(
    watch: Watch, tonight: ScoredWindow, reference: list[ScoredWindow], champion: Served, harm: Answer = UNASKED
) -> Answer:
    window = Window(dt.date.fromisoformat(tonight.night), tonight.folder / "window")
    return watch_drift.fn(window, tonight, reference, champion, watch, harm, 7)


def test_a_night_like_the_reference_shows_no_drift_and_says_the_same_twice(
    tmp_path: Path, watch: Watch, reference: list[ScoredWindow]
) -> None:
    champion, tonight = draw_served(tmp_path / "v1"), draw_window(tmp_path, NIGHT, labelled=0)
    answer = ask(watch, tonight, reference, champion)
    assert (answer.asked, answer.against) == (True, "")
    assert answer.said[0].startswith("no drift shown")
    assert answer == ask(watch, tonight, reference, champion)
    kept = json.loads((tonight.folder / "drift.json").read_text())
    assert kept["said"] == list(answer.said)
    assert kept["drift"]["p"] == answer.facts["drift"]["p"] > 0.05
    assert {row["method"] for row in kept["expected"]} == {"ATC on confidence", "ATC on negative entropy", "CBPE"}
    assert len({ask["image"] for ask in kept["to_label"]}) == 2


def test_a_night_that_looks_different_is_watched_unless_its_own_labels_prove_the_change_benign(
    tmp_path: Path, watch: Watch, reference: list[ScoredWindow]
) -> None:
    champion, tonight = draw_served(tmp_path / "v1"), draw_window(tmp_path, NIGHT, shift=3)
    drifted = ask(watch, tonight, reference, champion)
    assert drifted.against == WATCH
    assert drifted.said[0].startswith("drift: adjusted p = ")
    benign = ask(watch, tonight, reference, champion, figures(0, 60, 0.06))
    assert (benign.asked, benign.against, benign.facts["benign"]) == (True, "", True)
    assert "at most 6.0 % of the answers are wrong, 10.0 % are tolerated" in benign.said[0]
    assert ask(watch, tonight, reference, champion, figures(2, 30, 0.21)).against == WATCH


def test_a_night_of_too_few_units_cannot_be_judged_and_ends_no_run(
    tmp_path: Path, watch: Watch, reference: list[ScoredWindow]
) -> None:
    tonight = draw_window(tmp_path, NIGHT)
    table = tonight.table()
    table.assign(unit=np.where(np.arange(len(table)) % 2, "left", "right")).to_parquet(
        tonight.folder / "window.parquet"
    )
    answer = ask(watch, tonight, reference, draw_served(tmp_path / "v1"))
    assert (answer.asked, answer.against) == (True, CANNOT_JUDGE)
    assert answer.said[0].startswith("the night has 30 images of 2 units, `least_images` asks for 4")


def test_drift_is_not_asked_before_the_reference_is_there(
    tmp_path: Path, watch: Watch, reference: list[ScoredWindow]
) -> None:
    answer = ask(watch, draw_window(tmp_path, NIGHT), reference[:1], draw_served(tmp_path / "v1"))
    assert (answer.asked, answer.against) == (False, "")
    assert answer.said == ("1 of the 2 nights that drift is measured against are there: not asked tonight",)
    assert "drift" not in answer.facts


def test_more_errors_expected_than_tolerated_are_an_early_sign_until_a_label_of_the_night_comes(
    tmp_path: Path, watch: Watch, reference: list[ScoredWindow]
) -> None:
    unsure = draw_served(tmp_path / "v1", right=0.6)
    tonight = draw_window(tmp_path, NIGHT, images=60, labelled=0)
    answer = ask(watch, tonight, reference, unsure)
    assert (answer.asked, answer.against, answer.facts["early_sign"]) == (True, WATCH, True)
    assert answer.said[0].startswith("without labels, 5") or answer.said[0].startswith("without labels, 6")
    assert "90.0 % are asked for: an early sign only" in answer.said[0]
    assert answer.said[1].startswith("no drift shown")
    labelled = ask(watch, tonight, reference, unsure, figures(0, 3, 0.6))
    assert (labelled.against, "early_sign" in labelled.facts) == ("", False)
    sure = ask(watch, tonight, reference, draw_served(tmp_path / "v2", right=0.99))
    assert (sure.against, "early_sign" in sure.facts) == ("", False)
    unasked = ask(watch, tonight, reference[:1], unsure)
    assert (unasked.asked, unasked.against) == (False, WATCH)


@pytest.mark.parametrize(
    ("against", "high", "tolerated", "found"),
    [
        ("", 0.8999, 0.1, WATCH),
        ("", 0.9, 0.1, ""),
        ("", 0.2, None, ""),
        (WATCH, 0.8, 0.1, WATCH),
        (CANNOT_JUDGE, 0.8, 0.1, CANNOT_JUDGE),
    ],
)
def test_the_early_sign_rests_on_the_upper_end_and_never_softens_an_answer(
    against: str, high: float, tolerated: float | None, found: str
) -> None:
    rows: list[dict[str, Any]] = [{"method": "ATC on confidence", "accuracy": 0.1, "low": 0.0, "high": 0.1}]
    rows += [{"method": "CBPE", "accuracy": 0.1, "low": 0.0, "high": high}]
    answer = with_early_sign(Answer(True, against, ("as it was",), {"expected": rows}), NIGHT, UNASKED, tolerated)
    assert answer.against == found
    assert answer.said[0] == "as it was" or not against
    missing = Answer(True, "", ("as it was",), {"expected_missing": "no error to learn from"})
    assert with_early_sign(missing, NIGHT, UNASKED, 0.1) == missing


def test_calibration_images_without_an_error_leave_the_estimates_out_by_name(
    tmp_path: Path, watch: Watch, reference: list[ScoredWindow]
) -> None:
    answer = ask(watch, draw_window(tmp_path, NIGHT), reference[:1], draw_served(tmp_path / "v1", right=1))
    assert "expected" not in answer.facts
    assert "with no error" in answer.facts["expected_missing"]


def test_what_is_tolerated_is_that_of_errors_whatever_other_monitors_are_on_all_images(tmp_path: Path) -> None:
    common = {"slice": "all", "minimum": 5, "reason": "r"}
    monitors = [{"name": "brier", "risk": "brier", "margin": 0.0}, {"name": "error", "risk": "error", "margin": 0.03}]
    rules = {"average_run_length": 100, "early_warning": 20, "reason": "r"}
    write_watch(tmp_path / "watch.yaml", harm={"monitors": [m | common for m in monitors], **rules})
    champion = draw_served(tmp_path / "v1")
    assert tolerated_error(load_watch(tmp_path / "watch.yaml"), champion) == pytest.approx(0.05 + 0.03)
    write_watch(tmp_path / "watch.yaml", harm={"monitors": [monitors[0] | common], **rules})
    assert tolerated_error(load_watch(tmp_path / "watch.yaml"), champion) is None


def test_a_snapshot_names_nights_only_where_there_are_several(reference: list[ScoredWindow]) -> None:
    both, one = snapshot(reference, MODEL), snapshot(reference[:1], MODEL)
    assert one.nights is None
    assert both.nights is not None
    assert sorted(set(both.nights)) == ["2026-06-01", "2026-06-02"]
    assert both.image_ids[0] == "2026-06-01/000.png"
    assert both.embeddings.dtype == np.float32
    assert both.sample.unit_count == 80


def test_what_somebody_labelled_already_is_not_asked_for_again(
    tmp_path: Path, watch: Watch, reference: list[ScoredWindow]
) -> None:
    # Fails where `labelled_already` reads the scored window alone: these labels lie in labels.csv.
    champion, tonight = draw_served(tmp_path / "v1"), draw_window(tmp_path, NIGHT, labelled=0)
    first = {ask["image"] for ask in ask(watch, tonight, reference, champion).facts["to_label"]}
    paths = tonight.table()["path"]
    left = next(path for path in paths if path not in first)
    (tonight.folder / "window").mkdir()
    told = "".join(f"{path},cat,{NIGHT}T08:00\n" for path in paths if path != left)
    (tonight.folder / "window/labels.csv").write_text(f"file_name,label,labelled_at\n{told}")
    assert [ask["image"] for ask in ask(watch, tonight, reference, champion).facts["to_label"]] == [left]
    (tonight.folder / "window/labels.csv").write_text("file_name,label\nno such image,cat\n")
    assert {ask["image"] for ask in ask(watch, tonight, reference, champion).facts["to_label"]} == first


def test_one_image_of_a_unit_is_asked_for_and_none_of_a_unit_with_a_label(tmp_path: Path) -> None:
    # Fails where each image is asked for by itself: labels of one unit tell the same twice, at the price of two.
    units = ["a", "a", "b", "b", "c", "c"]
    table = pd.DataFrame({"path": list("123456"), "unit": units, "label": ["cat", "", "", "", "", ""]})
    window = Window(dt.date.fromisoformat(NIGHT), tmp_path)
    assert not_to_ask(window, table).tolist() == [True, True, False, True, False, True]
    kept = table.assign(kept=["x", "x", "", "x", "x", "x"])
    assert not_to_ask(window, kept).tolist() == [True, True, True, False, False, True]
