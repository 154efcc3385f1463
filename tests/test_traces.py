"""Where a request left its image is found by the image's bytes, whoever copied it under whatever name."""

import datetime as dt
from pathlib import Path

import pandas as pd

from tasks.prediction_log import lookup
from tasks.traces import traces
from tests.small_feedback import PROJECT, World, picture, small_world


def rows(world: World, request: str) -> pd.DataFrame:
    return lookup(world.place, PROJECT, request)


def test_copies_are_found_in_data_windows_and_what_was_fetched(tmp_path: Path) -> None:
    world, run = small_world(tmp_path / "world"), tmp_path / "runs"
    elsewhere = world.about.model_copy(update={"windows": str(tmp_path / "elsewhere")})
    for folder in (
        tmp_path / "elsewhere/2026-06-01",
        world.root / "data/production/2026-06-01",
        run / "fetched/2026-06-01",
        run / "log/2026-05-01",
    ):
        folder.mkdir(parents=True)
        (folder / "other name.png").write_bytes(picture(0))
        (folder / "metadata.csv").write_text("file_name,label\nother name.png,\n")
    found = traces(elsewhere, run, rows(world, "r-0"), [])
    named = {Path(path).relative_to(tmp_path).parts[0]: names for path, names in found["images"].items()}
    assert named == {place: ["other name.png"] for place in ("world", "runs", "elsewhere")}
    assert str(run / "log/2026-05-01") in found["windows"]  # an old copy, of another day than the log says
    assert traces(world.about, run, rows(world, "r-1"), [])["images"] == {}


def test_nights_around_the_request_are_those_of_every_time_zone(tmp_path: Path) -> None:
    world, run = small_world(tmp_path / "world"), tmp_path / "runs"
    (run / "nights/2026-06-02").mkdir(parents=True)
    late = rows(world, "r-0").assign(at=[pd.Timestamp(dt.datetime(2026, 6, 1, 23, 30, tzinfo=dt.UTC))])
    found = traces(world.about, run, late, [])
    assert [Path(window).name for window in found["windows"]] == ["2026-05-31", "2026-06-01", "2026-06-02"]
    assert [Path(page).name for page in found["pages"]] == ["2026-06-02"]
