"""Images that wait together go to a worker together.

As soon as a worker has room the images that wait for one model are sent: a single one never waits for company, and
under load the batches grow by themselves. One batch waits behind the one that is being answered, so that a worker is
never idle while a message travels.
"""

import asyncio
import itertools
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.messages import Answers, Batch, Failed, Kept, Prepared
from service.wires import OverWire, Wire

AHEAD = 2  # batches a worker may have: the one it answers and the next
PATIENCE = 0.05  # seconds between two questions whether a model is loaded
TRIES = 2  # workers that may die over an image before it is given up
UNASKED = Failed("the worker died before it came to this")  # such images are asked again, however often


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
    tries: int = 0


@dataclass(frozen=True, eq=False)
class Sent:
    """A message that a worker has, since when, and its answer, which is None when the worker died over it."""

    place: int
    since: float
    answer: "asyncio.Future[Answers | Prepared | Failed | None]"


class Batching:
    """The web process's end of the wires to the workers, which are told by their places from 0."""

    def __init__(self, most_images: int, most_waiting: int) -> None:
        self.most_images, self.most_waiting = most_images, most_waiting
        self.workers = 1
        self.loop = OverWire()
        self.wires: dict[int, Wire] = {}
        self.waiting: deque[Waiting] = deque()
        self.numbers = itertools.count()
        self.sent: dict[int, Sent] = {}
        self.heard: dict[int, float] = {}  # by place: when it last answered; a worker that begins is not in it
        self.under_way: dict[int, int] = {}  # by place: batches
        self.sending: set[asyncio.Task[None]] = set()
        self.seen: Any = None  # called with the size of each batch

    def lay(self, place: int) -> None:
        """A fresh wire for a worker that is to start, which takes its end along; call `open` when it has started."""
        ours, self.loop.theirs[place] = socket.socketpair()
        self.wires[place] = Wire(ours, lambda number, said: self._hear(place, number, said), lambda: self.lose(place))

    async def open(self) -> None:
        """Listen to the workers that have started since the last time."""
        started, self.loop.theirs = self.loop.theirs, {}
        for place, theirs in started.items():
            theirs.close()
            await self.wires[place].open()
            self.under_way[place] = 0
        self._send()

    def lose(self, place: int) -> None:
        """The worker is gone, or given up: what it has goes to another one."""
        wire = self.wires.pop(place, None)
        if wire is not None:
            wire.close()
        self.heard.pop(place, None)
        self.under_way.pop(place, None)
        begun = False  # messages are answered in their order: the worker died over the first that has no answer
        for sent in [sent for sent in self.sent.values() if sent.place == place and not sent.answer.done()]:
            sent.answer.set_result(UNASKED if begun else None)
            begun = True

    def admit(self, images: int) -> None:
        """Overloaded when there is no room for so many more; whoever has left makes room."""
        if len(self.waiting) + images > self.most_waiting:
            self.waiting = deque(one for one in self.waiting if not one.future.done())
        if len(self.waiting) + images > self.most_waiting:
            raise Overloaded(f"{len(self.waiting)} images wait already")

    def ask(self, kept: Kept, pixels: np.ndarray) -> "asyncio.Future[tuple[Answers, int]]":
        """The answers to the batch that an image, uint8 (3, S, S), comes into, and its place there.

        Overloaded when too many wait already, NoAnswer when the model has none.
        """
        self.admit(1)
        one = Waiting(kept, pixels, asyncio.get_running_loop().create_future())
        self.waiting.append(one)
        self._send()
        return one.future

    async def prepare(self, kept: Kept, seconds: float) -> None:
        """Have every worker load the model, while they go on answering; NoAnswer when one cannot, or not in time."""
        await asyncio.gather(*(self._prepare(place, kept, seconds) for place in range(self.workers)))

    async def prepare_any(self, kept: Kept, seconds: float) -> None:
        """Have one worker that is there load the model; NoAnswer when there is none, or it cannot."""
        places = list(self.under_way) or [0]
        asked = [asyncio.ensure_future(self._prepare(place, kept, seconds)) for place in places]
        try:
            for done in asyncio.as_completed(asked):
                try:
                    return await done
                except NoAnswer as error:
                    trouble = error
            raise trouble
        finally:
            for one in asked:
                one.cancel()

    async def _prepare(self, place: int, kept: Kept, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            said = await self._exchange(place, Batch(kept, None))
            if not isinstance(said, Prepared):
                raise NoAnswer(said.sentence if isinstance(said, Failed) else "the worker died")
            if said.state == "ready":
                return
            if said.state != "loading":
                raise NoAnswer(said.state)
            if time.monotonic() > until:
                raise NoAnswer(f"loading took more than {seconds:g} s")
            await asyncio.sleep(PATIENCE)

    def _send(self) -> None:
        """Put batches together while there is room for them; who went away in the meantime is left out."""
        while self.waiting and self.under_way:
            # a worker that starts has to load its model first: it gets batches only where there is no other
            places = [at for at in self.under_way if at in self.heard] or list(self.under_way)
            place = min(places, key=lambda at: self.under_way[at])
            if self.under_way[place] >= AHEAD:
                return
            batch, others = list[Waiting](), deque[Waiting]()
            while self.waiting and len(batch) < self.most_images:
                one = self.waiting.popleft()
                if one.future.done():
                    continue
                if batch and (one.kept.digest != batch[0].kept.digest or one.tries):
                    others.append(one)
                    continue
                batch.append(one)
                if one.tries:  # a worker died over it: if it is the image, it takes no other down with it
                    break
            self.waiting.extendleft(reversed(others))
            if batch:
                self.under_way[place] += 1
                task = asyncio.create_task(self._answer(place, self.wires[place], batch))
                self.sending.add(task)
                task.add_done_callback(self.sending.discard)

    async def _answer(self, place: int, wire: Wire, batch: list[Waiting]) -> None:
        try:
            message = Batch(batch[0].kept, np.stack([one.pixels for one in batch]))
            said = await self._exchange(place, message) if self.wires.get(place) is wire else UNASKED
            if self.seen:
                self.seen(len(batch))
            for at, one in enumerate(batch):
                if not one.future.done():
                    self._settle(one, said, at)
        except Exception as error:
            for one in batch:
                if not one.future.done():
                    one.future.set_exception(error)
        finally:
            if self.wires.get(place) is wire:
                self.under_way[place] -= 1
            self._send()

    def _settle(self, one: Waiting, said: Answers | Prepared | Failed | None, at: int) -> None:
        """Give the image its answer; one whose worker died waits for the next, once."""
        one.tries += said is None
        if isinstance(said, Answers):
            one.future.set_result((said, at))
        elif said is UNASKED or (said is None and one.tries < TRIES):
            self.waiting.appendleft(one)
        else:
            sentence = said.sentence if isinstance(said, Failed) else "the worker died, twice"
            one.future.set_exception(NoAnswer(sentence))

    async def _exchange(self, place: int, message: Batch) -> Answers | Prepared | Failed | None:
        """One message and its answer; None when the worker is not there or dies over it."""
        if place not in self.under_way:
            return None
        number = next(self.numbers)
        self.sent[number] = Sent(place, time.monotonic(), asyncio.get_running_loop().create_future())
        try:
            self.wires[place].send(number, message)
            return await self.sent[number].answer
        finally:
            del self.sent[number]

    def _hear(self, place: int, number: int, said: Answers | Prepared | Failed) -> None:
        if not (isinstance(said, Prepared) and said.state == "loading"):
            self.heard[place] = time.monotonic()
        sent = self.sent.get(number)
        if sent is not None and not sent.answer.done():
            sent.answer.set_result(said)
