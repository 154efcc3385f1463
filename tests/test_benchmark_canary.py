"""The benchmark simulates the project's own rules, and the rule beside them is the test that its name says."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from benchmarks.canary import (
    ABORTED,
    ERROR,
    HELD,
    MARGIN,
    PROMOTED,
    STEPS,
    Cells,
    Ends,
    equal_error,
    faults_of,
    fixed,
    judge,
    roll_out,
)
from benchmarks.peers.mann_whitney import p_value, passes
from tasks.rollout import ABORT, ADVANCE, HOLD, PROMOTE
from tasks.rollout_evidence import Evidence, no_evidence
from tasks.rollout_rules import Guards, Increase, Latency, RolloutRules
from tasks.rollout_verdict import next_move
from tasks.shadow import BETS, ShadowState, advance_shadow, log_bets

GUARD = {"requests": 1, "reason": "for the test"}
RULES = RolloutRules(
    steps=list(STEPS),
    margin=MARGIN,
    error=ERROR,
    guards=Guards(
        errors=Increase(increase=0.5, **GUARD),
        abstentions=Increase(increase=0.5, **GUARD),
        latency=Latency(ratio=2, **GUARD),
    ),
    reason="for the test",
)
QUIET = ShadowState(champion="a", challenger="b", units=9)
MOVES = {ABORT: (ABORTED, False), PROMOTE: (PROMOTED, False), ADVANCE: (HELD, True), HOLD: (HELD, False)}


@pytest.mark.parametrize("counts", [(3, 40, 9, 50), (0, 30, 5, 30), (50, 100, 50, 100), (0, 10, 0, 12)])
def test_p_is_that_of_scipy(counts: tuple[int, int, int, int]) -> None:
    wrong, n, other, m = counts
    first, second = np.arange(n) < wrong, np.arange(m) < other
    expected = mannwhitneyu(first.astype(float), second.astype(float), method="asymptotic").pvalue
    assert p_value(np.array(wrong), n, np.array(other), m) == pytest.approx(1.0 if wrong == other == 0 else expected)
    assert passes(np.array(0), 100, np.array(30), 100)
    assert not passes(np.array(30), 100, np.array(0), 100)


@pytest.mark.parametrize("worse", [-0.03, 0.0, 0.03, 0.08])
def test_comparisons_differ_by_as_much_as_they_are_said_to(worse: float) -> None:
    for cells in (Cells.same_request(worse), Cells.between_arms(worse, 19)):
        assert cells.chance.sum() == pytest.approx(1)
        assert cells.chance.min() >= 0
        assert (cells.apart * cells.chance).sum() == pytest.approx(worse)


def evidence_from(better: np.ndarray, harm: np.ndarray, units: float, apart: float) -> Evidence:
    """Evidence of a step with these bets and counts."""
    state = ShadowState(
        champion="a", challenger="b", better=tuple(better), worse=tuple(harm), labels=int(units), units=int(units),
        difference=apart,
    )  # fmt: skip
    begun = no_evidence(1, "a", "b")
    return begun.model_copy(
        update={"errors": state, "failures": QUIET, "abstentions": QUIET, "slow": QUIET, "requests": 9}
    )


def test_simulated_rule_decides_what_the_rollout_decides() -> None:
    random, runs = np.random.default_rng(0), 300
    step, here, units = random.integers(0, 3, runs), random.integers(0, 5, runs), random.integers(0, 300, runs)
    better, harm = (random.normal(1, 2, (runs, len(BETS))) for _ in range(2))
    apart = units * random.normal(MARGIN, 0.02, runs)
    end, on = judge(step, np.zeros(runs, dtype=int), better, harm, units.astype(float), apart, here.astype(float))
    found = [
        MOVES[next_move(evidence_from(better[k], harm[k], units[k], apart[k]), STEPS[step[k]], RULES, int(here[k]))[0]]
        for k in range(runs)
    ]
    assert list(zip(end.tolist(), on.tolist(), strict=True)) == found
    assert {one for one, _ in found} == {ABORTED, PROMOTED, HELD}


def test_simulated_bets_are_those_of_the_rollout() -> None:
    losses = np.array([0.0, 1, 0, 0]), np.array([1.0, 0, 0, 1])
    state = advance_shadow(QUIET, *losses, np.arange(4), MARGIN)
    good, bad = log_bets(np.array([-1.0, 0, 1]), MARGIN)
    assert np.array([1, 1, 2]) @ good == pytest.approx(state.better)
    assert np.array([1, 1, 2]) @ bad == pytest.approx(state.worse)


def test_bars_are_held_to_the_interval_of_the_simulation() -> None:
    random = np.random.default_rng(0)
    worse = roll_out(0.08, 200, True, 50, random)
    assert worse.share(ABORTED) == 1
    assert fixed(0.08, 200, 7, 50, random).median() == 7
    assert equal_error(5000, 200, random) == 7
    names = {"equal": 0, "better, -3": 0, "at the margin, +3": 0, "worse, +8": 0}
    slow = {name: Ends(np.full(500, PROMOTED), np.full(500, 9)) for name in names}
    soon = {name: Ends(np.full(500, PROMOTED), np.full(500, 8)) for name in names}
    faults = faults_of("thin", {"rollout": slow, "fixed": soon})
    assert [fault.split(": ")[0] for fault in faults] == [
        "thin, rollout, at the margin, +3",
        "thin, rollout, worse, +8",
        "thin, equal",
        "thin, better, -3",
        "thin, worse, +8",
    ]
