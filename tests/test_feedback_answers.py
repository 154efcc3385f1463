"""What the log has of an answer is found once, and kept beside the report."""

from pathlib import Path

import pytest

from tasks.digests import sha256_bytes
from tasks.feedback import Told
from tasks.feedback_answers import answer_of, look_up_answers
from tasks.logged_answer import LoggedAnswer
from tasks.prediction_log import PredictionLog, forget
from tests.small_feedback import PROJECT, World, picture, small_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "world/state"))
    return small_world(tmp_path / "world")


def test_the_answer_stays_with_the_report_when_the_log_has_it_no_more(world: World) -> None:
    world.add("r-1", correct_label="dog")
    world.add("r-9", correct_label="dog")
    told = Told("cat", pytest.approx(0.85), "3", sha256_bytes(picture(1)))
    assert [f.told for f in look_up_answers(world.store, world.place, PROJECT)] in ([told, None], [None, told])
    forget(world.place, PROJECT, ["r-1"])
    assert {f.request_id: f.disagrees for f in look_up_answers(world.store, world.place, PROJECT)} == {
        "r-1": True,
        "r-9": None,
    }


def test_what_another_model_said_off_the_path_is_no_answer(world: World) -> None:
    (row,) = [answer_of(world.place, PROJECT, "r-0")]
    assert row is not None
    fields = {name: row[name] for name in ("request_id", "project", "key", "sha256", "consent", "measures", "at")}
    log = PredictionLog(world.place)
    log.append(LoggedAnswer(**{**fields, "at": row["at"].to_pydatetime()}, predicted="dog", answered=False))
    log.close()
    again = answer_of(world.place, PROJECT, "r-0")
    assert again is not None
    assert again["predicted"] == "cat"
    assert answer_of(world.place, PROJECT, "r-9") is None
