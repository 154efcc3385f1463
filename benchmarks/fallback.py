"""How often a night of harm ends in a move that helps nobody, and how often in one that does.

    python -m benchmarks.fallback [--draws 1000] [--quick]

Drawn windows with known truths, judged by tasks/best_version.py at 95 %, and beside it by point values: go back to
whichever version has the lower error. Images come in units of four that half the time are right or wrong together.

* the input broke    champion and two older versions all err on 25 % of the images: each move is a mistake
* the model broke    the champion errs on 25 %, one older version on 10 %, another on 25 %: a move to the former helps

Prints both tables and exits 0 only when mistaken moves are no more than the 2.5 % that the level allows (or what 99.9 %
of so many draws would show), be they all of the first table or those of the second that go to the equal version.
"""

import argparse
import sys
import time

import numpy as np
import pandas as pd
from scipy.stats import binom

from tasks.best_version import choose

LEVEL, SIZE, TOGETHER = 0.95, 4, 0.5
BROKEN_INPUT = {"3": 0.25, "2": 0.25, "1": 0.25}
BROKEN_MODEL = {"3": 0.25, "2": 0.10, "1": 0.25}
LABELS = (40, 100, 200, 400, 1000)


def main() -> int:
    """Draw, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="windows a row")
    parser.add_argument("--quick", action="store_true", help="200 windows a row")
    asked = parser.parse_args()
    draws = 200 if asked.quick else asked.draws
    most, held = int(binom.ppf(0.999, draws, (1 - LEVEL) / 2)), True
    for title, rates in (("the input broke", BROKEN_INPUT), ("the model broke", BROKEN_MODEL)):
        heads = ("moved: proved", "lower error", "of no help: proved", "lower error")
        print(f"\n{title:18}" + "".join(f"{head:>20}" for head in heads))
        for labels in LABELS:
            began = time.perf_counter()
            ours, theirs = zip(*(judge(rates, labels, seed) for seed in range(draws)), strict=True)
            wrong = [sum(v is not None and rates[v] >= rates["3"] for v in found) for found in (ours, theirs)]
            moved = [sum(v is not None for v in found) for found in (ours, theirs)]
            each = 1000 * (time.perf_counter() - began) / draws
            figures = [f"{100 * count / draws:.1f} %" for count in (*moved, *wrong)]
            print(f"{labels:>6} labels     " + "".join(f"{figure:>20}" for figure in figures) + f"{each:>8.1f} ms")
            held &= wrong[0] <= most
    print(f"\nmistaken moves stay within {100 * (1 - LEVEL) / 2:.1f} % of draws: {'yes' if held else 'no'}")
    return 0 if held else 1


def judge(rates: dict[str, float], labels: int, seed: int) -> tuple[str | None, str | None]:
    """Where the proof moves to, and where the lower error does; None: nowhere."""
    losses = draw(np.random.default_rng(seed), labels, rates)
    means = losses[list(rates)].mean()
    lower = str(means.idxmin()) if means.min() < means["3"] else None
    return choose(losses, "3", LEVEL, resamples=500, seed=seed).version, lower


def draw(random: np.random.Generator, labels: int, rates: dict[str, float]) -> pd.DataFrame:
    """A window: image_id, unit, and a loss of 0 or 1 for each version."""
    units = np.arange(labels) // SIZE
    together = random.random(units.max() + 1) < TOGETHER
    columns = {}
    for name, rate in rates.items():
        alone, shared = random.random(labels) < rate, random.random(units.max() + 1) < rate
        columns[name] = np.where(together[units], shared[units], alone).astype(float)
    return pd.DataFrame({"image_id": range(labels), "unit": units, **columns})


if __name__ == "__main__":
    sys.exit(main())
