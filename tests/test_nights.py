"""What the nights on record say together: which stand, which are due, and what is remembered from one to the next."""

import ast
import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.counted import arrived, counted, counted_images, rows_to_count
from tasks.errors import BadInput, RegistryTrouble
from tasks.intervals import Interval, wilson
from tasks.ledger import Entry, Ledger
from tasks.night import (
    CANNOT_JUDGE,
    HARM,
    HEALTHY,
    NO_DATA,
    WATCH,
    Answer,
    is_benign,
    sentence_of,
    together,
)
from tasks.night_lines import night_lines
from tasks.nights import (
    copy_of,
    counted_before,
    due,
    figures,
    is_late,
    is_mended,
    last_before,
    nights_on_record,
    recorded,
    reference_nights,
    refused,
    remembered,
    requests,
    rollback_for,
    shadow_so_far,
)
from tasks.watch import load_watch
from tests.small_checkout import HERE
from tests.small_nights import write_watch

MODEL, OTHER = "m" * 64, "o" * 64
GOOD = Answer(True, "", ("all is well",))
UNASKED = Answer(False, "", ("not asked",))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def enter(ledger: Ledger, day: int, verdict: str = HEALTHY, **body: Any) -> Entry:
    night = f"2026-06-{day:02d}"
    common = {
        "window": f"w{day}",
        "model": MODEL,
        "version": "1",
        "images": 40,
        "broken": [],
        "sentences": ["so it is"],
    }
    content = {"night": night, "verdict": verdict, "sentence": f"{verdict} {night}: so it is", **common}
    return ledger.append("night", "pets", {**content, "harm": {}, "drift": {}, **body})


def day(number: int) -> dt.date:
    return dt.date(2026, 6, number)


def decided(data: Answer = GOOD, harm: Answer = UNASKED, drift: Answer = UNASKED) -> str:
    return together({"data": data, "harm": harm, "drift": drift})[0]


@pytest.mark.parametrize(
    ("verdict", "answers"),
    [
        (NO_DATA, {"data": Answer(True, NO_DATA, ("none",)), "harm": Answer(True, HARM, ("errs",))}),
        (HARM, {"harm": Answer(True, HARM, ("errs",)), "drift": Answer(True, CANNOT_JUDGE, ("no test",))}),
        (CANNOT_JUDGE, {"harm": GOOD, "drift": Answer(True, CANNOT_JUDGE, ("no test",))}),
        (CANNOT_JUDGE, {"harm": Answer(False, CANNOT_JUDGE, ("unreadable",)), "drift": GOOD}),
        (CANNOT_JUDGE, {}),
        (CANNOT_JUDGE, {"drift": Answer(False, WATCH, ("an early sign",))}),
        (WATCH, {"harm": GOOD, "drift": Answer(True, WATCH, ("differs",))}),
        (WATCH, {"harm": Answer(False, WATCH, ("evidence",)), "drift": GOOD}),
        (HEALTHY, {"harm": GOOD}),
        (HEALTHY, {"drift": GOOD}),
    ],
)
def test_a_night_is_as_bad_as_its_worst_answer_and_healthy_only_if_somebody_looked(
    verdict: str, answers: dict[str, Answer]
) -> None:
    assert decided(**answers) == verdict


def test_what_decides_a_night_is_said_first() -> None:
    drift = Answer(True, WATCH, ("differs",))
    assert together({"data": GOOD, "harm": GOOD, "drift": drift})[1] == ["differs", "all is well"]
    assert sentence_of("2026-06-01", WATCH, ["differs"]) == "WATCH 2026-06-01: differs"
    assert sentence_of("2026-06-01", CANNOT_JUDGE, []).endswith("nothing was asked")


def test_a_change_is_benign_only_when_the_worst_that_the_labels_allow_is_tolerated() -> None:
    assert is_benign(Interval(0.0, 0.05), 0.05)
    assert not is_benign(Interval(0.0, 0.0501), 0.05)
    assert not is_benign(None, 1.0)


def test_of_a_night_that_was_judged_again_the_newer_verdict_stands(ledger: Ledger) -> None:
    for number, verdict in ((2, WATCH), (1, HEALTHY), (2, HARM)):
        enter(ledger, number, verdict)
    found = nights_on_record(ledger.read())
    assert [(n.night, n.verdict) for n in found.values()] == [("2026-06-01", HEALTHY), ("2026-06-02", HARM)]
    before = last_before(ledger.read(), "2026-06-02")
    assert before is not None
    assert before.night == "2026-06-01"
    assert last_before(ledger.read(), "2026-06-01") is None


def test_a_night_is_on_record_for_its_images_and_its_model_and_after_the_model_was_left_for_it(ledger: Ledger) -> None:
    enter(ledger, 1, HARM)
    assert recorded(ledger.read(), "2026-06-01", "w1", MODEL) is not None
    assert recorded(ledger.read(), "2026-06-01", "other images", MODEL) is None
    assert recorded(ledger.read(), "2026-06-01", "w1", OTHER) is None
    intent = ledger.append("intent", "pets", {"evidence": {"night": "2026-06-01"}})
    assert rollback_for(ledger.read(), "2026-06-01") is None
    ledger.append("done", "pets", {"intent": intent.number})
    assert recorded(ledger.read(), "2026-06-01", "w1", OTHER) is not None


def test_a_window_that_was_sent_before_is_known_by_the_earlier_night_and_refused_ones_are_named(ledger: Ledger) -> None:
    enter(ledger, 1, window="a")
    enter(ledger, 2, CANNOT_JUDGE, window="b", broken=["labels are known: 1 break it"])
    entries = ledger.read("pets")
    assert copy_of(entries, "2026-06-03", "a") == "2026-06-01"
    assert copy_of(entries, "2026-06-01", "a") is None
    assert copy_of(entries, "2026-06-03", "c") is None
    assert refused(entries) == {"2026-06-02"}
    sound, broken = nights_on_record(entries).values()
    assert is_mended(broken, [])
    assert not is_mended(broken, ["labels are known: 1 break it"])
    assert not is_mended(sound, [])


def test_labels_are_late_once_a_later_night_or_labels_of_this_one_were_counted(ledger: Ledger) -> None:
    enter(ledger, 2, NO_DATA)
    assert is_late(ledger.read(), "2026-06-01")
    assert not is_late(ledger.read(), "2026-06-02")
    enter(ledger, 2, harm={"counted": 3})
    assert is_late(ledger.read(), "2026-06-02")
    assert not is_late(ledger.read(), "2026-06-03")
    enter(ledger, 2)  # judged again: its labels are counted all the same
    assert is_late(ledger.read(), "2026-06-02")


def test_the_nights_due_are_those_missed_up_to_a_limit_or_every_window_not_judged_yet(ledger: Ledger) -> None:
    assert due(ledger.read(), (), day(5), 3) == [day(5)]
    enter(ledger, 1)
    assert due(ledger.read(), (), day(3), 7) == [day(2), day(3)]
    assert due(ledger.read(), (), day(9), 3) == [day(7), day(8), day(9)]
    assert due(ledger.read(), (), day(1), 7) == [day(1)]
    assert due(ledger.read(), [day(3), day(1), day(2)], None, 1) == [day(2), day(3)]


def test_figures_add_up_late_labels_with_the_night_of_their_images_for_the_model_that_it_was_judged_by(
    ledger: Ledger,
) -> None:
    enter(ledger, 1, harm={"figures": {"2026-06-01": {"n": 10, "wrong": 1}}})
    enter(ledger, 2, harm={"figures": {"2026-06-01": {"n": 10, "wrong": 4}, "2026-06-02": {"n": 5, "wrong": 5}}})
    found = figures(ledger.read(), 0.95)
    assert {night: (f["n"], f["wrong"], f["error"]) for night, f in found.items()} == {
        "2026-06-01": (20, 5, 0.25),
        "2026-06-02": (5, 5, 1.0),
    }
    assert (found["2026-06-01"]["low"], found["2026-06-01"]["high"]) == tuple(wilson(5, 20, 0.95))
    enter(ledger, 3, model=OTHER, harm={"figures": {"2026-06-01": {"n": 4, "wrong": 0}}})
    assert figures(ledger.read(), 0.95)["2026-06-01"]["n"] == 20


def test_the_reference_is_made_of_the_first_sound_nights(ledger: Ledger) -> None:
    enter(ledger, 1, NO_DATA, images=3)
    enter(ledger, 2, CANNOT_JUDGE, broken=["a rule"])
    enter(ledger, 3)
    alarm = {"night": "2026-06-04", "began": "2026-06-03"}
    enter(ledger, 4, HARM, harm={"open": alarm})
    enter(ledger, 5, WATCH, harm={"open": alarm})
    for number in (8, 7, 6):
        enter(ledger, number)
    assert reference_nights(ledger.read(), None, 2) == ["2026-06-06", "2026-06-07"]
    assert reference_nights(ledger.read(), day(7), 2) == ["2026-06-07", "2026-06-08"]


def test_monitors_remember_the_night_before_and_begin_anew_once_an_alarm_is_over(ledger: Ledger) -> None:
    kept = {"model": MODEL, "read": {"2026-06-01": "r"}, "states": {"error/all": {}}}
    alarm = {"night": "2026-06-02", "began": "2026-06-01"}
    enter(ledger, 1, harm={**kept, "counted": 3, "figures": {}})
    enter(ledger, 2, HARM, harm={**kept, "counted": 3, "open": alarm})
    enter(ledger, 3, harm={**kept, "counted": 3, "over": alarm})
    first, second, third = nights_on_record(ledger.read()).values()
    assert remembered(None) == {}
    assert remembered(first) == kept
    assert remembered(second) == {**kept, "open": alarm}
    assert remembered(third) == {**kept, "states": {}}


@pytest.mark.parametrize(
    ("verdict", "warning", "against"),
    [(HARM, True, HARM), (WATCH, True, WATCH), (WATCH, False, ""), (HEALTHY, False, "")],
)
def test_what_labels_said_of_a_night_stays_when_it_is_judged_again(
    ledger: Ledger, verdict: str, warning: bool, against: str
) -> None:
    enter(ledger, 1, verdict, harm={"harm": {"warning": warning}, "counted": 9, "figures": {"2026-06-01": {"n": 9}}})
    [own] = nights_on_record(ledger.read()).values()
    again = counted_before(own, MODEL, {"read": {}})
    assert (again.asked, again.against, again.said[0]) == (True, against, "so it is")
    assert again.facts == {"read": {}, "harm": {"warning": warning}}
    assert not counted_before(own, OTHER, {}).asked
    assert not counted_before(None, MODEL, {}).asked


def test_a_late_night_in_the_midst_of_an_open_alarm_is_not_healthy() -> None:
    facts = {"model": MODEL, "open": {"night": "2026-06-01", "began": "2026-06-01"}}
    assert decided(harm=counted_before(None, MODEL, facts), drift=GOOD) == WATCH
    assert decided(harm=counted_before(None, OTHER, facts), drift=GOOD) == HEALTHY


def test_requests_are_the_weights_of_the_images_that_were_asked_for(ledger: Ledger) -> None:
    enter(ledger, 1, drift={"to_label": [{"image": "a.png", "weight": 0.5}]})
    enter(ledger, 2)
    assert requests(ledger.read()) == {"2026-06-01": {"a.png": 0.5}, "2026-06-02": {}}
    # Fails where a night judged again forgets what it asked for first: those labels would weigh as if they came alone.
    enter(
        ledger, 1, model=OTHER, drift={"to_label": [{"image": "b.png", "weight": 0.8}, {"image": "a.png", "weight": 1}]}
    )
    assert requests(ledger.read())["2026-06-01"] == {"a.png": 0.5, "b.png": 0.8}


def test_the_terminal_shows_a_line_a_night_or_says_that_there_is_none(ledger: Ledger) -> None:
    assert list(night_lines([], 0.95)) == ["no night is on record yet; `keel nightly` judges those that have a window"]
    enter(ledger, 1, HARM, harm={"figures": {"2026-06-01": {"n": 20, "wrong": 5}}, "harm": {"evidence": 1234.0}})
    enter(ledger, 2, NO_DATA, images=0)
    header, first, second = night_lines(ledger.read(), 0.95)
    assert header.split() == ["night", "verdict", "images", "labels", "error", "evidence", "drift", "version"]
    assert first.split() == ["2026-06-01", "HARM", "40", "20", "25.0", "%", "[11.2,", "46.9]", "1,234.0", "v1"]
    assert second.split() == ["2026-06-02", "NO", "DATA", "0", "0", "v1"]


def test_each_label_counts_once_for_each_model_and_only_with_its_night(ledger: Ledger) -> None:
    table = pd.DataFrame({"window": "2026-06-01", "image_id": ["a", "b", "c"], "label": ["cat", "", "dog"]})
    assert counted_images(ledger, "pets", MODEL) == set()
    fresh = arrived(table, set())
    assert fresh["image_id"].tolist() == ["a", "c"]
    rows = rows_to_count("pets", MODEL, "2026-06-02", fresh)
    ledger.append("night", "pets", {}, also=(counted, rows))
    known = counted_images(ledger, "pets", MODEL)
    assert known == {("2026-06-01", "a"), ("2026-06-01", "c")}
    assert arrived(table.assign(label="cat"), known)["image_id"].tolist() == ["b"]
    assert counted_images(ledger, "pets", OTHER) == counted_images(ledger, "other", MODEL) == set()
    with pytest.raises(RegistryTrouble):
        ledger.append("night", "pets", {}, also=(counted, rows[:1]))
    assert len(ledger.read("pets")) == 1


def test_rules_of_the_nights_name_the_key_that_is_wrong(tmp_path: Path) -> None:
    write_watch(file := tmp_path / "watch.yaml")
    rules = load_watch(file)
    assert (rules.catch_up, rules.harm.monitors[0].name) == (3, "error")
    assert rules.today(dt.datetime(2026, 6, 1, 23, 30, tzinfo=dt.UTC)) == day(1)
    write_watch(file, time_zone="Asia/Tokyo")
    assert load_watch(file).today(dt.datetime(2026, 6, 1, 23, 30, tzinfo=dt.UTC)) == day(2)
    for key, value in {"time_zone": "Moon/Crater", "least_images": 0, "level": 1.0, "surprise": 1}.items():
        write_watch(file, **{key: value})
        with pytest.raises(BadInput, match=key):
            load_watch(file)


@pytest.mark.parametrize("module", ["night", "nights", "watch", "watch_harm", "watch_drift", "drift", "harm"])
def test_nothing_that_decides_reads_evidently(module: str) -> None:
    tree = ast.parse((HERE / "tasks" / f"{module}.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [getattr(node, "module", None) or "" for node in imports] + [a.name for node in imports for a in node.names]
    assert names
    assert not [name for name in names if "evidently" in name.lower() or "report_drift" in name]


def test_a_night_that_is_judged_again_is_one_night_of_a_shadow(ledger: Ledger) -> None:
    def shadow(champion: str, nights: int) -> dict[str, Any]:
        return {"version": "2", "state": {"champion": champion, "challenger": "c", "nights": nights, "labels": 9}}

    enter(ledger, 1, shadow=shadow("a", 3))
    enter(ledger, 2, shadow=shadow("a", 4))
    enter(ledger, 3, shadow=shadow("b", 1))
    first, second, third = nights_on_record(ledger.read()).values()
    assert shadow_so_far(None, None, "2026-06-01") == {}
    assert shadow_so_far(first, first, "2026-06-02") == shadow("a", 3)
    assert shadow_so_far(second, first, "2026-06-02") == shadow("a", 3)
    assert shadow_so_far(third, second, "2026-06-03") == shadow("b", 0)
