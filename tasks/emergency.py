"""Emergencies: a step of a rollout that is skipped by somebody who may, with a signature and a reason, in the ledger.

A record is bound to one place in one rollout, so that it lets one move be made and no other.
"""

import datetime as dt
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.errors import BadInput
from tasks.ledger import Entry
from tasks.roles import Act, Roles, signer_fault, statement
from tasks.rollout import SKIP, Standing, rollout_entries
from tasks.rollout_rules import PROMOTION, RolloutRules
from tasks.signatures import sign

EMERGENCY = "emergency"
ACT: Act = "skip_rollout"
VALID = dt.timedelta(days=1)


def new_emergency(
    project: str,
    found: Standing,
    to: str,
    rules: RolloutRules,
    why: str,
    roles: Roles,
    key: Ed25519PrivateKey,
    now: dt.datetime,
) -> dict[str, Any]:
    """The signed body that lets the rollout which stands there go to a later step, or to promotion; else BadInput."""
    names = [*(step.name for step in rules.steps), PROMOTION]
    later = names[names.index(rules.step(found.step).name) + 1 :]
    if to not in later:
        raise BadInput(f"a rollout at step {found.step} can be taken to {', '.join(later)}, not to '{to}'")
    person = roles.owner(key)
    said = statement(person.name, roles.role_for(person, ACT), why, now, now + VALID)
    return sign(EMERGENCY, project, {**about(found, to), **said}, key)


def about(found: Standing, to: str) -> dict[str, Any]:
    """What an emergency's record is bound to."""
    return {"version": found.version, "begun": found.begun, "at_entry": found.entry, "step": found.step, "to": to}


def emergency_fault(entry: Entry, roles: Roles) -> str | None:
    """Why an emergency's record does not count, or None."""
    return signer_fault(entry, ACT, roles)


def unsigned_skips(entries: list[Entry]) -> list[str]:
    """A sentence for each skip on record that no emergency of the same rollout, entered before it, allowed."""
    records = {e.number: e for e in entries if e.kind == EMERGENCY}
    faults = []
    for entry in (e for e in rollout_entries(entries) if e.body["move"] == SKIP or e.body.get("emergency")):
        named = records.get(entry.body.get("emergency") or 0)
        made = {"begun": entry.body["begun"], "step": entry.body["from"], "to": entry.body["to"] or PROMOTION}
        if named is None or named.number > entry.number or not made.items() <= named.body.items():
            faults.append(f"the step skipped by entry {entry.number} rests on no emergency's record")
    return faults
