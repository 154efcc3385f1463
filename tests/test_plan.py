"""A plan that could be misread does not load."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.errors import PlanInvalid
from tasks.metrics import REGISTRY
from tasks.plan import SECTIONS, Costs, Plan, load_plan
from tests.plan_documents import NOTHING, plan_document

CRITERION = {
    "name": "accuracy",
    "metric": "accuracy",
    "slice": "test",
    "at_least": 0.9,
    "minimum_n": 100,
    "severity": "block",
    "reason": "a person corrects the rest",
}
HEAD = {"use_case": "digits", "owner": "forms", "review_by": dt.date(2027, 5, 31)}


def load(folder: Path, head: dict[str, Any], *criteria: dict[str, Any]) -> Plan:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan_document(*criteria, **HEAD | head)), encoding="utf-8")
    return load_plan(path)


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in CRITERION.items() if k != key}


def test_the_committed_plan_loads_and_gives_a_reason_for_every_bound() -> None:
    plan = load_plan(Path("governance/plan.yaml"))
    assert {c.severity for c in plan.criteria} == {"block", "warn"}
    assert all(len(c.reason) > 40 for c in plan.criteria)


def test_a_plan_reads_as_it_was_written(tmp_path: Path) -> None:
    plan = load(tmp_path, {}, CRITERION, {**without("at_least"), "name": "ece", "metric": "ece", "at_most": 0})
    assert [(c.direction, c.bound) for c in plan.criteria] == [("at_least", 0.9), ("at_most", 0)]
    assert not plan.is_overdue(dt.date(2027, 5, 31))
    assert plan.is_overdue(dt.date(2027, 6, 1))


@pytest.mark.parametrize("key", sorted(CRITERION))
def test_no_key_of_a_criterion_may_be_left_out(tmp_path: Path, key: str) -> None:
    with pytest.raises(PlanInvalid, match=key):
        load(tmp_path, {}, without(key))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at_most": 0.95}, "exactly one of at_least and at_most"),
        ({"at_leest": 0.9}, r"standard\.0\.at_leest: Extra inputs.*the keys of a criterion are name, metric, slice"),
        ({"at_least": float("nan")}, "finite number"),
        ({"at_least": True}, r"standard\.0\.at_least"),
        ({"at_least": "0.9"}, r"standard\.0\.at_least"),
        ({"minimum_n": 0}, "greater than or equal to 1"),
        ({"severity": "fatal"}, "'block' or 'warn'"),
        ({"slice": "train"}, r"standard\.0\.slice"),
        ({"slice": "mirror/condition"}, r"standard\.0\.slice"),
        ({"reason": " "}, r"standard\.0\.reason"),
    ],
)
def test_a_doubtful_criterion_is_refused_by_its_key(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(PlanInvalid, match=message) as refused:
        load(tmp_path, {}, CRITERION | change)
    assert str(tmp_path / "plan.yaml") in str(refused.value)


@pytest.mark.parametrize(
    ("metric", "direction", "bound", "said"),
    [
        ("accuracy", "at_least", 85, "at_least 85 makes no sense, accuracy goes from 0 to 1"),
        ("accuracy", "at_least", -1, "at_least -1 makes no sense"),
        ("accuracy", "at_least", 0, "at_least 0 is met by any model"),
        ("accuracy", "at_most", 0.9, "a bound on accuracy is an at_least, not an at_most"),
        ("ece", "at_most", 8, "at_most 8 makes no sense, ece goes from 0 to 1"),
        ("ece", "at_most", 1, "at_most 1 is met by any model"),
        ("ece", "at_least", 0.01, "a bound on ece is an at_most, not an at_least"),
        ("brier", "at_most", 2.5, "brier goes from 0 to 2"),
        ("nll", "at_most", -0.1, "nll goes from 0 to inf"),
        ("accuracy_gain_over_scratch", "at_least", -1, "at_least -1 is met by any model"),
        ("accuracy_gain_over_scratch", "at_least", 5, "accuracy_gain_over_scratch goes from -1 to 1"),
        ("accuracy_gap", "at_least", 0.1, "a bound on accuracy_gap is an at_most"),
        ("accuracy_gap_change", "at_most", 1, "at_most 1 is met by any model"),
        ("conformal_coverage", "at_least", 90, "conformal_coverage goes from 0 to 1"),
    ],
)
def test_a_bound_that_no_model_or_every_model_meets_is_refused(
    tmp_path: Path, metric: str, direction: str, bound: float, said: str
) -> None:
    with pytest.raises(PlanInvalid, match=said):
        load(tmp_path, {}, without("at_least") | {"metric": metric, direction: bound})


@pytest.mark.parametrize(
    ("metric", "demand"),
    [
        ("accuracy", {"at_least": 1}),
        ("ece", {"at_most": 0}),
        ("nll", {"at_most": 40}),
        ("accuracy_gain_over_scratch", {"at_least": -0.02}),
        ("saving_over_always_ask", {"at_least": 0}),
        ("expected_cost", {"at_most": 12}),
        ("accuracy_gap_change", {"at_most": 0}),
    ],
)
def test_a_strict_or_negative_bound_is_a_bound(tmp_path: Path, metric: str, demand: dict[str, float]) -> None:
    assert load(tmp_path, {}, without("at_least") | {"metric": metric} | demand).criteria[0].bound in demand.values()


def test_an_unknown_metric_is_refused_with_the_list_of_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(PlanInvalid, match=f"unknown metric 'acuracy'; the metrics are {', '.join(REGISTRY)}"):
        load(tmp_path, {}, CRITERION | {"metric": "acuracy"})


def test_two_criteria_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanInvalid, match="used more than once: accuracy"):
        load(tmp_path, {}, CRITERION, CRITERION | {"slice": "mirror"})


@pytest.mark.parametrize(
    "head", [{"level": 95}, {"review_by": "soon"}, {"standard": []}, {"owner": ""}, {"enabled": 0}]
)
def test_a_doubtful_head_is_refused_by_its_key(tmp_path: Path, head: dict) -> None:
    with pytest.raises(PlanInvalid, match=next(iter(head))):
        load(tmp_path, head, CRITERION)


@pytest.mark.parametrize("section", ["reuse", "stop", "costs", *SECTIONS])
def test_no_section_may_be_left_out(tmp_path: Path, section: str) -> None:
    document = plan_document(CRITERION)
    del document[section]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(PlanInvalid, match=f"{section}: Field required"):
        load_plan(tmp_path / "plan.yaml")


def test_a_section_that_asks_for_nothing_says_why(tmp_path: Path) -> None:
    with pytest.raises(PlanInvalid, match=r"privacy\.none"):
        load(tmp_path, {"privacy": {"none": " "}}, CRITERION)
    with pytest.raises(PlanInvalid, match="no section asks for anything"):
        load(tmp_path, {"standard": NOTHING})


@pytest.mark.parametrize("text", ["", "[]", "a: [", "plan"])
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(PlanInvalid, match=r"plan\.yaml"):
        load_plan(tmp_path / "plan.yaml")


COSTS = {"unit": "EUR", "wrong": 0.6, "ask": 0.05, "reason": "a minute against five seconds"}


def test_costs_are_read_and_may_be_left_out(tmp_path: Path) -> None:
    costs = load(tmp_path, {"costs": COSTS}, CRITERION).costs
    assert isinstance(costs, Costs)
    assert (costs.unit, costs.wrong, costs.ask) == ("EUR", 0.6, 0.05)
    assert load(tmp_path, {}, CRITERION).prices is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ask": 0.0}, r"costs\.ask: Input should be greater than 0"),
        ({"wrong": float("inf")}, r"costs\.wrong: .*finite"),
        ({"wrong": 0.05, "ask": 0.6}, "asking a person costs 0.6 and a wrong answer 0.05: asking could never pay"),
        ({"reason": " "}, r"costs\.reason"),
        ({"right": 0.0}, r"costs\.right: Extra inputs.*of costs, unit, wrong, ask, reason"),
    ],
)
def test_doubtful_costs_are_refused_by_their_key(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(PlanInvalid, match=message):
        load(tmp_path, {"costs": COSTS | change}, CRITERION)


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    text = yaml.safe_dump(plan_document(CRITERION)).replace("at_least: 0.9", "at_least: 0.9\n  at_least: 0.1")
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(PlanInvalid, match="key written twice: at_least"):
        load_plan(tmp_path / "plan.yaml")


def test_a_plan_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanInvalid, match="cannot read the plan"):
        load_plan(tmp_path / "plan.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"roles": ["boss"]}, r"approval\.roles\.0: Input should be 'steward', 'data science' or 'compliance'"),
        ({"roles": []}, r"approval\.roles: List should have at least 1 item"),
        ({"roles": ["steward", "steward"]}, "a role is named twice in steward, steward"),
        ({"valid_days": 0}, r"approval\.valid_days: Input should be greater than or equal to 1"),
        ({"by": "ada"}, r"approval\.by: Extra inputs.*of approval, roles, valid_days, reason"),
    ],
)
def test_an_approval_that_could_be_misread_does_not_load(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    sound = {"roles": ["compliance"], "valid_days": 30, "reason": "two pairs of eyes"}
    assert load(tmp_path, {"approval": sound}, CRITERION).approval is not None
    with pytest.raises(PlanInvalid, match=message):
        load(tmp_path, {"approval": {**sound, **change}}, CRITERION)
