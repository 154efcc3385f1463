"""The risk register: what could go wrong with a project's use, who watches it, and what proves that it is kept down.

governance/risks.yaml. A high risk keeps a model from being promoted while it is open, while a criterion that is named
as its proof did not pass in the verdict at hand, while the decision named is not there, or once its review is overdue.
Accepting one is an entry of the ledger, signed in a role that may; it holds for the risk as it is worded, until its
review. Lower risks are said and stop nothing. What the passport of a backbone lists as risks stands in
governance/backbones.yaml.
"""

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tasks.digests import canonical_json, sha256_text
from tasks.errors import BadInput
from tasks.governance_file import read_governance_file
from tasks.ledger import Entry
from tasks.project import NAME
from tasks.roles import Roles, signer_fault, statement
from tasks.signatures import sign
from tasks.verdict import PASS, Verdict

RISKS = Path("governance/risks.yaml")
PROJECTS = Path("governance/projects")
ACCEPTANCE = "acceptance"
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Risk(BaseModel):
    """One risk of one project; `criteria` or `decision` is the evidence that it is mitigated."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    id: str = Field(pattern=NAME)
    project: str = Field(pattern=NAME)
    what: Text
    level: Literal["low", "medium", "high"]
    status: Literal["open", "mitigated", "accepted"]
    owner: Text
    review_by: dt.date
    mitigation: Text | None = None
    criteria: list[str] = []
    decision: int | None = None

    @model_validator(mode="after")
    def _mitigated_by_something(self) -> Self:
        if self.status == "mitigated" and not (self.mitigation and (self.criteria or self.decision)):
            raise ValueError(
                f"risk '{self.id}' is called mitigated: say by what (mitigation) and name the proof, criteria of the "
                "plan or the number of a decision; else its status is open"
            )
        return self

    @property
    def digest(self) -> str:
        """What an acceptance holds for: the risk as worded and weighed, until its review."""
        kept = {"id", "project", "what", "level", "review_by"}
        return sha256_text(canonical_json(self.model_dump(mode="json", include=kept)))


class Register(BaseModel):
    """All risks."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    risks: list[Risk]

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        names = [risk.id for risk in self.risks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"ids used more than once: {', '.join(twice)}")
        return self


def load_risks(project: str, path: Path = RISKS) -> list[Risk]:
    """The project's risks; BadInput names the file and the key."""
    keys = f"of a risk are {', '.join(Risk.model_fields)}"
    register = read_governance_file(Register, path, "risk register", keys)
    for risk in register.risks:
        if not (PROJECTS / f"{risk.project}.yaml").is_file():
            raise BadInput(
                f"{path}: risk {risk.id} is of project '{risk.project}', which is not in {PROJECTS}; correct it"
            )
    return [risk for risk in register.risks if risk.project == project]


def outcomes_of(verdict: Verdict) -> dict[str, list[str]]:
    """Criterion -> what each of its judgements came to."""
    found: dict[str, list[str]] = {}
    for judgement in verdict.judgements:
        found.setdefault(judgement.criterion, []).append(judgement.outcome)
    return found


def standing_of(
    risk: Risk, outcomes: dict[str, list[str]], entries: list[Entry], roles: Roles, today: dt.date
) -> tuple[str, str | None]:
    """How a risk stands, in words, and what about it stops a promotion, or None."""
    accepted = acceptance_of(risk, entries, roles)
    fault = _untreated(risk, outcomes, entries)
    overdue = f"its review was due on {risk.review_by}" if today > risk.review_by else None
    if accepted and fault:
        body = accepted.body
        said = f"accepted by {body['by']} ({body['role']}), because {body['why']} (entry {accepted.number})"
    else:
        said = fault or f"mitigated: {(risk.mitigation or '').rstrip('.')}; proved by {_proof(risk)}"
    sentence = f"{risk.id} ({risk.level}): {risk.what} {_capital(said)}; {overdue or f'review by {risk.review_by}'}"
    stops = overdue or (None if accepted else fault)
    return sentence, stops if risk.level == "high" else None


def risks_in_the_way(
    risks: list[Risk], outcomes: dict[str, list[str]], entries: list[Entry], roles: Roles, today: dt.date
) -> list[str]:
    """A sentence for each high risk that keeps the model from being promoted, with the way out."""
    lines = []
    for risk in risks:
        _, stops = standing_of(risk, outcomes, entries, roles, today)
        if stops:
            lines.append(
                f"high risk {risk.id} ({risk.owner}): {stops}; mitigate it and say so in {RISKS}, or have it accepted: "
                f'`keel risk accept {risk.id} --key FILE --why "..."`'
                if today <= risk.review_by
                else f"high risk {risk.id} ({risk.owner}): {stops}; review it and set review_by anew in {RISKS}"
            )
    return lines


def new_acceptance(risk: Risk, why: str, roles: Roles, key: Ed25519PrivateKey, now: dt.datetime) -> dict[str, Any]:
    """The signed body of an acceptance, which ends with the risk's review."""
    person = roles.owner(key)
    role = roles.role_for(person, "accept_risk")
    if now.date() > risk.review_by:
        raise BadInput(f"the review of {risk.id} was due on {risk.review_by}; review it first, and set review_by anew")
    about = {"risk": risk.id, "what": risk.what, "level": risk.level, "digest": risk.digest}
    return sign(ACCEPTANCE, risk.project, {**about, **statement(person.name, role, why, now, risk.review_by)}, key)


def acceptance_of(risk: Risk, entries: Iterable[Entry], roles: Roles) -> Entry | None:
    """The newest acceptance that holds for the risk as it is now."""
    of_it = [e for e in entries if e.kind == ACCEPTANCE and e.body.get("digest") == risk.digest]
    return next((e for e in reversed(of_it) if signer_fault(e, "accept_risk", roles) is None), None)


def find_risk(risks: list[Risk], name: str) -> Risk:
    """The risk of that id."""
    for risk in risks:
        if risk.id == name:
            return risk
    raise BadInput(f"{RISKS} has no risk '{name}' of this project; it has {', '.join(r.id for r in risks) or 'none'}")


def _untreated(risk: Risk, outcomes: dict[str, list[str]], entries: list[Entry]) -> str | None:
    if risk.status != "mitigated":
        return "it is open" if risk.status == "open" else "it is called accepted, and no acceptance is on record"
    for name in risk.criteria:
        found = outcomes.get(name, [])
        if not found:
            return f"its proof, criterion {name}, is not in the plan"
        if unmet := [outcome for outcome in found if outcome != PASS]:
            return f"its proof, criterion {name}, is {unmet[0]} in this verdict"
    passed = [e.number for e in entries if e.kind == "decision" and e.body["verdict"] == PASS]
    if risk.decision is not None and risk.decision not in passed:
        return f"its proof, decision {risk.decision}, is no PASS on record of this project"
    return None


def _proof(risk: Risk) -> str:
    named = [*risk.criteria, *([f"decision {risk.decision}"] if risk.decision is not None else [])]
    return ", ".join(named)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
