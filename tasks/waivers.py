"""Waivers: a criterion that is not met, let pass until a day, by name and for a reason; entries of the ledger.

A waiver in force turns the criterion's FAIL or INCONCLUSIVE into a warning, in the verdict that is recorded and not in
verdict.json, which stays what the figures say and can be replayed without the ledger. The sentence names the waiver.
It holds for the demand as it was worded then; with another bound or slice it lapses.

A criterion that blocks takes the signature of a role that may waive it, and not of whoever makes the release: a bar
that the one whom it stops can lift is none. One that only warns stops nothing, so where governance/roles.yaml lists
nobody its waiver is entered unsigned under the account's name, and says no more than that somebody saw the warning.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.errors import BadInput
from tasks.gate import verdict_of
from tasks.ledger import Entry
from tasks.plan import Criterion, Plan
from tasks.roles import ROLES, Act, Roles, instant, signer_fault, statement
from tasks.sentences import describe_terms
from tasks.signatures import SIGNATURE, sign
from tasks.verdict import FAIL, INCONCLUSIVE, Judgement, Verdict

WAIVER = "waiver"
ABOUT = ("criterion", "severity", "demand", "by", "why", "at", "until")
LONGEST = 366  # days; what is waived for longer is a bound that should be changed in the plan


def new_waiver(
    project: str,
    criterion: Criterion,
    until: dt.date,
    why: str,
    roles: Roles,
    signer: Ed25519PrivateKey | str,
    now: dt.datetime,
) -> dict[str, Any]:
    """The body of a waiver; `signer` is a key, or the account's name where nobody can sign. BadInput says why not."""
    last = now.date() + dt.timedelta(days=LONGEST)
    if not now.date() <= until <= last:
        raise BadInput(f"a waiver ends on a day from today on and by {last}, not on {until}; then look at it again")
    about = {"criterion": criterion.name, "severity": criterion.severity, "demand": describe_terms(criterion)}
    if isinstance(signer, str):
        if not may_be_unsigned(criterion.severity, roles):
            who = " or ".join(roles.allowed(_act(criterion.severity)))
            raise BadInput(
                f"{criterion.name} is of severity {criterion.severity}: to waive it takes a signature (--key FILE) by "
                f"{who}, and {ROLES} says who that is"
            )
        return about | statement(signer, "none", why, now, until)
    person = roles.owner(signer)
    role = roles.role_for(person, _act(criterion.severity))
    return sign(WAIVER, project, {**about, **statement(person.name, role, why, now, until)}, signer)


def waivers_in_force(
    entries: Iterable[Entry], plan: Plan, roles: Roles, author: str, today: dt.date
) -> tuple[dict[str, Entry], list[str]]:
    """Criterion -> its newest waiver that counts today, and a sentence for each that is void."""
    found: dict[str, Entry] = {}
    refused: list[str] = []
    criteria = {criterion.name: criterion for criterion in plan.criteria}
    for entry in (e for e in entries if e.kind == WAIVER):
        fault = waiver_fault(entry, roles)
        if fault is None and instant(entry.body["until"]).date() < today:
            found.pop(entry.body["criterion"], None)  # it took the place of those before it
            continue
        if fault := fault or _misplaced(entry, criteria, author):
            refused.append(f"the waiver of entry {entry.number} does not count: {fault}")
        else:
            found[entry.body["criterion"]] = entry
    return found, refused


def waiver_fault(entry: Entry, roles: Roles) -> str | None:
    """What is wrong with a waiver for good, or None. Unsigned it counts for a warning alone, where nobody can sign."""
    body = entry.body
    if lacking := [key for key in ABOUT if not isinstance(body.get(key), str)]:
        return f"it lacks {', '.join(lacking)}"
    unsigned = SIGNATURE not in body and body["severity"] == "warn" and not roles.people
    if not unsigned and (fault := signer_fault(entry, _act(body["severity"]), roles)):
        return fault
    try:
        at, until = instant(entry.at), instant(body["until"])
    except ValueError as error:
        return f"its date cannot be read ({error})"
    if (until - at).days > LONGEST:
        return f"it is to last until {body['until']}, longer than the {LONGEST} days that a waiver may"
    return None


def _misplaced(entry: Entry, criteria: dict[str, Criterion], author: str) -> str | None:
    body = entry.body
    criterion = criteria.get(body["criterion"])
    asked = None if criterion is None else (describe_terms(criterion), criterion.severity)
    if asked != (body["demand"], body["severity"]):
        return f"it waives '{body['demand']}', which is not what the plan asks of {body['criterion']}"
    if body["severity"] == "block" and body["by"] == author:
        return f"{author} makes this release, and an author cannot waive what blocks it"
    return None


def apply_waivers(verdict: Verdict, waivers: dict[str, Entry], scaffold: bool) -> tuple[Verdict, dict[str, int]]:
    """The verdict with every waived criterion that is not met as a warning, and criterion -> the entry that was needed.

    The verdict's sentence and those of the judgements say by name what was waived.
    """
    unmet = [j for j in verdict.judgements if j.criterion in waivers and j.outcome in (FAIL, INCONCLUSIVE)]
    if not unmet:
        return verdict, {}
    judgements = [_waive(j, waivers[j.criterion]) if j in unmet else j for j in verdict.judgements]
    used = {j.criterion: waivers[j.criterion] for j in unmet}
    held = verdict_of(judgements, scaffold)
    said = [f"{name} {describe_waiver(entry)}" for name, entry in used.items()]
    held = dataclasses.replace(held, sentence="; ".join([held.sentence, *said]), digests=verdict.digests)
    return held, {name: entry.number for name, entry in used.items()}


def _waive(judgement: Judgement, waiver: Entry) -> Judgement:
    sentence = f"{judgement.sentence} ({describe_waiver(waiver)})"
    return dataclasses.replace(judgement, severity="warn", sentence=sentence)


def describe_waiver(entry: Entry) -> str:
    """`waived until 2026-12-31 by ada (compliance), because ... (entry 9)`."""
    body = entry.body
    role = f" ({body['role']})" if SIGNATURE in body else ", unsigned"
    return f"waived until {body['until']} by {body['by']}{role}, because {body['why']} (entry {entry.number})"


def may_be_unsigned(severity: str, roles: Roles) -> bool:
    """Whether a waiver counts without a signature: a warning's, where nobody has a key."""
    return severity == "warn" and not roles.people


def _act(severity: str) -> Act:
    return "waive_block" if severity == "block" else "waive_warn"
