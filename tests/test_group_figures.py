"""Worst group and gap over seeds: intervals hold the truth as often as they say, where a plain bootstrap would not."""

import numpy as np
import pandas as pd
import pytest

from tasks.group_figures import GAP, WORST, GroupFigures
from tasks.params import EvaluateParams

PARAMS = EvaluateParams(level=0.95, resamples=400, min_clusters=10, calibration_bins=10, seed=3)
GROUPS, EACH, SEEDS = 4, 60, 3


def figures(
    random: np.random.Generator, ours: list[float], theirs: list[float], by_seed: tuple[float, float]
) -> GroupFigures:
    """Two arms whose accuracy in each group varies by seed around the given ones."""
    hits = {}
    for name, truth, spread in (("ours", ours, by_seed[0]), ("theirs", theirs, by_seed[1])):
        rates = np.clip(np.array(truth) + random.normal(0, spread, (SEEDS, GROUPS)), 0, 1)
        hits[name] = random.random((SEEDS, GROUPS * EACH)) < np.repeat(rates, EACH, axis=1)
    names = [f"i{k}" for k in range(GROUPS * EACH)]
    rows = pd.DataFrame({"group": names, "unit": names})
    return GroupFigures(hits, np.repeat(np.arange(GROUPS), EACH), rows, PARAMS)


# The difference of the two gaps with a percentile interval, seed by seed, proves a change in 3 of 10 such sets.
def test_a_noisier_arm_does_not_prove_that_the_other_closes_the_gap() -> None:
    random, runs, wrong = np.random.default_rng(2), 120, {WORST: 0, GAP: 0}
    for _ in range(runs):
        found = figures(random, [0.9] * GROUPS, [0.6] * GROUPS, (0.01, 0.03)).change("ours", "theirs")
        wrong[GAP] += not found[GAP].low <= 0 <= found[GAP].high
        wrong[WORST] += not found[WORST].low <= 0.3 <= found[WORST].high
    assert max(wrong.values()) / runs <= 0.05


def test_one_arm_s_own_intervals_hold_the_truth() -> None:
    random, runs, held = np.random.default_rng(3), 120, {WORST: 0, GAP: 0}
    for _ in range(runs):
        found = figures(random, [0.9, 0.85, 0.8, 0.8], [0.5] * GROUPS, (0.02, 0.0)).of("ours")
        held[GAP] += found[GAP].low <= 0.1 <= found[GAP].high
        held[WORST] += found[WORST].low <= 0.8 <= found[WORST].high
    assert min(held.values()) / runs >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / runs)


def test_a_gap_that_closes_is_proven() -> None:
    random = np.random.default_rng(4)
    found = figures(random, [0.9] * GROUPS, [0.9, 0.9, 0.9, 0.3], (0.0, 0.0)).change("ours", "theirs")
    assert found[GAP].high < 0
    assert found[WORST].low > 0
    assert found[GAP].value == pytest.approx(-0.6, abs=0.12)


def test_arms_that_answer_alike_and_never_err_prove_nothing() -> None:
    random = np.random.default_rng(5)
    found = figures(random, [1.0] * GROUPS, [1.0] * GROUPS, (0.0, 0.0))
    change, own = found.change("ours", "theirs"), found.of("ours")
    assert (change[GAP].value, own[WORST].value) == (0, 1)
    assert change[GAP].low < 0 < change[GAP].high
    assert own[WORST].low < 0.97
