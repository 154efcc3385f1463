"""A champion's error watched night after night in a story, by the project's own monitor and its open alarms."""

from collections.abc import Callable

import numpy as np

from tasks.e_detector import advance, begin
from tasks.harm import Alarm, HarmRules, States, carried, judge_harm, open_alarm

MONITOR = {"name": "error", "risk": "error", "slice": "all", "margin": 0.0, "minimum": 1, "reason": "for the story"}
Carry = Callable[[States, HarmRules], States]


def rules_of(average_run_length: int, early_warning: int) -> HarmRules:
    """One monitor of the error on all images."""
    levels = {"average_run_length": average_run_length, "early_warning": early_warning}
    return HarmRules.model_validate({"monitors": [MONITOR], **levels, "reason": "for the story"})


def fresh(tolerated: float) -> States:
    """A monitor that has seen nothing."""
    return {"error/all": begin("1", tolerated)}


def a_night(
    states: States,
    alarm: Alarm | None,
    losses: np.ndarray,
    units: np.ndarray,
    name: str,
    rules: HarmRules,
    carry: Carry = carried,
) -> tuple[States, Alarm | None]:
    """The states and the open alarm after a night's losses (n,) with their units; anew once an alarm is over."""
    [(key, state)] = carry(states, rules).items()
    states = {key: advance(state, losses, np.ones(len(losses)), units, name)}
    now = open_alarm(alarm, judge_harm(states, rules), name)
    return (fresh(state.tolerated) if alarm is not None and now is None else states), now
