"""What a night's record says of a challenger: labels that were asked for, and unreadable ones, wait."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.ledger import Ledger
from tasks.night_tables import PREDICTIONS, SCORES
from tasks.versions import Served
from tasks.watch import load_watch
from tasks.watch_shadow import watch_shadow
from tests.drawn_nights import draw_served
from tests.small_nights import write_watch
from tests.test_watch_harm import Pair, scored

OTHER = "n" * 64


def answered_by_both(root: Path, day: int, **drawn: Any) -> Pair:
    """A window that the challenger answers as the champion does, but the first image."""
    window, found = scored(root, day, **drawn)
    theirs = found.folder / SCORES / OTHER
    shutil.copytree(found.folder / SCORES / ("m" * 64), theirs)
    answers = pd.read_parquet(theirs / PREDICTIONS)
    answers.loc[0, "predicted"] = "dog" if answers.loc[0, "predicted"] == "cat" else "cat"
    answers.to_parquet(theirs / PREDICTIONS, index=False)
    return window, found


def test_labels_that_cannot_be_read_stop_no_shadow_and_those_asked_for_wait(tmp_path: Path) -> None:
    # Fails where one window's labels.csv stops the night, or where labels that were asked for count as any others.
    write_watch(tmp_path / "watch.yaml")
    rules, champion = load_watch(tmp_path / "watch.yaml").rollout, draw_served(tmp_path / "v1")
    challenger = Served("2", OTHER, champion.folder, 2)
    first = answered_by_both(tmp_path, 1)
    second = answered_by_both(tmp_path, 2, labelled=2)
    (first[0].folder / "labels.csv").write_text("file_name,label\nnone.png,dog\n")
    ledger, pairs = Ledger(f"sqlite:///{tmp_path}/ledger.db"), [first, second]

    def bet(*asked: str) -> tuple[dict[str, Any], list[str]]:
        weights = {"2026-06-02": dict.fromkeys(asked, 0.6)}
        facts, rows = watch_shadow.fn(ledger, "pets", rules, champion, challenger, second[0], pairs, {}, weights)
        return facts["state"], [row["image_id"] for row in rows]

    assert bet("000.png", "001.png")[1] == []
    assert bet("000.png")[1] == ["001.png"]
    state, counted = bet()
    assert counted == ["000.png", "001.png"]
    assert (state["units"], abs(state["difference"])) == (2, 1)
