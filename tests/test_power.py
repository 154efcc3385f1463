"""What the plan is said to need is what the gate then takes: the figures hold in simulated test sets."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from typer.testing import CliRunner

import flows.cli
from tasks.evaluators.accuracy import even_number
from tasks.findings import Finding
from tasks.gate import judge_report
from tasks.intervals import tango, wilson
from tasks.metrics import Outcomes
from tasks.params import EvaluateParams
from tasks.plan import Criterion, Plan
from tasks.power import Room, assumed, chance_to_pass, describe_power, images_needed, rooms_of, value_needed
from tests.drawn_predictions import draw_manifest
from tests.plan_documents import plan_document

PARAMS = EvaluateParams(level=0.95, resamples=400, min_clusters=20, calibration_bins=10, seed=1)
SETS = 2000
ERROR = 3 * np.sqrt(0.8 * 0.2 / SETS)


def criterion(**changes: Any) -> Criterion:
    base = {"name": "a", "metric": "accuracy", "slice": "test", "minimum_n": 20, "severity": "block", "reason": "r"}
    bound = {} if "at_most" in changes else {"at_least": 0.85}
    return Criterion.model_validate({**base, **bound, **changes})


def passes(finding: Finding, demanded: Criterion) -> bool:
    plan = Plan.model_validate(plan_document(demanded.model_dump()))
    return judge_report([finding], plan, {}).passed


def share_passing(demanded: Criterion, n: int, truth: float) -> float:
    hits = np.random.default_rng(0).binomial(n, truth, SETS)
    return float(
        np.mean(
            [passes(Finding("accuracy", "test", h / n, *wilson(h, n, 0.95), n, n, "wilson"), demanded) for h in hits]
        )
    )


@pytest.mark.parametrize("n", [120, 512])
def test_the_true_value_that_is_asked_for_passes_in_eighty_percent_of_test_sets(n: int) -> None:
    demanded = criterion()
    chance = chance_to_pass(demanded, Room("test", n, n), PARAMS, 0.1)
    assert chance is not None
    truth = value_needed(demanded, chance, n)
    assert truth is not None
    assert share_passing(demanded, n, truth) == pytest.approx(0.8, abs=ERROR + 0.005)


def test_the_number_of_images_that_is_asked_for_passes_in_eighty_percent_of_test_sets() -> None:
    demanded = criterion()
    chance = chance_to_pass(demanded, Room("test", 100, 100), PARAMS, 0.1)
    assert chance is not None
    n = images_needed(demanded, chance, 0.9)
    assert n is not None
    assert share_passing(demanded, n, 0.9) >= 0.8 - ERROR
    assert share_passing(demanded, n - 40, 0.9) < 0.8 + ERROR
    assert images_needed(demanded, chance, 0.85) is None


@pytest.mark.parametrize(("bound", "disagreement"), [(-0.01, 0.04), (0.05, 0.3)])
def test_the_true_gain_that_is_asked_for_passes_in_eighty_percent_of_test_sets(
    bound: float, disagreement: float
) -> None:
    demanded, n = criterion(metric="accuracy_gain_over_scratch", at_least=bound), 1000
    chance = chance_to_pass(demanded, Room("test", n, n), PARAMS, disagreement)
    assert chance is not None
    truth = value_needed(demanded, chance, n)
    assert truth is not None
    gained, lost = (disagreement + truth) / 2, (disagreement - truth) / 2
    passed = 0
    for g, lost_images, _ in np.random.default_rng(1).multinomial(n, [gained, lost, 1 - gained - lost], SETS):
        finding = Finding(
            demanded.metric, "test", (g - lost_images) / n, *tango(g, lost_images, n, 0.95), n, n, "tango"
        )
        passed += passes(finding, demanded)
    assert passed / SETS == pytest.approx(0.8, abs=ERROR + 0.015)


def test_a_calibration_error_that_is_asked_for_lies_within_its_bound_and_more_images_allow_more() -> None:
    demanded = criterion(metric="ece", at_most=0.08)
    chance = chance_to_pass(demanded, Room("test", 1, 1), PARAMS, 0.1)
    assert chance is not None
    few, many = (value_needed(demanded, chance, n) for n in (500, 3000))
    assert few is not None
    assert many is not None
    assert 0 <= few < many < 0.08
    assert value_needed(demanded, chance, 60) is None


def test_what_no_plan_knows_and_what_is_too_few_are_said() -> None:
    brier = describe_power(criterion(metric="brier", at_most=0.3), Room("test", 100, 100), PARAMS, 0.1, None)
    assert brier.endswith("what it takes depends on how the model's figures spread, which a plan does not know")
    few = describe_power(criterion(minimum_n=200), Room("test", 100, 100), PARAMS, 0.1, 0.95)
    assert "too few images, 200 asked for; if it is 95.0 %: about 200 independent images" in few
    units = describe_power(criterion(), Room("test", 500, 100), PARAMS, 0.1, 0.9)
    assert "(n = 500 from 100 units)" in units
    assert "if all images are independent" in units
    assert "none if those of a unit" not in units
    assert assumed(criterion()) == pytest.approx(0.925)


def test_slices_and_their_units_are_those_of_the_split() -> None:
    manifest = draw_manifest()
    labels = rooms_of(manifest, criterion(slice="test/label=*"), 20)
    assert [(r.slice, r.n) for r in labels] == [("test/label=a", 20), ("test/label=b", 20), ("test/label=c", 20)]
    [mirror] = rooms_of(manifest, criterion(slice="mirror"), 20)
    assert (mirror.n, mirror.units) == (36, 12)
    assert [r.slice for r in rooms_of(manifest, criterion(slice="mirror/condition=*"), 20)] == [
        "mirror/condition=faded",
        "mirror/condition=noise",
        "mirror/condition=white on dark",
    ]
    assert rooms_of(manifest, criterion(slice="test/desk=*"), 20) == []


def test_an_average_over_classes_rests_on_the_images_that_the_gate_counts() -> None:
    room = Room("test", 100, 100, (70, 20, 10))
    truth = np.repeat([0, 1, 2], room.classes)
    assert room.evenness * 100 == pytest.approx(even_number(Outcomes(truth, truth, np.eye(3)[truth])))


def test_the_command_asks_for_n_until_there_is_a_split(checkout: Path) -> None:
    power = ["plan", "power", "--project", "pets"]
    done = CliRunner().invoke(flows.cli.app, power)
    assert done.exit_code == 1
    assert "nothing is split yet (runs/pets/split/manifest.parquet is not there); say with --n" in done.stderr
    done = CliRunner().invoke(flows.cli.app, [*power, "--n", "200", "--true", "test=0.9"])
    assert "test: accuracy on test (n = 200) must be at least 60 %; the true value that passes in 80 %" in done.stdout
    assert "if it is 90.0 %: about 20 independent images" in done.stdout
    done = CliRunner().invoke(flows.cli.app, [*power, "--n", "200", "--true", "tset=0.9"])
    assert "--true tset=0.9: the plan's criteria are test, mirror" in done.stderr
    rows = pd.DataFrame({"split": "test", "label": ["a", "b"] * 50, "group": range(100), "unit": range(100)})
    Path("runs/pets/split").mkdir(parents=True)
    rows.to_parquet("runs/pets/split/manifest.parquet")
    done = CliRunner().invoke(flows.cli.app, power)
    assert "accuracy on test (n = 100)" in done.stdout
    assert "mirror: mirror has no image in runs/pets/split/manifest.parquet" in done.stdout


def test_a_share_that_is_not_to_exceed_its_bound_is_counted_from_the_other_side() -> None:
    room, rare = Room("test", 512, 512), criterion(metric="near_duplicate_share", at_most=0.02)
    chance = chance_to_pass(rare, room, PARAMS, 0.1)
    assert chance is not None
    hits = max(k for k in range(20) if wilson(k, 512, 0.95).high <= 0.02)
    assert chance(512, 0.002) == pytest.approx(binom.cdf(hits, 512, 0.002))
    assert chance_to_pass(criterion(metric="accuracy_gap", at_most=0.1), room, PARAMS, 0.1) is None
