"""What a night has to tell: a successor asked for, events for automations, a message for who has to know."""

from flows.common import RUNS
from tasks.alerts import news_of
from tasks.events import events_of
from tasks.night import Night
from tasks.nights import nights_on_record
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
    announce(events_of(project, ledger.read(project), night, watch.alerts, page))
    notify(ledger, project, watch.alerts, news_of(night, page))
