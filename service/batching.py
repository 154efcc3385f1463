"""Images that wait together go to a worker together.

LitServe carries each message through a manager process, at about a third of a millisecond of processor time on both
sides; so a message holds a batch, put together here, and not an image. As soon as a worker has room the images that
wait for one model are sent: a single one never waits for company, and under load the batches grow by themselves. One
batch waits behind the one that is being answered, so that a worker is never idle while a message travels.
"""

import asyncio
import time
import uuid
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from litserve.specs.base import LitSpec
from litserve.utils import LitAPIStatus, ResponseBufferItem

from service.messages import Answers, Batch, Failed, Kept, Prepared

AHEAD = 2  # batches a worker may have: the one it answers and the next
PATIENCE = 0.05  # seconds between two questions whether a model is loaded


class Overloaded(Exception):
    """More images wait than the rules allow."""


class NoAnswer(Exception):
    """The model raised, or its worker died twice; the message says which."""


@dataclass(eq=False)
class Waiting:
    """One image, uint8 (3, S, S), the model that it is for, and who waits."""

    kept: Kept
    pixels: np.ndarray
    future: "asyncio.Future[tuple[Answers, int]]"


class Batching(LitSpec):
    """The web process's end of LitServe's queues."""

    def __init__(self, workers: int, most_images: int, most_waiting: int) -> None:
        super().__init__()
        self.api_path = "/predict"
        self.workers, self.most_images, self.most_waiting = workers, most_images, most_waiting
        self.waiting: deque[Waiting] = deque()
        self.under_way = 0
        self.sent: dict[uuid.UUID, float] = {}  # when each message went out that has no answer yet
        self.heard: dict[int, float] = {}  # by worker: when it last answered; a worker that begins is not in it
        self.sending: set[asyncio.Task[None]] = set()
        self.seen: Any = None  # called with the size of each batch

    def __getstate__(self) -> dict[str, Any]:
        """What a worker needs of it: nothing but the names that LitServe asks for."""
        return {"api_path": self.api_path, "_server": None, "_endpoints": []}

    def decode_request(self, request: Any, context_kwargs: dict[str, Any] | None = None) -> Any:
        """As it comes."""
        return request

    def encode_response(self, output: Any, context_kwargs: dict[str, Any] | None = None) -> Any:
        """As it is."""
        return output

    def ask(self, kept: Kept, pixels: np.ndarray) -> "asyncio.Future[tuple[Answers, int]]":
        """The answers to the batch that an image, uint8 (3, S, S), comes into, and its place there.

        Overloaded when too many wait already, NoAnswer when the model has none.
        """
        if len(self.waiting) >= self.most_waiting:
            raise Overloaded(f"{len(self.waiting)} images wait already")
        one = Waiting(kept, pixels, asyncio.get_running_loop().create_future())
        self.waiting.append(one)
        self._send()
        return one.future

    async def prepare(self, kept: Kept, seconds: float, workers: int | None = None) -> None:
        """Have every worker, or so many, load the model, while they go on answering; NoAnswer when one cannot, or not
        in time."""
        wanted = self.workers if workers is None else workers
        ready, until = set[int](), time.monotonic() + seconds
        while len(ready) < wanted:
            said = await self._exchange(Batch(kept, None))
            if not isinstance(said, Prepared):
                raise NoAnswer(said.sentence if isinstance(said, Failed) else "the worker died")
            if said.state not in ("ready", "loading"):
                raise NoAnswer(said.state)
            if said.state == "ready":
                ready.add(said.worker)
            if time.monotonic() > until:
                raise NoAnswer(f"loading took more than {seconds:g} s")
            await asyncio.sleep(PATIENCE if len(ready) < wanted else 0)

    def _send(self) -> None:
        """Put batches together while there is room for them; who went away in the meantime is left out."""
        while self.waiting and self.under_way < AHEAD * self.workers:
            batch, others, kept = list[Waiting](), deque[Waiting](), None
            while self.waiting and len(batch) < self.most_images:
                one = self.waiting.popleft()
                if one.future.done():
                    continue
                kept = kept or one.kept
                (batch if one.kept.digest == kept.digest else others).append(one)
            self.waiting.extendleft(reversed(others))
            if batch:
                self.under_way += 1
                task = asyncio.create_task(self._answer(batch))
                self.sending.add(task)
                task.add_done_callback(self.sending.discard)

    async def _answer(self, batch: list[Waiting]) -> None:
        try:
            message = Batch(batch[0].kept, np.stack([one.pixels for one in batch]))
            said = await self._exchange(message) or await self._exchange(message)  # a worker that died was replaced
            if self.seen:
                self.seen(len(batch))
            for place, one in enumerate(batch):
                if one.future.done():
                    continue
                if isinstance(said, Answers):
                    one.future.set_result((said, place))
                else:
                    sentence = said.sentence if isinstance(said, Failed) else "the worker died, twice"
                    one.future.set_exception(NoAnswer(sentence))
        except Exception as error:
            for one in batch:
                if not one.future.done():
                    one.future.set_exception(error)
        finally:
            self.under_way -= 1
            self._send()

    async def _exchange(self, message: Batch) -> Answers | Prepared | Failed | None:
        """One message and its answer; None when the worker died over it."""
        uid, event = uuid.uuid4(), asyncio.Event()
        item = self.response_buffer[uid] = ResponseBufferItem(event=event)
        self.sent[uid] = time.monotonic()
        try:
            self.request_queue.put((0, uid, time.monotonic(), message))
            await event.wait()
            said, status = item.response
        finally:
            del self.response_buffer[uid], self.sent[uid]
        if status != LitAPIStatus.OK:
            return None
        if item.worker_id is not None and not (isinstance(said, Prepared) and said.state == "loading"):
            self.heard[item.worker_id] = time.monotonic()
        return said

    def give_up(self, uid: uuid.UUID) -> None:
        """Wait for a message's answer no longer: the worker that had it is gone."""
        item = self.response_buffer[uid]
        item.response = (None, LitAPIStatus.ERROR)
        item.event.set()
