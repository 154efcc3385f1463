"""Approvals: people who stand by a decision before its model is promoted; entries of the ledger, signed.

An approval is bound to its decision's entry and to the sha256 of verdict, comparison with the champion, judged timings,
plan, report, predictions and model. It does not count when any of these has changed, when it has run out, when its
signature does not hold by governance/roles.yaml, when the role was not asked for, or when the approver made the
decision: four eyes, not two (separation of duties, Saltzer & Schroeder 1975, section I.A.3).
"""

import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.digests import sha256_file
from tasks.errors import BadInput
from tasks.ledger import Entry, Ledger
from tasks.plan import Plan
from tasks.roles import Roles, instant, signer_fault, statement
from tasks.signatures import SIGNATURE, sign
from tasks.verdict import PASS

APPROVAL = "approval"
SINGLE_USER = "none asked for: this project runs with a single user"
NONE_ASKED = "none asked for by the plan"
BOUND = ("verdict", "comparison", "latency", "plan", "report", "predictions", "model")
Digests = dict[str, str]


def asked_by(plan: Plan, roles: Roles) -> dict[str, Any] | str:
    """What a decision's entry says of approval: the roles and for how long they count, or that nobody is asked."""
    if plan.approval is None:
        return NONE_ASKED if roles.people else SINGLE_USER
    return {"roles": list(plan.approval.roles), "valid_days": plan.approval.valid_days}


def asked_of(decision: Entry) -> list[str]:
    """The roles whose approval the decision's plan asked for."""
    asked = decision.body["approval"]
    return [] if isinstance(asked, str) else list(asked["roles"])


def describe_asked(decision: Entry) -> str:
    """The same in words."""
    asked = decision.body["approval"]
    return asked if isinstance(asked, str) else f"asked of {', '.join(asked['roles'])}"


def bound_by(decision: Entry) -> Digests:
    """The digests that the decision rests on, as the ledger has them."""
    known = {**decision.body["evidence"], **decision.body["recorded_for"]}
    return {name: str(known[name]) for name in BOUND}


def found_in(run: Path, plan: Path) -> Digests:
    """The same of the files as they are now below runs/<project>."""
    files = {"verdict": "verdict/verdict.json", "report": "report/report.json", "model": "model/model.safetensors"}
    files |= {"predictions": "predictions/predictions.parquet", "comparison": "comparison/verdict.json"}
    files["latency"] = "latency/verdict.json"
    return {"plan": sha256_file(plan), **{name: sha256_file(run / file) for name, file in files.items()}}


def new_approval(
    decision: Entry, entries: list[Entry], roles: Roles, key: Ed25519PrivateKey, why: str, now: dt.datetime
) -> dict[str, Any]:
    """The signed body of an approval of `decision`, or BadInput that says why it would not count."""
    newest = [entry for entry in entries if entry.kind == "decision"][-1]
    if newest.number != decision.number:
        raise BadInput(f"decision {decision.number} was overtaken by decision {newest.number}; approve that one")
    if decision.body["verdict"] != PASS:
        raise BadInput(f"decision {decision.number} is {decision.body['verdict']}; only a PASS can be approved")
    person, asked = roles.owner(key), asked_of(decision)
    if not asked:
        raise BadInput(
            f"decision {decision.number}: {describe_asked(decision)}; a plan's section `approval` asks for it"
        )
    if person.name == decision.body["by"]:
        raise BadInput(f"{person.name} made decision {decision.number}; somebody else must approve it")
    given = approvals_of(decision, entries, roles, bound_by(decision), now)
    for before in given.values():
        if before.body["by"] == person.name:
            raise BadInput(f"{person.name} approved already, as {before.body['role']} (entry {before.number})")
    role = roles.role_for(person, "approve", [name for name in asked if name not in given] or asked)
    until = now + dt.timedelta(days=decision.body["approval"]["valid_days"])
    about = {"decision": decision.number, "entry": decision.hash, "bound": bound_by(decision)}
    said = statement(person.name, role, why, now, until.replace(microsecond=0))
    return sign(APPROVAL, decision.project, {**about, **said}, key)


def why_not(entry: Entry, decision: Entry, roles: Roles, found: Digests, now: dt.datetime) -> str | None:
    """Why an approval does not count for the decision, whose files have the digests `found`; None when it does."""
    if fault := approval_fault(entry, decision, roles):
        return fault
    changed = [name for name in BOUND if entry.body["bound"][name] != found[name]]
    if changed:
        return f"{', '.join(changed)} changed since"
    until = instant(entry.body["until"])
    return f"it ran out on {until:%Y-%m-%d}" if now > until else None


def approval_fault(entry: Entry, decision: Entry, roles: Roles) -> str | None:
    """What is wrong with an approval for good: its signature, what it is bound to, who gave it in which role."""
    body, asked = entry.body, decision.body["approval"]
    if fault := signer_fault(entry, "approve", roles):
        return fault
    if body.get("entry") != decision.hash or body.get("bound") != bound_by(decision):
        return f"it is bound to other evidence than that of decision {decision.number}"
    if body["by"] == decision.body["by"]:
        return f"{body['by']} made the decision, and an author cannot approve"
    if body["role"] not in asked_of(decision):
        return f"the plan did not ask for {body['role']}"
    signed, until = (instant(body[key]) for key in ("at", "until"))
    if until > signed + dt.timedelta(days=asked["valid_days"]):
        return f"it runs longer than the {asked['valid_days']} days of the plan"
    return None


def approvals_of(
    decision: Entry, entries: Iterable[Entry], roles: Roles, found: Digests, now: dt.datetime
) -> dict[str, Entry]:
    """Role -> the approval that counts for it; one person stands for one role."""
    given: dict[str, Entry] = {}
    for entry in _of(decision, entries):
        people = {other.body["by"] for other in given.values()}
        if why_not(entry, decision, roles, found, now) is None and entry.body["by"] not in people:
            given.setdefault(entry.body["role"], entry)
    return given


def missing_approvals(
    decision: Entry, entries: list[Entry], roles: Roles, found: Digests, now: dt.datetime
) -> list[str]:
    """A sentence for each role that has yet to approve, with the way to do it, and for each approval that is void."""
    given = approvals_of(decision, entries, roles, found, now)
    missing = [role for role in asked_of(decision) if role not in given]
    if not missing:
        return []
    lines = [_missing(role, decision, roles) for role in missing]
    for entry in _of(decision, entries):
        if fault := why_not(entry, decision, roles, found, now):
            lines.append(f"the approval of entry {entry.number} by {entry.body.get('by')} does not count: {fault}")
    return lines


def describe_approvals(decision: Entry, entries: Iterable[Entry]) -> str:
    """What was asked for and what was given, for the record; `keel audit` says whether it counts."""
    given = [
        f"given by {e.body['by']} as {e.body['role']} on {e.at[:10]}, because {e.body['why']} (entry {e.number})"
        for e in _of(decision, entries)
    ]
    return "; ".join([describe_asked(decision), *given])


def read_pasted(text: str, decision: Entry) -> dict[str, Any]:
    """The body of an approval that `keel approve --print` wrote elsewhere; whether it counts is another question."""
    try:
        body = json.loads(text)
        if not isinstance(body, dict) or not isinstance(body[SIGNATURE], str):
            raise TypeError("not an object")
        if body["decision"] != decision.number:
            raise BadInput(f"this approval is for decision {body['decision']}, not for decision {decision.number}")
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"'{text[:60]}' is no approval; paste the whole line that `keel approve {decision.number} --key FILE "
            "--why TEXT --print` writes"
        ) from error
    return body


def enter_approval(ledger: Ledger, decision: Entry, body: dict[str, Any], roles: Roles) -> Entry:
    """Append the approval; BadInput when its signature or binding does not hold, so that nothing false is kept."""
    now = dt.datetime.now(dt.UTC)
    draft = Entry(0, now.isoformat(), APPROVAL, decision.project, body, "", "")
    if fault := why_not(draft, decision, roles, bound_by(decision), now):
        raise BadInput(f"this approval would not count: {fault}")
    return ledger.append(APPROVAL, decision.project, body)


def _of(decision: Entry, entries: Iterable[Entry]) -> list[Entry]:
    return [e for e in entries if e.kind == APPROVAL and e.body.get("decision") == decision.number]


def _missing(role: str, decision: Entry, roles: Roles) -> str:
    people = sorted({p.name for p in roles.people if role in p.roles and p.name != decision.body["by"]})
    if not people:
        who = "governance/roles.yaml lists nobody with that role beside the author; `keel key new PATH` makes a key"
    else:
        who = f"{' or '.join(people)} can, with `keel approve {decision.number} --project {decision.project} "
        who += '--key FILE --why "..."`'
    return f"{role} has not approved decision {decision.number}: {who}"
