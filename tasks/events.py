"""The events that a night, a move and a missed night are told to Prefect with, for automations to act on.

One resource a project, `keel.project.<name>`. An event's id follows from what it is about, so that a server which sees
it twice, after a kill for instance, takes it as one.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tasks.alerts import AlertRules
from tasks.incident import incident_of
from tasks.ledger import Entry
from tasks.night import HEALTHY, Night
from tasks.nights import nights_on_record, rollback_for

SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "events.keel")


@dataclass(frozen=True)
class Event:
    """One event: its name, its project, what it is about in the ledger, and what it says."""

    name: str
    project: str
    about: str
    payload: dict[str, Any]

    @property
    def id(self) -> uuid.UUID:
        """The same for the same event of the same ledger entry or night."""
        return uuid.uuid5(SPACE, f"{self.project} {self.name} {self.about}")

    @property
    def resource(self) -> dict[str, str]:
        """What it is about, in Prefect's words."""
        return {"prefect.resource.id": f"keel.project.{self.project}", "prefect.resource.name": self.project}


def events_of(project: str, entries: Iterable[Entry], night: Night, rules: AlertRules, page: str) -> list[Event]:
    """What is to be said of a night on record: its verdict, what followed from it, and whether all is well again."""
    held = list(entries)
    told = [
        Event(
            f"keel.night.{night.verdict.lower().replace(' ', '-')}",
            project,
            str(night.number),
            said(project, night, page),
        )
    ]
    moved, incident = rollback_for(held, night.night), incident_of(held, night.night)
    if moved is not None:
        told.append(rollback_event(moved))
    if incident is not None:
        body = {key: incident.body[key] for key in ("night", "cause", "action")}
        told.append(Event("keel.incident.opened", project, str(incident.number), _with_entry(body, incident)))
    if recovered(held, night, rules):
        told.append(Event("keel.night.recovered", project, str(night.number), said(project, night, page)))
    return told


def said(project: str, night: Night, page: str) -> dict[str, Any]:
    """A night's verdict with its sentences, its figures and where to read more."""
    body = night.body
    harm = body["harm"].get("harm", {}).get("evidence")
    figures = {"images": body["images"], "labels": body["harm"].get("counted", 0), "evidence": harm}
    figures |= {
        "error": body["harm"].get("figures", {}).get(night.night),
        "drift_p": body["drift"].get("drift", {}).get("p"),
    }
    known = {
        "project": project,
        "night": night.night,
        "verdict": night.verdict,
        "sentence": night.sentence,
        "sentences": body["sentences"],
    }
    return {**known, "figures": figures, "version": body["version"], "entry": night.number, "page": page}


def rollback_event(moved: Entry) -> Event:
    """An earlier version was put back; `moved` is the entry that closed the move."""
    body = {key: moved.body[key] for key in ("version", "left", "why", "by", "by_a_person")}
    return Event("keel.rollback.done", moved.project, str(moved.number), _with_entry(body, moved))


def rollout_event(entry: Entry) -> Event:
    """A challenger was let in further, taken off or promoted; `entry` is what the run decided."""
    body = {key: entry.body[key] for key in ("move", "version", "champion", "to", "sentence", "by", "by_a_person")}
    name = f"keel.rollout.{entry.body['move'].lower()}"
    return Event(name, entry.project, str(entry.number), _with_entry(body, entry))


def missed_event(missed: Entry) -> Event:
    """A night that should be over has no verdict."""
    return Event("keel.night.missed", missed.project, missed.body["night"], _with_entry(dict(missed.body), missed))


def retraining_event(project: str, body: dict[str, Any]) -> Event:
    """A successor is asked for; at most one event a night."""
    return Event("keel.retraining.requested", project, body["night"], {"project": project, **body})


def recovered(entries: Iterable[Entry], night: Night, rules: AlertRules) -> bool:
    """Whether this night is HEALTHY and one since the HEALTHY night before called somebody."""
    if night.verdict != HEALTHY:
        return False
    between: list[str] = []
    for earlier in nights_on_record(entries).values():
        if earlier.night < night.night:
            between = [] if earlier.verdict == HEALTHY else [*between, earlier.verdict]
    return bool(set(between) & set(rules.page_on))


def _with_entry(body: dict[str, Any], entry: Entry) -> dict[str, Any]:
    return {"project": entry.project, **body, "entry": entry.number}
