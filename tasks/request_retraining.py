"""Ask for a successor: HARM means that the model in use is not good enough, whether or not an older one was put back.

A request is an event that starts a release where a Prefect server has the deployment with its trigger, and an entry of
kind `retraining`. At most one in so many days: a release that saw the same labels would come to the same verdict.
"""

import datetime as dt
import logging
from collections.abc import Iterable
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.decision import decided_by
from tasks.events import retraining_event
from tasks.ledger import Entry, Ledger
from tasks.night import HARM, Night
from tasks.nights import rollback_for
from tasks.notify import emit_surely

KIND = "retraining"
logger = logging.getLogger("tasks.request_retraining")


@task(cache_policy=NO_CACHE)
def request_retraining(ledger: Ledger, project: str, night: Night, days_between: int) -> Entry | None:
    """Ask for a new release after a night of HARM; None where none is to be asked for, or could be.

    The event goes first, and the entry follows once the server has it: a kill in between sends the same event again,
    which the server takes as one; a request that got lost is not on record, and the next night of HARM makes it.
    """
    entries = ledger.sound(project)
    if night.verdict != HARM:
        return None
    earlier = asked_recently(entries, night.night, days_between)
    if earlier is not None:
        logger.info("retraining was asked for on %s (entry %d) already", earlier.body["night"], earlier.number)
        return None
    body = request_of(entries, night)
    if not emit_surely(retraining_event(project, body)):
        logger.warning("the Prefect server did not take the request for retraining; it is made again after more harm")
        return None
    logger.info("%s", body["sentence"])
    return ledger.append(KIND, project, body)


def asked_recently(entries: Iterable[Entry], night: str, days_between: int) -> Entry | None:
    """The request that lies less than `days_between` days from the night, before it or after it."""
    day = dt.date.fromisoformat(night)
    asked = [e for e in entries if e.kind == KIND]
    return next((e for e in asked if abs(day - dt.date.fromisoformat(e.body["night"])).days < days_between), None)


def request_of(entries: Iterable[Entry], night: Night) -> dict[str, Any]:
    """What the request says: the model that needs a successor, and why."""
    left, moved = night.body["version"], rollback_for(entries, night.night)
    now = f"version {moved.body['version']} stands in for it" if moved else "no earlier one was proved better"
    sentence = f"version {left} needs a successor, for {now}: {night.body['sentences'][0]}"
    restored = moved.body["version"] if moved else None
    return {"night": night.night, "version": left, "restored": restored, "sentence": sentence, "by": decided_by()}
