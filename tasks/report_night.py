"""Write what people read of a night, night.html, and of all nights, nights.html; show them in Prefect and MLflow."""

import logging
from pathlib import Path
from typing import Any

import mlflow
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from tasks.incident import answer_of
from tasks.night import DOCUMENT, Night
from tasks.night_page import night_page, nights_page, row
from tasks.night_tables import ScoredWindow
from tasks.nights import figures, nights_on_record
from tasks.registry import Registry, trouble
from tasks.watch import Watch
from tasks.whole_files import write_whole

PAGE, ALL = "night.html", "nights.html"
SHOWN = 60  # nights of Prefect's table
COLUMNS = ("night", "verdict", "images", "labels", "error", "evidence", "drift", "version", "why")
logger = logging.getLogger("tasks.report_night")


@task(cache_policy=NO_CACHE)
def report_night(
    registry: Registry,
    watch: Watch,
    night: Night,
    scored: ScoredWindow | None,
    window: Path,
    pages: dict[str, Path],
    place: Path,
) -> Path:
    """Write `place`/<night>/night.html and `place`/nights.html; `pages` are Evidently's, linked from the night's."""
    entries = registry.ledger.read(registry.project)
    nights = list(nights_on_record(entries).values())
    known = figures(entries, watch.level)
    answers = scored.answers(night.body["model"]) if scored is not None else None
    links = [("All nights", f"../{ALL}"), *((f"Evidently's report: {name}", file.name) for name, file in pages.items())]
    done = answer_of(entries, night.night)
    text = night_page(registry.project, night, nights, known, watch, answers, window, links, done)
    page, overview = place / night.night / PAGE, place / ALL
    page.parent.mkdir(parents=True, exist_ok=True)
    write_whole(page, text.encode())
    write_whole(overview, nights_page(registry.project, nights, known, watch).encode())
    with trouble(registry.chosen), mlflow.start_run(run_id=night.body["run"], log_system_metrics=False):
        for file in (page, *pages.values()):
            mlflow.log_artifact(str(file))
    if FlowRunContext.get() is not None:
        show(registry.project, night, {"night": page, "nights": overview, **pages}, [row(n, known) for n in nights])
    logger.info("%s: page %s", night.night, page)
    return page


def is_shown(night: Night, place: Path) -> bool:
    """Whether the page of the night as it is on record was written; a killed run leaves none, or an old one."""
    page, document = place / night.night / PAGE, place / night.night / DOCUMENT
    return page.is_file() and (not document.is_file() or page.stat().st_mtime_ns >= document.stat().st_mtime_ns)


def show(project: str, night: Night, pages: dict[str, Path], rows: list[dict[str, Any]]) -> None:
    """The night, the nights so far and the links where Prefect's users look."""
    lines = [f"# {night.sentence}", "", *(f"- {said}" for said in night.body["sentences"])]
    create_markdown_artifact("\n".join(lines), key=f"{project}-night", description=night.verdict)
    table = [{name: one[name] for name in COLUMNS} for one in rows[: -SHOWN - 1 : -1]]
    create_table_artifact(table, key=f"{project}-nights-table", description="The nights so far, the newest first")
    for name, page in pages.items():
        create_link_artifact(page.absolute().as_uri(), name, key=f"{project}-{name}")
