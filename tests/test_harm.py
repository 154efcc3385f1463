"""Losses, rules and the family of monitors: one promise for all of them, and nothing is watched by halves."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from sklearn.metrics import brier_score_loss, zero_one_loss

from tasks.e_detector import MonitorState, advance, begin
from tasks.errors import BadInput, EvidenceMissing
from tasks.findings import Finding
from tasks.harm import (
    Alarm,
    HarmRules,
    accepted_risks,
    advance_all,
    carried,
    judge_harm,
    losses,
    open_alarm,
    unwatched,
)

ACCEPTED = {
    ("error", "all"): 0.1,
    ("error", "stroke=thin"): 0.15,
    ("error", "stroke=bold"): 0.1,
    ("brier", "all"): 0.08,
}


def monitor(title: str, **changed: Any) -> dict[str, Any]:
    return {"name": title, "risk": "error", "slice": "all", "margin": 0.02, "minimum": 50, "reason": "to see"} | changed


def rules(*monitors: dict[str, Any], **changed: Any) -> HarmRules:
    return HarmRules.model_validate({"monitors": list(monitors), "reason": "to see", **changed})


def night_of(errors: list[bool] | np.ndarray, strokes: list[str] | None = None, sure: float = 0.8) -> pd.DataFrame:
    """Images whose truth is class a, answered with b where wrong."""
    wrong = np.asarray(errors, bool)
    told = np.where(wrong, 1 - sure, sure)
    return pd.DataFrame(
        {
            "label": "a",
            "predicted": np.where(wrong, "b", "a"),
            "prob_a": told,
            "prob_b": 1 - told,
            "unit": np.arange(len(wrong)),
            "weight": 1.0,
            "slice_stroke": strokes or "thin",
        }
    )


def test_losses_are_scikit_learns_figures_image_by_image() -> None:
    random = np.random.default_rng(0)
    told = random.dirichlet(np.ones(3), 200)
    names = np.array(["a", "b", "c"])
    label, predicted = random.integers(0, 3, 200), told.argmax(axis=1)
    table = pd.DataFrame(told, columns=["prob_a", "prob_b", "prob_c"]).assign(
        label=names[label], predicted=names[predicted]
    )
    assert losses(table, "error").mean() == pytest.approx(zero_one_loss(label, predicted))
    assert losses(table, "brier").mean() == pytest.approx(brier_score_loss(names[label], told, scale_by_half=True))
    certain = night_of([True], sure=1.0)
    assert losses(certain, "brier").tolist() == [1.0]


def test_a_label_that_the_model_does_not_know_is_an_error() -> None:
    table = night_of([False, True]).assign(label=["a", "z"], predicted=["a", "b"])
    assert losses(table, "error").tolist() == [0, 1]
    assert losses(table, "brier")[1] == pytest.approx((0.2**2 + 0.8**2 + 1) / 2)


@pytest.mark.parametrize("column", ["label", "predicted", "prob_a"])
def test_a_row_without_label_prediction_or_probability_is_refused(column: str) -> None:
    table = night_of([False, False, True])
    table[column] = table[column].where(table.index != 1)
    with pytest.raises(EvidenceMissing, match=r"1 of 3 rows .* first at 1"):
        losses(table, "error")
    unknown = night_of([False, True]).assign(predicted=["a", "z"], label="z")
    with pytest.raises(EvidenceMissing, match=r"1 of 2 rows .* first at 1"):
        losses(unknown, "error")
    with pytest.raises(EvidenceMissing, match="no column unit"):
        advance_all({}, rules(monitor("m")), night_of([True]).drop(columns="unit"), ACCEPTED, "c", "2026-06-01")


def test_accepted_is_the_pessimistic_end_on_test() -> None:
    def finding(metric: str, place: str) -> Finding:
        return Finding(metric, place, 0.9, 0.85, 0.95, 100, 100, "wilson")

    found = [finding("accuracy", "test"), finding("brier", "test/stroke=thin"), finding("accuracy", "mirror")]
    assert accepted_risks(found) == pytest.approx({("error", "all"): 0.15, ("brier", "stroke=thin"): 0.475})


def test_each_monitor_bets_on_its_own_rows_against_its_own_bound() -> None:
    asked = rules(monitor("all"), monitor("strokes", slice="stroke=*", margin=0.05))
    errors, strokes = np.arange(40) % 5 == 0, ["thin", "bold"] * 20
    states = advance_all({}, asked, night_of(errors, strokes), ACCEPTED, "c", "2026-06-01")
    assert {key: state.tolerated for key, state in states.items()} == pytest.approx(
        {"all/all": 0.12, "strokes/stroke=thin": 0.2, "strokes/stroke=bold": 0.15}
    )
    thin = errors[::2].astype(float)
    alone = advance(begin("c", ACCEPTED["error", "stroke=thin"] + 0.05), thin, np.ones(20), np.arange(20), "2026-06-01")
    assert states["strokes/stroke=thin"] == alone


def test_the_familys_evidence_is_the_mean_and_its_parts_add_up() -> None:
    asked = rules(monitor("all"), monitor("strokes", slice="stroke=*"), early_warning=2, average_run_length=30)
    states = {
        key: MonitorState(champion="c", tolerated=0.1, capitals=(math.log(1 + m),) * 3, labels=labels)
        for key, m, labels in (("all/all", 2, 60), ("strokes/stroke=a/b", 80, 49), ("strokes/stroke=bold", 0, 50))
    }
    told = judge_harm(states, asked)
    assert told.evidence == pytest.approx(2 / 2 + 80 / 4)
    assert sum(told.parts.values()) == pytest.approx(told.evidence)
    assert (told.leading, told.short) == ("strokes/stroke=a/b", ("strokes/stroke=a/b",))
    assert (told.warning, told.alarm) == (True, False)
    assert judge_harm(states, asked.model_copy(update={"average_run_length": 21})).alarm
    with pytest.raises(EvidenceMissing, match="'all' has no state"):
        judge_harm({}, asked)


def test_the_family_keeps_the_promise_of_one_monitor() -> None:
    """Error and Brier of the same images and two slices, all on the bound: mean time to a false alarm."""
    monitors = [monitor("error"), monitor("brier", risk="brier"), monitor("strokes", slice="stroke=*")]
    asked, runs = rules(*monitors, average_run_length=8, early_warning=5), 40
    accepted = {("error", place): 0.08 for place in ("all", "stroke=thin", "stroke=bold")}
    accepted["brier", "all"] = 0.1 * 0.64 + 0.9 * 0.04 - 0.02
    random, lengths, strokes = np.random.default_rng(1), [], ["thin", "bold"] * 15
    for _ in range(runs):
        states: dict[str, MonitorState] = {}
        for day in pd.date_range("2026-01-01", periods=30):
            table = night_of(random.uniform(size=30) < 0.1, strokes)
            states = advance_all(states, asked, table, accepted, "c", str(day.date()))
            if judge_harm(states, asked).alarm:
                break
        lengths.append(states["error/all"].nights)
    assert np.mean(lengths) + 3 * np.std(lengths) / math.sqrt(runs) >= 8
    assert min(lengths) < 8 < np.mean(lengths) < 30  # alarms come, some of them early


def test_a_new_champion_or_a_new_bound_begins_anew() -> None:
    asked = rules(monitor("all"))
    first = advance_all({}, asked, night_of([True] * 10), ACCEPTED, "c", "2026-06-01")
    kept = advance_all(first, asked, night_of([True] * 10), ACCEPTED, "c", "2026-06-02")
    assert (kept["all/all"].nights, kept["all/all"].labels) == (2, 20)
    for accepted, champion in ((ACCEPTED, "d"), (ACCEPTED | {("error", "all"): 0.2}, "c")):
        after = advance_all(first, asked, night_of([True] * 10), accepted, champion, "2026-06-02")
        assert (after["all/all"].nights, after["all/all"].champion) == (1, champion)


def test_a_night_without_labels_leaves_every_state_and_begins_what_is_not_begun() -> None:
    asked, empty = rules(monitor("all")), night_of([])
    states = advance_all({}, asked, empty, ACCEPTED, "c", "2026-06-01")
    assert states["all/all"] == begin("c", 0.1 + 0.02)
    assert judge_harm(states, asked).evidence == 0
    assert judge_harm(states, asked).short == ("all/all",)
    later = advance_all({}, asked, night_of([True] * 9), ACCEPTED, "c", "2026-06-01")
    assert advance_all(later, asked, empty, ACCEPTED, "c", "2026-06-02") == later


def test_weights_reach_the_bets() -> None:
    asked, table = rules(monitor("all")), night_of([True, False, True])
    halved = advance_all({}, asked, table.assign(weight=0.5), ACCEPTED, "c", "2026-06-01")
    whole = advance_all({}, asked, table, ACCEPTED, "c", "2026-06-01")
    assert halved["all/all"].evidence < whole["all/all"].evidence


def test_a_slice_that_was_never_judged_is_named_and_a_monitor_without_a_bound_refused() -> None:
    asked = rules(monitor("strokes", slice="stroke=*"))
    table = night_of([False] * 3, ["thin", "wavy", ""])
    assert unwatched(asked, table, ACCEPTED) == ["stroke=(empty)", "stroke=wavy"]
    with pytest.raises(EvidenceMissing, match=r"no accepted brier on stroke=\*"):
        advance_all({}, rules(monitor("b", risk="brier", slice="stroke=*")), table, ACCEPTED, "c", "2026-06-01")
    with pytest.raises(EvidenceMissing, match="no column slice_stroke"):
        advance_all({}, asked, table.drop(columns="slice_stroke"), ACCEPTED, "c", "2026-06-01")
    with pytest.raises(BadInput, match="wide/all: a tolerated risk of 1"):
        advance_all({}, rules(monitor("wide", margin=0.9)), table, ACCEPTED, "c", "2026-06-01")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"risk": "loss"}, "risk"),
        ({"slice": "stroke=thin"}, "slice"),
        ({"margin": -0.1}, "margin"),
        ({"margin": math.nan}, "margin"),
        ({"minimum": 0}, "minimum"),
        ({"name": "a/b"}, "name"),
        ({"patience": 3}, "patience"),
    ],
)
def test_a_slip_in_a_monitor_is_an_error(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        rules(monitor("m", **changed))


def test_rules_that_contradict_themselves_are_an_error() -> None:
    with pytest.raises(ValidationError, match="more than once: m"):
        rules(monitor("m"), monitor("m"))
    with pytest.raises(ValidationError, match="would not come before the alarm"):
        rules(monitor("m"), early_warning=1000)


def test_an_alarm_stays_open_until_the_evidence_falls_below_the_early_warning() -> None:
    watched = rules(monitor("error"), average_run_length=100, early_warning=20)
    states: dict[str, MonitorState] = {}
    alarm, seen = None, []
    nights = [[False] * 12, [True] * 20, [True] * 20, [False] * 10, [False] * 10, [False] * 60]
    for day, errors in enumerate(nights, 1):
        states = advance_all(carried(states, watched), watched, night_of(errors), ACCEPTED, "1", f"2026-06-0{day}")
        harm = judge_harm(states, watched)
        alarm = open_alarm(alarm, harm, f"2026-06-0{day}")
        seen.append((harm.alarm, alarm is not None))
    assert seen == [(False, False), (True, True), (True, True), (False, True), (False, True), (False, False)]
    assert open_alarm(Alarm("2026-06-02", "2026-06-01"), harm, "2026-06-07") is None


def test_an_open_alarm_keeps_its_night_and_the_earliest_beginning() -> None:
    watched = rules(monitor("error"), average_run_length=100, early_warning=20)
    states = advance_all({}, watched, night_of([True] * 20), ACCEPTED, "1", "2026-06-05")
    harm = judge_harm(states, watched)
    assert open_alarm(None, harm, "2026-06-05") == Alarm("2026-06-05", "2026-06-05")
    assert open_alarm(Alarm("2026-06-04", "2026-06-03"), harm, "2026-06-05") == Alarm("2026-06-04", "2026-06-03")


def test_evidence_is_carried_on_as_the_alarms_at_most() -> None:
    # Fails where a night hands on all that it found: harm of a week would then take weeks to be over.
    watched = rules(monitor("error"), monitor("brier", risk="brier"), average_run_length=100, early_warning=20)
    states = advance_all({}, watched, night_of([True] * 40), ACCEPTED, "1", "2026-06-01")
    before, after = judge_harm(states, watched), judge_harm(carried(states, watched), watched)
    assert before.evidence > 1e6
    assert after.evidence == pytest.approx(100)
    few = advance_all({}, watched, night_of([False] * 5), ACCEPTED, "1", "2026-06-01")
    assert carried(few, watched) == few
    assert carried({}, watched) == {}


def test_a_burst_of_harm_leaves_the_evidence_of_a_smaller_one_elsewhere() -> None:
    # Fails where all evidence is scaled down: what a slice had shown would be gone, and its harm over by mistake.
    watched = rules(monitor("error"), monitor("strokes", slice="stroke=*"))
    great = MonitorState(champion="1", tolerated=0.1, capitals=(5.0, 60.0, 200.0))
    small = MonitorState(champion="1", tolerated=0.1, capitals=(3.0, 5.0, 6.0))
    after = carried({"error/all": great, "strokes/stroke=thin": small}, watched)
    assert judge_harm(after, watched).evidence == pytest.approx(1000)
    assert after["strokes/stroke=thin"] == small
    assert after["error/all"].capitals[0] == 5.0
    assert after["error/all"].capitals[1] == after["error/all"].capitals[2]
