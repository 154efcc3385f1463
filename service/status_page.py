"""`GET /`: the page of the service, self-contained, and the reports that it links to."""

import asyncio
import datetime as dt
import logging
import time
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, PackageLoader, select_autoescape

from service.facts import Facts
from service.status import Said, alarms_of, links_of, nights_of, reports_of, rollout_of, what_is_live
from tasks.errors import KeelError
from tasks.feedback_rules import FeedbackRules
from tasks.project import Project
from tasks.watch import Watch

FRESH = 2.0  # seconds for which a page is told again
RUNS = Path("runs")
SHOWN = {".html", ".png", ".svg"}  # of a project's runs; no tables, no weights
logger = logging.getLogger("service.status_page")


class StatusPage:
    """Reads what the page tells, at most every FRESH seconds."""

    def __init__(self, about: Project, watch: Watch, feedback: FeedbackRules, facts: Facts) -> None:
        self.about, self.watch, self.feedback, self.facts = about, watch, feedback, facts
        self.runs = RUNS / about.name
        self.made, self.text = -FRESH, ""

    def page(self) -> str:
        """The page as it is now."""
        if time.monotonic() - self.made >= FRESH:
            self.text = render(self._values())
            self.made = time.monotonic()
        return self.text

    def _values(self) -> dict[str, Any]:
        live, now, trouble = self.facts.follower.live, dt.datetime.now(dt.UTC), self.facts.trouble()
        said = Said([], None, live.rollout, self.watch.rollout, self.feedback.trend, self.watch.today(now))
        try:
            entries = self.facts.follower.ledger.read(self.about.name)
            filed = self.facts.reports().read(self.about.name)
            said = Said(entries, filed, live.rollout, self.watch.rollout, self.feedback.trend, said.today)
        except KeelError as error:
            trouble = [*trouble, str(error)]
        return {
            "project": self.about.name,
            "served": live.champion.version,
            "trouble": trouble,
            "live": what_is_live(said.entries),
            "rollout": rollout_of(said),
            "nights": nights_of(said.entries, self.runs),
            "alarms": alarms_of(said.entries),
            "reports": reports_of(said),
            "links": links_of(self.runs),
            "read_at": f"{now:%Y-%m-%d %H:%M:%S}",
            **self.facts.told(),
        }

    def report(self, place: str) -> Path:
        """A report below the project's runs; FileNotFoundError for anything else."""
        found = (self.runs / place).resolve()
        if found.suffix not in SHOWN or not found.is_relative_to(self.runs.resolve()) or not found.is_file():
            raise FileNotFoundError(place)
        return found


def add_pages(app: FastAPI, status: StatusPage, known: list[Any]) -> None:
    """The routes that a person opens."""

    @app.get("/", response_class=HTMLResponse, include_in_schema=False, dependencies=known)
    async def page() -> Response:
        return HTMLResponse(await asyncio.to_thread(status.page))

    @app.get("/reports/{place:path}", include_in_schema=False, dependencies=known)
    async def report(place: str) -> Response:
        try:
            return FileResponse(await asyncio.to_thread(status.report, place))
        except (OSError, ValueError) as error:
            raise HTTPException(404, "there is no such report") from error


def render(values: dict[str, Any]) -> str:
    """The page from its values."""
    tasks = Environment(loader=PackageLoader("tasks", "."))
    style = tasks.get_template("style.css.j2").render() + tasks.get_template("night.css.j2").render()
    own = Environment(loader=PackageLoader("service", "."), autoescape=select_autoescape(["j2"]))
    return own.get_template("status.html.j2").render(style=style, **values)
