"""Messages through a real block of Prefect to a receiver on this machine; a receiver that fails breaks no night."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker

from tasks.alerts import AlertRules, News, news_of
from tasks.events import Event
from tasks.ledger import Ledger
from tasks.nights import night_of
from tasks.notify import VARIABLE, announce, notify
from tests.night_entries import PROJECT, enter_night

pytestmark = pytest.mark.usefixtures("prefect_server")
NAMES = ("keel.night.harm", "keel.incident.opened")
RULES = AlertRules(page_on=("HARM", "NO DATA"), cool_down_hours=0, reason="for the test")


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what it is sent and answers with `status`."""

    def __init__(self) -> None:
        self.got: list[dict[str, str]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        block = CustomWebhookNotificationBlock(
            name="keel-test",
            url=f"http://someone:secret@127.0.0.1:{server.server_port}/hook",
            json_data={"subject": "{{subject}}", "body": "{{body}}"},
        )
        block.save("keel-test", overwrite=True)
        monkeypatch.setenv(VARIABLE, "custom-webhook/keel-test")
        yield server
        server.shutdown()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def news(ledger: Ledger, day: int, verdict: str) -> News:
    return news_of(night_of(enter_night(ledger, f"2026-06-{day:02d}", verdict)), "file:///night.html")


def test_alarm_and_recovery_arrive_once_each_with_sentences_and_page(ledger: Ledger, receiver: Receiver) -> None:
    for day, verdict in enumerate(("WATCH", "HARM", "HARM", "HEALTHY", "HEALTHY"), 1):
        notify.fn(ledger, PROJECT, RULES, news(ledger, day, verdict))
    assert receiver.got == [
        {"subject": "keel pets: HARM 2026-06-02: as it was", "body": "as it was\nfile:///night.html"},
        {
            "subject": "keel pets: RECOVERED 2026-06-04: the night was HEALTHY",
            "body": "over: HARM (error/all, version 2)\nas it was\nfile:///night.html",
        },
    ]
    assert [entry.body["sent"] for entry in ledger.read(PROJECT, "alert")] == [True, True]


def test_receiver_that_fails_is_recorded_without_its_password_and_tried_again(
    ledger: Ledger, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 503
    (entry,) = notify.fn(ledger, PROJECT, RULES, news(ledger, 1, "HARM"))
    assert entry.body["sent"] is False
    assert "503" in entry.body["why_not"]
    assert "secret" not in json.dumps(entry.body) + caplog.text
    receiver.status = 200
    notify.fn(ledger, PROJECT, RULES, news(ledger, 2, "WATCH"))
    assert [one["subject"] for one in receiver.got] == ["keel pets: HARM 2026-06-01: as it was"] * 2
    assert "could not be sent before" in receiver.got[-1]["body"]


def test_failure_is_tried_once_a_night_and_entered_once(ledger: Ledger, receiver: Receiver) -> None:
    receiver.status = 500
    notify.fn(ledger, PROJECT, RULES, news(ledger, 1, "HARM"))
    notify.fn(ledger, PROJECT, RULES, news(ledger, 2, "NO DATA"))
    notify.fn(ledger, PROJECT, RULES, news(ledger, 3, "WATCH"))
    assert [(e.body["verdict"], e.body["sent"]) for e in ledger.read(PROJECT, "alert")] == [
        ("HARM", False),
        ("NO DATA", False),
    ]
    assert len(receiver.got) == 3


@pytest.mark.parametrize("slug", ["custom-webhook/not-there", "secret/keel-test", "nonsense"])
def test_block_that_cannot_notify_breaks_no_night(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, slug: str) -> None:
    Secret(value="x").save("keel-test", overwrite=True)
    monkeypatch.setenv(VARIABLE, slug)
    (entry,) = notify.fn(ledger, PROJECT, RULES, news(ledger, 1, "HARM"))
    assert entry.body["why_not"]


def test_without_a_block_a_line_says_what_nobody_was_told(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    caplog.set_level("INFO", logger="tasks.notify")
    assert notify.fn(ledger, PROJECT, RULES, news(ledger, 1, "HARM")) == []
    assert "nobody is told: HARM 2026-06-01" in caplog.text
    assert ledger.read(PROJECT, "alert") == []


def test_events_leave_with_their_own_id() -> None:
    EventsWorker.set_client_override(AssertingEventsClient)
    try:
        events = [Event(name, PROJECT, "7", {"night": "2026-06-01"}) for name in NAMES]
        announce.fn(events)
        EventsWorker.instance().wait_until_empty()
        EventsWorker.drain_all()
        sent = AssertingEventsClient.last.events if AssertingEventsClient.last else []
    finally:
        EventsWorker.set_client_override(None)
    assert [(e.event, e.resource.id, e.id, e.payload) for e in sent] == [
        (event.name, "keel.project.pets", event.id, {"night": "2026-06-01"}) for event in events
    ]
