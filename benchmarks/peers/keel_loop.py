"""How near Keel's loop comes to what arithmetic allows: `python -m benchmarks.peers.keel_loop JOB.json RESULT.json`.

The limit: forward pass, cross-entropy and backward pass of the same network at the same batch size, precision, memory
layout and number of threads, over one batch of random numbers that lies ready; no decoding, no augmentation, no
normalising, no optimizer step, no validation. It is measured before, between and after the two runs of the loop.

The loop: Keel's `train` with all open, run for a few epochs and for a few more. What the additional epochs took is what
an epoch costs with everything in it: augmentation, normalising, optimizer, validation, book-keeping.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.peers.job import Job, create_network, read_job
from benchmarks.peers.keel import Tensors, decode, fit
from tasks.finetune import Trained
from tasks.pace import Pace

FEW, MORE = 1, 5  # epochs
SECONDS, WARM_STEPS = 4.0, 8  # of each measurement of the limit


def main() -> int:
    """Limit, loop, limit, loop, limit; the first loop, not counted, lets the engine choose its precision and layout."""
    job = read_job(Path(sys.argv[1]))
    torch.set_num_threads(job.threads)
    decoded = decode(job)
    pace = with_epochs(job, decoded, 1).pace
    limits, seconds = [limit(job, pace)], []
    for epochs in (FEW, MORE):
        began = time.perf_counter()
        with_epochs(job, decoded, epochs)
        seconds.append(time.perf_counter() - began)
        limits.append(limit(job, pace))
    speed = (MORE - FEW) * len(job.train.files) / (seconds[1] - seconds[0])
    highest = sum(limits) / len(limits)
    result = {"images_per_s": round(speed, 1), "limits": [round(x, 1) for x in limits], "share": speed / highest}
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")
    return 0


def with_epochs(job: Job, decoded: Tensors, epochs: int) -> Trained:
    """Keel's `train` with all open for so many epochs."""
    return fit(replace(job, phases=[{"open": "all", "epochs": epochs, "rate": 1.0}]), decoded)


def limit(job: Job, pace: Pace) -> float:
    """Images a second of the forward and the backward pass alone."""
    torch.manual_seed(job.seed)
    torch.set_num_threads(pace.threads)
    net = create_network(job).train().to(memory_format=pace.memory_format)
    images = pace.lay_out(torch.randn(job.batch_size, 3, job.image_size, job.image_size))
    targets = torch.randint(job.classes, (job.batch_size,))
    steps, began = 0, 0.0
    while steps < WARM_STEPS or time.perf_counter() - began < SECONDS:
        if steps == WARM_STEPS:
            began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=pace.precision == "bf16-mixed"):
            loss = F.cross_entropy(net(images), targets)
        net.zero_grad()
        loss.backward()
        steps += 1
        began = began or time.perf_counter()
    return (steps - WARM_STEPS) * job.batch_size / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
