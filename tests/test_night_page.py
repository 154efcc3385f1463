"""The pages of the nights say what is on record, escape what they are given, and show the images that matter."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.ledger import Entry
from tasks.night import HARM, HEALTHY, NO_DATA, Night
from tasks.night_page import began, lines, mistakes, night_page, nights_page, row
from tasks.report_night import is_shown
from tasks.watch import Watch, load_watch
from tests.drawn_nights import MODEL, draw_window
from tests.small_nights import write_watch

FIGURES = {"2026-06-02": {"n": 30.0, "wrong": 20.0, "error": 2 / 3, "low": 0.488, "high": 0.808}}
STATE = {"tolerated": 0.1, "labels": 30, "runs": [0.0, 2.0, 1.0], "joined": ["", "2026-06-01", "2026-06-02"]}


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    write_watch(tmp_path / "watch.yaml")
    return load_watch(tmp_path / "watch.yaml")


def night(day: int, verdict: str = HEALTHY, said: str = "as it was", **body: Any) -> Night:
    name = f"2026-06-{day:02d}"
    common = {"sentences": [said, "and more"], "images": 30, "model": MODEL, "version": "1", "window": "w" * 64}
    facts = {"watch": "r" * 64, "run": "run", "harm": {}, "drift": {}, "broken": []}
    return Night(name, verdict, f"{verdict} {name}: {said}", day, {"night": name, **common, **facts, **body})


def harmed() -> Night:
    harm = {"evidence": 1234.5, "leading": "error/all", "parts": {"error/all": 1234.5}}
    asked = [{"image": "001.png", "weight": 1.0}]
    return night(
        2, HARM, "errs <b>more</b>", harm={"harm": harm, "states": {"error/all": STATE}}, drift={"to_label": asked}
    )


def test_the_page_of_a_night_has_its_figures_its_images_and_nothing_of_another_host(
    tmp_path: Path, watch: Watch
) -> None:
    scored, folder = draw_window(tmp_path, "2026-06-02", wrong=20), tmp_path / "images"
    folder.mkdir()
    for place in range(30):
        Image.fromarray(np.full((20, 20, 3), place, np.uint8)).save(folder / f"{place:03d}.png")
    body = {
        "night": "2026-06-02",
        "cause": "errs more",
        "action": "a person was asked",
        "evidence": {},
        "champion": "1",
    }
    incident = Entry(7, "2026-06-03T00:00:00", "incident", "pets", body, "", "")
    nights = [night(1), harmed(), night(3)]
    text = night_page(
        *("pets", nights[1], nights, FIGURES, watch, scored.answers(MODEL), folder),
        *([("All nights", "../nights.html")], incident),
    )
    assert "errs &lt;b&gt;more&lt;/b&gt;" in text
    assert "<b>more" not in text
    assert "66.7 %" in text
    assert "1,234.5" in text
    assert "a person was asked" in text
    assert text.count("data:image/png;base64,") >= 12 + 1
    assert not re.search(r'(?:src|href)="https?://', text)


def test_the_page_of_a_night_without_a_window_says_so(tmp_path: Path, watch: Watch) -> None:
    empty = night(1, NO_DATA, "there is no window", images=0)
    text = night_page("pets", empty, [empty], {}, watch, None, tmp_path, [], None)
    assert "NO DATA 2026-06-01: there is no window" in text
    assert "no label has come" in text


def test_the_page_of_all_nights_counts_verdicts_and_lists_the_newest_first(watch: Watch) -> None:
    text = nights_page("pets", [night(1), harmed(), night(3)], FIGURES, watch)
    assert "3 nights from 2026-06-01 to 2026-06-03: 2 HEALTHY, 1 HARM." in text
    places = [text.index(f'href="2026-06-0{day}/night.html"') for day in (3, 2, 1)]
    assert places == sorted(places)


def test_a_row_leaves_out_what_is_not_known() -> None:
    found = row(harmed(), FIGURES)
    assert (found["labels"], found["error"], found["evidence"]) == ("30", "66.7 % [48.8, 80.8]", "1,234.5")
    assert found["why"] == "errs <b>more</b>"
    unknown = row(night(1), FIGURES)
    assert [unknown[key] for key in ("labels", "error", "evidence", "drift")] == ["0", "", "", ""]


def test_the_line_of_the_error_plot_is_that_of_an_error_whatever_other_monitors_tolerate(watch: Watch) -> None:
    states = {"error/all": STATE, "brier/all": STATE | {"tolerated": 0.01}}
    with_both = lines([night(2, harm={"states": states})], FIGURES, watch)
    with_one = lines([night(2, harm={"states": {"error/all": STATE}})], FIGURES, watch)
    without = lines([night(2)], FIGURES, watch)
    assert "<svg" in with_one["error_plot"]
    assert places_of_lines(with_both["error_plot"]) == places_of_lines(with_one["error_plot"])
    assert places_of_lines(without["error_plot"]) != places_of_lines(with_one["error_plot"])
    assert without["evidence_plot"] == ""


def places_of_lines(plot: str) -> list[str]:
    """The paths that are drawn; names of elements differ from plot to plot."""
    return re.findall(r'<path d="([^"]*)"', plot)


def test_harm_began_with_the_run_that_won_most_if_any_did() -> None:
    assert began(STATE) == "2026-06-01"
    assert began(STATE | {"runs": [0.0, -1.0, -2.0]}) == ""


def test_mistakes_are_the_surest_first_and_only_where_a_label_is_known(tmp_path: Path) -> None:
    answers = draw_window(tmp_path, "2026-06-02", wrong=8, labelled=6).answers(MODEL)
    for place in range(8):
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / f"{place:03d}.png")
    shares = [int(found["note"].split()[-2]) for found in mistakes(answers, tmp_path)]
    assert len(shares) == 6
    assert shares == sorted(shares, reverse=True)
    assert mistakes(None, tmp_path) == mistakes(answers.assign(label=""), tmp_path) == []


def test_a_night_is_shown_once_its_page_is_as_new_as_its_record(tmp_path: Path) -> None:
    place = tmp_path / "2026-06-01"
    place.mkdir()
    assert not is_shown(night(1), tmp_path)
    (place / "night.html").write_text("page")
    assert is_shown(night(1), tmp_path)
    (place / "night.json").write_text("{}")
    os.utime(place / "night.html", (1, 1))
    assert not is_shown(night(1), tmp_path)
