"""What is in force and what changed, in words that say which way."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import flows.cli
from tasks.plan import Plan, load_plan
from tasks.plan_text import describe_changes, describe_plan
from tests.plan_documents import plan_document

BASE: dict[str, Any] = {"metric": "accuracy", "slice": "test", "at_least": 0.9, "minimum_n": 100, "severity": "block"}
SAME = "nothing that a model is judged by has changed: this is the same plan"
ANOTHER = "another plan: on test images that were opened before it is entered, nothing passes by it"


def plan(*criteria: dict[str, Any], **head: Any) -> Plan:
    named = [{"name": "a", "reason": "because", **BASE, **c} for c in criteria or ({},)]
    return Plan.model_validate(plan_document(*named, **head))


ECE = {"metric": "ece", "at_least": None, "at_most": 0.05}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (plan(), plan({"at_least": 0.92}), "a: at least 90 % -> at least 92 %: stricter"),
        (plan(), plan({"at_least": 0.85}), "a: at least 90 % -> at least 85 %: looser"),
        (plan(ECE), plan({**ECE, "at_most": 0.1}), "a: at most 5 % -> at most 10 %: looser"),
        (plan(ECE), plan({**ECE, "at_most": 0.04}), "a: at most 5 % -> at most 4 %: stricter"),
        (plan(), plan({"minimum_n": 50}), "a: at least 100 -> 50 images: looser"),
        (plan(), plan({"severity": "warn"}), "a: block -> warn: looser"),
        (plan({"severity": "warn"}), plan(), "a: warn -> block: stricter"),
        (plan(), plan(level=0.9), "level 0.95 -> 0.9: looser for every criterion"),
        (plan(), plan({}, {"name": "b"}), "new: b, accuracy on test at least 90 %: stricter"),
        (plan({}, {"name": "b"}), plan(), "gone: b, accuracy on test at least 90 %: looser"),
        (
            plan(),
            plan({"slice": "mirror"}),
            "a asks something else: accuracy on test at least 90 % -> accuracy on mirror at least 90 %: "
            "neither stricter nor looser",
        ),
        (
            plan(),
            plan(reuse={"method": "alpha-spending", "alpha": 0.1, "reason": "r"}),
            "one test set: opened as often as one likes -> opened at most 4 times (alpha-spending, 0.1): stricter",
        ),
        (
            plan(),
            plan(costs={"unit": "EUR", "wrong": 0.5, "ask": 0.1, "reason": "r"}),
            "costs: not stated -> 0.5 EUR a wrong answer, 0.1 EUR a question: neither stricter nor looser",
        ),
    ],
)
def test_a_change_says_which_way_it_goes(old: Plan, new: Plan, said: str) -> None:
    assert describe_changes(old, new) == [said, ANOTHER]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (None, (["compliance"], 30), "approval: nobody's -> of compliance, each for 30 days: stricter"),
        ((["compliance"], 30), None, "approval: of compliance, each for 30 days -> nobody's: looser"),
        (
            (["compliance"], 30),
            (["compliance", "steward"], 7),
            "approval: of compliance, each for 30 days -> of compliance, steward, each for 7 days: stricter",
        ),
        (
            (["compliance"], 30),
            (["steward"], 30),
            "approval: of compliance, each for 30 days -> of steward, each for 30 days: neither stricter nor looser",
        ),
    ],
)
def test_who_must_approve_is_said_and_makes_no_other_plan(old: Any, new: Any, said: str) -> None:
    asked = [{"approval": {"roles": a[0], "valid_days": a[1], "reason": "r"}} if a else {} for a in (old, new)]
    before, after = (plan(**head) for head in asked)
    assert describe_changes(before, after) == [said, SAME]
    assert before.digest == after.digest


def test_what_is_mended_in_prose_is_said_and_is_the_same_plan() -> None:
    lines = describe_changes(plan(), plan({"reason": "said better"}, owner="me"))
    assert lines == ["a: its reason is worded anew", "owner is now me", SAME]


def test_a_plan_says_when_its_review_is_overdue_and_that_it_is_a_scaffold() -> None:
    lines = "\n".join(describe_plan(plan(scaffold=True), dt.date(2027, 1, 2)))
    assert "to be reviewed by 2027-01-01, which is overdue" in lines
    assert "a scaffold: nobody has set its bounds yet" in lines
    assert (
        "standard: 1\n  block a: accuracy on test at least 90 %, from at least 100 images\nchampion: nothing, not"
        in lines
    )


def keel(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(flows.cli.app, ["plan", *words])
    return done.exit_code, done.stdout, done.stderr


def test_the_commands_read_plans_from_where_one_stands_and_name_the_fault(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = keel("check")
    assert (code, load_plan(Path("governance/plan.yaml")).digest in out) == (0, True)
    monkeypatch.chdir("governance")
    Path("other.yaml").write_text(Path("plan.yaml").read_text().replace("at_least: 0.6", "at_least: 0.7"))
    code, out, _ = keel("diff", "plan.yaml", "other.yaml")
    assert (code, "test: at least 60 % -> at least 70 %: stricter" in out) == (0, True)
    monkeypatch.chdir(checkout.absolute())
    Path("governance/other.yaml").write_text("version: 1\n")
    code, out, error = keel("check", "governance/other.yaml")
    assert (code, out) == (1, "")
    assert "PlanInvalid" in error
    assert "standard: Field required" in error
