"""What a decision record says of the checkout: the files that decide a result and are not as committed."""

import subprocess
from pathlib import Path

import pytest

from tasks.ledger import Ledger
from tasks.record import git_state, recorded


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("tasks/a.py", "governance/plan.yaml", "params.yaml", "README.md"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("one\n")
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], check=True)
    return tmp_path


def test_files_that_decide_nothing_and_the_records_themselves_are_no_change(committed: Path) -> None:
    Path("README.md").write_text("two\n")
    Path("governance/decisions/pets").mkdir(parents=True)
    Path("governance/decisions/pets/00002-pass.md").touch()
    said = git_state()
    assert (len(said["commit"]), said["changed"]) == (40, "none")


@pytest.mark.parametrize("name", ["params.yaml", "governance/plan.yaml", "tasks/a.py", "governance/projects/new.yaml"])
def test_changed_and_new_files_that_decide_a_result_are_named(committed: Path, name: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("two\n")
    assert git_state()["changed"] == name


def test_many_changed_files_are_counted(committed: Path) -> None:
    for number in range(7):
        Path(f"tasks/b{number}.py").touch()
    assert git_state()["changed"].endswith("tasks/b4.py and 2 more")


def test_outside_git_the_record_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() == {"commit": "not a git checkout", "changed": "unknown"}


def test_a_decision_is_known_again_while_no_other_release_decided_after_it(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    first = ledger.append("decision", "pets", {"recorded_for": {"verdict": "a"}, "beside": None})
    second = ledger.append("decision", "pets", {"recorded_for": {"verdict": "b"}, "beside": first.number})
    assert recorded(ledger, "pets", {"verdict": "a"}) == first  # two candidates of one release
    assert recorded(ledger, "pets", {"verdict": "b"}) == second
    ledger.append("decision", "pets", {"recorded_for": {"verdict": "c"}})
    assert recorded(ledger, "pets", {"verdict": "a"}) is None
    assert recorded(ledger, "cats", {"verdict": "c"}) is None
