"""What a night has to tell: a successor asked for, events for automations, a message for who has to know."""

from flows.common import RUNS
from tasks.alerts import news_of, news_of_rollback
from tasks.events import events_of
from tasks.incident import answer_of
from tasks.night import Night
from tasks.nights import nights_on_record, rollback_for
from tasks.notify import announce, notify
from tasks.registry import Registry
from tasks.report_night import PAGE
from tasks.request_retraining import request_retraining
from tasks.watch import Watch


def tell(registry: Registry, watch: Watch, night: Night) -> None:
    """Once for each night however often it is run again; a night that has later ones on record is told of no more."""
    ledger, project = registry.ledger, registry.project
    if night.night != list(nights_on_record(ledger.read(project)))[-1]:
        return
    page = (RUNS / project / "nights" / night.night / PAGE).absolute().as_uri()
    request_retraining(ledger, project, night, watch.retraining.days_between)
    entries = ledger.read(project)
    announce(events_of(project, entries, night, watch.alerts, page))
    done, moved = answer_of(entries, night.night), rollback_for(entries, night.night)
    notify(ledger, project, watch.alerts, news_of(night, page, done.body["action"] if done else ""))
    if moved is not None:
        notify(ledger, project, watch.alerts, news_of_rollback(moved, night, page))
