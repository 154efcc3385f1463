"""The reference of a new champion is read from where each night was judged, not from where tonight's window lies."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flows.nightly
from flows.nightly import rescored
from tasks.night import HEALTHY, Night
from tasks.night_tables import ScoredWindow
from tasks.windows import Window


def test_window_of_the_reference_is_read_where_it_was_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[Window] = []

    def look_at(window: Window, about: Any, models: list[Path], out: Path) -> ScoredWindow:
        asked.append(window)
        return ScoredWindow(window.name, out)

    monkeypatch.setattr(flows.nightly, "look_at", look_at)
    places = {"2026-06-01": "data/production", "2026-06-02": "elsewhere"}
    nights = [Night(day, HEALTHY, "", 1, {"folder": f"{place}/{day}"}) for day, place in places.items()]
    champion: Any = SimpleNamespace(digest="new", model=Path("model"))
    found = rescored(SimpleNamespace(name="pets"), champion, nights)  # type: ignore[arg-type]
    assert [window.folder for window in asked] == [Path("data/production/2026-06-01"), Path("elsewhere/2026-06-02")]
    assert [scored.night for scored in found] == ["2026-06-01", "2026-06-02"]
