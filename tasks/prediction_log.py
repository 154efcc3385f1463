"""The prediction log: every answer that was given is written down, and read again by request or by day.

Rows wait in memory until a thread of its own writes them as one whole file: a request never waits for a disk. A kill
loses the rows of the last `flush_seconds` and leaves no torn file. A disk that is full or away makes rows wait, as many
as `most_waiting` bytes hold; beyond, they are lost and counted. Any number of processes may write into one log.
"""

import datetime as dt
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from tasks.errors import BadInput
from tasks.log_labels import add_labels, read_labels_of
from tasks.log_parts import answers_content, answers_folder
from tasks.log_reading import lookup, read_log
from tasks.log_store import open_store, part_name
from tasks.log_upkeep import compact, forget
from tasks.logged_answer import LoggedAnswer

__all__ = ["LogHealth", "PredictionLog", "add_labels", "compact", "forget", "lookup", "read_labels_of", "read_log"]

ROW_BYTES = 1_000  # what a row weighs beside its image, its embedding and its probabilities
REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # it becomes a file name
logger = logging.getLogger("tasks.prediction_log")


@dataclass(frozen=True)
class LogHealth:
    """How the log fares: the age of the oldest row that is not on disk, how many are not, how many never will be."""

    lag_seconds: float
    waiting: int
    lost: int
    problem: str  # why the last try to write failed; "" where it did not


@dataclass
class _Waiting:
    since: float  # of the clock that never goes back
    weight: int
    row: LoggedAnswer


class PredictionLog:
    """The writing end of the log, one for each process that answers; safe to share between threads."""

    def __init__(
        self,
        place: str,
        flush_seconds: float = 5.0,
        most_waiting: int = 64_000_000,
        part_rows: int = 5_000,
        part_bytes: int = 16_000_000,
    ) -> None:
        """`place` is a folder or a URL that fsspec reaches; a part has at most `part_rows` and about `part_bytes`."""
        if flush_seconds <= 0 or min(most_waiting, part_rows, part_bytes) < 1:
            raise BadInput(
                f"a log that flushes every {flush_seconds:g} s, holds {most_waiting} bytes and writes {part_rows} rows "
                f"or {part_bytes} bytes at once cannot work; all four must be above 0"
            )
        self._store = open_store(place)
        self._flush_seconds, self._most_waiting = flush_seconds, most_waiting
        self._part_rows, self._part_bytes = part_rows, part_bytes
        self._waiting: deque[_Waiting] = deque()
        self._bytes, self._lost, self._problem = 0, 0, ""
        self._lock, self._one_writes = threading.Lock(), threading.Lock()
        self._wake, self._closed = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def append(self, row: LoggedAnswer) -> None:
        """Take a row to be written within `flush_seconds`; it is lost, and counted, where the disk lags too far behind.

        BadInput for a time without a zone, a request id that is no file name, or a log that was closed.
        """
        if row.at.tzinfo is None or not REQUEST_ID.fullmatch(row.request_id):
            raise BadInput(
                f"a row of the request {row.request_id[:120]!r} at {row.at} cannot be logged; the time needs a zone, "
                "and the id takes letters, digits, '.', '_' and '-', no more than 100"
            )
        weight = ROW_BYTES + len(row.image) + len(row.embedding) + 8 * len(row.probabilities)
        with self._lock:
            if self._closed:
                raise BadInput("the prediction log is closed; open another one")
            if self._bytes + weight > self._most_waiting:
                self._lost += 1
                return
            self._waiting.append(_Waiting(time.monotonic(), weight, row))
            self._bytes += weight
            full = len(self._waiting) >= self._part_rows or self._bytes >= self._part_bytes
        if full:
            self._wake.set()

    def flush(self) -> bool:
        """Write what waits, now and in this thread; whether nothing of it is left."""
        with self._one_writes:
            while batch := self._taken():
                groups: dict[tuple[str, dt.date], list[_Waiting]] = {}
                for one in batch:
                    groups.setdefault((one.row.project, one.row.at.astimezone(dt.UTC).date()), []).append(one)
                written = [one for group, rows in groups.items() if self._written(*group, rows) for one in rows]
                if len(written) < len(batch):
                    self._settle(written, batch)
                    return False
                self._settle(written, batch)
            self._problem = ""
            return True

    def close(self) -> LogHealth:
        """Write what waits and stop; what cannot be written now is lost, and counted."""
        with self._lock:
            self._closed = True
        self._wake.set()
        self._thread.join()
        self.flush()
        with self._lock:
            self._lost += len(self._waiting)
            self._waiting.clear()
            self._bytes = 0
        if self._lost:
            logger.error("%d rows of the prediction log were lost: %s", self._lost, self._problem or "too many waited")
        return self.health()

    def health(self) -> LogHealth:
        """How the log fares."""
        with self._lock:
            lag = time.monotonic() - self._waiting[0].since if self._waiting else 0.0
            return LogHealth(lag, len(self._waiting), self._lost, self._problem)

    def _run(self) -> None:
        """Write every half of `flush_seconds`: the other half is what the writing may take."""
        while not self._closed:
            self._wake.wait(self._flush_seconds / 2)
            self._wake.clear()
            if not self.flush():
                time.sleep(min(1.0, self._flush_seconds / 2))  # a full queue wakes at once, and the disk is in trouble

    def _taken(self) -> list[_Waiting]:
        """The oldest rows, as many as a part holds; they wait on until they are written."""
        batch: list[_Waiting] = []
        weight = 0
        with self._lock:
            for one in self._waiting:
                if batch and (len(batch) == self._part_rows or weight + one.weight > self._part_bytes):
                    break
                batch.append(one)
                weight += one.weight
        return batch

    def _written(self, project: str, day: dt.date, rows: list[_Waiting]) -> bool:
        """One part file; whether it is there. A row that Parquet cannot hold is lost, and holds up no others."""
        sound = [one.row for one in rows]
        if (content := told(sound)) is None:
            sound = [row for row in sound if told([row]) is not None]
            content = told(sound)
        try:
            if content and sound:
                self._store.write(f"{answers_folder(project, day)}/{part_name()}", content)
        except Exception as error:  # each file system raises its own; none may end this thread
            if not self._problem:
                logger.warning("the prediction log cannot be written, rows wait: %s", error)
            self._problem = f"the prediction log cannot be written: {error}"
            return False
        if len(sound) < len(rows):
            logger.error("%d rows hold values of another type than the log's and are lost", len(rows) - len(sound))
            with self._lock:
                self._lost += len(rows) - len(sound)
        return True

    def _settle(self, written: list[_Waiting], batch: list[_Waiting]) -> None:
        """Take the written rows of the oldest `batch` out, the others stay at the front."""
        gone = {id(one) for one in written}
        with self._lock:
            for _ in batch:
                self._waiting.popleft()
            self._waiting.extendleft(one for one in reversed(batch) if id(one) not in gone)
            self._bytes -= sum(one.weight for one in written)


def told(rows: Sequence[LoggedAnswer]) -> bytes | None:
    """The part file of these rows; None where a value has another type than the log's."""
    try:
        return answers_content(rows)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
