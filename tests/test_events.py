"""What is said of a night: its verdict, what followed from it, and that all is well again; each with a lasting id."""

from pathlib import Path

import pytest

from tasks.alerts import AlertRules
from tasks.events import Event, events_of, missed_event
from tasks.ledger import Entry, Ledger
from tasks.night import VERDICTS
from tasks.nights import night_of
from tests.night_entries import PROJECT, enter_incident, enter_night, enter_rollback

RULES = AlertRules(page_on=("HARM", "CANNOT JUDGE"), cool_down_hours=24, reason="for the test")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def events(ledger: Ledger, entry: Entry) -> list[Event]:
    return events_of(PROJECT, ledger.read(), night_of(entry), RULES, "file:///night.html")


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_has_an_event_of_its_name(ledger: Ledger, verdict: str) -> None:
    (event,) = events(ledger, enter_night(ledger, "2026-06-01", verdict))
    names = (
        "keel.night.healthy",
        "keel.night.watch",
        "keel.night.harm",
        "keel.night.no-data",
        "keel.night.cannot-judge",
    )
    assert event.name == dict(zip(VERDICTS, names, strict=True))[verdict]
    assert event.resource["prefect.resource.id"] == "keel.project.pets"
    assert event.payload["sentence"] == f"{verdict} 2026-06-01: as it was"
    assert event.payload["page"] == "file:///night.html"


def test_harm_tells_the_move_and_the_incident_of_that_night_alone(ledger: Ledger) -> None:
    for night in ("2026-06-01", "2026-06-02"):
        harmed = enter_night(ledger, night, "HARM")
        moved, incident = enter_rollback(ledger, night), enter_incident(ledger, night)
    _, rollback, opened = events(ledger, harmed)
    assert (rollback.name, rollback.payload["entry"]) == ("keel.rollback.done", moved.number)
    assert (rollback.payload["version"], rollback.payload["left"]) == ("1", "2")
    assert (opened.name, opened.payload["entry"]) == ("keel.incident.opened", incident.number)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (["HEALTHY", "HARM"], True),
        (["HARM", "WATCH"], True),
        (["HARM", "HEALTHY"], False),
        (["WATCH", "NO DATA"], False),  # these rules call nobody for them
        ([], False),
    ],
)
def test_recovery_is_said_where_a_night_since_the_last_healthy_one_called_somebody(
    ledger: Ledger, before: list[str], said: bool
) -> None:
    for day, verdict in enumerate(before, 1):
        enter_night(ledger, f"2026-06-{day:02d}", verdict)
    tonight = events(ledger, enter_night(ledger, "2026-06-09", "HEALTHY"))
    assert ("keel.night.recovered" in [event.name for event in tonight]) is said


def test_id_is_the_same_for_the_same_thing_and_differs_for_every_other(ledger: Ledger) -> None:
    first, second = (enter_night(ledger, "2026-06-01", "HARM") for _ in range(2))
    assert events(ledger, first)[0].id == events(ledger, first)[0].id
    different = [*events(ledger, first), *events(ledger, second)]
    missed = [ledger.append("missed", name, {"night": "2026-06-01"}) for name in ("pets", "cars")]
    ids = [event.id for event in [*different, *map(missed_event, missed)]]
    assert len(set(ids)) == len(ids) == 4
