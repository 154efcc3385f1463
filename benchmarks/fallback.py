"""How often a night of harm ends in a move that helps nobody, and how soon in one that does.

    python -m benchmarks.fallback [--quick]

Stories of NIGHTS nights with known truths: 40 labels a night, in units of four that half the time are right or wrong
together; a champion and two older versions that err on 10 % of the images alike until night 10, when something breaks.
The harm monitor (tasks/harm.py) watches the champion, and while its alarm is open the versions are compared each night
on the images since harm began, until something moves:

* nothing breaks     the nights that alarm are those of chance; so that there are any, the monitor alarms at evidence 20
                     and the alarm stays open down to 2
* the input breaks   all three err on 25 %: each move is a mistake
* the model breaks   the champion errs on 25 %, the two others still on 10 %: a move helps
* a little           the champion errs on 16 %

Three rules compare: the bets of tasks/best_version.py, with a move that helps nobody once in 1,000 nights or more
rarely; an exact sign test over the units at 5 % each night, shared out over the versions; and point values: whichever
errs less.

Prints the table and exits 0 only when the bets move for nothing in no more stories than the promise allows (or what
99.9 % of so many stories would show), and find the broken model in 95 % of the stories.
"""

import argparse
import datetime as dt
import sys
from collections.abc import Callable

import numpy as np
from scipy.stats import binom

from benchmarks.watched import a_night, fresh, rules_of
from tasks.best_version import log_evidence

NIGHTS, BROKEN, LABELS, SIZE, TOGETHER = 60, 10, 40, 4, 0.5
USUAL, TOLERATED, RUN_LENGTH, ALARM = 0.10, 0.13, 1000, 1000
STORIES = {  # errors of the champion and of the two older versions once it broke, and the evidence that alarms
    "nothing breaks": ((0.10, 0.10, 0.10), 20),
    "the input breaks": ((0.25, 0.25, 0.25), ALARM),
    "the model breaks": ((0.25, 0.10, 0.10), ALARM),
    "a little": ((0.16, 0.10, 0.10), ALARM),
}
Rule = Callable[[np.ndarray], bool]  # losses (n, 3), the champion's first, ordered by unit -> whether it moves


def main() -> int:
    """Tell the stories, print, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 stories of each kind instead of 1,000")
    draws = 200 if parser.parse_args().quick else 1000
    rules: dict[str, Rule] = {"bets": by_bets, "sign test": by_signs, "lower error": by_error}
    print(f"{draws} stories of {NIGHTS} nights each; nights to the move: the median, from the first alarm on\n")
    print("| story | alarms in | " + " | ".join(f"{name} moves in | nights to the move" for name in rules) + " |")
    print("|---|" + "---|" * (1 + 2 * len(rules)), flush=True)
    most, failures = int(binom.ppf(0.999, draws, NIGHTS / RUN_LENGTH)), []
    for title, (errors, alarm) in STORIES.items():
        told = [tell(errors, alarm, rules, seed) for seed in range(draws)]
        alarmed = [moves for moves in told if moves is not None]
        cells = [f"{100 * len(alarmed) / draws:.1f} %"]
        for name in rules:
            waits = [moves[name] for moves in alarmed if name in moves]
            cells += [f"{100 * len(waits) / draws:.1f} %", f"{np.median(waits):.0f}" if waits else "-"]
            if name == "bets" and errors[0] <= errors[1] and len(waits) > most:
                failures.append(f"{title}: {len(waits)} moves for nothing, at most {most} are promised")
            if name == "bets" and title == "the model breaks" and len(waits) < 0.95 * draws:
                failures.append(f"{title}: found in {len(waits)} of {draws} stories")
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)
    for failure in failures:
        print(f"FAIL {failure}")
    return 1 if failures else 0


def tell(errors: tuple[float, ...], level: int, rules: dict[str, Rule], seed: int) -> dict[str, int] | None:
    """For each rule that moves the nights from the first alarm to its move; None where no night alarms."""
    watched, units = rules_of(level, level // 10), np.arange(LABELS) // SIZE
    random, states, alarm = np.random.default_rng(seed), fresh(TOLERATED), None
    nights: list[np.ndarray] = []
    moves: dict[str, int] = {}
    first = None
    names = [(dt.date(2026, 1, 1) + dt.timedelta(days=night)).isoformat() for night in range(NIGHTS)]
    for night, name in enumerate(names):
        nights.append(draw(random, (USUAL,) * len(errors) if night < BROKEN else errors))
        states, alarm = a_night(states, alarm, nights[-1][:, 0], units, name, watched)
        if alarm is None:
            continue
        first = night if first is None else first
        images = np.concatenate(nights[names.index(alarm.began) :])
        moves |= {rule: night - first for rule, moved in rules.items() if rule not in moves and moved(images)}
        if len(moves) == len(rules):
            break
    return None if first is None else moves


def by_bets(losses: np.ndarray) -> bool:
    """The rule of tasks/best_version.py."""
    means = losses.reshape(-1, SIZE, losses.shape[1]).mean(axis=1)
    needed = np.log(RUN_LENGTH * (losses.shape[1] - 1))
    return any(log_evidence(means[:, 0] - other) >= needed for other in means.T[1:])


def by_signs(losses: np.ndarray) -> bool:
    """Whether the exact sign test over units shows one of the older versions to be better."""
    means = losses.reshape(-1, SIZE, losses.shape[1]).mean(axis=1)
    won, lost = (means[:, :1] > means[:, 1:]).sum(axis=0), (means[:, :1] < means[:, 1:]).sum(axis=0)
    p = binom.sf(won - 1, won + lost, 0.5)
    return bool((p <= 0.05 / len(p)).any())


def by_error(losses: np.ndarray) -> bool:
    """Whether one of the older versions errs less."""
    return bool((losses[:, 1:].sum(axis=0) < losses[:, 0].sum()).any())


def draw(random: np.random.Generator, rates: tuple[float, ...]) -> np.ndarray:
    """One night's losses of 0 or 1, (LABELS, versions)."""
    units = np.arange(LABELS) // SIZE
    together = random.random(units.max() + 1) < TOGETHER
    columns = []
    for rate in rates:
        alone, shared = random.random(LABELS) < rate, random.random(units.max() + 1) < rate
        columns.append(np.where(together[units], shared[units], alone).astype(float))
    return np.stack(columns, axis=1)


if __name__ == "__main__":
    sys.exit(main())
