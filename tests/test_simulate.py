"""Simulated windows: the same bytes for the same arguments, a fault where one is asked for, whole or not at all."""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tasks.errors import BadInput, UnreadableImage
from tasks.folders import read_window
from tasks.project import Project
from tasks.simulate import simulate
from tasks.simulated_sources import sources
from tasks.windows import find_windows
from tests.small_model import write_pictures
from tests.small_nights import write_window

FIRST = dt.date(2026, 7, 1)


@pytest.fixture
def source(tmp_path: Path) -> pd.DataFrame:
    table = write_pictures(tmp_path / "pictures", 12)
    return table.assign(file=[str(tmp_path / "pictures" / name) for name in table["file_name"]]).drop(
        columns=["file_name", "sha256"]
    )


def write(source: pd.DataFrame, out: Path, condition: str | None = None, labelled: float = 1, nights: int = 2) -> Path:
    simulate.fn(source, condition, 3, FIRST, nights, 8, labelled, out)
    return out


def contents(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def test_the_same_arguments_write_the_same_windows_of_distinct_images(source: pd.DataFrame, tmp_path: Path) -> None:
    one, other = write(source, tmp_path / "one", "noise"), write(source, tmp_path / "other", "noise")
    assert contents(one) == contents(other)
    assert [window.name for window in find_windows(one)] == ["2026-07-01", "2026-07-02"]
    listed = read_window(one / "2026-07-01")
    assert (len(listed), set(listed["label"])) == (8, {"cat", "dog"})
    assert listed["captured_at"].str.startswith("2026-07-01T08:0").all()
    assert len({content for name, content in contents(one).items() if name.endswith(".png")}) == 16


def test_a_fault_changes_the_pictures_and_leaves_their_labels(source: pd.DataFrame, tmp_path: Path) -> None:
    plain, foggy = write(source, tmp_path / "plain", nights=1), write(source, tmp_path / "foggy", "fog", nights=1)
    labels = [read_window(root / "2026-07-01")["label"].tolist() for root in (plain, foggy)]
    assert labels[0] == labels[1]
    name = "2026-07-01/images/0701-0000.png"
    pictures = [np.asarray(Image.open(root / name), float) for root in (plain, foggy)]
    assert pictures[0].shape == (64, 64, 3)
    assert pictures[1].std() < 0.9 * pictures[0].std()


def test_a_share_of_the_images_keeps_its_label(source: pd.DataFrame, tmp_path: Path) -> None:
    for share, least, most in ((0, 0, 0), (0.5, 1, 15), (1, 16, 16)):
        root = write(source, tmp_path / str(share), labelled=share)
        known = sum((read_window(window.folder)["label"] != "").sum() for window in find_windows(root))
        assert least <= known <= most


def test_what_cannot_be_simulated_is_refused_and_leaves_nothing(source: pd.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for changed, said in (
        ({"condition": "rain"}, "no fault 'rain'"),
        ({"severity": 6}, "severity 6"),
        ({"nights": 0}, "0 nights of 8 images"),
        ({"images": 0}, "1 nights of 0 images"),
        ({"labelled": 40}, "40 of them labelled"),
        ({"source": source.head(0)}, "no images to draw from"),
    ):
        asked = {"source": source, "condition": None, "severity": 3, "first": FIRST, "nights": 1, "images": 8}
        with pytest.raises(BadInput, match=said):
            simulate.fn(**{**asked, "labelled": 1.0, "out": out, **changed})
    assert not out.exists()
    write(source, out, nights=1)
    with pytest.raises(BadInput, match="is there already"):
        write(source, out, nights=1)


def test_a_window_that_was_cut_off_is_none_and_is_written_anew(source: pd.DataFrame, tmp_path: Path) -> None:
    lost = source.assign(file=[*source["file"][:-1], str(tmp_path / "lost.png")])
    with pytest.raises(UnreadableImage, match="No such file"):
        simulate.fn(lost, None, 3, FIRST, 1, 12, 1.0, tmp_path / "out")
    assert find_windows(tmp_path / "out") == []
    assert len(read_window(write(source, tmp_path / "out", nights=1) / "2026-07-01")) == 8


def test_images_are_drawn_from_the_labelled_ones_of_earlier_windows_where_there_are_enough(tmp_path: Path) -> None:
    pets = Project(name="pets", data=tmp_path / "pets")
    write_pictures(pets.data, 4).drop(columns="sha256").to_csv(pets.data / "metadata.csv", index=False)
    assert len(sources(pets, FIRST)) == 4
    for day in range(1, 7):
        write_window(f"2026-06-0{day}", images=6, labelled=day > 1, root=pets.data / "production")
    assert len(sources(pets, dt.date(2026, 6, 5))) == 4
    found = sources(pets, dt.date(2026, 6, 6))
    assert len(found) == 4 * 6
    assert all(Path(file).is_file() for file in found["file"])
    assert {Path(file).parent.name for file in found["file"]} == {f"2026-06-0{day}" for day in (2, 3, 4, 5)}
