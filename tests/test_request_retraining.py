"""HARM asks for a successor, at most once in so many days, and a kill loses no request."""

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

import tasks.notify
import tasks.request_retraining
from tasks.events import Event
from tasks.ledger import Entry, Ledger
from tasks.night import VERDICTS
from tasks.nights import night_of
from tasks.request_retraining import request_retraining
from tests.night_entries import PROJECT, enter_night, enter_rollback


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """The events that leave, kept here instead of on Prefect's bus."""
    events: list[Event] = []
    monkeypatch.setattr(tasks.request_retraining, "emit_surely", lambda event: events.append(event) is None)
    return events


def ask(ledger: Ledger, night: str, verdict: str = "HARM", days: int = 14) -> Entry | None:
    return request_retraining.fn(ledger, PROJECT, night_of(enter_night(ledger, night, verdict)), days)


@pytest.mark.parametrize("verdict", [v for v in VERDICTS if v != "HARM"])
def test_only_harm_asks(ledger: Ledger, sent: list[Event], verdict: str) -> None:
    assert ask(ledger, "2026-06-01", verdict) is None
    assert not sent
    assert not ledger.read(PROJECT, "retraining")


def test_harm_without_a_better_version_asks_for_a_successor_of_the_one_in_use(
    ledger: Ledger, sent: list[Event]
) -> None:
    entry = ask(ledger, "2026-06-01")
    assert entry is not None
    assert entry.body["sentence"] == "version 2 needs a successor, for no earlier one was proved better: as it was"
    (event,) = sent
    assert event.name == "keel.retraining.requested"
    assert event.payload == {"project": PROJECT, **entry.body}


def test_harm_with_a_rollback_asks_for_a_successor_of_the_one_that_was_withdrawn(
    ledger: Ledger, sent: list[Event]
) -> None:
    harmed = enter_night(ledger, "2026-06-01", "HARM")
    enter_rollback(ledger, "2026-06-01")
    entry = request_retraining.fn(ledger, PROJECT, night_of(harmed), 14)
    assert entry is not None
    assert (entry.body["version"], entry.body["restored"]) == ("2", "1")
    assert "version 1 stands in for it" in entry.body["sentence"]


def test_at_most_one_request_in_so_many_days(ledger: Ledger, sent: list[Event]) -> None:
    nights = ("2026-06-01", "2026-06-02", "2026-06-14", "2026-06-15", "2026-06-28", "2026-06-29")
    asked = [night for night in nights if ask(ledger, night) is not None]
    assert asked == ["2026-06-01", "2026-06-15", "2026-06-29"]
    assert [event.payload["night"] for event in sent] == asked


def test_night_that_is_run_again_asks_no_second_time(ledger: Ledger, sent: list[Event]) -> None:
    night = night_of(enter_night(ledger, "2026-06-01", "HARM"))
    again = [request_retraining.fn(ledger, PROJECT, night, 1) for _ in range(3)]
    assert [entry is not None for entry in again] == [True, False, False]
    assert len(sent) == 1


def test_request_that_the_server_did_not_get_is_not_on_record_and_made_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.notify, "emit", lambda _: None)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # where nobody answers
        assert ask(ledger, "2026-06-01") is None
    assert ledger.read(PROJECT, "retraining") == []
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert ask(ledger, "2026-06-02") is not None


def test_kill_between_event_and_entry_sends_the_same_event_again(
    ledger: Ledger, sent: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    night = night_of(enter_night(ledger, "2026-06-01", "HARM"))
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            request_retraining.fn(ledger, PROJECT, night, 14)
    assert request_retraining.fn(ledger, PROJECT, night, 14) is not None
    assert len({event.id for event in sent}) == 1
    assert len(sent) == 2
