"""The other model of a rollout, asked off the request's path by a process that nobody waits for.

In shadow it is the challenger, of a canary's answers the champion as control. Whatever that model does (sleep, raise,
hang, grow), it does to a process of the lowest priority with a limit on its memory. Offering it an image takes
microseconds: what does not fit into the queue is dropped and counted. A process that hangs or dies is replaced, later
each time.
"""

import logging
import multiprocessing as mp
import os
import queue
import resource
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from service.messages import Answers, Failed, Kept
from service.orphans import end_with_parent
from tasks.logged_answer import LoggedAnswer
from tasks.serving_rules import OffPathRules

START_SECONDS = 60.0  # in which a fresh process must be ready
LOAD_SECONDS = 120.0  # in which it must have loaded a model, at the lowest priority
LOADED = "loaded"
LONGEST_PAUSE = 60.0  # seconds between two tries
LOWEST = 19  # priority: it runs when nobody else wants to
TOGETHER = 8  # images in one batch
logger = logging.getLogger("service.off_path")


@dataclass(frozen=True, eq=False)
class Job:
    """An image, uint8 (3, S, S) as the other model takes it, and the row of the request that it belongs to."""

    kept: Kept
    pixels: np.ndarray
    row: LoggedAnswer


class OffPath:
    """Takes jobs, and tells `then` what became of each. `load` makes a model of a kept version, in the process."""

    def __init__(
        self,
        rules: OffPathRules,
        load: Callable[[Kept], Any],
        pause: float = 1.0,
    ) -> None:
        self.rules, self.load, self.first_pause = rules, load, pause
        self.then: Callable[[Job, Answers | Failed], None] = ignore
        self.jobs: queue.Queue[Job] = queue.Queue(rules.waiting)
        self.dropped = self.restarts = 0
        self.stopped = threading.Event()
        self.process: Any = None
        self.thread: threading.Thread | None = None

    def offer(self, job: Job) -> bool:
        """Take the job unless the queue is full; never waits."""
        if self.thread is None:  # the process costs memory, and most services have no rollout most of the time
            self.thread = threading.Thread(target=self._run, name="off-path", daemon=True)
            self.thread.start()
        try:
            self.jobs.put_nowait(job)
            return True
        except queue.Full:
            self.dropped += 1
            return False

    def close(self) -> None:
        """End the process; what waits is dropped."""
        self.stopped.set()
        if self.thread is not None:
            self.thread.join(5)
        self._kill()

    def _run(self) -> None:
        pause = self.first_pause
        while not self.stopped.is_set():
            ours = self._start()
            if ours is not None and self._serve(ours):
                pause = self.first_pause
            self._kill()
            if self.stopped.is_set():
                return
            self.restarts += 1
            logger.warning("the process off the path ended; the next one starts in %.1f s", pause)
            self.stopped.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _start(self) -> Connection | None:
        context = mp.get_context("spawn")
        ours, theirs = context.Pipe()
        self.process = context.Process(
            target=answer_jobs, args=(theirs, self.load, self.rules.memory_mb), name="off-path", daemon=True
        )
        try:
            self.process.start()
            theirs.close()
            return ours if self._wait(ours, START_SECONDS) and ours.recv() == "ready" else None
        except (EOFError, OSError):
            return None

    def _serve(self, ours: Connection) -> bool:
        """Until it dies, hangs or is stopped; whether it answered anything."""
        answered, loaded = False, ""
        while not self.stopped.is_set():
            batch = self._next()
            if not batch:
                continue
            failed, starved = "it died over it", waited_for_processor(self.process.pid)
            limit = self.rules.seconds if batch[0].kept.digest == loaded else LOAD_SECONDS
            try:
                ours.send((batch[0].kept, np.stack([job.pixels for job in batch])))
                said = self._hear(ours, limit)
                if said == LOADED:
                    loaded, limit = batch[0].kept.digest, self.rules.seconds
                    said = self._hear(ours, limit)
                if said is not None:
                    for place, job in enumerate(batch):
                        self._tell(job, one_of(said, place))
                    answered = True
                    continue
                failed = f"it took more than {limit:g} s"
                starved = waited_for_processor(self.process.pid) - starved
                if self.stopped.is_set() or starved > limit / 2:  # the machine was busy: no fault of the model's
                    self.dropped += len(batch)
                    logger.warning("%d images off the path are dropped: no processor for %.0f s", len(batch), starved)
                    return answered
            except (EOFError, OSError):
                pass
            for job in batch:
                self._tell(job, Failed(failed))
            return answered
        return answered

    def _hear(self, ours: Connection, seconds: float) -> Any:
        """What it says next; None where that is not in time."""
        return ours.recv() if self._wait(ours, seconds) else None

    def _tell(self, job: Job, said: Answers | Failed) -> None:
        """An answer that makes no sense (other classes, no scores) is none, and ends nothing here."""
        try:
            self.then(job, said)
        except Exception as error:
            logger.exception("an answer off the path makes no sense")
            self.then(job, Failed(f"{type(error).__name__}: {error}"[:300]))

    def _wait(self, ours: Connection, seconds: float) -> bool:
        """Whether it says something in time, and nobody stops us."""
        for _ in range(max(1, int(seconds / 0.1))):
            if ours.poll(0.1):
                return True
            if self.stopped.is_set():
                return False
        return False

    def _next(self) -> list[Job]:
        """Jobs for one version that wait already; the first may take a moment to come."""
        try:
            batch = [self.jobs.get(timeout=0.2)]
        except queue.Empty:
            return []
        with self.jobs.mutex:
            waiting = self.jobs.queue
            while waiting and len(batch) < TOGETHER and waiting[0].kept.digest == batch[0].kept.digest:
                batch.append(waiting.popleft())
        return batch

    def _kill(self) -> None:
        if self.process is not None and self.process.is_alive():
            self.process.kill()
            self.process.join(5)


def waited_for_processor(pid: int) -> float:
    """Seconds that a process was ready to run and did not (Linux, /proc/<pid>/schedstat); 0 where nobody counts."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def ignore(_: Job, __: Answers | Failed) -> None:
    """What becomes of a job before anybody wants to know."""


def one_of(said: Answers | Failed, place: int) -> Answers | Failed:
    """What was said of one image of a batch."""
    if isinstance(said, Failed):
        return said
    here = slice(place, place + 1)
    return Answers(said.probabilities[here], said.features[here], said.scores[here])


def answer_jobs(theirs: Connection, load: Callable[[Kept], Any], memory_mb: int) -> None:
    """The process: one model at a time."""
    end_with_parent()
    os.nice(LOWEST)
    resource.setrlimit(resource.RLIMIT_DATA, (memory_mb * 2**20, memory_mb * 2**20))
    digest, model = "", None
    theirs.send("ready")
    while True:
        try:
            kept, pixels = theirs.recv()
        except EOFError:
            return
        try:
            if kept.digest != digest:
                model, digest = load(kept), kept.digest
                theirs.send(LOADED)
            said: Answers | Failed = model.answer(pixels)  # type: ignore[union-attr]
        except Exception as error:  # whatever it raises is its answer
            said = Failed(f"{type(error).__name__}: {error}"[:300])
        theirs.send(said)
