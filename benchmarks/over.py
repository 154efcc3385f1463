"""When an alarm is said to be over: not while harm goes on, and soon once it does not.

    python -m benchmarks.over [--quick]

A champion that is tolerated up to 11 % errors; every night 40 or 200 labels arrive. Ten sound nights at 10 %, ten of
great harm at 30 %, which raise the alarm, and then 60 nights at what is left of it: 5 and 10 %, which is none, 13, 15
and 18 %, which is less than before and harm all the same. An alarm is over once the evidence has fallen below the early
warning, 50 of 1,000 as in governance/watch.yaml. Two ways to carry evidence on from a night above the alarm:

    kept            tasks/harm.py: the highest bets are lowered to one height, so that all together make an alarm
    one factor      each bet keeps its share of an alarm, so that of great harm only the highest bet is left

Prints for each in how many stories the alarm was over within the 60 nights, and after how many of them (the median).
Exits 0 only when what is kept says so in at most 2 % of the stories where harm of 15 and 18 % goes on, and in 90 % of
those where none does.
"""

import argparse
import datetime as dt
import sys

import numpy as np

from benchmarks.watched import Carry, a_night, fresh, rules_of
from tasks.harm import HarmRules, States, carried

TOLERATED, USUAL, GREAT = 0.11, 0.10, 0.30
SOUND, HARMED, AFTER = 10, 10, 60  # nights
LEFT, LABELS = (0.05, 0.10, 0.13, 0.15, 0.18), (40, 200)
MOST_WRONG, LEAST_RIGHT = 0.02, 0.90
RULES = rules_of(average_run_length=1000, early_warning=50)
NAMES = [(dt.date(2026, 1, 1) + dt.timedelta(days=night)).isoformat() for night in range(SOUND + HARMED + AFTER)]


def main() -> int:
    """Tell the stories, print, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50 stories of each kind instead of 300")
    draws = 50 if parser.parse_args().quick else 300
    ways: dict[str, Carry] = {"kept": carried, "one factor": by_factor}
    print(f"{draws} stories; over in, after nights\n")
    print("| labels | way | " + " | ".join(f"{left:.0%} errors" for left in LEFT) + " |")
    print("|---|" + "---|" * (1 + len(LEFT)), flush=True)
    failures = []
    for labels in LABELS:
        for name, carry in ways.items():
            cells = []
            for left in LEFT:
                told = [nights_to_over(left, labels, carry, seed) for seed in range(draws)]
                over = [nights for nights in told if nights is not None]
                share = len(over) / draws
                cells.append(f"{share:.1%}, {np.median(over):.0f}" if over else f"{share:.1%}")
                if name == "kept" and left >= 0.15 and share > MOST_WRONG:
                    failures.append(f"{labels} labels: over in {share:.1%} of the stories while {left:.0%} goes on")
                if name == "kept" and left <= USUAL and share < LEAST_RIGHT:
                    failures.append(f"{labels} labels: over in {share:.1%} of the stories where {left:.0%} is left")
            print(f"| {labels} | {name} | " + " | ".join(cells) + " |", flush=True)
    for failure in failures:
        print(f"FAIL {failure}")
    return 1 if failures else 0


def nights_to_over(left: float, labels: int, carry: Carry, seed: int) -> int | None:
    """The nights after great harm until its alarm is said to be over; None where it stays open."""
    random, states, alarm = np.random.default_rng(seed), fresh(TOLERATED), None
    for night, name in enumerate(NAMES):
        risk = USUAL if night < SOUND else GREAT if night < SOUND + HARMED else left
        wrong = (random.random(labels) < risk).astype(float)
        was = alarm
        states, alarm = a_night(states, alarm, wrong, np.arange(labels), name, RULES, carry)
        if was is not None and alarm is None and night >= SOUND + HARMED:
            return night - SOUND - HARMED + 1
    return None


def by_factor(states: States, rules: HarmRules) -> States:
    """All bets lowered by one factor."""
    [(key, state)] = states.items()
    factor = min(1.0, rules.average_run_length / max(state.evidence, 1.0))
    capitals = np.log1p(factor * np.expm1(state.capitals))
    return {key: state.model_copy(update={"capitals": tuple(capitals.tolist())})}


if __name__ == "__main__":
    sys.exit(main())
