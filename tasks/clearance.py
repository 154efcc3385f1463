"""Clearance: what, beside the verdict, stands between a decision and the promotion of its model.

Asked each time that a promotion is due, of the roles, the risk register and the ledger as they are then; a release that
is run again after the last approval promotes. An approval is one entry, so that a kill leaves it given or not given.
"""

import datetime as dt

from tasks.approvals import Digests, bound_by, missing_approvals
from tasks.fallbacks import still_withdrawn
from tasks.history import newest_decision
from tasks.ledger import Entry
from tasks.risks import Risk, load_risks, risks_in_the_way
from tasks.roles import Roles, load_roles
from tasks.verdict import PASS


def obstacles(
    decision: Entry,
    outcomes: dict[str, list[str]],
    found: Digests,
    entries: list[Entry],
    roles: Roles,
    risks: list[Risk],
    now: dt.datetime,
) -> list[str]:
    """A sentence for each approval that is missing and each risk in the way; none when the model may be promoted.

    `found` are the digests of the files to be promoted, as they are now; `outcomes` those of the verdict by criterion.
    """
    return [
        *missing_approvals(decision, entries, roles, found, now),
        *risks_in_the_way(risks, outcomes, entries, roles, now.date()),
    ]


def kept_out(project: str, version: str, entries: list[Entry], now: dt.datetime) -> list[str]:
    """Why a registered version may not be let in: no PASS, an approval or a risk in the way, or it is withdrawn.

    The digests are those of the ledger, for the files of the release may be long gone.
    """
    decision = newest_decision(version, entries)
    if decision.body["verdict"] != PASS:
        return [f"decision {decision.number} on version {version} is {decision.body['verdict']}; only a PASS is let in"]
    outcomes, found = decision.body.get("outcomes", {}), bound_by(decision)
    lines = obstacles(decision, outcomes, found, entries, load_roles(), load_risks(project), now)
    return [*lines, *still_withdrawn(version, entries)]
