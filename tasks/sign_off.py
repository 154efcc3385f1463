"""What people enter in the ledger with their names: approvals, waivers, accepted risks; `keel approve` and the like."""

import datetime as dt
import json
from pathlib import Path

from tasks.approvals import bound_by, enter_approval, missing_approvals, new_approval
from tasks.decision import decided_by
from tasks.errors import BadInput
from tasks.ledger import Ledger
from tasks.plan import load_plan
from tasks.project import load_project
from tasks.registry import Registry
from tasks.risks import ACCEPTANCE, find_risk, load_risks, new_acceptance, standing_of
from tasks.roles import ROLES, load_roles
from tasks.signatures import new_key, public_text, read_key
from tasks.summary import find_decision
from tasks.waivers import WAIVER, describe_waiver, new_waiver


def key_lines(path: Path) -> list[str]:
    """Make a key, and say what to add to the roles."""
    key = public_text(new_key(path))
    return [
        f"private key: {path} (mode 600; keep it, nobody else needs it, and there is no other copy)",
        f"add to `people` in {ROLES}, and have the change reviewed:",
        f"  - name: {json.dumps(decided_by(), ensure_ascii=False)}",
        "    roles: [compliance]   # or steward, data science",
        f'    key: "{key}"',
        "    until: null",
    ]


def approve(registry: Registry, number: str, key: Path, why: str, just_print: bool) -> list[str]:
    """Enter a signed approval, or only print it; then say what is still missing."""
    project, ledger, roles, now = registry.project, registry.ledger, load_roles(), dt.datetime.now(dt.UTC)
    entries = ledger.sound(project)
    decision = find_decision(registry, number)
    body = new_approval(decision, entries, roles, read_key(key), why, now)
    if just_print:
        return [json.dumps(body, ensure_ascii=False)]
    entry = enter_approval(ledger, decision, body, roles)
    missing = missing_approvals(decision, [*entries, entry], roles, bound_by(decision), now)
    given = f"approved decision {decision.number} as {body['role']}, until {body['until'][:10]} (entry {entry.number})"
    return [given, *(missing or [f"every approval is there; `keel release --project {project}` promotes the model"])]


def waive(ledger: Ledger, project: str, name: str, until: str, why: str, key: Path | None) -> str:
    """Enter a waiver of a criterion of the project's plan."""
    plan = load_plan(load_project(Path("governance/projects") / f"{project}.yaml").plan)
    criteria = {criterion.name: criterion for criterion in plan.criteria}
    if name not in criteria:
        raise BadInput(f"the plan of {project} has no criterion '{name}'; it has {', '.join(criteria)}")
    try:
        day = dt.date.fromisoformat(until)
    except ValueError as error:
        raise BadInput(f"--until '{until}' is no date; write 2026-12-31") from error
    signer = read_key(key) if key else decided_by()
    ledger.sound(project)
    body = new_waiver(project, criteria[name], day, why, load_roles(), signer, dt.datetime.now(dt.UTC))
    entry = ledger.append(WAIVER, project, body)
    return f"{name}: {body['demand']}: {describe_waiver(entry)}; `keel release --project {project}` judges with it"


def accept_risk(ledger: Ledger, project: str, name: str, key: Path, why: str) -> str:
    """Enter that a risk is accepted."""
    risk = find_risk(load_risks(project), name)
    ledger.sound(project)
    body = new_acceptance(risk, why, load_roles(), read_key(key), dt.datetime.now(dt.UTC))
    entry = ledger.append(ACCEPTANCE, project, body)
    return f"{risk.id} accepted until {risk.review_by} by {body['by']} ({body['role']}), entry {entry.number}"


def risk_lines(ledger: Ledger, project: str) -> list[str]:
    """Each risk of the project as it stands with the last decision, and what it stops."""
    entries, roles, today = ledger.sound(project), load_roles(), dt.datetime.now(dt.UTC).date()
    decisions = [entry for entry in entries if entry.kind == "decision"]
    outcomes = decisions[-1].body.get("outcomes", {}) if decisions else {}
    lines = []
    for risk in load_risks(project):
        sentence, stops = standing_of(risk, outcomes, entries, roles, today)
        lines.append(f"{'STOPS' if stops else 'ok':7}{sentence}")
    return lines or [f"no risk of {project} is entered"]
