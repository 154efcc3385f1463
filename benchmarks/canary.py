"""Rollouts of equal, better and worse challengers: how many are promoted or taken off wrongly, and how soon.

    python -m benchmarks.canary [--quick] [--seed 0]

The champion errs on 8 % of the images. The challenger errs as often, on 3 points fewer, on 3 points more, which is the
margin of harm, or on 8 points more. Every night 200 labels (thin) or 5,000 (thick) come for images drawn at random. The
plan is three nights of shadow, two at 5 % of the clients, two at 25 %; 90 nights are simulated at most. Rows:

    rollout, same request   tasks/rollout_verdict.py, the champion asked off the path what the challenger answers
    rollout, between arms   the same without those answers: arms alone from the canary on
    fixed, as the plan      a Mann-Whitney test at 98 % (benchmarks/peers/mann_whitney.py) when the plan is over
    fixed, equal error      the same at the first horizon, not before the plan is over, at which it promotes at most
                            5 % of the challengers at the margin

The fixed rule is given more than a canary has: half of all labels go to either arm from the first night on. It decides
at its horizon whatever is known; a rollout that is held at the end of the simulation has not decided.

Columns: promoted and taken off, each a share of the runs; median nights until the decision, of all runs (90: held).

Bars, of both kinds of rollout at both sizes: of the challengers at the margin at most 5 % are promoted, with the upper
end of the 95 % interval of the simulation below that; of those 5 points beyond it as well; at most 5 % of equal and of
better ones are taken off. Of the rollouts on the same request: in the median equal, better and worse ones are decided
no later than the fixed rule of equal error decides. Exits 0 only when all hold.
"""

import argparse
import sys
from dataclasses import dataclass

import numpy as np

from benchmarks.peers.mann_whitney import passes
from tasks.intervals import clopper_pearson
from tasks.rollout_rules import CANARY, SHADOW, Step
from tasks.shadow import BETS, log_bets

WRONG, SWAPPED = 0.08, 0.03  # the champion's errors, and those of them that an equal challenger gets right
MARGIN, ERROR = 0.03, 0.05
CHALLENGERS = {"equal": 0.0, "better, -3": -0.03, "at the margin, +3": MARGIN, "worse, +8": 0.08}
SIZES = {"thin": 200, "thick": 5000}
STEPS = (
    Step(name="shadow", kind="shadow", share=0, nights=3, labels=200),
    Step(name="canary-5", kind="canary", share=0.05, nights=2, labels=10),
    Step(name="canary-25", kind="canary", share=0.25, nights=2, labels=50),
)
PLAN = sum(step.nights for step in STEPS)
LAST = 90
PROMOTED, ABORTED, HELD = 1, -1, 0


@dataclass(frozen=True)
class Ends:
    """How runs ended (runs,), PROMOTED, ABORTED or HELD, and after how many nights."""

    end: np.ndarray
    nights: np.ndarray

    def share(self, end: int) -> float:
        """The share of the runs that ended so."""
        return float((self.end == end).mean())

    def upper(self, end: int) -> float:
        """The upper end of its 95 % interval."""
        return clopper_pearson(int((self.end == end).sum()), len(self.end), 0.95)[1]

    def median(self) -> float:
        """Median nights until the decision."""
        return float(np.median(self.nights))


@dataclass(frozen=True)
class Cells:
    """What one comparison can come to: differences (cells,) and their chances, and how many come in a night of n."""

    apart: np.ndarray
    chance: np.ndarray

    @classmethod
    def same_request(cls, worse: float) -> "Cells":
        """Both on one image: the challenger right alone, no difference, the champion right alone."""
        gained = SWAPPED - min(worse, 0)
        lost = gained + worse
        return cls(np.array([-1.0, 0.0, 1.0]), np.array([gained, 1 - gained - lost, lost]))

    @classmethod
    def between_arms(cls, worse: float, others: int) -> "Cells":
        """One client of the challenger's against so many of the champion's."""
        from scipy.stats import binom

        mean = np.arange(others + 1) / others
        chance = binom.pmf(np.arange(others + 1), others, WRONG)
        theirs = WRONG + worse
        return cls(np.concatenate([-mean, 1 - mean]), np.concatenate([chance * (1 - theirs), chance * theirs]))


def roll_out(worse: float, labels: int, paired: bool, runs: int, random: np.random.Generator) -> Ends:
    """Rollouts through STEPS, each judged once a night as tasks/rollout_verdict.py does."""
    cells = [_cells(step, worse, paired) for step in STEPS]
    step, end, nights = (np.zeros(runs, dtype=int) for _ in range(3))
    better, harm = np.zeros((runs, len(BETS))), np.zeros((runs, len(BETS)))
    units, apart, here = (np.zeros(runs) for _ in range(3))
    for _ in range(LAST):
        for place, one in enumerate(STEPS):
            at = np.flatnonzero((end == HELD) & (step == place))
            if not len(at):
                continue
            came = np.full(len(at), labels) if one.kind == SHADOW else random.binomial(labels, one.share, len(at))
            counts = random.multinomial(came, cells[place].chance)
            good, bad = log_bets(cells[place].apart, MARGIN)
            better[at] += counts @ good
            harm[at] += counts @ bad
            units[at] += came
            apart[at] += counts @ cells[place].apart
            here[at] += 1
        nights += end == HELD
        end, on = judge(step, end, better, harm, units, apart, here)
        step += on
        for counted in (harm, units, apart, here):
            counted[on] = 0
    return Ends(end, nights)


def judge(
    step: np.ndarray,
    end: np.ndarray,
    better: np.ndarray,
    harm: np.ndarray,
    units: np.ndarray,
    apart: np.ndarray,
    here: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """How each run has ended by now, and which move on: tasks/rollout_verdict.py, for all runs at once."""
    open_ = end == HELD
    dropped = open_ & (_capital(harm) >= 1 / ERROR)
    asked = np.array([[one.nights, one.labels] for one in STEPS])[step]
    ready = open_ & ~dropped & (here >= asked[:, 0]) & (units >= asked[:, 1]) & (apart <= MARGIN * np.maximum(units, 1))
    last = step == len(STEPS) - 1
    shown = ready & last & (_capital(better) >= 1 / ERROR)
    return np.where(dropped, ABORTED, np.where(shown, PROMOTED, end)), ready & ~last


def _capital(logs: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(np.minimum(logs, 50)).mean(axis=1))


def _cells(step: Step, worse: float, paired: bool) -> Cells:
    if step.kind == CANARY and not paired:
        return Cells.between_arms(worse, round((1 - step.share) / step.share))
    return Cells.same_request(worse)


def fixed(worse: float, labels: int, horizon: int, runs: int, random: np.random.Generator) -> Ends:
    """The fixed rule at that night: half of all labels to either arm."""
    n = labels * horizon // 2
    theirs, ours = random.binomial(n, WRONG + worse, runs), random.binomial(n, WRONG, runs)
    end = np.where(passes(theirs, n, ours, n), PROMOTED, ABORTED)
    return Ends(end, np.full(runs, horizon))


def equal_error(labels: int, runs: int, random: np.random.Generator) -> int:
    """The first horizon, not before the plan's nights, at which the fixed rule promotes at most 5 % at the margin."""
    for horizon in range(PLAN, LAST + 1):
        if fixed(MARGIN, labels, horizon, runs, random).share(PROMOTED) <= ERROR:
            return horizon
    return LAST


def beside(labels: int, runs: int, random: np.random.Generator) -> dict[str, dict[str, Ends]]:
    """Rule -> challenger -> how it ended."""
    horizon = equal_error(labels, runs, random)
    rules = {
        "rollout, same request": lambda worse: roll_out(worse, labels, True, runs, random),
        "rollout, between arms": lambda worse: roll_out(worse, labels, False, runs, random),
        f"fixed, as the plan ({PLAN} nights)": lambda worse: fixed(worse, labels, PLAN, runs, random),
        f"fixed, equal error ({horizon} nights)": lambda worse: fixed(worse, labels, horizon, runs, random),
    }
    return {rule: {name: run(worse) for name, worse in CHALLENGERS.items()} for rule, run in rules.items()}


def faults_of(size: str, ends: dict[str, dict[str, Ends]]) -> list[str]:
    """The bars that do not hold."""
    faults = []
    for rule in (rule for rule in ends if rule.startswith("rollout")):
        for name, worse in CHALLENGERS.items():
            found, wrong = ends[rule][name], PROMOTED if worse >= MARGIN else ABORTED
            if found.upper(wrong) > ERROR:
                word = "promoted" if wrong == PROMOTED else "taken off"
                faults.append(
                    f"{size}, {rule}, {name}: {found.share(wrong):.3f} {word}, up to {found.upper(wrong):.3f}"
                )
    ours, theirs = next(iter(ends.values())), list(ends.values())[-1]
    for name in ("equal", "better, -3", "worse, +8"):
        if ours[name].median() > theirs[name].median():
            faults.append(f"{size}, {name}: {ours[name].median():g} nights, the fixed rule {theirs[name].median():g}")
    return faults


def show(size: str, ends: dict[str, dict[str, Ends]]) -> None:
    """A table."""
    print(f"\n| {size}, {SIZES[size]} labels a night | challenger | promoted | taken off | nights |\n|{'---|' * 5}")
    for rule, found in ends.items():
        for name, one in found.items():
            margin = f" (up to {one.upper(PROMOTED):.3f})" if CHALLENGERS[name] >= MARGIN else ""
            share = f"{one.share(PROMOTED):.3f}{margin} | {one.share(ABORTED):.3f}"
            print(f"| {rule} | {name} | {share} | {one.median():g} |", flush=True)


def main() -> int:
    """Print the tables and every bar that does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random, faults = np.random.default_rng(arguments.seed), []
    for size, labels in SIZES.items():
        ends = beside(labels, 2_000 if arguments.quick else 20_000, random)
        show(size, ends)
        faults += faults_of(size, ends)
    for fault in faults:
        print(f"FAIL {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
