"""What a night fetches first: the branch that is followed and the data that DVC has, and nothing where neither is."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo

from tasks.errors import DataRejected
from tasks.pull_windows import pull_windows
from tests.small_checkout import working_in

WINDOW = Path("pets/production/2026-06-01/metadata.csv")
pytestmark = pytest.mark.usefixtures("own_state")


def git(*arguments: str, where: Path = Path()) -> None:
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *arguments], cwd=where, check=True, capture_output=True)


@pytest.fixture
def origin(tmp_path: Path, own_state: Path) -> Iterator[Path]:
    """A checkout whose data is under DVC with a remote of its own; the working folder is a clone without the data."""
    own_state.mkdir()
    root, clone = tmp_path / "origin", tmp_path / "clone"
    (root / WINDOW).parent.mkdir(parents=True)
    (root / WINDOW).write_text("file_name,label\n")
    git("init", "--quiet", where=root)
    record(root, tmp_path / "remote")
    git("clone", "--quiet", str(root), str(clone), where=tmp_path)
    with working_in(clone):
        yield root


def record(root: Path, remote: Path | None = None) -> None:
    """The data as it is now, in DVC, its remote and git."""
    with working_in(root):
        repo = Repo.init() if remote else Repo()
        with repo:
            if remote:
                with repo.config.edit() as config:
                    config["remote"] = {"kept": {"url": str(remote)}}
                    config["core"]["remote"] = "kept"
                    config["core"]["analytics"] = False
        with Repo() as recorded:
            recorded.add("pets")
            recorded.push()
    git("add", "--all", where=root)
    git("commit", "--quiet", "--message", "data", where=root)


def test_the_newest_recorded_windows_are_fetched(origin: Path) -> None:
    assert not WINDOW.exists()
    pull_windows.fn(Path("pets"))
    assert WINDOW.read_text() == "file_name,label\n"
    later = origin / "pets/production/2026-06-02/metadata.csv"
    later.parent.mkdir()
    later.write_text("file_name,label\na.png,cat\n")
    record(origin)
    pull_windows.fn(Path("pets"))
    assert Path("pets/production/2026-06-02/metadata.csv").read_text() == later.read_text()


def test_history_that_does_not_follow_and_data_that_no_remote_has_are_refused_by_name(
    origin: Path, tmp_path: Path
) -> None:
    (tmp_path / "remote").rename(tmp_path / "lost")
    with pytest.raises(DataRejected, match=r"dvc pull pets\.dvc failed"):
        pull_windows.fn(Path("pets"))
    for root in (origin, Path()):
        git("commit", "--quiet", "--allow-empty", "--message", f"apart in {root}", where=root)
    with pytest.raises(DataRejected, match="git pull --ff-only --quiet failed"):
        pull_windows.fn(Path("pets"))


def test_a_folder_under_neither_is_left_as_it_is(tmp_path: Path, own_state: Path) -> None:
    own_state.mkdir()
    with working_in(tmp_path):
        WINDOW.parent.mkdir(parents=True)
        WINDOW.write_text("as it was")
        pull_windows.fn(Path("pets"))
        assert WINDOW.read_text() == "as it was"
