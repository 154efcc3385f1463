"""A stage runs when something changed and only then, and leaves its old output or none when it is killed."""

import json
from pathlib import Path

import pytest

from tasks.errors import BadInput
from tasks.stage import stage

CALLS: list[str] = []


@stage
def shout(text: Path, times: int, out: Path) -> None:
    """Write the text in capitals."""
    CALLS.append("shout")
    (out / "loud.txt").write_text(text.read_text().upper() * times)
    if times > 9:
        raise RuntimeError("too loud")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    CALLS.clear()
    path = tmp_path / "text.txt"
    path.write_text("hello ")
    return path


def test_stage_is_not_run_again_when_nothing_changed(text: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert shout.fn(text=text, times=2, out=tmp_path / "out") == tmp_path / "out"
    assert CALLS == ["shout"]
    assert (tmp_path / "out/loud.txt").read_text() == "HELLO HELLO "


@pytest.mark.parametrize("change", ["input", "parameter", "output", "output removed", "stamp"])
def test_stage_runs_again_after_any_change(text: Path, tmp_path: Path, change: str) -> None:
    out = tmp_path / "out"
    shout.fn(text=text, times=2, out=out)
    if change == "input":
        text.write_text("bye ")
    elif change == "output":
        (out / "loud.txt").write_text("tampered")
    elif change == "output removed":
        (out / "loud.txt").unlink()
    elif change == "stamp":
        (out / "stage.json").write_text("{torn")
    shout.fn(text=text, times=3 if change == "parameter" else 2, out=out)
    assert CALLS == ["shout", "shout"]


def test_failed_stage_keeps_the_old_output(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shout.fn(text=text, times=1, out=out)
    with pytest.raises(RuntimeError):
        shout.fn(text=text, times=10, out=out)
    assert (out / "loud.txt").read_text() == "HELLO "
    assert json.loads((out / "stage.json").read_text())["params"] == {"times": 1}


def test_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"shout needs text=.*absent\.txt, which is not there"):
        shout.fn(text=tmp_path / "absent.txt", times=1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
