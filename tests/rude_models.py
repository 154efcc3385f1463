"""Models that do what the process off the path must survive: each is a loader, as service/off_path.py takes one."""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from service.messages import Answers, Kept


def answer(pixels: np.ndarray) -> Answers:
    """A half for each of two classes."""
    count = len(pixels)
    return Answers(np.full((count, 2), 0.5), np.zeros((count, 3), np.float16), [{"ood": 0.0}] * count)


def polite(kept: Kept) -> Any:
    """Answers."""
    return SimpleNamespace(answer=answer)


def sleeper(kept: Kept) -> Any:
    """Takes its time over each batch."""
    return SimpleNamespace(answer=lambda pixels: time.sleep(0.3) or answer(pixels))


def raiser(kept: Kept) -> Any:
    """Raises over each batch."""

    def fail(pixels: np.ndarray) -> Answers:
        raise ValueError("no such layer")

    return SimpleNamespace(answer=fail)


def hanger(kept: Kept) -> Any:
    """Never answers."""
    return SimpleNamespace(answer=lambda pixels: time.sleep(3600))


def grower(kept: Kept) -> Any:
    """Keeps ever more memory."""

    def grow(pixels: np.ndarray) -> Answers:
        held = []
        while True:
            held.append(np.ones(2_000_000))

    return SimpleNamespace(answer=grow)
