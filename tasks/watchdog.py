"""The watchdog: a night without a verdict is an alarm of its own, raised from outside the nightly run.

A run that never started, or that died, says nothing; only somebody who looks at the record at another time finds out
(a dead man's switch). It reads the ledger alone.
"""

import datetime as dt
import logging
from collections.abc import Iterable

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.decision import decided_by
from tasks.ledger import Entry, Ledger
from tasks.nights import due, nights_on_record

KIND = "missed"
logger = logging.getLogger("tasks.watchdog")


@task(cache_policy=NO_CACHE)
def watchdog(ledger: Ledger, project: str, day: dt.date, catch_up: int) -> list[Entry]:
    """The nights up to `day`, the last that should be over, without a verdict: one entry of kind `missed` each, once.

    Raises RegistryTrouble where the ledger is away or does not hold.
    """
    entries = ledger.sound(project)
    entered = {e.body["night"]: e for e in entries if e.kind == KIND}
    judged = list(nights_on_record(entries))
    found = []
    for night in missed_nights(entries, day, catch_up):
        body = {"night": night, "last": judged[-1] if judged else None, "by": decided_by()}
        found.append(entered[night] if night in entered else ledger.append(KIND, project, body))
        logger.warning("the night of %s is over and has no verdict", night)
    return found


def missed_nights(entries: Iterable[Entry], day: dt.date, catch_up: int) -> list[str]:
    """The nights without a verdict since the last on record, up to `day`: what one nightly run would make up for."""
    held = list(entries)
    judged = nights_on_record(held)
    if any(night >= day.isoformat() for night in judged):
        return []
    return [date.isoformat() for date in due(held, (), day, catch_up)]
