"""Workers that die or hang are replaced, and what they were asked is asked again.

LitServe can watch its workers too, but that watch ends for good when a request comes or goes while it looks (it walks
a dictionary that the event loop changes), and it knows nothing of a worker that hangs. This one runs on the event loop.
A worker hangs when it has held a batch longer than a request may take: everybody in that batch was told so by then.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.managers import SyncManager
from typing import Any

import litserve
from litserve.utils import WorkerSetupStatus

from service.batching import Batching, NoAnswer
from service.orphans import end_with_parent

BEAT = 0.5  # seconds between two looks
SyncManager.register("end_with_parent", end_with_parent)
logger = logging.getLogger("service.workers")


class Workers:
    """Watches the workers of `lit`: how long one may hold a batch, and how long its start may take."""

    def __init__(self, lit: litserve.LitServer, batching: Batching, seconds: float, load_seconds: float) -> None:
        self.lit, self.batching, self.seconds, self.load_seconds = lit, batching, seconds, load_seconds
        self.started: dict[int, float] = {}  # by place: when its process was started again
        self.restarts = 0
        self.warming: asyncio.Task[None] | None = None
        self.broken = ""  # why the whole service has to end

    def up(self) -> int:
        """How many run and have answered since they were started."""
        return sum(p.is_alive() and at in self.batching.heard for at, p in enumerate(self.lit.inference_workers))

    @contextmanager
    def first_ones(self) -> Iterator[None]:
        """Wait until a worker runs, and end all of them at the end, which one that is stopped would not hear of.

        RuntimeError when one died before, or none came up in time.
        """
        manager: Any = self.lit.manager
        manager.end_with_parent()  # the workers see to it themselves
        until = time.monotonic() + self.load_seconds
        try:
            while WorkerSetupStatus.READY not in self.lit.workers_setup_status.values():
                if not all(process.is_alive() for process in self.lit.inference_workers) or time.monotonic() > until:
                    raise RuntimeError("the workers did not come up; the lines above say why")
                time.sleep(0.05)
            yield
        finally:
            for process in self.lit.inference_workers:
                process.kill()  # they hold nothing

    async def watch(self, warm: Callable[[], Awaitable[None]]) -> None:
        """Look again and again; `warm` loads in every worker what it has to answer with."""
        while not self.broken:
            await asyncio.sleep(BEAT)
            try:
                await asyncio.to_thread(len, self.lit.workers_setup_status)
            except (EOFError, OSError) as error:
                self.broken = f"the process through which workers are started is gone ({type(error).__name__})"
                logger.critical("%s; the service ends, so that it can be started anew", self.broken)
                os.kill(os.getpid(), signal.SIGTERM)
                return
            try:
                self._end_those_that_hang()
                if await self._replace_the_dead():
                    self.warming = asyncio.create_task(self._warm(warm))  # on its own: what it asks may hang as well
            except Exception:  # no memory for a process, say: the next look tries again
                logger.exception("a worker was not replaced")

    async def _warm(self, warm: Callable[[], Awaitable[None]]) -> None:
        try:
            await warm()
        except NoAnswer as error:
            logger.warning("a worker that was started again has no model yet: %s", error)

    def _end_those_that_hang(self) -> None:
        now = time.monotonic()
        for place in {sent.place for sent in self.batching.sent.values()}:
            since = min(sent.since for sent in self.batching.sent.values() if sent.place == place)
            waited = now - max(since, self.batching.heard.get(place, 0))
            if waited < self.seconds or self._starts(place, now):
                continue  # a worker that starts loads its model, and will take the batch when it has
            logger.error("worker %d has hung for %.0f s, and is killed", place, waited)
            self.lit.inference_workers[place].kill()
            self.batching.lose(place)

    def _starts(self, place: int, now: float) -> bool:
        """Whether it was started again lately and may still be loading what it has to answer with."""
        warms = self.warming is not None and not self.warming.done()
        unready = place not in self.batching.heard or warms
        return unready and now - self.started.get(place, now) < self.load_seconds

    async def _replace_the_dead(self) -> bool:
        """Whether there was one."""
        dead = [place for place, process in enumerate(self.lit.inference_workers) if not process.is_alive()]
        for place in dead:
            logger.error("worker %d died (exit code %s)", place, self.lit.inference_workers[place].exitcode)
            self.batching.lose(place)
            self.batching.lay(place)
            api = self.lit.litapi_connector.lit_apis[0]
            self.started[place] = time.monotonic()
            fresh = await asyncio.to_thread(self.lit.launch_single_inference_worker, api, place)
            self.lit.inference_workers[place] = fresh
            await self.batching.open()
            self.restarts += 1
        return bool(dead)
