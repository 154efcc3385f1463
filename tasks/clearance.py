"""Clearance: what, beside the verdict, stands between a decision and the promotion of its model.

Asked each time that a promotion is due, of the roles, the risk register and the ledger as they are then; a release that
is run again after the last approval promotes. An approval is one entry, so that a kill leaves it given or not given.
"""

import datetime as dt

from tasks.approvals import Digests, missing_approvals
from tasks.ledger import Entry
from tasks.risks import Risk, risks_in_the_way
from tasks.roles import Roles


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
