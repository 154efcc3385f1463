"""A high risk is mitigated with a proof, or accepted with a signature, or it stops the promotion by name."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.errors import BadInput
from tasks.ledger import Entry, Ledger
from tasks.plan import load_plan
from tasks.project import load_project
from tasks.risks import (
    ACCEPTANCE,
    RISKS,
    Register,
    Risk,
    acceptance_of,
    find_risk,
    load_risks,
    new_acceptance,
    risks_in_the_way,
    standing_of,
)
from tasks.roles import load_roles
from tests.signers import NOW, decide, key_of, person, roles_of

TODAY = NOW.date()
REVIEW = TODAY + dt.timedelta(days=30)
PEOPLE = roles_of(person("ada", "compliance"), person("cai", "steward"))
OUTCOMES = {"mirror": ["PASS"], "recall": ["PASS", "INCONCLUSIVE"], "gain": ["NOT APPLICABLE"]}


def risk(**changes: Any) -> Risk:
    facts = {"id": "lens", "project": "pets", "what": "A new lens.", "owner": "desk", "review_by": REVIEW}
    kept = {"level": "high", "status": "mitigated", "mitigation": "Judged apart.", "criteria": ["mirror"]}
    return Risk.model_validate({**facts, **kept, **changes})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def stops(found: Risk, entries: list[Entry] | None = None, today: dt.date = TODAY) -> str | None:
    return standing_of(found, OUTCOMES, entries or [], PEOPLE, today)[1]


OPEN = {"status": "open", "criteria": []}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        (OPEN, "it is open"),
        ({"status": "accepted"}, "it is called accepted, and no acceptance is on record"),
        ({"criteria": ["mirror", "recall"]}, "its proof, criterion recall, is INCONCLUSIVE in this verdict"),
        ({"criteria": ["gain"]}, "its proof, criterion gain, is NOT APPLICABLE in this verdict"),
        ({"criteria": ["ghost"]}, "its proof, criterion ghost, is not in the plan"),
        ({"criteria": [], "decision": 7}, "its proof, decision 7, is no PASS on record of this project"),
        ({"review_by": TODAY - dt.timedelta(days=1)}, f"its review was due on {TODAY - dt.timedelta(days=1)}"),
        ({"review_by": TODAY}, None),
    ],
)
def test_a_high_risk_stops_by_name_and_a_lower_one_is_said(changes: dict[str, Any], said: str | None) -> None:
    assert stops(risk(**changes)) == said
    assert stops(risk(**changes, level="medium")) is None
    lines = risks_in_the_way([risk(**changes)], OUTCOMES, [], PEOPLE, TODAY)
    assert len(lines) == (said is not None)
    assert all(line.startswith(f"high risk lens (desk): {said}; ") for line in lines)


def test_a_decision_on_record_that_passed_is_a_proof(ledger: Ledger) -> None:
    entries = [decide(ledger), decide(ledger, verdict="FAIL")]
    assert stops(risk(criteria=[], decision=1), entries) is None
    assert (
        stops(risk(criteria=[], decision=2), entries) == "its proof, decision 2, is no PASS on record of this project"
    )


def accept(ledger: Ledger, found: Risk, name: str = "ada") -> Entry:
    return ledger.append(ACCEPTANCE, "pets", new_acceptance(found, "one desk only", PEOPLE, key_of(name), NOW))


def test_an_accepted_risk_stops_nothing_until_its_review_or_until_it_is_worded_anew(ledger: Ledger) -> None:
    entry = accept(ledger, risk(**OPEN))
    sentence, stopped = standing_of(risk(**OPEN), OUTCOMES, [entry], PEOPLE, TODAY)
    assert stopped is None
    assert "Accepted by ada (compliance), because one desk only (entry 1); review by" in sentence
    overdue = REVIEW + dt.timedelta(days=1)
    assert stops(risk(**OPEN), [entry], overdue) == f"its review was due on {REVIEW}"
    for change in ({"what": "A worse lens."}, {"review_by": overdue}):
        assert stops(risk(**OPEN, **change), [entry]) == "it is open"


def test_an_acceptance_takes_the_signature_of_a_role_that_may(ledger: Ledger) -> None:
    with pytest.raises(BadInput, match="cai holds steward; to accept risk takes compliance"):
        accept(ledger, risk(**OPEN), "cai")
    entry = accept(ledger, risk(**OPEN))
    for change in ({"why": "all desks"}, {"by": "cai"}, {"by": "eve"}):
        edited = Entry(2, entry.at, ACCEPTANCE, "pets", entry.body | change, "", "")
        assert acceptance_of(risk(**OPEN), [edited], PEOPLE) is None
    assert acceptance_of(risk(**OPEN), [entry], roles_of(person("ada", "steward"))) is None
    with pytest.raises(BadInput, match="review it first, and set review_by anew"):
        accept(ledger, risk(**OPEN, review_by=TODAY - dt.timedelta(days=1)))


def test_the_register_holds_the_projects_risks_and_its_proofs_are_criteria_of_its_plan() -> None:
    register = Register.model_validate(yaml.safe_load(RISKS.read_text()))
    for found in register.risks:
        plan = load_plan(load_project(Path(f"governance/projects/{found.project}.yaml")).plan)
        assert set(found.criteria) <= {criterion.name for criterion in plan.criteria}, found.id
        everything = {name: ["PASS"] for name in found.criteria}
        assert standing_of(found, everything, [], load_roles(), found.review_by)[1] is None, found.id
    assert load_risks("pets") == []
    with pytest.raises(BadInput, match="has no risk 'ghost' of this project; it has misread-elsewhere"):
        find_risk(load_risks("digits"), "ghost")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"criteria": []}, "risk 'lens' is called mitigated: say by what"),
        ({"mitigation": None}, "risk 'lens' is called mitigated: say by what"),
        ({"level": "grave"}, "risks.0.level: Input should be 'low', 'medium' or 'high'"),
        ({"likelihood": 3}, "risks.0.likelihood: Extra inputs"),
        (None, "ids used more than once: lens"),
    ],
)
def test_a_register_that_could_be_misread_does_not_load(
    tmp_path: Path, changes: dict[str, Any] | None, said: str
) -> None:
    sound = risk().model_dump()
    risks = [sound, sound] if changes is None else [sound | changes]
    (tmp_path / "risks.yaml").write_text(yaml.safe_dump({"risks": risks}))
    with pytest.raises(BadInput, match=r"risks\.yaml") as error:
        load_risks("pets", tmp_path / "risks.yaml")
    assert said in str(error.value)


def test_a_register_that_is_gone_is_an_error_and_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read the risk register .*; bring it back from git"):
        load_risks("pets", tmp_path / "risks.yaml")
