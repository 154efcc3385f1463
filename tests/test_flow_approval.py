"""A release that waits in Prefect's interface believes a signature and nothing else that is typed there."""

import json
import threading
import time
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

import flows.approval
from flows.approval import refuse_to_wait_alone, wait_for_approvals
from tasks.approvals import APPROVAL, new_approval
from tasks.errors import BadInput
from tasks.ledger import Entry, Ledger
from tests.signers import NOW, decide, key_of, person, roles_of

PEOPLE = roles_of(person("ada", "compliance"))


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(flows.approval, "load_roles", lambda: PEOPLE)
    monkeypatch.setattr(flows.approval, "POLL", 0.2)
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


@flow
def waits(url: str, number: int) -> None:
    ledger = Ledger(url)
    wait_for_approvals(ledger, next(e for e in ledger.read() if e.number == number))


def paused(client: SyncPrefectClient, before: set[str]) -> object:
    """The run that pauses, once it does so for a reason that is not in `before`."""
    for _ in range(150):
        for run in client.read_flow_runs():
            if run.state and run.state.is_paused() and str(run.state.id) not in before:
                before.add(str(run.state.id))
                return run.id
        time.sleep(0.1)
    raise AssertionError("no run paused")


def type_in(ledger: Ledger, decision: Entry, *lines: str) -> None:
    """Run the flow and answer each of its pauses."""
    running = threading.Thread(target=waits, args=(ledger.url, decision.number))
    running.start()
    with get_client(sync_client=True) as client:
        seen: set[str] = set()
        for line in lines:
            done = client.resume_flow_run(paused(client, seen), run_input={"approval": line})  # type: ignore[arg-type]
            assert done.status.value == "ACCEPT"
    running.join(timeout=20)
    assert not running.is_alive()


def test_a_pasted_signature_is_entered_and_other_words_are_asked_again(ledger: Ledger, prefect_server: None) -> None:
    decision = decide(ledger, ["compliance"])
    body = new_approval(decision, ledger.read("pets"), PEOPLE, key_of("ada"), "looked at it", NOW)
    forged = json.dumps(body | {"why": "never looked"})
    type_in(ledger, decision, "ada says yes", forged, json.dumps(body))
    assert [entry.body for entry in ledger.read(kind=APPROVAL)] == [body]


def test_an_empty_field_approves_nothing(ledger: Ledger, prefect_server: None) -> None:
    type_in(ledger, decide(ledger, ["compliance"]), "")
    assert ledger.read(kind=APPROVAL) == []


def test_a_run_with_a_server_of_its_own_does_not_wait() -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(BadInput, match="only at a lasting Prefect server: set PREFECT_API_URL"),
    ):
        refuse_to_wait_alone()
