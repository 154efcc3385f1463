"""The night's labels: each counted once, with the weight of its request, and said in words that name the night."""

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.counted import counted
from tasks.intervals import wilson
from tasks.ledger import Ledger
from tasks.night import CANNOT_JUDGE, HARM, WATCH, Answer
from tasks.night_tables import ScoredWindow
from tasks.versions import Served
from tasks.watch import Watch, load_watch
from tasks.watch_harm import fairly, watch_harm
from tasks.windows import Window
from tests.drawn_nights import draw_served, draw_window
from tests.small_nights import write_watch

Pair = tuple[Window, ScoredWindow]


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    write_watch(tmp_path / "watch.yaml")
    return load_watch(tmp_path / "watch.yaml")


@pytest.fixture
def champion(tmp_path: Path) -> Served:
    return draw_served(tmp_path / "v1")


def scored(root: Path, day: int, **drawn: Any) -> Pair:
    """A window as it was scored; its folder of images holds nothing but the labels that come late."""
    night = f"2026-06-{day:02d}"
    folder = root / "windows" / night
    folder.mkdir(parents=True)
    return Window(dt.date(2026, 6, day), folder), draw_window(root / "kept", night, **drawn)


def ask(
    root: Path, watch: Watch, champion: Served, pairs: list[Pair], before: dict[str, Any] | None = None, **asked: Any
) -> Answer:
    """The answer of the last window's night, its labels then counted."""
    ledger = Ledger(f"sqlite:///{root}/ledger.db")
    kept = {key: before[key] for key in ("model", "read", "states", "open") if key in before} if before else {}
    answer = watch_harm.fn(ledger, "pets", watch, champion, pairs[-1][0], pairs, kept, asked.get("requests", {}))
    ledger.append("night", "pets", {}, also=(counted, answer.facts.get("count", [])))
    return answer


def test_right_answers_are_no_harm_and_their_figures_are_wilsons(
    tmp_path: Path, watch: Watch, champion: Served
) -> None:
    answer = ask(tmp_path, watch, champion, [scored(tmp_path, 1, wrong=1)])
    assert (answer.asked, answer.against, answer.facts["counted"]) == (True, "", 30)
    figure = answer.facts["figures"]["2026-06-01"]
    assert (figure["n"], figure["wrong"]) == (30, 1)
    assert (figure["low"], figure["high"]) == tuple(wilson(1, 30, 0.95))
    assert answer.said[0] == "wrong answers: 1 of 30 whose labels arrived, an error of 3.3 % [0.6 %, 16.7 %]"
    assert answer.facts["states"]["error/all"]["tolerated"] == pytest.approx(0.05 + 0.05)


def test_many_wrong_answers_are_harm_which_is_said_first(tmp_path: Path, watch: Watch, champion: Served) -> None:
    answer = ask(tmp_path, watch, champion, [scored(tmp_path, 1, wrong=20)])
    assert answer.against == HARM
    assert answer.said[0].startswith(
        "the champion errs more than was accepted, by error/all (tolerated: 10.0 %), most likely since 2026-06-01"
    )
    assert answer.facts["harm"]["evidence"] >= 100


def test_harm_that_was_found_goes_on_until_it_is_over(tmp_path: Path, watch: Watch, champion: Served) -> None:
    # Fails where the monitors begin anew after the alarm: the night after it would pass for a sound one.
    pairs: list[Pair] = []
    facts, said = None, []
    for day, (images, wrong) in enumerate(((30, 20), (30, 20), (5, 0), (90, 0)), 1):
        pairs.append(scored(tmp_path, day, images=images, wrong=wrong))
        answer = ask(tmp_path, watch, champion, pairs, facts)
        facts = answer.facts
        said.append((answer.against, answer.facts.get("open", {}).get("night")))
    assert said == [(HARM, "2026-06-01"), (HARM, "2026-06-01"), (WATCH, "2026-06-01"), ("", None)]
    assert answer.facts["over"] == {"night": "2026-06-01", "began": "2026-06-01"}
    assert "the harm found on 2026-06-01 is over: the evidence stands at" in answer.said[0]


def test_a_night_without_labels_leaves_an_alarm_open_and_is_watched(
    tmp_path: Path, watch: Watch, champion: Served
) -> None:
    first, second = scored(tmp_path, 1, wrong=20), scored(tmp_path, 2, labelled=0)
    harmed = ask(tmp_path, watch, champion, [first])
    quiet = ask(tmp_path, watch, champion, [first, second], harmed.facts)
    assert (quiet.against, quiet.facts["open"]) == (WATCH, harmed.facts["open"])
    assert "the harm found on 2026-06-01" in quiet.said[0]


def test_evidence_between_the_two_lines_is_a_warning_that_stays_without_new_labels(
    tmp_path: Path, watch: Watch, champion: Served
) -> None:
    first, second = scored(tmp_path, 1, wrong=10), scored(tmp_path, 2, labelled=0)
    warned = ask(tmp_path, watch, champion, [first])
    assert 20 <= warned.facts["harm"]["evidence"] < 100
    assert (warned.asked, warned.against) == (True, WATCH)
    quiet = ask(tmp_path, watch, champion, [first, second], warned.facts)
    assert (quiet.asked, quiet.against, quiet.facts["counted"]) == (False, WATCH, 0)
    assert quiet.said[0] == "no label arrived"
    assert quiet.facts["states"] == warned.facts["states"]


def test_labels_count_once_and_late_ones_with_the_night_that_finds_them(
    tmp_path: Path, watch: Watch, champion: Served
) -> None:
    first, second = scored(tmp_path, 1, labelled=10), scored(tmp_path, 2)
    before = ask(tmp_path, watch, champion, [first])
    assert before.facts["counted"] == 10
    (first[0].folder / "labels.csv").write_text("file_name,label\n010.png,dog\n000.png,cat\n")
    answer = ask(tmp_path, watch, champion, [first, second], before.facts)
    assert answer.facts["counted"] == 31
    assert "wrong answers of the night 2026-06-01: 1 of 1 whose labels arrived" in answer.said[0]
    assert answer.facts["states"]["error/all"]["labels"] == 41
    third = scored(tmp_path, 3, labelled=0)
    assert ask(tmp_path, watch, champion, [first, second, third], answer.facts).facts["counted"] == 0


def test_another_champion_begins_anew_with_the_labels_of_the_windows_that_it_answered(
    tmp_path: Path, watch: Watch, champion: Served
) -> None:
    first = scored(tmp_path, 1, wrong=10)
    before = ask(tmp_path, watch, champion, [first])
    scores = first[1].folder / "scores"
    (scores / champion.digest).rename(scores / ("n" * 64))
    newer = Served("2", "n" * 64, champion.folder, 2)
    second = scored(tmp_path, 2, labelled=0)
    (second[1].folder / "scores" / champion.digest).rename(second[1].folder / "scores" / newer.digest)
    answer = ask(tmp_path, watch, newer, [first, second], before.facts)
    assert answer.facts["states"]["error/all"]["labels"] == 30
    assert answer.facts["states"]["error/all"]["champion"] == newer.digest
    assert answer.facts["model"] == newer.digest


def test_labels_that_cannot_be_read_are_named_and_hold_up_no_others(
    tmp_path: Path, watch: Watch, champion: Served
) -> None:
    first, second = scored(tmp_path, 1), scored(tmp_path, 2)
    before = ask(tmp_path, watch, champion, [first])
    (first[0].folder / "labels.csv").write_text("file_name,label\n000.png,dog\n")
    answer = ask(tmp_path, watch, champion, [first, second], before.facts)
    assert answer.against == CANNOT_JUDGE
    assert "contradicts the labels of 000.png" in answer.said[0]
    (first[0].folder / "labels.csv").unlink()
    mended = ask(tmp_path, watch, champion, [first, second], answer.facts)
    assert answer.facts["counted"] == 30
    assert (mended.against, mended.facts["counted"]) == ("", 0)
    assert mended.facts["states"]["error/all"]["labels"] == 60


def test_labels_that_cannot_be_read_hide_no_harm_and_count_once_they_can(
    tmp_path: Path, watch: Watch, champion: Served
) -> None:
    first, second = scored(tmp_path, 1), scored(tmp_path, 2, wrong=20)
    file = first[0].folder / "labels.csv"
    file.write_text("file_name,label\nnone.png,dog\n")
    answer = ask(tmp_path, watch, champion, [first, second])
    assert (answer.against, answer.facts["counted"]) == (HARM, 30)
    assert "the labels of the night 2026-06-01 cannot be read" in answer.said[-1]
    file.unlink()
    later = ask(tmp_path, watch, champion, [first, second, scored(tmp_path, 3, labelled=0)], answer.facts)
    assert later.facts["counted"] == 30
    assert "2026-06-01" in later.facts["figures"]


def test_evidence_against_a_former_champion_does_not_speak_against_the_next(
    tmp_path: Path, watch: Watch, champion: Served
) -> None:
    before = ask(tmp_path, watch, champion, [scored(tmp_path, 1, wrong=10)])
    assert before.against == WATCH
    newer = Served("2", "n" * 64, champion.folder, 2)
    second = scored(tmp_path, 2, labelled=0)
    (second[1].folder / "scores" / champion.digest).rename(second[1].folder / "scores" / newer.digest)
    answer = ask(tmp_path, watch, newer, [second], before.facts)
    assert (answer.asked, answer.against, answer.facts["harm"]["evidence"]) == (False, "", 0.0)


def test_a_monitor_added_to_the_rules_begins_on_a_night_without_labels(
    tmp_path: Path, watch: Watch, champion: Served
) -> None:
    before = ask(tmp_path, watch, champion, [scored(tmp_path, 1)])
    more = watch.harm.monitors[0].model_copy(update={"name": "brier", "risk": "brier"})
    wider = watch.model_copy(update={"harm": watch.harm.model_copy(update={"monitors": [*watch.harm.monitors, more]})})
    answer = ask(tmp_path, wider, champion, [scored(tmp_path, 2, labelled=0)], before.facts)
    labels = {key: state["labels"] for key, state in answer.facts["states"].items()}
    assert labels == {"error/all": 30, "brier/all": 0}


def test_labels_that_were_asked_for_weigh_as_drawn_unless_others_came_too() -> None:
    window = pd.DataFrame({"window": "2026-06-01", "image_id": ["a", "b", "c"], "label": ["cat", "dog", ""]})
    asked = {"2026-06-01": {"a": 0.5, "b": 1.7}}
    assert fairly(window, set(), asked)["weight"].tolist() == [0.5, 1.7]
    assert fairly(window, set(), {"2026-06-02": {"a": 0.5}})["weight"].tolist() == [1, 1]
    mixed = fairly(window, set(), {"2026-06-01": {"a": 0.5}})  # `a` waits for the rest of the window
    assert (mixed["image_id"].tolist(), mixed["weight"].tolist()) == (["b"], [1])
    whole = fairly(window.assign(label="cat"), {("2026-06-01", "b")}, asked)
    assert (whole["image_id"].tolist(), whole["weight"].tolist()) == (["a", "c"], [1, 1])


def test_a_slice_that_the_release_was_never_judged_on_is_on_record_as_unwatched(
    tmp_path: Path, champion: Served
) -> None:
    monitor = {"name": "by-device", "risk": "error", "slice": "device=*", "margin": 0.1, "minimum": 5, "reason": "r"}
    rules = {"monitors": [monitor], "average_run_length": 100, "early_warning": 20, "reason": "r"}
    write_watch(tmp_path / "watch.yaml", harm=rules)
    window, kept = scored(tmp_path, 1)
    table = kept.table()
    table.loc[0, "slice_device"] = "newest"
    table.to_parquet(kept.folder / "window.parquet", index=False)
    answer = ask(tmp_path, load_watch(tmp_path / "watch.yaml"), champion, [(window, kept)])
    assert answer.facts["unwatched"] == ["device=newest"]
    assert set(answer.facts["states"]) == {"by-device/device=new", "by-device/device=old"}
