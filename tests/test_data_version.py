"""The data version is DVC's when the files agree with it, refused when they do not, and a plain digest elsewhere."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.data_version import data_version
from tasks.digests import digest_of
from tasks.errors import DataRejected, DirtyData


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    (root / "data").mkdir()
    (root / "data/a.txt").write_text("one")
    for words in (["init", "--no-scm", "-q"], ["config", "core.analytics", "false"], ["add", "-q", "data"]):
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, check=True)
    return root


@pytest.fixture
def data(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(repository)
    Path("data/a.txt").unlink(missing_ok=True)  # DVC may have linked it to its cache
    Path("data/a.txt").write_text("one")
    sound = Path("data.dvc").read_text()
    yield Path("data")
    Path("data.dvc").write_text(sound)


def test_clean_data_have_the_version_that_dvc_recorded(data: Path) -> None:
    version = data_version(data, allow_dirty=False)
    assert version.digest in Path("data.dvc").read_text()
    assert version.digest.endswith(".dir")
    assert (version.versioned, version.dirty) == (True, False)


@pytest.mark.parametrize("change", ["edited", "added", "removed"])
def test_changed_data_are_refused_with_the_way_out(data: Path, change: str) -> None:
    extra = Path("data/b.txt")
    if change == "added":
        extra.write_text("two")
    else:
        Path("data/a.txt").unlink()
        if change == "edited":
            Path("data/a.txt").write_text("other")
    with pytest.raises(DirtyData, match=r"data differs from data\.dvc.*dvc add data.*--allow-dirty"):
        data_version(data, allow_dirty=False)
    allowed = data_version(data, allow_dirty=True)
    extra.unlink(missing_ok=True)
    assert allowed.dirty
    assert "differs from the version that DVC recorded" in allowed.sentence()


def test_pointer_outside_a_dvc_repository_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data.dvc").write_text("outs:\n- md5: abc.dir\n  path: data\n")
    with pytest.raises(DataRejected, match=r"DVC cannot compare .*data with .*data\.dvc: you are not inside of a DVC"):
        data_version(tmp_path / "data", allow_dirty=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("::", r"DVC cannot compare data with data\.dvc"),
        ("outs: 5\n", r"DVC cannot compare data with data\.dvc"),
        ("", r"data\.dvc records no version of data; `dvc add data`"),
    ],
)
def test_pointer_that_dvc_cannot_read_is_named(data: Path, text: str, said: str) -> None:
    Path("data.dvc").write_text(text)
    with pytest.raises(DataRejected, match=said):
        data_version(data, allow_dirty=False)


def test_folder_outside_dvc_is_digested_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    version = data_version(tmp_path, allow_dirty=False)
    assert version.digest == digest_of(tmp_path)
    assert "is not under DVC" in version.sentence()
