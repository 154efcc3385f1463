"""The trend: shrinkage that is as strong as the days before are alike, and intervals that hold what they promise."""

import datetime as dt

import numpy as np
import pytest

from tasks.feedback import NEW, Filed
from tasks.feedback_rules import TrendRules
from tasks.feedback_trend import BETTER, NOTHING, USUAL, WORSE, opinion, prior_of, trend, trend_of

TODAY = dt.date(2026, 6, 30)
RULES = TrendRules(nights=7, level=0.95, reason="r")


def history(random: np.random.Generator, a: float, b: float, days: int) -> list[tuple[int, int]]:
    sizes = random.integers(5, 30, days)
    return [(int(n), int(random.binomial(n, random.beta(a, b)))) for n in sizes]


def test_moments_find_the_beta_that_the_days_came_from() -> None:
    prior = prior_of(history(np.random.default_rng(0), 4, 16, 4000))
    assert prior.mean == pytest.approx(0.2, abs=0.01)
    assert prior.strength == pytest.approx(20, rel=0.15)


def test_moments_agree_with_the_correlation_of_two_reports_of_one_day() -> None:
    days = history(np.random.default_rng(1), 2, 6, 1500)
    pairs = [(x * (x - 1) + (n - x) * (n - x - 1), n * (n - 1)) for n, x in days]  # that say the same, of all
    alike = sum(p[0] for p in pairs) / sum(p[1] for p in pairs)
    mean = prior_of(days).mean
    correlation = 1 - (1 - alike) / (2 * mean * (1 - mean))  # an independent route to rho: Fleiss 1971
    assert 1 / (prior_of(days).strength + 1) == pytest.approx(correlation, rel=0.12)


def test_days_that_are_alike_weigh_as_much_as_their_reports_and_no_more() -> None:
    assert prior_of([(10, 2)] * 30).strength == 300
    assert prior_of([(10, 0), (10, 10)] * 15).strength == pytest.approx(2.0)
    assert (prior_of([]).mean, prior_of([(4, 1)]).strength) == (0.5, 2.0)


@pytest.mark.parametrize(("a", "b"), [(4.0, 16.0), (2.0, 6.0)])
def test_interval_covers_the_rate_of_the_last_days_as_often_as_it_says(a: float, b: float) -> None:
    random, covered = np.random.default_rng(2), 0
    for _ in range(1500):
        before = history(random, a, b, 40)
        rate = random.beta(a, b)
        found = trend_of(before, 25, int(random.binomial(25, rate)), 0.95)
        covered += found.interval.low <= rate <= found.interval.high
    assert 0.935 < covered / 1500 < 0.975


def test_a_steady_rate_raises_no_alarm_more_often_than_it_says() -> None:
    random, worse = np.random.default_rng(3), 0
    for _ in range(1500):
        before = [(20, int(x)) for x in random.binomial(20, 0.2, 40)]
        worse += trend_of(before, 60, int(random.binomial(60, 0.2)), 0.95).direction == WORSE
    assert worse / 1500 < 0.025


def test_two_angry_reports_move_little_and_many_a_lot() -> None:
    before = [(10, 2), (10, 1), (10, 3)] * 10
    few, many = trend_of(before, 2, 2, 0.95), trend_of(before, 200, 120, 0.95)
    assert (few.direction, many.direction) == (USUAL, WORSE)
    assert (few.rate < 0.22, many.rate > 0.3) == (True, True)
    assert trend_of(before, 200, 2, 0.95).direction == BETTER


def test_too_short_a_history_or_no_report_is_said_and_not_judged() -> None:
    for found in (trend_of([(9, 1)] * 4, 9, 9, 0.95), trend_of([(9, 1)] * 9, 0, 0, 0.95)):
        assert found.direction == NOTHING
        assert "cannot be told" in found.sentence()


def filed(day: dt.date, rating: int | None) -> Filed:
    at = dt.datetime.combine(day, dt.time(12), dt.UTC)
    return Filed("1", "pets", NEW, rating=rating, at=at)


def test_the_last_days_are_held_against_all_before_and_reports_that_judge_nothing_are_left_out() -> None:
    before = [filed(TODAY - dt.timedelta(days=7 + d), 4) for d in range(30)]
    recent = [filed(TODAY - dt.timedelta(days=d), 1) for d in range(7)] + [filed(TODAY, None)]
    found = trend([*before, *recent], TODAY, RULES)
    assert (found.prior.days, found.reports, found.complaints) == (30, 7, 7)


@pytest.mark.parametrize(
    ("night", "complaints", "said"),
    [
        ("HEALTHY", 120, "DISAGREEMENT: the last night is HEALTHY, but the reports are worse: 120 of the last 200"),
        ("HARM", 2, "DISAGREEMENT: the last night is HARM, but the reports are better"),
        ("HARM", 40, "DISAGREEMENT: the last night is HARM, but the reports are as usual"),
        ("HEALTHY", 40, "the last night is HEALTHY, and the reports are as usual"),
        ("HARM", 120, "the last night is HARM, and the reports are worse"),
        ("WATCH", 120, "the last night is WATCH, and the reports are worse"),
        ("NO DATA", 120, "the last night is NO DATA; the reports are worse"),
        (None, 120, "the last night is not judged; the reports are worse"),
    ],
)
def test_opinion_says_when_nights_and_reports_disagree(night: str | None, complaints: int, said: str) -> None:
    before = [(10, 2), (10, 1), (10, 3)] * 10
    assert opinion(night, trend_of(before, 200, complaints, 0.95)).startswith(said)
