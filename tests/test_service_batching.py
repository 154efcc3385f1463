"""Batches over wires: a worker that dies hands its images on, once; a model that raises is told of."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from service.batching import AHEAD, Batching, NoAnswer, Overloaded
from service.messages import Answers, Batch, Failed, Kept, Prepared

KEPT, OTHER = (Kept(version, version * 64, Path(), Path(), 1, "v", ("cat", "dog"), 8) for version in ("2", "3"))


def answer(batch: Batch) -> Any:
    """The mean grey level of each image, as its first probability; `ready` without images."""
    if batch.pixels is None:
        return Prepared(1, "ready")
    first = batch.pixels.mean(axis=(1, 2, 3)) / 255
    return Answers(np.stack([first, 1 - first], 1), np.zeros((len(first), 3), np.float16), [{"ood": 0.0}] * len(first))


def start(batching: Batching, place: int, predict: Callable[[Batch], Any]) -> threading.Thread:
    """A worker on a thread: the loop that LitServe's worker runs, over the same sockets."""
    batching.lay(place)
    theirs = batching.loop.theirs[place].dup()
    loop = type(batching.loop)()
    loop.theirs = {place: theirs}

    def work() -> None:
        with suppress(SystemExit, ConnectionError):
            loop(SimpleNamespace(predict=predict), "cpu", place)  # type: ignore[arg-type]

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    return worker


def image(grey: int) -> np.ndarray:
    return np.full((3, 8, 8), grey, np.uint8)


@contextmanager
def batching_of(most: int = 4, waiting: int = 100) -> Iterator[Batching]:
    batching = Batching(most, waiting)
    yield batching
    for place in list(batching.wires):
        batching.lose(place)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 30))  # type: ignore[arg-type]


def test_every_image_gets_its_own_answer_and_batches_are_of_one_model() -> None:
    asked = list[tuple[str, int]]()

    def predict(batch: Batch) -> Any:
        asked.append((batch.kept.version, 0 if batch.pixels is None else len(batch.pixels)))
        return answer(batch)

    async def work() -> None:
        with batching_of() as batching:
            start(batching, 0, predict)
            await batching.open()
            await batching.prepare(KEPT, 5)
            futures = [batching.ask(OTHER if grey % 3 == 0 else KEPT, image(grey)) for grey in range(20)]
            for grey, future in enumerate(futures):
                said, place = await future
                assert said.probabilities[place][0] == pytest.approx(grey / 255)

    run(work)
    assert sum(images for _, images in asked) == 20
    assert max(images for _, images in asked) <= 4
    assert sum(images for version, images in asked if version == "3") == 7


def test_images_of_a_worker_that_died_go_to_the_next_and_are_given_up_after_two() -> None:
    def die(batch: Batch) -> Any:
        raise SystemExit  # the thread ends, and with it the wire

    async def work() -> None:
        with batching_of() as batching:
            start(batching, 0, die)
            await batching.open()
            future = batching.ask(KEPT, image(51))
            while batching.under_way:
                await asyncio.sleep(0.01)
            assert not future.done()
            start(batching, 0, answer)
            await batching.open()
            said, place = await future
            assert said.probabilities[place][0] == pytest.approx(0.2)
            doomed = None
            for _ in range(2):
                batching.lose(0)
                start(batching, 0, die)
                await batching.open()
                doomed = doomed or batching.ask(KEPT, image(1))
                while batching.under_way:
                    await asyncio.sleep(0.01)
            with pytest.raises(NoAnswer, match="the worker died, twice"):
                await doomed  # type: ignore[misc]

    run(work)


def test_a_model_that_fails_or_does_not_load_is_told_of() -> None:
    async def work() -> None:
        with batching_of() as batching:
            start(batching, 0, lambda batch: Failed("ValueError: no such layer"))
            await batching.open()
            with pytest.raises(NoAnswer, match="no such layer"):
                await batching.ask(KEPT, image(1))
            with pytest.raises(NoAnswer, match="no such layer"):
                await batching.prepare(KEPT, 1)
            batching.lose(0)
            with pytest.raises(NoAnswer, match="the worker died"):
                await batching.prepare_any(KEPT, 1)

    run(work)


def test_what_waits_is_bounded_and_a_worker_has_at_most_two_batches() -> None:
    go = threading.Event()

    def wait(batch: Batch) -> Any:
        go.wait(20)
        return answer(batch)

    async def work() -> None:
        with batching_of(most=1, waiting=3) as batching:
            start(batching, 0, wait)
            await batching.open()
            futures = [batching.ask(KEPT, image(grey)) for grey in range(AHEAD + 3)]
            assert batching.under_way == {0: AHEAD}
            with pytest.raises(Overloaded, match="3 images wait already"):
                batching.ask(KEPT, image(9))
            go.set()
            assert len(await asyncio.gather(*futures)) == AHEAD + 3
            assert batching.under_way == {0: 0}

    run(work)


def test_two_workers_share_the_work() -> None:
    seen = [0, 0]
    together = threading.Barrier(2, timeout=20)

    def predict(place: int) -> Callable[[Batch], Any]:
        def one(batch: Batch) -> Any:
            if batch.pixels is not None:
                seen[place] += 1
                if seen[place] == 1:
                    together.wait()  # each has its first while the other is at work
            return answer(batch)

        return one

    async def work() -> None:
        with batching_of(most=1) as batching:
            batching.workers = 2
            for place in (0, 1):
                start(batching, place, predict(place))
            await batching.open()
            await batching.prepare(KEPT, 5)
            await asyncio.gather(*(batching.ask(KEPT, image(grey)) for grey in range(8)))

    run(work)
    assert min(seen) > 0
    assert sum(seen) == 8


def test_an_image_that_kills_workers_takes_no_other_down_with_it() -> None:
    def predict(batch: Batch) -> Any:
        if batch.pixels is not None and (batch.pixels == 13).all(axis=(1, 2, 3)).any():
            raise SystemExit
        return answer(batch)

    async def work() -> None:
        with batching_of(most=8) as batching:
            start(batching, 0, predict)
            await batching.open()
            futures = [batching.ask(KEPT, image(grey)) for grey in range(30)]
            while not all(future.done() for future in futures):
                if not batching.under_way:
                    start(batching, 0, predict)
                    await batching.open()
                await asyncio.sleep(0.01)
            failed = [grey for grey, future in enumerate(futures) if future.exception()]
            assert failed == [13]

    run(work)


def test_images_sent_as_their_worker_is_lost_and_those_whose_callers_left_are_not_forgotten() -> None:
    async def work() -> None:
        with batching_of(waiting=2) as batching:
            start(batching, 0, answer)
            await batching.open()
            future = batching.ask(KEPT, image(51))
            batching.lose(0)
            await asyncio.sleep(0.05)
            left = batching.ask(KEPT, image(1))
            with pytest.raises(Overloaded):
                batching.ask(KEPT, image(2))
            left.cancel()
            other = batching.ask(KEPT, image(102))
            start(batching, 0, answer)
            await batching.open()
            for asked, expected in ((future, 0.2), (other, 0.4)):
                said, place = await asked
                assert said.probabilities[place][0] == pytest.approx(expected)

    run(work)


def test_a_worker_that_starts_gets_nothing_while_another_answers() -> None:
    go = threading.Event()

    def wait(batch: Batch) -> Any:
        go.wait(20)
        return answer(batch)

    async def work() -> None:
        with batching_of(most=1) as batching:
            start(batching, 0, answer)
            await batching.open()
            await batching.prepare(KEPT, 5)
            start(batching, 1, wait)
            await batching.open()
            for grey in range(6):
                await asyncio.wait_for(batching.ask(KEPT, image(grey)), 2)
            await batching.prepare_any(KEPT, 2)
            go.set()

    run(work)
