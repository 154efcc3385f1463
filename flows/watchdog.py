"""Watchdog: has last night its verdict? Deployed apart from the nights, hours after them, so that their end is seen.

look at the record -> enter every night that has no verdict -> tell who has to know -> fail, so that it shows
"""

import datetime as dt
import logging

from prefect import flow

from flows.common import PROJECTS
from tasks.alerts import news_of_missed
from tasks.errors import NightMissed
from tasks.events import missed_event
from tasks.lease import hold
from tasks.ledger import Ledger
from tasks.notify import announce, notify
from tasks.project import load_project
from tasks.settings import prepare_environment
from tasks.watch import load_watch
from tasks.watchdog import watchdog as look


@flow(name="watchdog", validate_parameters=False)
def watchdog(project: str = "digits") -> str:
    """The last night that has to be over, when it has its verdict; NightMissed names every one that has none."""
    chosen = prepare_environment()
    for name in ("tasks", "flows"):
        logging.getLogger(name).setLevel(logging.INFO)
    about = load_project(PROJECTS / f"{project}.yaml")
    watch = load_watch(about.watch)
    yesterday = watch.today(dt.datetime.now(dt.UTC)) - dt.timedelta(days=1)
    ledger = Ledger(chosen.ledger_url)
    with hold(ledger, f"{about.name}.watchdog", chosen.state, wait=60):
        missed = look(ledger, about.name, yesterday, watch.catch_up)
        if not missed:
            return yesterday.isoformat()
        news = news_of_missed([entry.body["night"] for entry in missed], missed[-1].body["last"])
        announce([missed_event(entry) for entry in missed])
        notify(ledger, about.name, watch.alerts, news)
    raise NightMissed(f"{news.sentences[0]}; `keel nightly --project {about.name} --date yesterday` judges them")
