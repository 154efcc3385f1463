"""Approval in Prefect's interface: a release that waits pauses, and goes on when a signed approval is pasted.

Prefect's server does not know who clicks, so nothing is believed but the signature: the approver runs
`keel approve DECISION --key FILE --why TEXT --print` where the key lies, and the line that it prints is what is pasted.
An empty field goes on without. The run keeps its process and its lease while it waits.
"""

import datetime as dt
import logging

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.settings import get_current_settings

from tasks.approvals import bound_by, enter_approval, missing_approvals, read_pasted
from tasks.errors import BadInput
from tasks.ledger import Entry, Ledger
from tasks.roles import load_roles

PATIENCE = 24 * 3600  # seconds that a release waits; then it ends unpromoted, and can be run again
POLL = 10  # seconds between two looks at the server
HOW = "Paste the line that `keel approve --print` writes; leave the field empty to go on without."
logger = logging.getLogger("flows.approval")


class PastedApproval(RunInput):
    """What is typed: one line, signed elsewhere; empty, the safe answer, approves nothing."""

    approval: str = ""


def refuse_to_wait_alone() -> None:
    """A run's own server ends with it, so nobody could reach it to approve."""
    if not get_current_settings().api.url:
        raise BadInput(
            "a release can wait for approval only at a lasting Prefect server: set PREFECT_API_URL (`keel ui` says how "
            "to start one), or unset KEEL_APPROVE_IN_UI and use `keel approve`"
        )


def wait_for_approvals(ledger: Ledger, decision: Entry) -> None:
    """Pause until every approval is there, given here or by `keel approve`; return when told to, or when time is up."""
    said = ""
    while missing := missing_now(ledger, decision):
        form = PastedApproval.with_initial_data(description="\n\n".join([said, *missing, HOW]).strip())
        logger.info("waiting in Prefect's interface: %s", "; ".join(missing))
        try:
            pasted = pause_flow_run(wait_for_input=form, timeout=PATIENCE, poll_interval=POLL)
        except FlowPauseTimeout:
            logger.warning("nobody approved decision %d within %d hours", decision.number, PATIENCE // 3600)
            return
        if not pasted.approval.strip():
            return
        try:
            entry = enter_approval(ledger, decision, read_pasted(pasted.approval, decision), load_roles())
            said = f"Entered {entry.body['by']}'s approval as entry {entry.number}."
        except BadInput as error:
            said = f"Not entered: {error}"
        logger.info("%s", said)


def missing_now(ledger: Ledger, decision: Entry) -> list[str]:
    """What is missing by the ledger and the roles as they are at this moment."""
    entries, now = ledger.read(decision.project), dt.datetime.now(dt.UTC)
    return missing_approvals(decision, entries, load_roles(), bound_by(decision), now)
