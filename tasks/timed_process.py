"""The process that is timed: it starts, loads one model, answers, and writes how long everything took.

Run by tasks/measure_latency.py as `python -m tasks.timed_process SPECIFICATION`, so that neither the caller's libraries
nor its memory count. It imports what a logged model imports to answer, and nothing else of Keel. An answer is timed
from the bytes of an image file to its probabilities: decoding, resizing, network; no network connection.
"""

import json
import os
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from tasks.hardware import peak_memory_mb
from tasks.scorer import Scorer

WARM_UP = 3  # answers, alone and in batches, before those that count


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """The timings that the specification asks for; `asked["started"]` is the monotonic clock before the start.

    Blocks of single images and of batches take turns, so that a busy moment of the machine hits both.
    """
    torch.set_num_threads(asked["threads"])
    files = [Path(name).read_bytes() for name in asked["images"]]
    scorer = Scorer(Path(asked["model"]))
    scorer.score_files(files[:1])
    cold = time.monotonic() - asked["started"]
    loads, requests = [os.getloadavg()[0]], cycle(files)
    for size in (1, asked["batch_size"]):
        _time(scorer, requests, size, WARM_UP)
    single: list[list[float]] = []
    batch: list[list[float]] = []
    for _ in range(asked["blocks"]):
        single.append(_time(scorer, requests, 1, asked["singles_per_block"]))
        batch.append(_time(scorer, requests, asked["batch_size"], asked["batches_per_block"]))
    loads.append(os.getloadavg()[0])
    peak = round(peak_memory_mb(), 3)
    return {
        "cold_start_s": round(cold, 4),
        "peak_memory_mb": peak,
        "load": loads,
        "single_ms": single,
        "batch_ms": batch,
    }


def _time(scorer: Scorer, requests: Any, size: int, count: int) -> list[float]:
    """Milliseconds of `count` answers to `size` images each."""
    taken = []
    for _ in range(count):
        files = list(islice(requests, size))
        started = time.perf_counter()
        scorer.score_files(files)
        taken.append(round(1000 * (time.perf_counter() - started), 4))
    return taken


if __name__ == "__main__":
    specification = Path(sys.argv[1])
    told = measure(json.loads(specification.read_text(encoding="utf-8")))
    specification.with_suffix(".out").write_text(json.dumps(told), encoding="utf-8")
