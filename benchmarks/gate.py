"""How often the gate errs, beside rules on point values, and how fast its bootstrap is.

    python -m benchmarks.gate [--quick] [--seed 0]

Draws candidates whose true value is known (worse, at the bound, equal to the champion, better) and judges each by
`judge_report` with the project's own intervals: accuracy, macro F1 and expected calibration error against a fixed
bound, and the paired gain in accuracy over a champion with a non-inferiority margin of 1 point. Images are
independent, or come five to a subject, whose images succeed and fail together (Gaussian copula, correlation 0.3).

    accuracy   bound 90 %; champion 92 %
    gain       margin -1 point; champion 95 % right; the two disagree on 4 % of the images
    macro F1   bound 88 %; champion 90 %; five classes of 40, 25, 15, 12 and 8 %
    ECE        bound 5 %; champion 3 %; confidences from 50 to 100 %, 90 % on average, all too high by the same

A pass is false when the true value is on the bound or beyond it, a fail when it is not beyond. Intervals are two-sided
at 95 %, so each end errs in 2.5 % of test sets: the nominal rate of false passes, and of false fails, on the bound.
Beside it stand TFMA's `value_threshold` and `change_threshold` (absolute -0.01; its metrics_validator.py: value >=
bound, change >= absolute) and MLflow's `MetricThreshold` (threshold; for the gain min_absolute_change, which must be
above 0, so that no margin can be allowed). Both compare point values.

Bars, within three standard errors of the simulation: on the bound at most 5 % false passes, for every metric, size and
kind of dependence; a model equal to its champion passes in at least 85 % at n = 5000; 10,000 resamples of 50 slices
take less than 3 s, of accuracy and macro F1 on 10,000 images in each slice, and of ECE on 10,000 images cut into 50.
Exits 0 only when all hold. What exceeds the nominal 2.5 % by more than three standard errors is marked in the table.
"""

import argparse
import datetime as dt
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm

from tasks import metrics
from tasks.estimates import Measure, estimate_gain, estimate_measures, estimate_rate
from tasks.evaluators.accuracy import even_number
from tasks.evaluators.transfer import GAIN
from tasks.findings import Finding
from tasks.gate import judge_report
from tasks.metrics import Outcomes
from tasks.params import EvaluateParams
from tasks.plan import SECTIONS, Plan
from tasks.resampling import Clusters, Statistics, bootstrap_of_kinds
from tasks.verdict import FAIL, INCONCLUSIVE, PASS

SIZES, QUICK_SIZES = (500, 1000, 2000, 5000), (500, 5000)
IMAGES_OF_A_SUBJECT, CORRELATION = 5, 0.3
CLASSES = np.array([0.40, 0.25, 0.15, 0.12, 0.08])
DISAGREEMENT, CHAMPION = 0.04, 0.95
NOMINAL, MOST_FALSE_PASSES, LEAST_EQUAL, MOST_SECONDS = 0.025, 0.05, 0.85, 3.0
CANDIDATES = ("worse", "bound", "equal", "better")
HEADER = "| metric | from | n | candidate (truth) | PASS | FAIL | INCONCLUSIVE | TFMA passes | MLflow passes | |"


@dataclass(frozen=True)
class Question:
    """A metric with its bound, the candidates' true values, and how many test sets to draw, fewer if quick."""

    title: str
    metric: str
    direction: str
    bound: float
    truths: tuple[float, float, float, float]
    sets: int
    quick: int

    @property
    def candidates(self) -> dict[str, float]:
        """The true values by name."""
        return dict(zip(CANDIDATES, self.truths, strict=True))


QUESTIONS = (
    Question("accuracy", "accuracy", "at_least", 0.90, (0.88, 0.90, 0.92, 0.94), 2000, 800),
    Question("gain", GAIN, "at_least", -0.01, (-0.02, -0.01, 0.0, 0.01), 2000, 800),
    Question("macro F1", "macro_f1", "at_least", 0.88, (0.86, 0.88, 0.90, 0.92), 800, 300),
    Question("ECE", "ece", "at_most", 0.05, (0.07, 0.05, 0.03, 0.01), 300, 100),
)


@dataclass(frozen=True)
class Cell:
    """One line of the table: a candidate at one size."""

    question: Question
    candidate: str
    n: int
    dependent: bool
    sets: int
    resamples: int
    seed: int

    @property
    def misses(self) -> bool:
        """Whether the candidate's true value is on the bound or beyond it, so that to pass it is false."""
        return self.candidate in ("worse", "bound")


@dataclass(frozen=True)
class Rates:
    """How often, over `sets` test sets, the gate said what, and what rules on point values let pass."""

    passed: float
    failed: float
    open: float
    tfma: float
    mlflow: float


def latents(n: int, dependent: bool, random: np.random.Generator) -> np.ndarray:
    """Uniform numbers (n,), those of one subject's images correlated through a Gaussian copula."""
    if not dependent:
        return random.uniform(size=n)
    shared = np.repeat(random.normal(size=n // IMAGES_OF_A_SUBJECT), IMAGES_OF_A_SUBJECT)
    own = random.normal(size=n)
    return np.asarray(norm.cdf(np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * own))


def places(n: int, dependent: bool) -> pd.DataFrame:
    """The columns group and unit of n images."""
    subject = np.arange(n) // (IMAGES_OF_A_SUBJECT if dependent else 1)
    return pd.DataFrame({"group": subject, "unit": np.arange(n)})


def macro_f1_of(recall: float) -> float:
    """The population's macro F1 when each class is read right with the same chance, and else as any other class."""
    wrong = (1 - recall) * CLASSES / (len(CLASSES) - 1)  # of class j, called each other class
    called = CLASSES * recall + wrong.sum() - wrong
    return float(np.mean(2 * CLASSES * recall / (CLASSES + called)))


def recall_for(macro_f1: float) -> float:
    """The inverse of `macro_f1_of`."""
    return float(brentq(lambda recall: macro_f1_of(recall) - macro_f1, 0.3, 1.0))


def measured(cell: Cell, random: np.random.Generator, params: EvaluateParams) -> Finding:
    """The finding on one drawn test set."""
    truth, rows = cell.question.candidates[cell.candidate], places(cell.n, cell.dependent)
    chance = latents(cell.n, cell.dependent, random)
    match cell.question.metric:
        case "accuracy":
            return estimate_rate("accuracy", "test", chance < truth, rows, params)
        case "macro_f1":
            label = random.choice(len(CLASSES), cell.n, p=CLASSES)
            other = (label + random.integers(1, len(CLASSES), cell.n)) % len(CLASSES)
            predicted = np.where(chance < recall_for(truth), label, other)
            measure = Measure("macro_f1", metrics.macro_f1, even_number, of_labels=True)
            table = with_outcomes(rows, label, predicted, np.eye(len(CLASSES))[predicted])
        case "ece":
            confidence = 1 - random.beta(1, 4, cell.n) / 2
            label = (chance >= confidence - truth).astype(int)
            measure = Measure("ece", metrics.ece(params.calibration_bins), inflated=True)
            table = with_outcomes(rows, label, np.zeros(cell.n, int), np.stack([confidence, 1 - confidence], axis=1))
        case _:
            lost, gained = (DISAGREEMENT - truth) / 2, (DISAGREEMENT + truth) / 2
            gains = (chance > 1 - gained).astype(int) - (chance < lost).astype(int)
            return estimate_gain(GAIN, "test", gains, rows, params)
    return next(estimate_measures([measure], "test", table, params))


def with_outcomes(rows: pd.DataFrame, label: np.ndarray, predicted: np.ndarray, told: np.ndarray) -> pd.DataFrame:
    """The columns that `estimate_measures` reads beside group and unit."""
    names = np.array([str(k) for k in range(told.shape[1])])
    columns = {f"prob_{name}": told[:, k] for k, name in enumerate(names)}
    return rows.assign(label=names[label], predicted=names[predicted], **columns)


def plan_for(question: Question) -> Plan:
    """A plan with the one criterion."""
    criterion = {"name": question.title, "metric": question.metric, "slice": "test", question.direction: question.bound}
    head = {"version": 1, "use_case": "simulation", "owner": "benchmark", "review_by": dt.date.max, "level": 0.95}
    rest = {"minimum_n": 1, "severity": "block", "reason": "to count errors"}
    empty = {key: {"none": "a simulation of one criterion"} for key in ("reuse", "stop", "costs", *SECTIONS)}
    return Plan.model_validate({**head, **empty, "standard": [{**criterion, **rest}]})


def tfma_passes(value: float, bound: float, direction: str) -> bool:
    """TFMA's value_threshold and change_threshold: inclusive, on the point value or the point difference."""
    return value >= bound if direction == "at_least" else value <= bound


def mlflow_passes(value: float, bound: float, direction: str, is_change: bool) -> bool:
    """MLflow's MetricThreshold; a change must be an improvement, here by the smallest number that it takes."""
    return value >= sys.float_info.epsilon if is_change else tfma_passes(value, bound, direction)


def simulate(cell: Cell) -> Rates:
    """Draw the cell's test sets and judge each."""
    question, plan, random = cell.question, plan_for(cell.question), np.random.default_rng(cell.seed)
    told = np.zeros((cell.sets, 5))
    for place in range(cell.sets):
        params = EvaluateParams(
            level=0.95, resamples=cell.resamples, min_clusters=20, calibration_bins=15, seed=int(random.integers(2**31))
        )
        finding = measured(cell, random, params)
        outcome = judge_report([finding], plan, {}).overall
        told[place, :3] = [outcome == said for said in (PASS, FAIL, INCONCLUSIVE)]
        told[place, 3] = tfma_passes(finding.value, question.bound, question.direction)
        told[place, 4] = mlflow_passes(finding.value, question.bound, question.direction, question.metric == GAIN)
    return Rates(*map(float, told.mean(axis=0)))


def all_cells(quick: bool, seed: int) -> list[Cell]:
    """Every line of the table."""
    return [
        Cell(
            question,
            candidate,
            n,
            dependent,
            question.quick if quick else question.sets,
            400 if quick else 500,
            seed + place,
        )
        for place, (question, dependent, n, candidate) in enumerate(
            (q, d, n, c)
            for q in QUESTIONS
            for d in (False, True)
            for n in (QUICK_SIZES if quick else SIZES)
            for c in q.candidates
        )
    ]


def margin(rate: float, sets: int) -> float:
    """Three standard errors of a simulated rate."""
    return 3 * float(np.sqrt(rate * (1 - rate) / sets))


def faults(cell: Cell, rates: Rates) -> list[str]:
    """The bars that this line breaks."""
    where = f"{cell.question.title}, n = {cell.n}, {'subjects' if cell.dependent else 'images'}"
    found = []
    if cell.misses and rates.passed > MOST_FALSE_PASSES + margin(MOST_FALSE_PASSES, cell.sets):
        found.append(f"{where}, {cell.candidate}: {rates.passed:.1%} false passes, at most {MOST_FALSE_PASSES:.0%}")
    equal = cell.candidate == "equal" and cell.question.metric == GAIN and cell.n == 5000 and not cell.dependent
    if equal and rates.passed < LEAST_EQUAL - margin(LEAST_EQUAL, cell.sets):
        found.append(f"{where}: equal models pass in {rates.passed:.1%}, at least {LEAST_EQUAL:.0%}")
    return found


def note(cell: Cell, rates: Rates) -> str:
    """What the line shows beyond the nominal rate."""
    most = NOMINAL + margin(NOMINAL, cell.sets)
    if cell.misses and rates.passed > most:
        return "false passes above nominal"
    return "false fails above nominal" if cell.candidate != "worse" and rates.failed > most else ""


def line(cell: Cell, rates: Rates) -> str:
    """The cell as a row of Markdown; an error is in bold."""
    question = cell.question
    truth = question.candidates[cell.candidate]
    shown = [
        f"**{rate:.1%}**" if wrong else f"{rate:.1%}"
        for rate, wrong in (
            (rates.passed, cell.misses),
            (rates.failed, not cell.misses or cell.candidate == "bound"),
            (rates.open, False),
            (rates.tfma, cell.misses),
            (rates.mlflow, cell.misses),
        )
    ]
    kind = "subjects" if cell.dependent else "images"
    words = [question.title, kind, str(cell.n), f"{cell.candidate} ({truth:+.1%})", *shown, note(cell, rates)]
    return f"| {' | '.join(words)} |"


def seconds(work: Callable[[int], object], slices: int = 50) -> tuple[float, float]:
    """Seconds for all slices on two threads, by the clock and of both processors, the best of three times."""
    taken = []
    for _ in range(3):
        started, busy = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(work, range(slices)))
        taken.append((time.perf_counter() - started, time.process_time() - busy))
    return min(taken)


def bootstrap_times(seed: int) -> dict[str, tuple[float, float]]:
    """10,000 resamples of 50 slices, the best of three times: of what a confusion matrix says, and of ECE.

    Ten classes, each mistaken for three others: 40 cells of the confusion matrix are not empty.
    """
    random = np.random.default_rng(seed)
    k, n, resamples = 10, 10_000, 10_000
    truth = random.integers(0, k, n)
    predicted = np.where(random.uniform(size=n) < 0.9, truth, (truth + random.integers(1, 4, n)) % k)
    confidence = random.uniform(0.5, 1, n)
    told = np.full((n, k), 0.0)
    told[np.arange(n), predicted] = confidence
    whole = Outcomes(truth, predicted, told)

    def labels(place: int) -> np.ndarray:
        def statistics_of(images: np.ndarray) -> Statistics:
            some = whole.take(images)
            return lambda weights: np.stack([metrics.accuracy(some, weights), metrics.macro_f1(some, weights)], axis=1)

        clusters = Clusters(np.arange(n), n, "images")
        return bootstrap_of_kinds(statistics_of, truth * k + predicted, clusters, resamples, place)

    def calibration(place: int) -> np.ndarray:
        part = np.arange(place, n, 50)
        error = metrics.ece(15)

        def statistics_of(images: np.ndarray) -> Statistics:
            some = whole.take(part[images])
            return lambda weights: error(some, weights)[:, None]

        clusters = Clusters(np.arange(len(part)), len(part), "images")
        return bootstrap_of_kinds(statistics_of, np.arange(len(part)), clusters, resamples, place)

    return {
        "accuracy and macro F1, 10,000 images in each slice": seconds(labels),
        "ECE, 10,000 images cut into the slices": seconds(calibration),
    }


def main() -> int:
    """Print the table, the times and every bar that does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sizes, fewer test sets")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    times = bootstrap_times(arguments.seed)
    cells = all_cells(arguments.quick, arguments.seed)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(simulate, cells))
    print(f"{HEADER}\n|{'---|' * (HEADER.count('|') - 1)}")
    found = []
    for cell, rates in zip(cells, results, strict=True):
        print(line(cell, rates))
        found += faults(cell, rates)
    for what, (taken, busy) in times.items():
        print(f"\n10,000 resamples x 50 slices, {what}: {taken:.2f} s ({busy:.2f} s of processors)")
        if taken >= MOST_SECONDS:
            found.append(f"{what}: {taken:.2f} s, less than {MOST_SECONDS:g} s wanted")
    for fault in found:
        print(f"FAIL {fault}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
