"""The stories of benchmarks/harmed.py and signs_nights.py: what counts as right in their tables."""

from dataclasses import replace

import pytest

from benchmarks.harmed import AFTER, AGAIN, BOTH, SOUND, WORN, Step, wrong
from benchmarks.signs_nights import Row
from tasks.findings import Finding
from tasks.night import CANNOT_JUDGE, HARM, HEALTHY, WATCH, Night

STEP = Step(7, "noise", 3, (HARM,), "1", "version 1 was put back")


def night(verdict: str) -> Night:
    return Night("2026-06-07", verdict, f"{verdict} 2026-06-07: for the test", 9, {})


def error(low: float, high: float) -> Finding:
    return Finding("error", "all", (low + high) / 2, low, high, 300, 30, "wilson")


@pytest.mark.parametrize(
    ("verdict", "champion", "action", "fault"),
    [
        (WATCH, "1", "version 1 was put back: proved", "ended with WATCH, expected HARM"),
        (HARM, "2", "version 1 was put back: proved", "version 2 is champion, expected 1"),
        (HARM, "1", "no move: nobody is better", "does not say 'version 1 was put back'"),
        (HARM, "1", "", "it says: nothing was done"),
    ],
)
def test_step_is_right_by_verdict_champion_and_incident_alone(
    verdict: str, champion: str, action: str, fault: str
) -> None:
    assert [fault in said for said in wrong(STEP, night(verdict), champion, action)] == [True]


def test_right_step_has_no_fault_and_a_quiet_night_no_incident() -> None:
    assert list(wrong(STEP, night(HARM), "1", "version 1 was put back: proved")) == []
    quiet = replace(STEP, verdicts=(HEALTHY,), says="")
    assert list(wrong(quiet, night(HEALTHY), "1", "")) == []
    assert ["nothing was to be done" in said for said in wrong(quiet, night(HEALTHY), "1", "no move")] == [True]


def test_every_night_of_a_story_is_judged_once_and_in_order() -> None:
    for nights in ((*SOUND, *WORN, *AFTER, *AGAIN), (*SOUND, *BOTH)):
        assert [step.day for step in nights] == sorted({step.day for step in nights})
        assert nights[-1].day <= 15  # later windows of the sample have faults of their own


@pytest.mark.parametrize(
    ("verdict", "that_night", "since", "right", "late"),
    [
        (HEALTHY, error(0.0, 0.2), None, True, False),
        (HEALTHY, error(0.05, 0.4), None, True, False),
        (HEALTHY, error(0.2, 0.4), None, False, False),
        (WATCH, error(0.2, 0.4), None, True, True),
        (WATCH, error(0.05, 0.4), None, True, False),
        (HARM, error(0.05, 0.4), error(0.15, 0.3), True, False),
        (HARM, error(0.2, 0.4), error(0.05, 0.3), False, False),
        (CANNOT_JUDGE, error(0.2, 0.4), None, False, False),
    ],
)
def test_verdict_is_judged_by_what_was_true_of_the_night_or_since_harm_began(
    verdict: str, that_night: Finding, since: Finding | None, right: bool, late: bool
) -> None:
    row = Row(night(verdict), "a session", that_night, since, 0.1)
    assert (row.fault == "", row.late) == (right, late)
