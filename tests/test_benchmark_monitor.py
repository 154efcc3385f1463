"""The benchmark simulates the project's own monitor, and its peers are what their papers say."""

import math

import numpy as np
import pytest

from benchmarks.monitor import (
    HARMS,
    RUN_LENGTH,
    Row,
    delay,
    evidence,
    images,
    later,
    monitor,
    short_of_length,
    subjects,
)
from benchmarks.peers.change_rules import (
    NEVER,
    adwin,
    cusum,
    cusum_run_length,
    cusum_threshold,
    ddm,
    nightly_test,
    page_hinkley,
)
from tasks.e_detector import advance, begin, log_bets


def test_simulated_evidence_is_that_of_the_monitor() -> None:
    counts = images(30, np.random.default_rng(0))(0.15, 1, 6)
    state = begin("c", 0.11)
    for night, (right, wrong) in enumerate(counts[0].astype(int), start=1):
        losses = np.repeat([0.0, 1.0], [right, wrong])
        state = advance(state, losses, np.ones(30), np.arange(30), f"2026-06-0{night}")
    assert evidence(counts @ log_bets(np.array([0.0, 1.0]), 0.11))[0, -1] == pytest.approx(state.evidence)
    harmed = images(200, np.random.default_rng(1))(0.3, 4, 3)
    assert monitor(np.array([0.0, 1.0]))(harmed, 0.3).tolist() == [1, 1, 1, 1]


def test_subjects_err_together_as_much_as_stated() -> None:
    counts = subjects(1000, np.random.default_rng(2))(0.1, 50, 20).reshape(-1, 6).sum(axis=0)
    wrong, share = np.arange(6), counts / counts.sum()
    mean = (wrong * share).sum() / 5
    both = (wrong * (wrong - 1) * share).sum() / 20
    assert mean == pytest.approx(0.1, abs=0.005)
    assert (both - mean**2) / (mean * (1 - mean)) == pytest.approx(0.2, abs=0.01)


def test_cusums_run_length_from_its_markov_chain_is_the_simulated_one() -> None:
    threshold = cusum_threshold(200, 0.11, 0.15, 60)
    expected = cusum_run_length(200, 0.11, 0.15, threshold)
    assert 60 <= expected < 75  # counts move in steps, and so does the run length
    found = cusum(np.random.default_rng(3).binomial(200, 0.11, (2000, 800)), 200, 0.11, 0.15, threshold)
    assert (found < NEVER).all()
    assert found.mean() == pytest.approx(expected, abs=3 * found.std() / math.sqrt(len(found)) + 1)


def test_a_nightly_test_errs_on_its_bound_at_most_at_its_level() -> None:
    errors = np.random.default_rng(4).binomial(100, 0.1, (20_000, 1))
    assert 0.02 < (nightly_test(errors, 100, 0.1) == 1).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 20_000)


def test_peers_that_learn_find_a_jump_soon_and_nothing_where_nothing_changes() -> None:
    random, n = np.random.default_rng(5), 100
    rates = np.repeat([0.05, 0.4], [20, 10])
    answers = (random.uniform(size=(10, 30 * n)) < np.repeat(rates, n)).astype(float)
    errors = answers.reshape(10, 30, n).sum(axis=2).astype(int)
    assert all(np.median(found) in (21, 22, 23) for found in (adwin(errors, n), page_hinkley(answers, n)))
    assert (ddm(answers, n) <= 23).all()  # it also errs before: see the table
    steady = np.full((3, 30), 5)
    assert (adwin(steady, n) == NEVER).all()
    even = np.tile(np.arange(n) % 20 == 0, (3, 30)).astype(float)
    assert (page_hinkley(even, n) == NEVER).all()


def test_ddm_alarms_where_a_plain_loop_does() -> None:
    answers = (np.random.default_rng(6).uniform(size=(5, 600)) < np.repeat([0.1, 0.2], 300)).astype(float)
    for run, found in zip(answers, ddm(answers, 50), strict=True):
        lowest, expected = (math.inf, 0.0, 0.0), NEVER
        for i in range(1, 601):
            rate = run[:i].mean()
            spread = math.sqrt(rate * (1 - rate) / i)
            if i >= 30:
                lowest = min(lowest, (rate + spread, rate, spread), key=lambda seen: seen[0])
                if rate + spread > lowest[1] + 3 * lowest[2]:
                    expected = (i - 1) // 50 + 1
                    break
        assert found == expected


def test_bars_name_what_breaks_them() -> None:
    delays = dict.fromkeys(HARMS, 5.0)
    short, slow = Row("short", 0.0, 900.0, 20.0, delays), Row("slow", 0.0, 990.0, 20.0, dict.fromkeys(HARMS, 6.0))
    assert short_of_length([short, slow], "here") == [f"here, short: run length 900, at least {RUN_LENGTH} wanted"]
    assert later(short, slow, HARMS) == []
    assert len(later(slow, short, HARMS)) == len(HARMS)
    assert math.isnan(delay(np.array([3, 4])))
    assert delay(np.array([3, 33, 35, NEVER])) == 5
