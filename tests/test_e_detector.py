"""The e-detector keeps its two promises on simulated nights, and its state is exact, order-free and safe to store."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from tasks.e_detector import (
    BETS,
    MonitorState,
    advance,
    begin,
    chance_of_false_alarm,
    compound,
    evidence_of,
    log_bets,
    unit_means,
)
from tasks.errors import BadInput, EvidenceMissing


def nights_of(count: int) -> list[str]:
    return [str(day.date()) for day in pd.date_range("2026-06-01", periods=count)]


def watched(losses: np.ndarray, tolerated: float) -> list[MonitorState]:
    """The states after each row of losses, one image a unit."""
    state, found = begin("a", tolerated), []
    for night, row in zip(nights_of(len(losses)), losses, strict=True):
        state = advance(state, row, np.ones(len(row)), np.arange(len(row)), night)
        found.append(state)
    return found


def test_the_statistic_is_shiryaev_and_roberts_sum_over_all_starts() -> None:
    losses = np.random.default_rng(0).uniform(size=(12, 7)) * 0.5
    bets = np.array([np.prod(1 + b / 0.2 * (losses[:, :, None] - 0.2), axis=1)[:, 0] for b in BETS])  # (bets, nights)
    direct = [sum(np.prod(bets[:, s:t], axis=1).mean() for s in range(t)) for t in range(1, 13)]
    assert [state.evidence for state in watched(losses, 0.2)] == pytest.approx(direct)


def test_on_zeros_and_ones_a_bet_is_the_likelihood_ratio_of_two_binomials() -> None:
    [[right], [wrong]] = log_bets(np.array([0.0, 1.0]), 0.1, [0.05])
    harm = 0.1 + 0.05 * 0.9
    expected = binom.logpmf(9, 40, harm) - binom.logpmf(9, 40, 0.1)
    assert 31 * right + 9 * wrong == pytest.approx(expected)


@pytest.mark.parametrize("dependent", [False, True])
def test_without_harm_alarms_come_no_more_often_than_promised(dependent: bool) -> None:
    """All the time on the bound, where M(t) - t is a martingale, or below it on the night after a bad one."""
    random, runs, nights, level = np.random.default_rng(1), 4000, 60, 100
    capitals, gains = np.zeros((runs, len(BETS))), log_bets(np.array([0.0, 1.0]), 0.1)
    risk, alarmed = np.full(runs, 0.1), np.zeros(runs, bool)
    for night in range(1, nights + 1):
        wrong = random.binomial(20, risk)
        capitals = compound(capitals, np.stack([20 - wrong, wrong], axis=1) @ gains)
        risk = np.where(wrong > 2, 0.04, 0.1) if dependent else risk
        held = evidence_of(capitals)
        alarmed |= held >= level
        if night == 10:
            error = held.std() / math.sqrt(runs)
            assert held.mean() <= night + 3 * error
            assert dependent or held.mean() >= night - 3 * error
    promised = chance_of_false_alarm(nights, level)
    assert alarmed.mean() <= promised + 3 * math.sqrt(promised * (1 - promised) / runs)
    assert dependent or alarmed.mean() > 0.05  # evidence that never rose would keep any promise


def test_the_mean_time_to_a_false_alarm_is_the_run_length_or_longer() -> None:
    random, runs, level = np.random.default_rng(2), 1500, 50
    capitals, growth_of = np.zeros((runs, len(BETS))), log_bets(np.array([0.0, 1.0]), 0.1)
    lengths = np.zeros(runs)
    going = np.ones(runs, bool)
    for _ in range(8 * level):
        wrong = random.binomial(50, 0.1, runs)
        capitals = compound(capitals, np.stack([50 - wrong, wrong], axis=1) @ growth_of)
        lengths += going
        going &= evidence_of(capitals) < level
    error = lengths.std() / math.sqrt(runs)
    assert lengths.mean() + 3 * error >= level
    assert lengths.mean() < 4 * level  # and not by being blind


def test_bets_on_units_hold_where_bets_on_their_images_fail() -> None:
    """Five images of a unit that are all right or all wrong: mean gain of one night's bets, at most 1 if valid."""
    random, runs = np.random.default_rng(3), 20_000
    wrong = random.binomial(8, 0.1, runs)
    gain = log_bets(np.array([0.0, 1.0]), 0.1)
    by_unit = np.exp(np.stack([8 - wrong, wrong], axis=1) @ gain)
    by_image = np.exp(5 * np.stack([8 - wrong, wrong], axis=1) @ gain)
    assert (by_unit.mean(axis=0) <= 1 + 3 * by_unit.std(axis=0) / math.sqrt(runs)).all()
    assert (by_image.mean(axis=0) > 1.1).all()
    units, losses = np.repeat(np.arange(8), 5), np.repeat([0, 1, 0, 0, 0, 0, 0, 1.0], 5)
    state = advance(begin("a", 0.1), losses, np.ones(40), units, "2026-06-01")
    assert (state.units, state.labels) == (8, 40)
    assert state.evidence == pytest.approx(np.exp(np.array([6, 2]) @ gain).mean())


def test_harm_is_found_and_its_night_named() -> None:
    random = np.random.default_rng(4)
    losses = random.uniform(size=(40, 200)) < np.where(np.arange(40) < 25, 0.1, 0.2)[:, None]
    states = watched(losses.astype(float), 0.11)
    assert max(state.evidence for state in states[:25]) < 1000 <= states[27].evidence
    assert states[27].began in nights_of(40)[24:27]


def test_the_named_night_is_the_most_likely_start_of_all() -> None:
    losses = (np.random.default_rng(5).uniform(size=(15, 30)) < 0.15).astype(float)
    growth = np.stack([log_bets(row, 0.1).sum(axis=0) for row in losses])
    for t, state in enumerate(watched(losses, 0.1), start=1):
        won = np.array([growth[s:t].sum(axis=0).max() for s in range(t)])
        assert state.began == (nights_of(15)[int(won.argmax())] if won.max() > 0 else None)


def test_the_order_of_a_nights_images_changes_no_bit() -> None:
    random = np.random.default_rng(6)
    losses, weights, units = random.uniform(size=500), random.uniform(0.5, 2, 500), random.integers(0, 120, 500)
    mixed = random.permutation(500)
    names = np.array([f"scan {u}" for u in units])
    assert (unit_means(losses[mixed], weights[mixed], names[mixed]) == unit_means(losses, weights, names)).all()
    first = advance(begin("a", 0.4), losses, weights, names, "2026-06-01")
    assert advance(begin("a", 0.4), losses[mixed], weights[mixed], names[mixed], "2026-06-01") == first


def test_a_units_loss_is_the_mean_of_its_weighted_images() -> None:
    means = unit_means(np.array([1, 0, 0.5, 1]), np.array([1, 1, 2, 0.5]), np.array(["b", "b", "a", "a"]))
    assert means.tolist() == [0.5, 0.75]


def test_state_survives_json_bit_by_bit() -> None:
    state = watched(np.random.default_rng(7).uniform(size=(9, 50)), 0.3)[-1]
    text = json.dumps(state.model_dump(mode="json"), allow_nan=False)
    assert MonitorState.model_validate(json.loads(text)) == state
    assert MonitorState.model_validate_json(state.model_dump_json()) == state
    with pytest.raises(ValueError, match="capitals"):
        MonitorState.model_validate(json.loads(text) | {"capitals": [0.0]})


def test_nothing_overflows() -> None:
    states = watched(np.ones((30, 2000)), 0.01)
    assert states[-1].evidence == pytest.approx(math.exp(690), rel=1e-9)
    assert watched(np.zeros((5, 100_000)), 0.5)[-1].evidence == 0


def test_a_night_without_labels_changes_nothing_and_no_night_counts_twice() -> None:
    state = advance(begin("a", 0.1), np.zeros(3), np.ones(3), np.arange(3), "2026-06-02")
    assert advance(state, np.zeros(0), np.zeros(0), np.zeros(0), "2026-06-03") is state
    for night in ("2026-06-02", "2026-06-01"):
        with pytest.raises(BadInput, match="not after 2026-06-02"):
            advance(state, np.zeros(3), np.ones(3), np.arange(3), night)
    with pytest.raises(BadInput, match="not a date"):
        advance(state, np.zeros(3), np.ones(3), np.arange(3), "tonight")


@pytest.mark.parametrize(
    ("losses", "weights", "units", "says"),
    [
        ([0, math.nan], [1, 1], [0, 1], "1 of 2 losses are missing, the first at place 1"),
        ([0, 1], [math.nan, 1], [0, 1], "1 of 2 weights are missing"),
        ([0, 1], [1, 1], [None, "b"], "1 of 2 units are missing"),
    ],
)
def test_missing_evidence_is_named(losses: list[float], weights: list[float], units: list[object], says: str) -> None:
    with pytest.raises(EvidenceMissing, match=says):
        advance(begin("a", 0.1), np.array(losses), np.array(weights), units, "2026-06-01")


@pytest.mark.parametrize(
    ("losses", "weights"), [([0, 1.5], [1, 1]), ([-0.1, 0], [1, 1]), ([0, 1], [1, -1]), ([0, 1], [math.inf, 1])]
)
def test_losses_and_weights_that_make_no_sense_are_refused(losses: list[float], weights: list[float]) -> None:
    with pytest.raises(BadInput, match="losses lie between 0 and 1"):
        advance(begin("a", 0.1), np.array(losses), np.array(weights), [0, 1], "2026-06-01")
    with pytest.raises(BadInput, match="each image has one of all"):
        advance(begin("a", 0.1), np.array(losses), np.ones(1), [0, 1], "2026-06-01")


@pytest.mark.parametrize("tolerated", [0.0, 1.0, math.nan])
def test_a_risk_that_cannot_be_bet_on_is_refused_by_place(tolerated: float) -> None:
    with pytest.raises(BadInput, match="thin: a tolerated risk"):
        begin("a", tolerated, "thin")
