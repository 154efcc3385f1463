"""Windows of production images: which there are, what they are known by, and the labels that come late."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import BadInput, DataRejected
from tasks.windows import (
    Window,
    days,
    find_windows,
    images_digest,
    labels_source,
    nights_between,
    parse_date,
    with_late_labels,
)

JUNE = [dt.date(2026, 6, day) for day in range(1, 31)]
IMAGES = pd.DataFrame({"path": ["a.png", "b.png", "c.png"], "label": ["cat", "", ""]})


def late(folder: Path, *lines: str, header: str = "file_name,label,labelled_at") -> Path:
    (folder / "labels.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return folder


def known(folder: Path, day: int) -> list[str]:
    return with_late_labels(IMAGES, folder, JUNE[day - 1])["label"].tolist()


def test_windows_are_the_folders_named_by_a_day_oldest_first_and_a_stranger_is_refused(tmp_path: Path) -> None:
    for name in ("2026-06-02", "2026-06-01", ".2026-06-03.partial"):
        (tmp_path / name).mkdir()
    assert find_windows(tmp_path) == [Window(day, tmp_path / day.isoformat()) for day in JUNE[:2]]
    (tmp_path / "june-3").mkdir()
    with pytest.raises(DataRejected, match="name no night: june-3"):
        find_windows(tmp_path)
    with pytest.raises(BadInput, match="no folder of production windows"):
        find_windows(tmp_path / "none")


def test_nights_between_are_every_day_with_a_window_or_without(tmp_path: Path) -> None:
    found = nights_between(tmp_path, dt.date(2026, 5, 31), JUNE[1])
    assert [window.name for window in found] == ["2026-05-31", "2026-06-01", "2026-06-02"]
    assert list(days(JUNE[0], JUNE[0])) == JUNE[:1]
    with pytest.raises(BadInput, match="the last night, 2026-06-01, lies before the first, 2026-06-02"):
        nights_between(tmp_path, JUNE[1], JUNE[0])


def test_a_day_is_written_one_way() -> None:
    assert parse_date("2026-06-01") == JUNE[0]
    with pytest.raises(BadInput, match="'1 June' is no date"):
        parse_date("1 June")


def test_a_window_is_known_by_its_images_in_any_order() -> None:
    assert images_digest(["a", "b"]) == images_digest(["b", "a"])
    assert images_digest(["a", "b"]) != images_digest(["a", "b", "b"])


def test_late_labels_count_from_the_day_on_which_they_were_told(tmp_path: Path) -> None:
    folder = late(tmp_path, "b.png,dog,2026-06-02T08:00", "c.png,cat,")
    assert known(folder, 1) == ["cat", "", "cat"]
    assert known(folder, 2) == ["cat", "dog", "cat"]
    assert known(tmp_path / "none", 2) == ["cat", "", ""]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a.png,dog,"], r"contradicts the labels of a\.png"),
        (["z.png,dog,"], r"images that the window does not have: z\.png"),
        (["b.png,dog,", "b.png,dog,"], r"b\.png more than once"),
        (["b.png,dog,last week"], "labelled_at 'last week' is no time"),
        (["b.png,dog ,"], r"the labels of b\.png begin or end with a space"),
    ],
)
def test_late_labels_that_cannot_be_right_are_refused_by_name(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(DataRejected, match=said):
        known(late(tmp_path, *lines), 3)


def test_late_labels_need_their_columns_and_utf_8(tmp_path: Path) -> None:
    with pytest.raises(DataRejected, match="it takes file_name, label and labelled_at"):
        known(late(tmp_path, "b.png,dog", header="image,label"), 1)
    (tmp_path / "labels.csv").write_bytes("file_name,label\nb.png,käfer\n".encode("latin-1"))
    with pytest.raises(DataRejected, match=r"labels\.csv is not UTF-8"):
        known(tmp_path, 1)


def test_labels_are_read_again_when_either_file_changes_or_a_day_passes_over_late_ones(tmp_path: Path) -> None:
    nothing = labels_source(tmp_path, JUNE[0])
    assert labels_source(tmp_path, JUNE[1]) == nothing
    (tmp_path / "metadata.csv").write_text("file_name,label\n")
    listed = labels_source(tmp_path, JUNE[0])
    assert listed != nothing
    assert labels_source(tmp_path, JUNE[1]) == listed
    told = labels_source(late(tmp_path, "b.png,dog,2026-06-02"), JUNE[0])
    assert told not in (listed, labels_source(tmp_path, JUNE[1]))


def test_a_file_of_late_labels_with_a_header_alone_tells_of_none(tmp_path: Path) -> None:
    assert known(late(tmp_path), 1) == ["cat", "", ""]
