"""How near Keel's loop comes to what arithmetic allows: `python -m benchmarks.peers.keel_loop JOB.json RESULT.json`.

The limit: forward pass, cross-entropy and backward pass of the same network at the same batch size, precision, memory
layout, threads and processes, over one batch of random numbers that lies ready; no decoding, no augmentation, no
normalising, no optimizer step, no validation. It is measured before, between and after the two runs of the loop.

The loop: Keel's `train` with all open, run for a few epochs and for a few more. What the additional epochs took is what
an epoch costs with everything in it: augmentation, normalising, optimizer, validation, book-keeping.
"""

import json
import multiprocessing
import queue
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.peers.job import Job, create_network, read_job
from benchmarks.peers.keel import Tensors, decode, fit

FEW, MORE = 1, 5  # epochs
SECONDS, WARM_STEPS = 4.0, 8  # of each measurement of the limit


def main() -> int:
    """Limit, loop, limit, loop, limit."""
    job = read_job(Path(sys.argv[1]))
    torch.set_num_threads(job.threads)
    decoded = decode(job)
    limits, seconds = [limit(job)], []
    for epochs in (FEW, MORE):
        seconds.append(timed(job, decoded, epochs))
        limits.append(limit(job))
    speed = (MORE - FEW) * len(job.train.files) / (seconds[1] - seconds[0])
    highest = sum(limits) / len(limits)
    result = {"images_per_s": round(speed, 1), "limits": [round(x, 1) for x in limits], "share": speed / highest}
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")
    return 0


def timed(job: Job, decoded: Tensors, epochs: int) -> float:
    """Seconds of Keel's `train` with all open for so many epochs."""
    began = time.perf_counter()
    fit(replace(job, phases=[{"open": "all", "epochs": epochs, "rate": 1.0}]), decoded)
    return time.perf_counter() - began


def limit(job: Job) -> float:
    """Images a second, over all processes that Keel uses, each with its share of the batch."""
    processes = job.options.get("processes", 1)
    if processes == 1:
        return forward_and_backward(job, job.batch_size)
    context = multiprocessing.get_context("spawn")
    together, speeds = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=one_of_several, args=(job, processes, together, speeds)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        return sum(speeds.get(timeout=120) for _ in workers)
    except queue.Empty:
        raise SystemExit(f"one of {processes} processes that measure the limit did not answer") from None
    finally:
        for worker in workers:
            worker.join(timeout=10)


def one_of_several(job: Job, processes: int, together: Any, speeds: Any) -> None:
    """A process's share; all begin at once."""
    torch.set_num_threads(job.threads)
    together.wait(timeout=120)
    speeds.put(forward_and_backward(job, job.batch_size // processes))


def forward_and_backward(job: Job, size: int) -> float:
    """Images a second in this process."""
    torch.manual_seed(job.seed)
    net = create_network(job).train()
    images = torch.randn(size, 3, job.image_size, job.image_size)
    images = images.contiguous(memory_format=torch.channels_last) if job.channels_last else images
    targets = torch.randint(job.classes, (size,))
    steps, began = 0, 0.0
    while steps < WARM_STEPS or time.perf_counter() - began < SECONDS:
        if steps == WARM_STEPS:
            began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
            loss = F.cross_entropy(net(images), targets)
        net.zero_grad()
        loss.backward()
        steps += 1
        began = began or time.perf_counter()
    return (steps - WARM_STEPS) * size / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
