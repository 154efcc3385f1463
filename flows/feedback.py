"""Feedback: what may not be kept any longer goes, and so does what somebody asked to remove.

finish what a killed start left -> plan -> announce -> remove everywhere -> tombstone (tasks/forget_reports.py)
"""

import datetime as dt
import logging

from prefect import flow

from flows.common import PROJECTS, RUNS
from tasks.feedback_store import FeedbackStore
from tasks.forget_reports import ASKED, EXPIRED, carry_out, expired, plan_to_forget
from tasks.lease import hold
from tasks.ledger import Entry, Ledger
from tasks.places import feedback_url, log_place
from tasks.project import load_project
from tasks.settings import prepare_environment

PATIENCE = 60  # seconds to wait for a reviewer, or another deletion, to be done


@flow(name="expire-feedback", validate_parameters=False)
def expire(project: str = "digits") -> list[Entry]:
    """Remove the reports whose retention ends today or ended, with all that came of them; the tombstones."""
    return remove(project, None)


@flow(name="forget-feedback", validate_parameters=False)
def forget(project: str, ids: list[str]) -> list[Entry]:
    """Remove these requests or reports, by their ids, with all that came of them; the tombstones."""
    return remove(project, ids)


def remove(project: str, ids: list[str] | None) -> list[Entry]:
    """Those ids, or None for what has expired."""
    chosen = prepare_environment()
    for name in ("tasks", "flows"):
        logging.getLogger(name).setLevel(logging.INFO)
    about = load_project(PROJECTS / f"{project}.yaml")
    ledger, store, place = Ledger(chosen.ledger_url), FeedbackStore(feedback_url()), log_place()
    with hold(ledger, f"{about.name}.feedback", chosen.state, wait=PATIENCE):
        ledger.sound(about.name)
        left = carry_out(store, ledger, about, place, chosen.state)
        why = EXPIRED if ids is None else ASKED
        named = expired(store, about.name, dt.datetime.now(dt.UTC).date()) if ids is None else ids
        plan_to_forget(store, about, place, RUNS / about.name, named, why)
        return left + carry_out(store, ledger, about, place, chosen.state)
