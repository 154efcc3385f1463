"""Windows from a place that fsspec reaches: its memory file system, and a folder by its URL."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tasks.errors import BadInput
from tasks.fetch_windows import fetch_windows


@pytest.fixture
def bucket() -> Iterator[fsspec.AbstractFileSystem]:
    store = fsspec.filesystem("memory")
    for name, content in {"metadata.csv": "file_name,label\na.png,", "a.png": "first", "sub/b.png": "second"}.items():
        store.pipe_file(f"/bucket/2026-06-01/{name}", content.encode())
    store.pipe_file("/bucket/notes/readme.txt", b"no night")
    yield store
    store.rm("/bucket", recursive=True)


def test_every_night_is_fetched_whole_and_nothing_else(bucket: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    root = fetch_windows.fn("memory://bucket", tmp_path / "fetched")
    found = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    assert found == ["2026-06-01/a.png", "2026-06-01/metadata.csv", "2026-06-01/sub/b.png"]
    assert (root / "2026-06-01/a.png").read_text() == "first"


def test_labels_that_came_late_are_fetched_and_images_are_not_again(
    bucket: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    root = fetch_windows.fn("memory://bucket", tmp_path)
    bucket.pipe_file("/bucket/2026-06-01/metadata.csv", b"file_name,label\na.png,cat")
    bucket.pipe_file("/bucket/2026-06-01/labels.csv", b"file_name,label\nsub/b.png,dog")
    bucket.pipe_file("/bucket/2026-06-01/a.png", b"changed")
    fetch_windows.fn("memory://bucket", tmp_path)
    assert (root / "2026-06-01/metadata.csv").read_text().endswith("cat")
    assert (root / "2026-06-01/labels.csv").read_text().endswith("dog")
    assert (root / "2026-06-01/a.png").read_text() == "first"
    assert not list(root.rglob("*.partial"))


def test_a_place_that_cannot_be_read_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        fetch_windows.fn("file:///nowhere/at/all", tmp_path)
    with pytest.raises(BadInput, match=r"nosuch://host"):
        fetch_windows.fn("nosuch://user:secret@host", tmp_path)
