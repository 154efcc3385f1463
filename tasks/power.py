"""What a plan can show: before any result, how good a model must be to pass with the images at hand, and how many more
it would take.

The chance to pass is that of the gate's own interval: Wilson's for a share (the binomial's chance to reach the first
count that passes), the same at the number of evenly spread images for an average over classes, Tango's for a gain, and
for the calibration error a simulation of its bootstrap. Brier score and log-likelihood spread as the model has it,
which no plan knows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binom, norm

from tasks import metrics
from tasks.errors import BadInput
from tasks.estimates import Measure, estimate_measures
from tasks.intervals import tango_score, wilson
from tasks.labels_needed import smallest
from tasks.metrics import DIFFERENCE, NUMBER, REGISTRY
from tasks.params import EvaluateParams, load_section
from tasks.plan import Criterion, load_plan
from tasks.project import load_project
from tasks.resampling import choose_clusters
from tasks.sentences import describe_demand, describe_place, describe_value
from tasks.slices import SLICE, iter_slices, iter_splits

POWER = 0.8
RARE = ("personal_data_share", "near_duplicate_share")  # counted shares of images that are not to exceed a bound
MOST_IMAGES = 1_000_000  # no plan is helped by being told of more
FINE = 1e-4  # of a true value
SETS, RESAMPLES = 60, 200  # of the simulated calibration error, which is rough anyhow
Chance = Callable[[int, float], float]  # images, true value -> chance to pass


@dataclass(frozen=True)
class Room:
    """What a slice holds: n images in so many independent units, and of each class."""

    slice: str
    n: int
    units: int
    classes: tuple[int, ...] = (1,)

    @property
    def evenness(self) -> float:
        """Which share of its images an average over classes rests on: 1 when all classes are as large."""
        sizes = np.array(self.classes, float)
        return float(len(sizes) ** 2 / (1 / sizes).sum() / sizes.sum())


def power_lines(project: str, n: int | None, given: list[str], disagreement: float) -> list[str]:
    """A sentence for each criterion and slice of the project's plan; counts are the split's, or `n` in every slice."""
    about = load_project(Path("governance/projects") / f"{project}.yaml")
    plan = load_plan(about.plan)
    params = load_section(EvaluateParams, Path("params.yaml"), about.params.get("evaluate"))
    params = params.model_copy(update={"level": plan.level})
    truths, file = read_truths(given, plan.criteria), Path("runs") / project / "split/manifest.parquet"
    if n is None and not file.is_file():
        raise BadInput(f"nothing is split yet ({file} is not there); say with --n how many images each slice will hold")
    manifest = pd.read_parquet(file) if n is None else None
    lines = []
    for criterion in plan.criteria:
        rooms = [Room(criterion.slice, n or 0, n or 0)]
        if manifest is not None:
            rooms = rooms_of(manifest, criterion, params.min_clusters)
        if criterion.name in about.not_applicable:
            lines.append(f"{criterion.name}: not applicable: {about.not_applicable[criterion.name]}")
        elif not rooms:
            lines.append(f"{criterion.name}: {criterion.slice} has no image in {file}")
        else:
            truth = truths.get(criterion.name)
            lines += [describe_power(criterion, room, params, disagreement, truth) for room in rooms]
    return lines


def rooms_of(manifest: pd.DataFrame, criterion: Criterion, min_clusters: int) -> list[Room]:
    """The slices of a split's manifest that a criterion covers."""
    named = list(iter_slices(manifest))
    for split, part in iter_splits(manifest):
        named += [(f"{split}/label={label}", part[part["label"] == label]) for label in sorted(part["label"].unique())]
    train = manifest[manifest["split"] == "train"]
    columns = [c.removeprefix(SLICE) for c in manifest if c.startswith(SLICE)]
    named += [("all", manifest), ("train", train), *((f"train/{column}=*", train) for column in columns)]
    start = criterion.everywhere
    chosen = [(name, rows) for name, rows in named if (name.startswith(start) if start else name == criterion.slice)]
    return [
        Room(name, len(rows), choose_clusters(rows, min_clusters).count, tuple(rows["label"].value_counts()))
        for name, rows in chosen
    ]


def describe_power(
    criterion: Criterion, room: Room, params: EvaluateParams, disagreement: float, truth: float | None
) -> str:
    """One sentence: the true value that passes in 80 % of test sets, and the images it takes if it is `truth`."""
    place = f"{criterion.name}: {describe_place(criterion.metric, room.slice)}"
    units = f" from {room.units} units" if room.units < room.n else ""
    demand = f"{place} (n = {room.n}{units}) must be {describe_demand(criterion)}"
    chance = chance_to_pass(criterion, room, params, disagreement)
    if chance is None:
        return f"{demand}; what it takes depends on how the model's figures spread, which a plan does not know"
    if room.n < criterion.minimum_n:
        passes = f"too few images, {criterion.minimum_n} asked for"
    else:
        passes = _passes(criterion, room, chance)
    truth = truth if truth is not None else assumed(criterion)
    needed = images_needed(criterion, chance, truth)
    shown = describe_value(criterion.metric, truth)
    taken = f"about {needed} independent images" if needed else "no number of images passes"
    return f"{demand}; {passes}; if it is {shown}: {taken}"


def chance_to_pass(criterion: Criterion, room: Room, params: EvaluateParams, disagreement: float) -> Chance | None:
    """The chance to pass as a function of independent images and true value; None when no plan knows it."""
    unit, z = REGISTRY[criterion.metric].unit, float(norm.ppf((1 + params.level) / 2))
    if criterion.metric in RARE:
        return lambda n, truth: _chance_of_share(n, 1 - truth, 1 - criterion.bound, params.level)
    if criterion.direction == "at_most" and criterion.metric != "ece":  # gaps, attacks and estimates
        return None
    if unit == DIFFERENCE:
        return lambda n, truth: _chance_of_gain(n, truth, criterion.bound, disagreement, z)
    if criterion.metric == "ece":
        return lambda n, truth: _chance_of_calibration(n, truth, criterion, params)
    if unit == NUMBER:
        return None
    share = room.evenness if criterion.metric.startswith(("macro", "balanced")) else 1.0
    return lambda n, truth: _chance_of_share(max(1, round(share * n)), truth, criterion.bound, params.level)


def value_needed(criterion: Criterion, chance: Chance, n: int) -> float | None:
    """The true value nearest to the bound that passes in at least 80 % of test sets of n independent images."""
    metric = REGISTRY[criterion.metric]
    best = metric.highest if criterion.direction == "at_least" else metric.lowest
    if chance(n, best) < POWER:
        return None
    near, far = criterion.bound, best
    while abs(far - near) > FINE:
        middle = (near + far) / 2
        near, far = (near, middle) if chance(n, middle) >= POWER else (middle, far)
    return far


def images_needed(criterion: Criterion, chance: Chance, truth: float) -> int | None:
    """How many independent images pass in at least 80 % of test sets when `truth` is the true value."""
    if (truth - criterion.bound) * (1 if criterion.direction == "at_least" else -1) <= 0:
        return None
    most = 5_000 if criterion.metric == "ece" else MOST_IMAGES  # a simulation takes its time
    if chance(most, truth) < POWER:
        return None
    return max(criterion.minimum_n, smallest(lambda n: n >= most or chance(n, truth) >= POWER, 8))


def assumed(criterion: Criterion) -> float:
    """A true value to reckon with when none is given: 5 points above a demanded gain, else halfway to the best one."""
    metric = REGISTRY[criterion.metric]
    if metric.unit == DIFFERENCE:
        return criterion.bound + 0.05
    return (criterion.bound + (metric.highest if criterion.direction == "at_least" else metric.lowest)) / 2


def read_truths(given: list[str], criteria: list[Criterion]) -> dict[str, float]:
    """`name=value` words as true values by criterion; BadInput names what does not fit."""
    names, truths = [c.name for c in criteria], {}
    for word in given:
        name, _, value = word.partition("=")
        if name not in names:
            raise BadInput(f"--true {word}: the plan's criteria are {', '.join(names)}")
        try:
            truths[name] = float(value)
        except ValueError as error:
            raise BadInput(f"--true {word}: write it like {names[0]}=0.9") from error
    return truths


def _passes(criterion: Criterion, room: Room, chance: Chance) -> str:
    def needed(n: int) -> str:
        value = value_needed(criterion, chance, n)
        least = criterion.direction.replace("_", " ")
        return "none" if value is None else f"{least} {describe_value(criterion.metric, value)}"

    said = f"the true value that passes in {POWER * 100:g} % of test sets: {needed(room.n)}"
    if room.units < room.n:
        said += f" if all images are independent, {needed(room.units)} if those of a unit succeed and fail together"
    return said


def _chance_of_share(n: int, truth: float, bound: float, level: float) -> float:
    low, high = 0, n + 1  # the first count of successes that passes lies in (low, high]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if wilson(middle, n, level).low >= bound else (middle, high)
    return float(binom.sf(high - 1, n, truth))


def _chance_of_gain(n: int, truth: float, bound: float, disagreement: float, z: float) -> float:
    """The observed gain is about normal; it passes from where Tango's statistic against the bound reaches z."""
    differ = max(disagreement, abs(truth))
    spread = math.sqrt(max(differ - truth**2, 1e-12) / n)

    def statistic(gain: float) -> float:
        return tango_score(n * (differ + gain) / 2, n * (differ - gain) / 2, n, bound)

    if statistic(differ) < z:
        return 0.0
    low, high = bound, differ
    while high - low > FINE / 10:
        middle = (low + high) / 2
        low, high = (low, middle) if statistic(middle) >= z else (middle, high)
    return float(norm.sf((high - truth) / spread))


def _chance_of_calibration(n: int, truth: float, criterion: Criterion, params: EvaluateParams) -> float:
    """Confidences from 50 to 100 %, 90 % on average, all too high by `truth`; the same draws for every truth."""
    measure, passed = Measure("ece", metrics.ece(params.calibration_bins), inflated=True), 0
    quick = params.model_copy(update={"resamples": RESAMPLES})
    random = np.random.default_rng(params.seed)
    for _ in range(SETS):
        told, chance = 1 - random.beta(1, 4, n) / 2, random.uniform(size=n)
        table = pd.DataFrame({"group": np.arange(n), "unit": np.arange(n), "predicted": "a"})
        table = table.assign(label=np.where(chance < told - truth, "a", "b"), prob_a=told, prob_b=1 - told)
        passed += next(estimate_measures([measure], "test", table, quick)).high <= criterion.bound
    return passed / SETS
