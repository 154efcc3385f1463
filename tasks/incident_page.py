"""The page of an incident: self-contained HTML, drawn from the ledger and nothing else, for people and for print."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape

from tasks.coded import coded
from tasks.incident import find_incident, story
from tasks.ledger import Entry


def incident_page(incident: Entry, entries: list[Entry], owner: str) -> str:
    """The page's HTML; `entries` are the project's, `owner` who answers for its plan."""
    environment = Environment(loader=PackageLoader("tasks", "."), autoescape=select_autoescape(default=True))
    environment.filters["coded"] = coded
    return environment.get_template("incident.html.j2").render(story(incident, entries, owner))


def write_incident(project: str, entries: list[Entry], what: str, owner: str, folder: Path) -> Path:
    """Write <folder>/incident-<number>.html for `last` or a number; BadInput when there is no such incident."""
    incident = find_incident(project, entries, what)
    page = folder / f"incident-{incident.number}.html"
    folder.mkdir(parents=True, exist_ok=True)
    page.write_text(incident_page(incident, entries, owner), encoding="utf-8")
    return page
