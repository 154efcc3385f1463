"""Whatever a model off the path does, offering it an image takes no time, and what became of it is told."""

import datetime as dt
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.messages import Answers, Failed, Kept
from service.off_path import Job, OffPath, waited_for_processor
from tasks.logged_answer import LoggedAnswer
from tasks.serving_rules import OffPathRules
from tests import rude_models
from tests.served import wait_until

KEPT = Kept("2", "d" * 64, Path(), Path(), 1, "v", ("cat", "dog"), 8)
ROW = LoggedAnswer("r", dt.datetime(2026, 6, 1, tzinfo=dt.UTC), "pets", "k", "s", False, {})
PIXELS = np.zeros((3, 8, 8), np.uint8)


@contextmanager
def off_path(load: Callable[[Kept], Any], seconds: float = 30) -> Iterator[tuple[OffPath, list[Any]]]:
    rules = OffPathRules(waiting=4, seconds=seconds, memory_mb=400, reason="for the test")
    process, said = OffPath(rules, load, pause=0.1), list[Any]()
    process.then = lambda job, answer: said.append(answer)
    try:
        yield process, said
    finally:
        process.close()


def offer(process: OffPath, images: int) -> float:
    """Offer so many, and return the longest time that one took."""
    slowest = 0.0
    for _ in range(images):
        began = time.perf_counter()
        process.offer(Job(KEPT, PIXELS, ROW))
        slowest = max(slowest, time.perf_counter() - began)
    return slowest


def test_a_model_that_answers_is_heard_one_image_at_a_time() -> None:
    with off_path(rude_models.polite) as (process, said):
        offer(process, 3)
        wait_until(lambda: len(said) == 3, 60)
        assert all(isinstance(one, Answers) and one.probabilities.shape == (1, 2) for one in said)
        assert (process.dropped, process.restarts) == (0, 0)


def test_an_answer_that_makes_no_sense_is_a_failure_and_the_next_one_is_heard() -> None:
    with off_path(rude_models.polite) as (process, said):

        def then(job: Job, answer: Answers | Failed) -> None:
            if isinstance(answer, Answers):
                raise ValueError("2 probabilities came for 10 classes")
            said.append(answer.sentence)

        process.then = then
        offer(process, 2)
        wait_until(lambda: len(said) == 2, 60)
        assert said == ["ValueError: 2 probabilities came for 10 classes"] * 2


def test_a_model_that_sleeps_makes_the_queue_drop_and_count_and_nobody_waits() -> None:
    with off_path(rude_models.sleeper) as (process, said):
        process.offer(Job(KEPT, PIXELS, ROW))
        assert offer(process, 100) < 0.5
        assert process.dropped >= 90
        wait_until(lambda: said, 60)
        assert isinstance(said[0], Answers)


def test_a_model_that_raises_is_put_on_record_and_its_process_lives_on() -> None:
    with off_path(rude_models.raiser) as (process, said):
        offer(process, 2)
        wait_until(lambda: len(said) == 2, 60)
        assert said[0] == Failed("ValueError: no such layer")
        assert process.restarts == 0


@pytest.mark.parametrize(
    ("load", "seconds", "says"),
    [(rude_models.hanger, 0.5, "took more than 0.5 s"), (rude_models.grower, 30, "Memory")],
    ids=["hangs", "grows"],
)
def test_a_model_that_hangs_is_killed_and_replaced_and_one_that_grows_meets_its_limit(
    load: Callable[[Kept], Any], seconds: float, says: str
) -> None:
    with off_path(load, seconds) as (process, said):
        offer(process, 1)
        wait_until(lambda: said, 60)
        assert isinstance(said[0], Failed)
        assert says in said[0].sentence
        if load is rude_models.hanger:
            wait_until(lambda: process.restarts == 1, 10)
            offer(process, 1)
            wait_until(lambda: len(said) == 2, 60)


def test_a_model_that_gets_no_processor_did_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = iter([0.0, 0.4])
    monkeypatch.setattr("service.off_path.waited_for_processor", lambda pid: next(waited, 0.4))
    with off_path(rude_models.hanger, 0.5) as (process, said):
        offer(process, 1)
        wait_until(lambda: process.restarts == 1, 60)
        assert (process.dropped, said) == (1, [])


def test_the_time_without_a_processor_is_read_of_any_process() -> None:
    assert waited_for_processor(os.getpid()) >= 0
    assert waited_for_processor(2**30) == 0


def test_what_is_under_way_at_the_end_did_not_fail() -> None:
    with off_path(rude_models.hanger) as (process, said):
        offer(process, 1)
        wait_until(process.jobs.empty, 60)
        process.close()
        assert (process.dropped, said) == (1, [])
