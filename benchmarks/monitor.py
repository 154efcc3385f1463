"""How often the harm monitor cries wolf, how soon it finds harm, and how rules in common use fare beside it.

    python -m benchmarks.monitor [--quick] [--seed 0]

A champion that was released with 10 % errors is tolerated up to 11 % (release bound plus a margin of 1 point). Every
night 20 to 1,000 labels arrive. Harm sets in after 30 sound nights, at 12, 15, 20 or 30 %. Columns:

    false in 90   share of runs with an alarm within 90 nights at 10 %
    run length    mean nights to an alarm on the bound, 11 % all the time; runs stop at `nights`, so it is at least this
    12 % ... 30 % median nights from harm to alarm, of the runs that had none before it

Beside the monitor (tasks/e_detector.py, run length 1,000): an exact binomial test every night at 5 %, of 10 % and of
11 %; CUSUM set to the same run length on the bound for the very harm that comes, which nobody knows beforehand;
ADWIN, DDM and Page-Hinkley with their usual settings (benchmarks/peers/change_rules.py), which learn from the nights
themselves what is usual and promise nothing about a bound.

Further tables, at 200 labels: harm that is there from the first night; other mixtures of bets; subjects of five images
whose errors correlate (0.2), one bet a subject, and one an image, which breaks the assumption; nights that differ,
below the bound and, which breaks it, about it; a family of one monitor on all images and one on four slices, as
tasks/harm.py averages it, and with a budget shared out; and 20 labels a night that are drawn at random or asked for by
tasks/unlabelled.py.

Bars: at 200 labels at most 1 % false in 90 nights, 15 % found in a median of 5 nights, 20 % in 2; a run length of at
least 1,000 nights on the bound wherever the assumptions hold, at any number of labels; the averaged family is never
later than the shared budget; labels asked for find 15 and 20 % no later than random ones. Exits 0 only when all hold.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import betabinom

from benchmarks.peers.change_rules import (
    NEVER,
    adwin,
    cusum,
    cusum_threshold,
    ddm,
    first_night,
    nightly_test,
    page_hinkley,
)
from tasks.e_detector import BETS, advance, begin, compound, evidence_of, log_bets
from tasks.unlabelled import to_label

BASE, BOUND, HARMS = 0.10, 0.11, (0.12, 0.15, 0.20, 0.30)
SIZES, QUICK_SIZES, MAIN = (20, 50, 100, 200, 1000), (20, 200), 200
SOUND, AFTER, WITHIN, RUN_LENGTH = 30, 150, 90, 1000
SUBJECT, CORRELATION = 5, 0.2
MOST_FALSE, LATEST = 0.01, {0.15: 5, 0.20: 2}
WINDOW, ASKED, SLICES = 200, 20, 4
Draw = Callable[[float, int, int], np.ndarray]  # risk, runs, nights -> counts (runs, nights, values)
Rule = Callable[[np.ndarray, float], np.ndarray]  # counts, the harm to come -> night of the first alarm (runs,)
Choice = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]  # doubts -> places, weights


@dataclass(frozen=True)
class Scale:
    """How much is simulated: runs for chances and delays, runs and nights for run lengths."""

    runs: int
    long_runs: int
    nights: int
    asked_runs: int


FULL, QUICK = Scale(2000, 400, 3000, 200), Scale(500, 150, 3000, 40)


@dataclass
class Row:
    """One line: `length` and its standard error are NaN where nobody promises one."""

    title: str
    false: float
    length: float
    error: float
    delays: dict[float, float] = field(default_factory=dict)

    def line(self) -> str:
        """As Markdown."""
        length = "-" if np.isnan(self.length) else f"{self.length:,.0f}"
        told = [f"{d:.0f}" if d < AFTER else f"> {AFTER}" for d in self.delays.values()]
        return f"| {self.title} | {self.false:.3f} | {length} | {' | '.join(told)} |"


def evidence(growth: np.ndarray) -> np.ndarray:
    """The evidence (runs, nights) of what each bet gained every night, (runs, nights, bets)."""
    capitals, found = np.zeros(growth[:, 0].shape), np.empty(growth.shape[:2])
    for night in range(growth.shape[1]):
        capitals = compound(capitals, growth[:, night])
        found[:, night] = evidence_of(capitals)
    return found


def monitor(values: np.ndarray, bets: Sequence[float] = BETS, level: float = RUN_LENGTH) -> Rule:
    """The e-detector for units whose mean loss is one of `values`."""
    gains = log_bets(values, BOUND, bets)  # (values, bets)
    return lambda counts, harm: first_night(evidence(counts @ gains) >= level)


def mixed_every_night(values: np.ndarray) -> Rule:
    """The bets mixed within each night, and one statistic of the mixtures: no bet learns from the nights before."""
    gains = log_bets(values, BOUND)
    return lambda counts, harm: first_night(
        evidence(np.logaddexp.reduce(counts @ gains, axis=2, keepdims=True) - np.log(len(BETS))) >= RUN_LENGTH
    )


def images(n: int, random: np.random.Generator) -> Draw:
    """Independent images: (runs, nights, 2), how many of the n are right and wrong."""

    def draw(risk: float, runs: int, nights: int) -> np.ndarray:
        wrong = random.binomial(n, risk, (runs, nights))
        return np.stack([n - wrong, wrong], axis=2).astype(float)

    return draw


def subjects(n: int, random: np.random.Generator) -> Draw:
    """Subjects of five images with correlated errors: how many of them have 0, 1, ... 5 wrong (beta-binomial)."""
    both = 1 / CORRELATION - 1

    def draw(risk: float, runs: int, nights: int) -> np.ndarray:
        chances = betabinom.pmf(np.arange(SUBJECT + 1), SUBJECT, risk * both, (1 - risk) * both)
        return random.multinomial(n // SUBJECT, chances, (runs, nights)).astype(float)

    return draw


def drifting(n: int, random: np.random.Generator) -> Draw:
    """A risk that rises and falls by 2 points within 60 nights and reaches `risk` at its highest."""

    def draw(risk: float, runs: int, nights: int) -> np.ndarray:
        phase = random.uniform(0, 2 * np.pi, (runs, 1)) + 2 * np.pi * np.arange(nights) / 60
        wrong = random.binomial(n, risk - 0.01 * (1 - np.cos(phase)))
        return np.stack([n - wrong, wrong], axis=2).astype(float)

    return draw


def scattered(n: int, random: np.random.Generator) -> Draw:
    """A risk that differs from night to night with a standard deviation of 1.5 points about `risk`."""

    def draw(risk: float, runs: int, nights: int) -> np.ndarray:
        both = risk * (1 - risk) / 0.015**2 - 1
        wrong = random.binomial(n, random.beta(risk * both, (1 - risk) * both, (runs, nights)))
        return np.stack([n - wrong, wrong], axis=2).astype(float)

    return draw


def measure(title: str, draw: Draw, rule: Rule, scale: Scale, promises: bool = True, sound: int = SOUND) -> Row:
    """All columns of one rule under one kind of night; harm comes after `sound` nights."""
    false = float((rule(draw(BASE, scale.runs, WITHIN), HARMS[1]) <= WITHIN).mean())
    row = Row(title, false, np.nan, np.nan)
    if promises:
        lengths = np.minimum(rule(draw(BOUND, scale.long_runs, scale.nights), HARMS[1]), scale.nights)
        row.length, row.error = mean_and_error(lengths)
    for harm in HARMS:
        counts = np.concatenate([draw(BASE, scale.runs, sound), draw(harm, scale.runs, AFTER)], axis=1)
        row.delays[harm] = delay(rule(counts, harm), sound)
    return row


def delay(found: np.ndarray, sound: int = SOUND) -> float:
    """The median nights from the onset to the alarm, of the runs without one before; NaN when there are none."""
    after = found[found > sound] - sound
    return float(np.median(np.minimum(after, AFTER))) if len(after) else np.nan


def on_counts(rule: Callable[[np.ndarray, int], np.ndarray], n: int) -> Rule:
    """A peer that reads how many of a night's labels were errors."""
    return lambda counts, harm: rule(counts[:, :, 1].astype(int), n)


def on_answers(rule: Callable[[np.ndarray, int], np.ndarray], n: int, random: np.random.Generator) -> Rule:
    """A peer that reads single answers: each night's errors in random places, a few runs at a time."""

    def apply(counts: np.ndarray, harm: float) -> np.ndarray:
        return np.concatenate([rule(dealt(part, n, random), n) for part in np.array_split(counts, len(counts) // 25)])

    return apply


def dealt(counts: np.ndarray, n: int, random: np.random.Generator) -> np.ndarray:
    """Counts (R, T, 2) as single answers (R, T * n), 1 for an error."""
    answers = (np.arange(n) < counts[:, :, 1:]).astype(float)
    return random.permuted(answers, axis=2).reshape(len(counts), -1)


def beside_peers(n: int, scale: Scale, random: np.random.Generator, sound: int = SOUND) -> list[Row]:
    """The monitor and the peers at n labels a night."""
    draw, few = images(n, random), Scale(max(100, scale.runs // 8), 0, 0, 0)
    thresholds = {harm: cusum_threshold(n, BOUND, harm, RUN_LENGTH) for harm in HARMS}
    promising = {
        "e-detector": monitor(np.array([0.0, 1.0])),
        "CUSUM that knows the harm": knowing(n, thresholds),
        "nightly test of 10 %": on_counts(lambda e, n: nightly_test(e, n, BASE), n),
        "nightly test of 11 %": on_counts(lambda e, n: nightly_test(e, n, BOUND), n),
    }
    learning = {
        "ADWIN": on_counts(adwin, n),
        "DDM": on_answers(ddm, n, random),
        "Page-Hinkley": on_answers(page_hinkley, n, random),
    }
    return [measure(title, draw, rule, scale, sound=sound) for title, rule in promising.items()] + [
        measure(title, draw, rule, few, promises=False, sound=sound) for title, rule in learning.items()
    ]


def knowing(n: int, thresholds: dict[float, float]) -> Rule:
    """CUSUM for the harm that is to come."""
    return lambda counts, harm: cusum(counts[:, :, 1], n, BOUND, harm, thresholds[harm])


def mixtures(scale: Scale, random: np.random.Generator) -> list[Row]:
    """Other sets of bets."""
    draw, values = images(MAIN, random), np.array([0.0, 1.0])
    sets = {
        "one bet, 2 points": (0.02,),
        "one bet, 5 points": (0.05,),
        "one bet, 12 points": (0.12,),
        "2, 5 and 15 points (kept)": BETS,
        "2, 5, 12 and 30 points": (0.02, 0.05, 0.12, 0.3),
        "eight bets, 1 to 50 points": tuple(np.geomspace(0.01, 0.5, 8)),
        "sixteen bets, 0.5 to 80 points": tuple(np.geomspace(0.005, 0.8, 16)),
    }
    rows = [measure(title, draw, monitor(values, bets), scale) for title, bets in sets.items()]
    return [*rows, measure("the three, mixed every night", draw, mixed_every_night(values), scale)]


def dependence(scale: Scale, random: np.random.Generator) -> tuple[list[Row], list[Row]]:
    """Nights on which the assumptions hold, and on which they do not."""
    n, single, share = MAIN, np.array([0.0, 1.0]), np.arange(SUBJECT + 1) / SUBJECT
    as_images = np.stack([SUBJECT - np.arange(SUBJECT + 1), np.arange(SUBJECT + 1)], axis=1)
    by_image = monitor(single)
    hold = [
        measure("subjects of 5, one bet a subject", subjects(n, random), monitor(share), scale),
        measure("risk drifts up to 2 points below", drifting(n, random), by_image, scale),
    ]
    broken = [
        measure(
            "subjects of 5, one bet an image", subjects(n, random), lambda c, harm: by_image(c @ as_images, harm), scale
        ),
        measure("nights differ by 1.5 points about the risk", scattered(n, random), by_image, scale),
    ]
    return hold, broken


def families(scale: Scale, random: np.random.Generator) -> list[Row]:
    """A monitor on all images and one on four slices of a quarter each; harm comes to the first slice alone."""
    draw, gains = images(MAIN // SLICES, random), log_bets(np.array([0.0, 1.0]), BOUND)
    shares = np.array([1 / 2, *[1 / 2 / SLICES] * SLICES])

    def members(risks: Sequence[tuple[float, int]], other: float, runs: int) -> np.ndarray:
        """The evidence (members, runs, nights) of all and of each slice; the first goes through (risk, nights)."""
        first = np.concatenate([draw(risk, runs, nights) for risk, nights in risks], axis=1)
        each = [first, *(draw(other, runs, first.shape[1]) for _ in range(SLICES - 1))]
        return np.stack([evidence(counts @ gains) for counts in (np.sum(each, axis=0), *each)])

    rules: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "family, averaged (kept)": lambda found: np.tensordot(shares, found, 1) >= RUN_LENGTH,
        "family, budget shared out": lambda found: (found >= RUN_LENGTH / shares[:, None, None]).any(axis=0),
        "the slice watched alone": lambda found: found[1] >= RUN_LENGTH,
        "all images watched alone": lambda found: found[0] >= RUN_LENGTH,
    }
    sound = members([(BASE, WITHIN)], BASE, scale.runs)
    bound = members([(BOUND, scale.nights)], BOUND, scale.long_runs)
    harmed = {harm: members([(BASE, SOUND), (harm, AFTER)], BASE, scale.runs) for harm in HARMS}
    rows = []
    for title, rule in rules.items():
        lengths = np.minimum(first_night(rule(bound)), scale.nights)
        delays = {harm: delay(first_night(rule(found))) for harm, found in harmed.items()}
        rows.append(Row(title, float(rule(sound).any(axis=1).mean()), *mean_and_error(lengths), delays))
    return rows


def mean_and_error(lengths: np.ndarray) -> tuple[float, float]:
    """The mean and its standard error."""
    return float(lengths.mean()), float(lengths.std(ddof=1) / np.sqrt(len(lengths)))


def asked(scale: Scale, random: np.random.Generator) -> list[Row]:
    """Twenty labels a night out of 200 images, drawn at random or asked for; doubts grow with harm, or do not."""
    rows = []
    for title, choose in {"at random": at_random, "asked for": by_request}.items():
        for kind, honest in {"": True, ", harm that the model does not doubt": False}.items():

            def found(harm: float, nights: int, choose: Choice = choose, honest: bool = honest) -> np.ndarray:
                return np.array([one_run(choose, honest, harm, nights, random) for _ in range(scale.asked_runs)])

            delays = {harm: delay(found(harm, SOUND + AFTER)) for harm in HARMS}
            false = float((found(BASE, WITHIN) <= WITHIN).mean())
            rows.append(Row(f"{ASKED} {title}{kind}", false, np.nan, np.nan, delays))
    return rows


def one_run(choose: Choice, honest: bool, harm: float, nights: int, random: np.random.Generator) -> int:
    """The night of the first alarm, by the project's own code."""
    state = begin("champion", BOUND)
    for night in range(nights):
        risk = harm if night >= SOUND else BASE
        shown = BASE if not honest else risk
        doubt = random.beta(0.25, 0.25 * (1 - shown) / shown, WINDOW)  # the chance to be wrong, as the model says it
        wrong = random.uniform(size=WINDOW) < 1 - (1 - doubt) * (1 - risk) / (1 - shown)
        places, weights = choose(doubt, random)
        date = str(np.datetime64("2026-01-01") + night)
        state = advance(state, wrong[places].astype(float), weights, places, date)
        if state.evidence >= RUN_LENGTH:
            return night + 1
    return NEVER


def at_random(doubt: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places and weights of a simple random sample."""
    return random.choice(WINDOW, ASKED, replace=False), np.ones(ASKED)


def by_request(doubt: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places and weights that the project asks for; the images are as unlike each other as random directions."""
    told = np.column_stack([1 - doubt, *[doubt / 9] * 9])
    requests = to_label(
        told, random.normal(size=(WINDOW, 32)), np.zeros(WINDOW, bool), ASKED, int(random.integers(2**31))
    )
    return np.array([r.image for r in requests]), np.array([r.weight for r in requests])


def short_of_length(rows: list[Row], where: str) -> list[str]:
    """The rows that break the promise of the run length, beyond three standard errors."""
    return [
        f"{where}, {row.title}: run length {row.length:.0f}, at least {RUN_LENGTH} wanted"
        for row in rows
        if row.length + 3 * row.error < RUN_LENGTH
    ]


def slow_or_false(row: Row) -> list[str]:
    """The bars of the monitor at MAIN labels."""
    found = [f"{row.title}: {row.false:.3f} false in {WITHIN} nights"] if row.false > MOST_FALSE else []
    late = {harm: row.delays[harm] for harm, most in LATEST.items() if not row.delays[harm] <= most}
    return found + [f"{row.title}: {harm:.0%} found after {nights:.0f} nights" for harm, nights in late.items()]


def later(row: Row, other: Row, harms: Sequence[float]) -> list[str]:
    """Where `row` takes longer than `other`."""
    return [
        f"{row.title}: {harm:.0%} found after {row.delays[harm]:.0f} nights, {other.title}: {other.delays[harm]:.0f}"
        for harm in harms
        if not row.delays[harm] <= other.delays[harm]
    ]


def show(title: str, rows: list[Row]) -> None:
    """A table."""
    names = [title, f"false in {WITHIN}", "run length", *(f"{harm:.0%}" for harm in HARMS)]
    print(f"\n| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print(row.line(), flush=True)


def main() -> int:
    """Print the tables and every bar that does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sizes, fewer runs")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    scale, random, faults = QUICK if arguments.quick else FULL, np.random.default_rng(arguments.seed), []
    for n in QUICK_SIZES if arguments.quick else SIZES:
        rows = beside_peers(n, scale, random)
        show(f"{n} labels a night", rows)
        faults += short_of_length(rows[:1], f"{n} labels") + (slow_or_false(rows[0]) if n == MAIN else [])
    show(f"{MAIN} labels, harm from the first night", beside_peers(MAIN, scale, random, sound=0))
    show("mixtures", mixtures(scale, random))
    hold, broken = dependence(scale, random)
    show("the assumptions hold", hold)
    show("the assumptions are broken", broken)
    family = families(scale, random)
    show("harm to one slice of four", family)
    requests = asked(scale, random)
    show(f"{ASKED} labels of {WINDOW} images", requests)
    faults += short_of_length(hold, "dependence") + short_of_length(family[:1], "family")
    faults += later(family[0], family[1], HARMS) + later(requests[2], requests[0], (0.15, 0.20))
    for fault in faults:
        print(f"FAIL {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
