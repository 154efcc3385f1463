"""Champion and challenger compared: on one request, between the arms, and that the bets on it are fair."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from tasks.canary import (
    abstentions_of,
    agreements_due,
    as_answered,
    compare,
    errors_of,
    failures_of,
    side_by_side,
    slow_clients,
)
from tasks.errors import EvidenceMissing
from tasks.logged_answer import LoggedAnswer
from tasks.rollout_evidence import advance
from tasks.routing import CHALLENGER, CHAMPION
from tasks.shadow import DROP, HOLD, ShadowState, advance_agreements, advance_shadow, capital, judge_shadow

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
DIGESTS = {CHAMPION: "a" * 64, CHALLENGER: "b" * 64}
BEGUN = ShadowState(champion="a", challenger="b")


def row(request: str, arm: str, side: str, predicted: str = "cat", minute: int = 0, **more: object) -> LoggedAnswer:
    """What a side says of a request of a client in that arm."""
    known = {"key": request, "sha256": "", "consent": True, "measures": {}, "label": predicted} | more
    at = NOON + dt.timedelta(minutes=minute)
    model = {"arm": arm, "answered": arm == side, "model": DIGESTS[side], "predicted": predicted}
    return LoggedAnswer(request_id=request, at=at, project="pets", **model, **known)


def table_of(*rows: LoggedAnswer, unit: str | None = None) -> pd.DataFrame:
    return side_by_side(pd.DataFrame([vars(one) for one in rows]), *DIGESTS.values(), unit)


def labels_of(table: pd.DataFrame, label: str = "cat") -> pd.Series:
    return pd.Series(label, index=table.index)


def test_request_that_both_answered_is_one_pair_and_others_are_set_against_clients_of_the_other_arm() -> None:
    table = table_of(
        row("r1", CHALLENGER, CHALLENGER, "dog"),
        row("r1", CHALLENGER, CHAMPION, "cat"),
        row("r2", CHALLENGER, CHALLENGER, "dog", 1),
        row("r3", CHAMPION, CHAMPION, "cat", 2),
        row("r4", CHAMPION, CHAMPION, "dog", 3),
    )
    found = compare(table, errors_of(table, labels_of(table)))
    assert found.paired == 1
    assert found.champion.tolist() == [0, 0.5]
    assert found.challenger.tolist() == [1, 1]
    assert found.used.all()


def test_no_answer_of_the_champions_is_set_against_two_of_the_challengers() -> None:
    rows = [row(f"c{n}", CHAMPION, CHAMPION, "dog" if n < 2 else "cat", n) for n in range(5)]
    table = table_of(*rows, *(row(f"t{n}", CHALLENGER, CHALLENGER, minute=9 + n) for n in range(2)))
    found = compare(table, errors_of(table, labels_of(table)))
    assert found.champion.tolist() == [2 / 3, 0]
    few = table_of(row("c0", CHAMPION, CHAMPION), *(row(f"t{n}", CHALLENGER, CHALLENGER, minute=n) for n in range(3)))
    kept = compare(few, errors_of(few, labels_of(few)))
    assert len(kept.units) == 1
    assert few["request_id"][kept.used].tolist() == ["c0", "t0"]  # the others wait for more of the champion's


def test_answers_of_one_client_are_one_comparison_between_the_arms_and_those_of_a_unit_in_a_pair() -> None:
    same = [row(f"t{n}", CHALLENGER, CHALLENGER, "dog" if n else "cat", key="one") for n in range(2)]
    table = table_of(*same, row("c", CHAMPION, CHAMPION))
    found = compare(table, errors_of(table, labels_of(table)))
    assert (found.champion.tolist(), found.challenger.tolist()) == ([0], [0.5])
    pair = [row("r", CHAMPION, side, about={"sheet": "s1"}) for side in DIGESTS]
    named = table_of(*pair, unit="sheet")
    assert compare(named, errors_of(named, labels_of(named))).units.tolist() == ["s1"]


def test_what_the_door_turned_away_and_other_versions_said_is_left_out() -> None:
    stranger = LoggedAnswer("x", NOON, "pets", "k", "", True, {}, arm=CHAMPION, model="c" * 64)
    assert table_of(row("r", CHAMPION, CHAMPION), row("d", "", CHAMPION), stranger)["request_id"].tolist() == ["r"]


def test_control_that_fails_off_the_path_makes_the_challenger_look_no_better() -> None:
    starved = {"predicted": "", "label": "", "error": "it took more than 20 s"}
    canary = table_of(row("r", CHALLENGER, CHALLENGER), row("r", CHALLENGER, CHAMPION, **starved))
    found = compare(canary, errors_of(canary, labels_of(canary)))
    assert (found.paired, len(found.units)) == (0, 0)
    shadow = table_of(row("r", CHAMPION, CHAMPION), row("r", CHAMPION, CHALLENGER, **starved))
    assert errors_of(shadow, labels_of(shadow))[CHALLENGER].tolist() == [1]  # its own failure is an error


def test_failure_is_an_error_and_no_abstention() -> None:
    table = table_of(
        row("r", CHAMPION, CHAMPION),
        row("r", CHAMPION, CHALLENGER, "", error="boom"),
        row("s", CHAMPION, CHAMPION, label=""),
    )
    assert failures_of(table)[CHALLENGER][0] == 1
    assert abstentions_of(table)[CHALLENGER][0] == 0
    assert errors_of(table, labels_of(table))[CHALLENGER][0] == 1
    assert abstentions_of(table)[CHAMPION].tolist() == [0, 1]
    assert np.isnan(failures_of(as_answered(table))[CHALLENGER]).all()


def test_slow_answers_are_those_beyond_the_ratio_of_the_champions_99th_percentile() -> None:
    table = table_of(
        *(row(f"t{n}", CHALLENGER, CHALLENGER, latency_ms=lasts) for n, lasts in enumerate((149.0, 151.0)))
    )
    assert slow_clients(table, np.full(100, 100.0), 1.5).tolist() == [0, 1]
    with pytest.raises(EvidenceMissing, match="it takes 100"):
        slow_clients(table, np.full(99, 100.0), 1.5)


def simulate(seed: int, difference: float, runs: int = 12, base: float = 0.1) -> list[ShadowState]:
    """The bets after each run of a canary: 60 clients of the champion's and 20 of the challenger's a run."""
    random, state, states = np.random.default_rng(seed), BEGUN, []
    table = pd.DataFrame(
        {"request_id": range(80), "key": range(80), "unit": "", "arm": [CHAMPION] * 60 + [CHALLENGER] * 20}
    )
    nobody = np.full(80, np.nan)
    for _ in range(runs):
        wrong = (random.random(80) < np.where(table["arm"] == CHAMPION, base, base + difference)).astype(float)
        losses = {side: np.where(table["arm"] == side, wrong, nobody) for side in DIGESTS}
        state = advance(state, compare(table, losses), 0.05)
        states.append(state)
    return states


def test_bets_between_the_arms_are_fair_at_the_margin_and_won_against_an_equal_challenger() -> None:
    """Ville: at the margin the capital ever reaches 20 with a chance of at most 5 %; an equal one gets there."""
    at_margin = [max(capital(s.better) for s in simulate(seed, 0.05)) for seed in range(100)]
    assert np.mean(np.array(at_margin) >= 20) <= 0.05 + 3 * (0.05 * 0.95 / 100) ** 0.5
    ends = [capital(simulate(seed, 0.05, runs=3)[-1].better) for seed in range(200)]
    assert np.mean(ends) <= 1 + 3 * np.std(ends) / 200**0.5
    assert np.mean(ends) >= 1 - 3 * np.std(ends) / 200**0.5
    better = [capital(simulate(seed, -0.05, runs=40)[-1].better) for seed in range(10)]
    assert min(better) >= 20


def test_agreements_count_in_the_share_in_which_disagreements_are_labelled() -> None:
    said = [("cat", "dog")] * 4 + [("cat", "cat")] * 10
    rows = [row(f"r{n}", CHAMPION, side, told[side == CHALLENGER]) for n, told in enumerate(said) for side in DIGESTS]
    table = table_of(*rows)
    number = table["request_id"].str[1:].astype(int).to_numpy()
    assert agreements_due(table, number < 2) == 5  # half of the disagreements are labelled
    assert agreements_due(table, (number < 2) | (number >= 12)) == 3  # two of the five have labels themselves
    assert agreements_due(table, number >= 4) == 0
    assert agreements_due(table.iloc[4:], number[4:] >= 0) == 0  # where none differ nothing was asked for


def labelled_where_they_differ(seed: int, difference: float, agreements: bool, differ: float = 0.1) -> str:
    """Thirty nights of 20 labels, all of them where the two differ; who errs `difference` more over all requests."""
    random, state = np.random.default_rng(seed), BEGUN
    for _ in range(30):
        worse = (random.random(20) < (differ + difference) / 2 / differ).astype(float)
        state = advance_shadow(state, 1 - worse, worse, np.arange(20), 0.03)
        if agreements:
            state = advance_agreements(state, round(20 / differ) - 20, 0.03)
        verdict, _ = judge_shadow(state, 0.03, 0.05)
        if verdict != HOLD:
            return verdict
    return HOLD


def test_labels_where_the_two_differ_alone_take_off_no_challenger_within_the_margin() -> None:
    dropped = [labelled_where_they_differ(seed, 0.02, agreements=True) == DROP for seed in range(200)]
    assert sum(dropped) <= 0.05 * 200
    without = [labelled_where_they_differ(seed, 0.02, agreements=False) == DROP for seed in range(200)]
    assert sum(without) > 0.5 * 200
    harmful = [labelled_where_they_differ(seed, 0.06, agreements=True) == DROP for seed in range(200)]
    assert sum(harmful) > 0.9 * 200
