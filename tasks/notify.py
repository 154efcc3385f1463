"""Tell people and machines: events on Prefect's bus, and messages through the notification block that the team chose.

The block is named by KEEL_NOTIFY_BLOCK, as `<type>/<name>` (custom-webhook/keel-alerts, slack-webhook/on-call, any of
Prefect's). Nothing here may break a night: what cannot be sent is logged, recorded and tried again the next time.
"""

import datetime as dt
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import httpx
from prefect import task
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.events.filters import EventFilter, EventIDFilter
from prefect.settings import PREFECT_API_URL

from tasks.alerts import KIND, AlertRules, News, alert_body, to_tell, unsent
from tasks.errors import BadInput
from tasks.events import Event
from tasks.ledger import Entry, Ledger
from tasks.settings import without_password

VARIABLE = "KEEL_NOTIFY_BLOCK"
PATIENCE = 20.0  # seconds for an event to reach the server, which takes one or two
logger = logging.getLogger("tasks.notify")


@task(cache_policy=NO_CACHE)
def announce(events: Sequence[Event]) -> None:
    """Put the events on Prefect's bus; the same event twice counts once there."""
    for event in events:
        emit(event)


def emit(event: Event) -> None:
    """One event; Prefect sends it in the background and logs what it cannot send."""
    emit_event(event.name, event.resource, payload=event.payload, id=event.id)


def emit_surely(event: Event) -> bool:
    """One event, and whether the server that PREFECT_API_URL names has it; without one nobody listens, and all is done.

    Prefect sends in the background and drops what it cannot send, as while its server restarts.
    """
    emit(event)
    if not PREFECT_API_URL.value():
        return True
    asked, until = EventFilter(id=EventIDFilter(id=[event.id])), time.monotonic() + PATIENCE
    with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        while time.monotonic() < until:
            if client.read_events(filter=asked, limit=1).events:
                return True
            time.sleep(0.5)
    return False


@task(cache_policy=NO_CACHE)
def notify(ledger: Ledger, project: str, rules: AlertRules, news: News, now: dt.datetime | None = None) -> list[Entry]:
    """Send what is to be told; the entries of kind `alert` are returned, one for each message sent or not sent.

    Without a block nothing is sent and nothing recorded, and a line of log says what would have been. `now` is the time
    for the cool-down.
    """
    entries = ledger.read(project, KIND)
    messages = to_tell(entries, news, rules, now or dt.datetime.now(dt.UTC))
    slug = os.environ.get(VARIABLE)
    if not slug:
        for message in messages:
            logger.info("%s names no notification block, so nobody is told: %s", VARIABLE, message.headline)
        return []
    waiting, why_not, told = unsent(entries), None, []
    for message in messages:
        why_not = why_not or why_not_sent(slug, project, message)  # one failure is enough: the rest would wait as long
        if why_not is None or message.key not in waiting:
            told.append(ledger.append(KIND, project, alert_body(message, why_not)))
    return told


def why_not_sent(slug: str, project: str, message: News) -> str | None:
    """Send one message: None when it was taken, else what went wrong, without passwords."""
    try:
        block = Block.load(slug)
        if not isinstance(block, NotificationBlock):
            raise BadInput(f"{slug} is no notification block; `prefect block ls` lists those there are")
        with block.raise_on_failure():
            cast(Any, block).notify(message.text(), f"keel {project}: {message.headline}")
    except Exception as error:  # whatever a block of any make raises: the night goes on
        said = without_password(f"{type(error).__name__}: {error}".strip())[:300]
        logger.warning("not sent through %s, tried again next time: %s (%s)", slug, message.headline, said)
        return said
    logger.info("sent through %s: %s", slug, message.headline)
    return None
