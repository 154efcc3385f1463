"""The writing end of the prediction log: whole files, bounded waiting, and what a kill or a full disk leaves."""

import dataclasses
import datetime as dt
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tasks.errors import BadInput
from tasks.log_reading import last_written
from tasks.logged_answer import LoggedAnswer
from tasks.prediction_log import PredictionLog, lookup, read_log
from tests.logged_rows import DAY, NOON, draw_row

FLUSH = 0.4  # seconds
WRITER = """
import datetime as dt, sys, time
from tasks.prediction_log import PredictionLog
from tests.logged_rows import NOON, draw_row
place, name, seconds = sys.argv[1:]
log = PredictionLog(place, flush_seconds=float(seconds))
number = 0
while True:
    log.append(draw_row(number, request_id=f"{name}-{number}", image=b"x" * 2000))
    print(number, time.time(), flush=True)
    number += 1
    time.sleep(0.001)
"""


def write(place: str | Path, *rows: LoggedAnswer) -> None:
    log = PredictionLog(str(place))
    for row in rows:
        log.append(row)
    assert log.close().lost == 0


def ids(place: str | Path) -> list[str]:
    return read_log(str(place), "pets", DAY, "UTC")["request_id"].tolist()


def parts(place: Path) -> list[Path]:
    return sorted(place.rglob("*.parquet"))


def until(holds: Any, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("remote", [False, True])
def test_every_field_of_a_row_comes_back_from_a_folder_and_from_a_url(remote: bool, tmp_path: Path) -> None:
    place = f"memory://log-{tmp_path.name}" if remote else str(tmp_path)
    row = draw_row(1)
    write(place, row, draw_row(2, arm="", model="", probabilities=(), reasons=("too dark",), predicted="", label=""))
    found = read_log(place, "pets", DAY, "UTC").to_dict("records")
    assert LoggedAnswer(**{**found[0], "at": found[0]["at"].to_pydatetime()}) == row
    assert (found[1]["reasons"], found[1]["embedding"]) == (("too dark",), row.embedding)
    assert lookup(place, "pets", "r00002")["arm"].tolist() == [""]
    assert lookup(place, "pets", "unknown").empty
    names = fsspec.filesystem("memory").find(f"/log-{tmp_path.name}") if remote else [str(p) for p in parts(tmp_path)]
    assert len(names) == 1
    assert "pets/answers/date=2026-06-01/part-" in names[0]


def test_rows_are_written_by_themselves_within_the_stated_time(tmp_path: Path) -> None:
    log = PredictionLog(str(tmp_path), flush_seconds=FLUSH)
    log.append(draw_row(1))
    assert log.health().waiting == 1
    until(lambda: parts(tmp_path), FLUSH + 1)
    until(lambda: log.health() == dataclasses.replace(log.health(), waiting=0, lag_seconds=0, problem=""))
    log.close()
    with pytest.raises(BadInput, match="closed"):
        log.append(draw_row(2))


def test_the_time_of_the_newest_part_is_told_by_its_name(tmp_path: Path) -> None:
    assert last_written(str(tmp_path), "pets") is None
    before = dt.datetime.now(dt.UTC)
    log = PredictionLog(str(tmp_path), 60)
    log.append(draw_row(1))
    log.close()
    found = last_written(str(tmp_path), "pets")
    assert found is not None
    assert before <= found <= dt.datetime.now(dt.UTC)


def test_a_part_is_written_at_once_when_it_is_full_and_holds_no_more_than_that(tmp_path: Path) -> None:
    log = PredictionLog(str(tmp_path), flush_seconds=3600, part_rows=10)
    for number in range(25):
        log.append(draw_row(number))
    until(lambda: len(parts(tmp_path)) >= 2)
    log.close()
    assert len(parts(tmp_path)) >= 3
    assert len(ids(tmp_path)) == 25


def test_rows_go_to_the_day_of_utc_and_are_read_by_the_day_of_a_time_zone(tmp_path: Path) -> None:
    late = dt.datetime(2026, 6, 1, 23, 30, tzinfo=dt.timezone(dt.timedelta(hours=-2)))
    write(tmp_path, draw_row(1), draw_row(2, at=late))
    assert sorted(p.parent.name for p in parts(tmp_path)) == ["date=2026-06-01", "date=2026-06-02"]
    assert ids(tmp_path) == ["r00001"]
    both = read_log(str(tmp_path), "pets", DAY, "America/Noronha")
    assert both["request_id"].tolist() == ["r00001", "r00002"]
    assert read_log(str(tmp_path), "pets", DAY, "Asia/Tokyo")["request_id"].tolist() == ["r00001"]


@pytest.mark.parametrize("unsound", [{"at": NOON.replace(tzinfo=None)}, {"request_id": "../r"}, {"request_id": ""}])
def test_a_row_without_a_time_zone_or_with_an_id_that_is_no_file_name_is_refused(
    unsound: dict[str, Any], tmp_path: Path
) -> None:
    log = PredictionLog(str(tmp_path))
    with pytest.raises(BadInput, match="cannot be logged"):
        log.append(draw_row(1, **unsound))
    assert log.close().waiting == 0


def test_a_row_that_parquet_cannot_hold_is_counted_as_lost_and_holds_up_no_others(tmp_path: Path) -> None:
    log = PredictionLog(str(tmp_path))
    for row in (draw_row(1), draw_row(2, probabilities=("high",)), draw_row(3)):
        log.append(row)
    assert log.flush()
    assert (ids(tmp_path), log.close().lost) == (["r00001", "r00003"], 1)


def test_while_the_disk_takes_nothing_rows_wait_and_it_recovers_by_itself(tmp_path: Path) -> None:
    log = PredictionLog(str(tmp_path), flush_seconds=0.1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))  # every file that is larger fails, as on a full disk
    try:
        log.append(draw_row(1))
        until(lambda: log.health().problem)
        ill = log.health()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be written" in ill.problem
    assert (ill.waiting, ill.lost) == (1, 0)
    assert ill.lag_seconds > 0
    until(lambda: not log.health().waiting)
    assert (ids(tmp_path), log.close().problem) == (["r00001"], "")
    assert not list(tmp_path.rglob("*.partial"))


def test_beyond_the_bound_rows_are_lost_counted_and_told_of(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    log = PredictionLog(str(tmp_path / "log"), flush_seconds=0.1, most_waiting=5_000)
    for number in range(10):
        log.append(draw_row(number))
    until(lambda: log.health().problem)
    assert (log.health().waiting, log.health().lost) == (4, 6)
    assert not log.flush()
    (tmp_path / "log").unlink()
    assert log.flush()
    assert len(ids(tmp_path / "log")) == 4
    assert log.close() == dataclasses.replace(log.health(), lost=6, problem="")


def test_what_cannot_be_written_when_the_log_is_closed_is_counted_as_lost(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    log = PredictionLog(str(tmp_path / "log"))
    log.append(draw_row(1))
    assert log.close().lost == 1


def test_two_processes_write_at_once_and_a_kill_at_any_moment_loses_the_last_seconds_alone(tmp_path: Path) -> None:
    random_wait = random.Random(5)
    for attempt in range(2):
        place = tmp_path / str(attempt)
        command = [sys.executable, "-c", WRITER, str(place)]
        writers = {
            name: subprocess.Popen([*command, name, str(FLUSH)], stdout=subprocess.PIPE, text=True) for name in "ab"
        }
        until(lambda place=place: len(parts(place)) >= 6, 60)
        time.sleep(random_wait.uniform(0, 2 * FLUSH))
        for writer in writers.values():
            writer.send_signal(signal.SIGKILL)
        killed = time.time()
        kept = set(ids(place))  # every file reads
        checked = 0
        for name, writer in writers.items():
            lines = [line.split() for line in (writer.communicate()[0]).splitlines() if line.count(" ") == 1]
            owed = [f"{name}-{number}" for number, at in lines if float(at) < killed - FLUSH]
            assert not [one for one in owed if one not in kept]
            checked += len(owed)
        assert checked > 100
