"""A night without a verdict is named, entered once, and fails the watchdog's run."""

import datetime as dt
from pathlib import Path

import pytest

import flows.watchdog
from tasks.errors import NightMissed, RegistryTrouble
from tasks.ledger import Ledger
from tasks.watchdog import missed_nights, watchdog
from tests.night_entries import PROJECT, enter_night

YESTERDAY = dt.date(2026, 6, 20)
WATCH = Path(__file__).parent.parent / "governance/watch.yaml"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


@pytest.mark.parametrize(
    ("judged", "missed"),
    [
        (["2026-06-20"], []),
        (["2026-06-19"], ["2026-06-20"]),
        (["2026-06-15", "2026-06-17"], ["2026-06-18", "2026-06-19", "2026-06-20"]),
        (["2026-05-01"], ["2026-06-18", "2026-06-19", "2026-06-20"]),  # three is all that a run makes up for
        (["2026-06-18", "2026-06-21"], []),  # a later one was judged: nothing lies open since the last on record
        ([], ["2026-06-20"]),
    ],
)
def test_nights_since_the_last_verdict_are_missed_up_to_what_one_run_makes_up_for(
    ledger: Ledger, judged: list[str], missed: list[str]
) -> None:
    for night in judged:
        enter_night(ledger, night, "HEALTHY")
    assert missed_nights(ledger.read(), YESTERDAY, catch_up=3) == missed


def test_night_that_could_not_be_judged_was_not_missed(ledger: Ledger) -> None:
    enter_night(ledger, "2026-06-20", "NO DATA")
    assert watchdog.fn(ledger, PROJECT, YESTERDAY, 7) == []


def test_every_missed_night_is_entered_once_however_often_one_looks(ledger: Ledger) -> None:
    enter_night(ledger, "2026-06-18", "HEALTHY")
    looks = [watchdog.fn(ledger, PROJECT, day, 7) for day in (YESTERDAY, YESTERDAY, YESTERDAY + dt.timedelta(days=1))]
    assert [[entry.body["night"] for entry in look] for look in looks] == [
        ["2026-06-19", "2026-06-20"],
        ["2026-06-19", "2026-06-20"],
        ["2026-06-19", "2026-06-20", "2026-06-21"],
    ]
    entered = ledger.read(PROJECT, "missed")
    assert [(e.body["night"], e.body["last"]) for e in entered] == [
        (night, "2026-06-18") for night in ("2026-06-19", "2026-06-20", "2026-06-21")
    ]


def test_ledger_whose_chain_is_broken_answers_for_nothing(ledger: Ledger) -> None:
    entry = enter_night(ledger, "2026-06-20", "HEALTHY")
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER ledger_no_update")
        connection.exec_driver_sql("UPDATE ledger SET at = '2020-01-01' WHERE number = ?", (entry.number,))
    with pytest.raises(RegistryTrouble, match="was changed after it was written"):
        watchdog.fn(ledger, PROJECT, YESTERDAY, 7)


@pytest.mark.usefixtures("prefect_server")
def test_run_fails_with_the_missed_nights_by_name_and_succeeds_once_they_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path))
    monkeypatch.setattr(flows.watchdog, "PROJECTS", tmp_path)
    (tmp_path / f"{PROJECT}.yaml").write_text(f"name: {PROJECT}\ndata: {tmp_path}\nwatch: {WATCH}\n")
    ledger, yesterday = Ledger(f"sqlite:///{tmp_path}/ledger.db"), dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    enter_night(ledger, (yesterday - dt.timedelta(days=2)).isoformat(), "HEALTHY")
    both = rf"no verdict for 2 .*{yesterday - dt.timedelta(days=1)}, {yesterday}.*`keel nightly --project pets"
    with pytest.raises(NightMissed, match=both):
        flows.watchdog.watchdog(PROJECT)
    enter_night(ledger, yesterday.isoformat(), "HEALTHY")
    assert flows.watchdog.watchdog(PROJECT) == yesterday.isoformat()
