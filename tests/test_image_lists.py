"""A list and the images beside it change together, or not at all."""

from pathlib import Path

import pytest

import tasks.image_lists
from tasks.cases import read_cases
from tasks.digests import sha256_file
from tasks.errors import BadInput
from tasks.image_lists import add_image, listed, remove_images, sweep
from tests.small_feedback import picture, small_world

ROW = {"file_name": "feedback-1.png", "label": "dog", "added": "2026-06-02", "provenance": "p", "why": 'a "w", really'}


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    return small_world(tmp_path / "world").cases


def test_an_image_is_added_once_however_often_and_taken_out_again(listing: Path) -> None:
    before = listing.read_text()
    for _ in range(2):
        add_image(listing, ROW, picture(1))
    table = read_cases(listing.parent).set_index("case")
    assert list(table.index) == ["feedback-1", "old"]
    assert table.loc["feedback-1", "why"] == 'a "w", really'
    assert listed(listing, {sha256_file(listing.parent / "feedback-1.png")}) == ["feedback-1.png"]
    for _ in range(2):
        remove_images(listing, ["feedback-1.png"])
    assert (listing.read_text(), [p.name for p in listing.parent.glob("*.png")]) == (before, ["old.png"])


def test_a_list_that_cannot_be_written_takes_no_image(listing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, fields: object, rows: object) -> None:
        raise OSError(28, "No space left on device")

    before = listing.read_text()
    monkeypatch.setattr(tasks.image_lists, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        add_image(listing, ROW, picture(1))
    assert (listing.read_text(), [p.name for p in listing.parent.glob("*.png")]) == (before, ["old.png"])


def test_what_a_kill_left_between_image_and_list_is_swept_and_nothing_else(listing: Path) -> None:
    for name in ("feedback-1.png", "cases.csv.99.partial"):
        (listing.parent / name).write_bytes(picture(1))
    sweep(listing, "feedback-*.png")
    assert sorted(p.name for p in listing.parent.iterdir()) == ["cases.csv", "old.png"]


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read .*cases.csv: No such file"):
        add_image(tmp_path / "cases.csv", ROW, picture(1))
