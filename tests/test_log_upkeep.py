"""Parts that become one and requests that are forgotten: whole, whatever moment a kill picks."""

import datetime as dt
import os
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import DataRejected
from tasks.log_store import LogStore, open_store
from tasks.prediction_log import PredictionLog, add_labels, compact, forget, lookup, read_labels_of, read_log
from tests.logged_rows import DAY, draw_row

AFTER = DAY + dt.timedelta(days=1)
FOLDER = f"pets/answers/date={DAY}"
pytestmark = pytest.mark.usefixtures("own_state")


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A log with twelve rows in four parts."""
    log = PredictionLog(str(tmp_path / "log"))
    for number in range(12):
        log.append(draw_row(number))
        if number % 3 == 2:
            log.flush()
    log.close()
    return str(tmp_path / "log")


def ids(place: str) -> list[str]:
    return read_log(place, "pets", DAY, "UTC")["request_id"].tolist()


def files(place: str) -> list[str]:
    return sorted(path.name for path in Path(place, FOLDER).iterdir())


def test_past_days_become_one_part_each_and_stay_so(place: str) -> None:
    before = read_log(place, "pets", DAY, "UTC")
    assert compact(place, "pets", before=DAY) == 0
    assert compact(place, "pets", before=AFTER) == 3
    assert compact(place, "pets", before=AFTER) == 0
    assert len(files(place)) == 1
    pd.testing.assert_frame_equal(read_log(place, "pets", DAY, "UTC"), before)


def kill(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_kill_anywhere_in_a_compaction_leaves_every_row_once(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, step, killed = ids(place), 0, True
    write, remove = LogStore.write, LogStore.remove
    while killed:
        left = step

        def counted(method: Callable[..., None]) -> Callable[..., None]:
            def call(store: LogStore, *given: object) -> None:
                nonlocal left
                if left == 0:
                    raise KeyboardInterrupt
                left -= 1
                method(store, *given)

            return call

        monkeypatch.setattr(LogStore, "write", counted(write))
        monkeypatch.setattr(LogStore, "remove", counted(remove))
        try:
            compact(place, "pets", before=AFTER)
            killed = False
        except KeyboardInterrupt:
            step += 1
        monkeypatch.undo()
        assert ids(place) == whole, step
    assert step >= 4
    compact(place, "pets", before=AFTER)
    assert (len(files(place)), ids(place)) == (1, whole)


def test_a_forgotten_request_is_gone_from_every_file_and_the_others_stay(place: str) -> None:
    rows = [{"request_id": f"r0000{n}", "label": "cat", "labelled_at": "2026-06-02", "source": "desk"} for n in (1, 2)]
    add_labels(place, "pets", pd.DataFrame(rows))
    compact(place, "pets", before=AFTER)
    other = PredictionLog(place)
    other.append(draw_row(1, model="c" * 64, answered=False))
    other.close()
    assert len(lookup(place, "pets", "r00001")) == 2
    assert forget(place, "pets", ["r00001", "r00003", "unknown"]) == 3
    assert ids(place) == [f"r{number:05d}" for number in range(12) if number not in (1, 3)]
    assert lookup(place, "pets", "r00001").empty
    assert read_labels_of(place, "pets")["request_id"].tolist() == ["r00002"]
    assert forget(place, "pets", ["r00001"]) == 0
    assert not [path for path in Path(place).rglob("*") if path.is_file() and b"r00001" in path.read_bytes()]


def test_a_forgotten_request_does_not_come_back_from_a_part_that_a_killed_compaction_left(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogStore, "remove", kill)
    with pytest.raises(KeyboardInterrupt):
        compact(place, "pets", before=AFTER)
    monkeypatch.undo()
    assert len(files(place)) == 6  # four old, one new, and the list of what it replaces
    assert forget(place, "pets", ["r00001"]) == 1
    assert "r00001" not in ids(place)
    assert len(files(place)) == 1


def test_when_all_rows_of_a_part_are_forgotten_the_file_goes(place: str) -> None:
    assert forget(place, "pets", [f"r{number:05d}" for number in range(12)]) == 12
    assert files(place) == []


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all"])
def test_a_torn_or_foreign_file_is_named(place: str, content: bytes) -> None:
    Path(place, FOLDER, "part-torn.parquet").write_bytes(content)
    with pytest.raises(DataRejected, match=r"part-torn\.parquet below the prediction log is no whole Parquet file"):
        ids(place)


def test_a_file_of_another_version_or_of_other_columns_is_named(place: str) -> None:
    pd.DataFrame({"request_id": ["r1"]}).to_parquet(Path(place, FOLDER, "part-other.parquet"))
    with pytest.raises(DataRejected, match=r"part-other\.parquet below the prediction log is of version unknown"):
        ids(place)


def test_files_that_are_half_written_are_not_read_and_are_removed_once_nobody_writes_them(place: str) -> None:
    old, new = (Path(place, FOLDER, f"part-{name}.parquet.1.partial") for name in ("old", "new"))
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert len(ids(place)) == 12
    compact(place, "pets", before=AFTER)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_reader_whose_part_is_replaced_meanwhile_reads_again(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listed, done = LogStore.parts, []

    def then_compact(store: LogStore, folder: str) -> list[str]:
        names = listed(store, folder)
        if not done and folder == FOLDER:
            done.append(True)
            compact(place, "pets", before=AFTER)
        return names

    monkeypatch.setattr(LogStore, "parts", then_compact)
    assert len(ids(place)) == 12
    assert open_store(place).parts(FOLDER) == files(place)
