"""What is forgotten is gone everywhere, and a deletion that is killed between two steps is finished by the next."""

import datetime as dt
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tasks.forget_reports as module
from tasks.cases import read_cases
from tasks.digests import sha256_text
from tasks.errors import BadInput
from tasks.feedback import CASE, LABEL
from tasks.feedback_page import write_page
from tasks.feedback_queue import queue
from tasks.feedback_store import FeedbackStore
from tasks.forget_reports import ASKED, BEGUN, DONE, EXPIRED, carry_out, expired, plan_to_forget
from tasks.ledger import Entry
from tasks.prediction_log import lookup, read_labels_of
from tasks.review_feedback import review
from tests.small_feedback import MARKER, PROJECT, World, picture, small_world

STEPS = ("enter", "remove_images", "sweep", "forget", "page_of", "blank", "enter again", "end_deletion")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Of r-0 a label, a case, a copy among the data and one in a window; of r-1 a label; r-2 waits in the queue."""
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "world/state"))
    made = small_world(tmp_path / "world")
    reports = [made.add(f"r-{n}", correct_label="dog", text=f"{MARKER} {n}") for n in range(3)]
    again = made.add("r-0", correct_label="dog", text=f"{MARKER} 0 again", retention="until-withdrawn")
    for report, verdict in ((reports[0], LABEL), (again, CASE), (reports[1], LABEL)):
        review(made.store, made.ledger, made.about, made.place, report, verdict, "seen it", None)
    for window in ("data/production/2026-06-01", "runs/pets/fetched/2026-06-01", "runs/pets/log/2026-06-01"):
        (made.root / window).mkdir(parents=True)
        (made.root / window / "w.png").write_bytes(picture(0))
        (made.root / window / "metadata.csv").write_text("file_name,label\nw.png,dog\n")
    (made.root / "runs/pets/nights/2026-06-01").mkdir(parents=True)
    (made.root / "data/images/copy.png").write_bytes(picture(0))
    with (made.root / "data/metadata.csv").open("a") as file:
        file.write("images/copy.png,dog\n")
    write_page(queue(made.store.read(PROJECT)), {}, PROJECT, made.root / "state")
    return made


def plan(world: World, *ids: str, why: str = ASKED) -> str | None:
    return plan_to_forget.fn(world.store, world.about, world.place, world.root / "runs/pets", ids, why)


def finish(world: World) -> list[Entry]:
    return carry_out.fn(world.store, world.ledger, world.about, world.place, world.root / "state")


def assert_gone(world: World) -> None:
    """Nothing of r-0 is anywhere, all of r-1 and r-2 is, and the ledger has one announcement and one tombstone."""
    assert world.holders(picture(0)) == set()
    assert world.holders(f"{MARKER} 0".encode()) == set()
    assert [p.name for p in world.cases.parent.glob("*.png")] == ["old.png"]
    assert list(read_cases(world.cases.parent)["case"]) == ["old"]
    assert (world.root / "data/metadata.csv").read_text() == "file_name,label\nimages/a.png,cat\nimages/b.png,dog\n"
    assert [len(lookup(world.place, PROJECT, f"r-{n}")) for n in range(3)] == [0, 1, 1]
    assert list(read_labels_of(world.place, PROJECT)["request_id"]) == ["r-1"]
    assert {filed.request_id for filed in world.store.read(PROJECT)} == {"r-1", "r-2"}
    assert world.store.planned_deletions(PROJECT) == {}
    assert not (world.root / f"state/feedback/{PROJECT}.html").exists()
    assert [len(world.ledger.read(PROJECT, kind)) for kind in (BEGUN, DONE)] == [1, 1]


def test_a_request_is_forgotten_everywhere_and_others_stay(world: World) -> None:
    assert len(world.holders(picture(0))) >= 3
    plan(world, "r-0")
    (tombstone,) = finish(world)
    assert_gone(world)
    removed = {Path(what).name if "/" in what else what: n for what, n in tombstone.body["removed"].items()}
    assert removed == {"reports": 2, "rows of the log": 1, "cases.csv": 1, "metadata.csv": 1}
    assert sum(n for what, n in tombstone.body["removed"].items() if what.endswith("metadata.csv")) == 3
    assert not (world.root / "runs/pets/log/2026-06-01").exists()  # the nights write it anew from the log
    assert [Path(page).name for page in tombstone.body["may_show"]] == ["2026-06-01"]
    assert tombstone.body["requests"] == [sha256_text("r-0")]
    assert "r-0" not in str(tombstone.body)


def test_a_report_stands_for_its_request(world: World) -> None:
    plan(world, next(filed.id for filed in world.store.read(PROJECT) if filed.request_id == "r-0"))
    finish(world)
    assert_gone(world)


def kill_before(world: World, number: int) -> None:
    """Carry the plan out in another process, which is killed as it begins that step."""
    if (child := os.fork()) == 0:
        steps = iter(range(len(STEPS)))

        def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*values: Any) -> Any:
                if next(steps) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*values)

            return call

        for name in ("enter", "sweep", "forget", "page_of"):
            setattr(module, name, deadly(getattr(module, name)))
        first, rest = deadly(module.remove_images), module.remove_images  # the other lists go with the first
        module.remove_images = lambda path, names: (first if path == world.cases else rest)(path, names)
        for name in ("blank", "end_deletion"):
            setattr(FeedbackStore, name, deadly(getattr(FeedbackStore, name)))
        finish(world)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("number", range(len(STEPS)), ids=STEPS)
def test_a_deletion_killed_before_any_step_is_finished_by_the_next_start(world: World, number: int) -> None:
    plan(world, "r-0")
    kill_before(world, number)
    assert len(world.store.planned_deletions(PROJECT)) == 1
    (tombstone,) = finish(world)
    assert_gone(world)
    assert tombstone.body["removed"]["reports"] == 2
    assert len(tombstone.body["cases"]) == 1
    assert finish(world) == []


def test_an_unknown_id_removes_nothing_and_is_named(world: World) -> None:
    with pytest.raises(BadInput, match="neither a report nor a request of pets: r-77; nothing was removed"):
        plan(world, "r-0", "r-77")
    assert world.store.planned_deletions(PROJECT) == {}
    assert plan(world) is None


def test_a_request_that_nobody_reported_is_forgotten_too(world: World) -> None:
    plan(world, "r-3")
    (tombstone,) = finish(world)
    assert tombstone.body["removed"] == {"reports": 0, "rows of the log": 1}
    assert lookup(world.place, PROJECT, "r-3").empty


def test_reports_expire_on_their_day_and_take_their_request_with_them(world: World) -> None:
    assert expired(world.store, PROJECT, dt.date(2026, 6, 30)) == []
    due = expired(world.store, PROJECT, dt.date(2026, 7, 1))
    assert len(due) == 3  # all but the one that is kept until it is withdrawn
    plan(world, *due, why=EXPIRED)
    (tombstone,) = finish(world)
    assert (tombstone.body["why"], tombstone.body["removed"]["reports"]) == ("expired", 4)
    assert world.store.read(PROJECT) == []


def test_the_case_is_known_by_its_name_when_the_log_has_nothing_left(world: World) -> None:
    module.forget(world.place, PROJECT, ["r-0"])
    plan(world, "r-0")
    finish(world)
    assert_gone(world)
