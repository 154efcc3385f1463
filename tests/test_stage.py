"""A stage runs when something changed and only then, and leaves its old output or none when it is killed."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tasks.digests import modules_behind
from tasks.errors import BadInput
from tasks.stage import project_keys, stage

CALLS: list[str] = []
KILLED = """
import os, signal
from pathlib import Path
from tasks.stage import stage

@stage
def learn(out: Path) -> None:
    (out / "half.txt").write_text("half")
    (out / "checkpoints").mkdir()
    (out / "checkpoints/7").write_text("seven steps")
    os.kill(os.getpid(), signal.SIGKILL)

learn.fn(out=Path("out"))
"""


@stage
def shout(text: Path, times: int, out: Path) -> None:
    """Write the text in capitals."""
    CALLS.append("shout")
    (out / "loud.txt").write_text(text.read_text().upper() * times)
    if times > 9:
        raise RuntimeError("too loud")


@stage
def count(folder: Path, out: Path) -> None:
    """Count the letters of what `shout` wrote."""
    CALLS.append("count")
    (out / "count.txt").write_text(str(len((folder / "loud.txt").read_text())))


@stage
@project_keys("group", "slices")
def part(project: Path, out: Path) -> None:
    """Stand for a stage that uses two keys of the project file."""
    CALLS.append("part")
    (out / "parts.txt").write_text("one")


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


def test_stage_ends_early_where_what_it_reads_was_made_again_and_is_the_same(text: Path, tmp_path: Path) -> None:
    for content in ("hello ", "Hello "):
        text.write_text(content)
        shout.fn(text=text, times=1, out=tmp_path / "loud")
        count.fn(folder=tmp_path / "loud", out=tmp_path / "count")
    assert CALLS == ["shout", "count", "shout"]


def test_new_production_night_does_not_touch_what_reads_the_labelled_data(text: Path, tmp_path: Path) -> None:
    (data := tmp_path / "data").mkdir()
    (data / "loud.txt").write_text("HELLO")
    count.fn(folder=data, out=tmp_path / "count")
    (data / "production/2026-01-01").mkdir(parents=True)
    (data / "production/2026-01-01/a.png").touch()
    count.fn(folder=data, out=tmp_path / "count")
    assert CALLS == ["count"]
    (data / "deeper/production").mkdir(parents=True)
    (data / "deeper/production/a.png").touch()
    count.fn(folder=data, out=tmp_path / "count")
    assert CALLS == ["count", "count"]


@pytest.mark.parametrize(
    ("edit", "runs"),
    [
        ("# a remark\nslices: []\n", 1),
        ("params: {evaluate: {resamples: 300}}\n", 1),
        ("plan: other.yaml\n", 1),
        ("group: subject\n", 2),
    ],
)
def test_project_file_counts_by_the_keys_that_the_stage_uses(text: Path, tmp_path: Path, edit: str, runs: int) -> None:
    project = tmp_path / "pets.yaml"
    for content in ("", edit):
        project.write_text("name: pets\ndata: pets\n" + content)
        part.fn(project=project, out=tmp_path / "out")
    assert len(CALLS) == runs


def test_dvc_ends_early_too_and_does_not_look_at_stamps(tmp_path: Path) -> None:
    shutil.copy(".dvcignore", tmp_path)
    (tmp_path / "in.txt").write_text("hello")
    first = "mkdir -p runs/a/x && tr a-z A-Z < in.txt > runs/a/x/o && date +%N > runs/a/x/stage.json"
    stages = {
        "first": {"cmd": first, "deps": ["in.txt"], "outs": [{"runs/a/x": {"cache": False}}]},
        "second": {"cmd": "date +%N > when.txt", "deps": ["runs/a/x"], "outs": [{"when.txt": {"cache": False}}]},
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    when = []
    for words in (["init", "--no-scm", "-q"], ["config", "core.analytics", "false"], ["repro", "-q"], ["repro", "-q"]):
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=tmp_path, check=True)
        if words[0] == "repro":
            when.append([(tmp_path / name).read_text() for name in ("runs/a/x/stage.json", "when.txt")])
            (tmp_path / "in.txt").write_text("Hello")
    assert when[0][0] != when[1][0]
    assert when[0][1] == when[1][1]


def test_killed_stage_leaves_its_checkpoints_to_the_next_try_and_no_output(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    found = []

    @stage
    def learn(out: Path) -> None:
        found.extend(sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()))
        (out / "weights.txt").write_text("whole")

    learn.fn(out=tmp_path / "out")
    assert found == ["checkpoints/7"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["stage.json", "weights.txt"]


def test_a_module_runs_by_its_templates_too() -> None:
    assert {"tasks/report.html.j2", "tasks/brief.html.j2", "tasks/style.css.j2"} <= set(modules_behind("write_pages"))
    assert "tasks/report.html.j2" not in modules_behind("write_card")
