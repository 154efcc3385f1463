"""The store keeps what was consented to, serves several processes, and overwrites what it deletes."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import BadInput, RegistryTrouble
from tasks.feedback import CASE, DELETED, NEW, NOISE, Told, report_of
from tasks.feedback_store import FeedbackStore
from tests.small_feedback import MARKER, PROJECT, fields

ADD = """
import sys
from tasks.feedback import report_of
from tasks.feedback_store import FeedbackStore
from tests.small_feedback import fields
store = FeedbackStore(sys.argv[1])
for n in range(25):
    store.add(report_of(fields(f"{sys.argv[2]}-{n}", consent=n % 5 > 0)))
"""


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore(f"sqlite:///{tmp_path}/feedback.db")


def test_a_report_comes_back_as_it_was_filed(store: FeedbackStore) -> None:
    given = {"correct_label": "dog", "text": "an ear", "groups": {"desk": "A"}, "consent_groups": True}
    (found,) = (store.find(PROJECT, store.add(report_of(fields(**given)))),)
    assert (found.state, found.rating, found.correct_label, found.text) == (NEW, 2, "dog", "an ear")
    assert (found.groups, found.expires, found.told) == ({"desk": "A"}, dt.date(2026, 7, 1), None)
    assert store.read(PROJECT) == [found]
    assert store.read("digits") == []


def test_without_consent_a_report_is_a_count_and_nothing_else(store: FeedbackStore, tmp_path: Path) -> None:
    assert [store.add(report_of(fields(text=MARKER, consent=False))) for _ in range(3)] == ["", "", ""]
    assert (store.read(PROJECT), store.declined(PROJECT), store.declined("digits")) == ([], 3, 0)
    assert not any(MARKER.encode() in p.read_bytes() for p in tmp_path.iterdir())


def test_several_processes_lose_no_report(store: FeedbackStore) -> None:
    run = [sys.executable, "-c", ADD, store.url]
    writers = [subprocess.Popen([*run, name]) for name in ("a", "b", "c")]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert (len(store.read(PROJECT)), store.declined(PROJECT)) == (60, 15)


def test_a_report_is_settled_once(store: FeedbackStore) -> None:
    report = store.add(report_of(fields()))
    store.review(report, NOISE, "ann", "a test call")
    with pytest.raises(BadInput, match="is not new any more"):
        store.review(report, CASE, "bob", "it matters")
    found = store.find(PROJECT, report)
    assert (found.state, found.reviewed_by, found.why) == (NOISE, "ann", "a test call")


def test_a_blank_report_leaves_its_id_and_no_byte_of_its_text_in_the_file(store: FeedbackStore, tmp_path: Path) -> None:
    kept, gone = (store.add(report_of(fields(r, text=f"{MARKER} {r}", correct_label="dog"))) for r in ("r-0", "r-1"))
    store.tell(gone, Told("cat", 0.9, "3", "s" * 64))
    store.blank([gone])
    assert [found.id for found in store.read(PROJECT)] == [kept]
    (found,) = store.read(PROJECT, DELETED)
    assert (found.id, found.text, found.request_id, found.told, found.at) == (gone, None, "", None, None)
    held = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert (f"{MARKER} r-0".encode() in held, f"{MARKER} r-1".encode() in held) == (True, False)


def test_a_plan_to_delete_lies_in_the_store_until_it_is_done(store: FeedbackStore) -> None:
    first, second = (store.plan_deletion(PROJECT, {"requests": [name]}) for name in "ab")
    assert store.planned_deletions(PROJECT) == {first: {"requests": ["a"]}, second: {"requests": ["b"]}}
    store.end_deletion(first)
    assert (list(store.planned_deletions(PROJECT)), store.planned_deletions("digits")) == ([second], {})


def test_a_store_that_is_away_is_named_and_nothing_of_the_report_is_said(store: FeedbackStore) -> None:
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE reports")
    with pytest.raises(RegistryTrouble, match="set KEEL_FEEDBACK_URL or mend it") as raised:
        store.add(report_of(fields(text=MARKER)))
    assert MARKER not in str(raised.value)
    with pytest.raises(RegistryTrouble, match=r"the feedback store at postgresql://host/x does not answer"):
        FeedbackStore("postgresql://ann:secret@host/x")


def test_an_unknown_report_is_refused_with_the_way_out(store: FeedbackStore) -> None:
    with pytest.raises(BadInput, match="pets has no report 'x'; `keel feedback list`"):
        store.find(PROJECT, "x")
