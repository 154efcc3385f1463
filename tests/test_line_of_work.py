"""A line of work ends after so many candidates, or when they stop getting better."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.digests import sha256_text
from tasks.holdout import REFUSAL, enter_plan, holdout_of, open_holdout
from tasks.ledger import Ledger
from tasks.line_of_work import accuracies, why_stopped
from tasks.plan import Plan
from tests.plan_documents import NOTHING, plan_document

CRITERION = {"name": "a", "metric": "accuracy", "slice": "test", "at_least": 0.9, "minimum_n": 9, "severity": "block"}
STOP = {"candidates": 6, "over": 2, "least_gain": 0.01, "reason": "enough"}


def plan(**stop: Any) -> Plan:
    return Plan.model_validate(plan_document({**CRITERION, "reason": "r"}, stop=STOP | stop))


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ([], False),
        ([0.8, 0.8], False),  # nothing lies before the last two
        ([0.8, 0.81, 0.8], False),  # one of the last two gained a point
        ([0.8, 0.805, 0.809], True),
        ([0.9, 0.8, 0.85], True),
        ([0.8, 0.9, 0.9], False),
        ([0.8, 0.9, 0.9, 0.905], True),
    ],
)
def test_candidates_that_stop_getting_better_end_it(values: list[float], stops: bool) -> None:
    said = why_stopped(plan(), [str(k) for k in range(len(values))], values)
    assert (said is not None) is stops
    assert said is None or "none of the last 2 candidates was 1 points more accurate" in said


def test_the_number_of_candidates_ends_it_and_a_plan_may_ask_for_no_end() -> None:
    models = [str(k) for k in range(6)]
    assert "6 candidates were scored on these test images" in str(why_stopped(plan(), models, []))
    assert why_stopped(plan(candidates=7), models, []) is None
    endless = Plan.model_validate(plan_document({**CRITERION, "reason": "r"}, stop=NOTHING))
    assert why_stopped(endless, models * 9, [0.5] * 54) is None


def test_raising_the_budget_is_no_new_plan() -> None:
    assert plan().digest == plan(candidates=9).digest


def test_a_candidate_beyond_the_budget_is_refused_and_one_that_was_scored_is_not(tmp_path: Path) -> None:
    ledger, asked = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}"), plan(candidates=2)
    rows = pd.DataFrame({"sha256": [sha256_text(str(n)) for n in range(9)], "label": "a", "split": "test"})
    holdout = holdout_of(rows)
    enter_plan(ledger, "pets", asked, tmp_path / "plan.yaml", "somebody")
    assert open_holdout(ledger, "pets", asked, holdout, "m1", "somebody") is None
    assert open_holdout(ledger, "pets", asked, holdout, "m2", "somebody") is None
    refusal = open_holdout(ledger, "pets", asked, holdout, "m3", "somebody")
    assert refusal is not None
    assert (refusal.kind, "2 candidates were scored" in refusal.body["sentence"]) == (REFUSAL, True)
    assert open_holdout(ledger, "pets", asked, holdout, "m1", "somebody") is None


def test_accuracies_are_those_of_each_model_s_last_decision(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    for model, value in (("m2", 0.5), ("m1", 0.7), ("m2", 0.6)):
        ledger.append("decision", "pets", {"evidence": {"model": model}, "accuracy": {"value": value}})
    ledger.append("decision", "pets", {"evidence": {"model": "m3"}, "accuracy": None})
    assert accuracies(["m1", "m2", "m3", "m4"], ledger.read("pets", "decision")) == [0.7, 0.6]
