"""The ledger only grows, its chain of hashes shows every tampering, and writers at once do not lose entries."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.errors import RegistryTrouble
from tasks.ledger import GENESIS, Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def filled(ledger: Ledger, count: int = 5) -> sqlite3.Connection:
    for number in range(count):
        ledger.append("decision", "digits", {"value": number})
    return sqlite3.connect(ledger.url.removeprefix("sqlite:///"))


def test_entries_come_back_in_order_and_chained(ledger: Ledger) -> None:
    filled(ledger)
    entries = ledger.read("digits", "decision")
    assert [e.body["value"] for e in entries] == [0, 1, 2, 3, 4]
    assert [e.previous for e in entries] == [GENESIS, *(e.hash for e in entries[:-1])]
    assert list(ledger.faults()) == []


@pytest.mark.parametrize("statement", ["UPDATE ledger SET kind = 'x' WHERE number = 2", "DELETE FROM ledger"])
def test_database_refuses_to_change_entries(ledger: Ledger, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        filled(ledger).execute(statement)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE ledger SET body = '{}' WHERE number = 2", "entry 2 .* was changed"),
        ("UPDATE ledger SET at = '2020-01-01' WHERE number = 3", "entry 3 .* was changed"),
        ("DELETE FROM ledger WHERE number = 3", "entry 3 is missing"),
        ("DELETE FROM ledger WHERE number = 1", "entry 1 is missing"),
    ],
)
def test_chain_shows_tampering(ledger: Ledger, statement: str, sentence: str) -> None:
    connection = filled(ledger)
    connection.executescript(f"DROP TRIGGER ledger_no_update; DROP TRIGGER ledger_no_delete; {statement}")
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(next(iter(ledger.faults())))


def test_writers_at_once_lose_nothing(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: Ledger(ledger.url).append("note", "digits", {"n": n}), range(40)))
    assert sorted(e.body["n"] for e in ledger.read()) == list(range(40))
    assert list(ledger.faults()) == []


def test_intents_stay_open_until_something_names_them(ledger: Ledger) -> None:
    first, second = (ledger.append("intent", "digits", {"action": a}) for a in ("register", "promote"))
    ledger.append("intent", "other", {"action": "promote"})
    ledger.append("done", "digits", {"intent": first.number})
    assert [e.number for e in ledger.open_intents("digits")] == [second.number]


def test_intent_is_closed_once(ledger: Ledger) -> None:
    intent = ledger.append("intent", "digits", {"action": "register"})
    ledger.append("undone", "digits", {"intent": intent.number})
    with pytest.raises(RegistryTrouble, match=r"change 1 of digits was closed already, by entry 2 \(undone\)"):
        ledger.append("done", "digits", {"intent": intent.number})
    assert len(ledger.read()) == 2


def test_unreachable_ledger_is_one_sentence_without_the_password() -> None:
    with pytest.raises(RegistryTrouble, match=r"sqlite:////nowhere/ledger.db does not answer.*KEEL_LEDGER_URL"):
        Ledger("sqlite:////nowhere/ledger.db")
