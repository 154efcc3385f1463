"""One run of one engine in a process of its own: `python -m benchmarks.peers.run JOB.json RESULT.json`.

The clock runs from the files on disk to a network that is ready to predict. It does not run while libraries are
imported: the engine first trains a moment on a few small images, so that what is imported on first use is there. Those
have another size, so that nothing which was measured, decoded or compiled for the run itself is ready.
"""

import dataclasses
import importlib
import json
import math
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.peers.job import Job, Photos, read_job
from tasks.images import decode
from tasks.scorer import outputs_of, to_pixels

WARM_IMAGES, WARM_SIZE = 64, 48


def main() -> int:
    """Warm up, train against the clock, predict."""
    job = read_job(Path(sys.argv[1]))
    torch.set_num_threads(job.threads)
    engine = importlib.import_module(f"benchmarks.peers.{job.engine}")
    engine.train(small(job))
    began = time.perf_counter()
    net = engine.train(job)
    seconds = time.perf_counter() - began
    loss, hits = predict(net, job, job.test)
    validation_loss, validation_hits = predict(net, job, job.validation)
    result = {
        "seconds": round(seconds, 3),
        "accuracy": hits.mean(),
        "loss": loss,
        "validation_accuracy": validation_hits.mean(),
        "validation_loss": validation_loss,
        "hits": "".join("01"[hit] for hit in hits.astype(int)),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")
    return 0


def small(job: Job) -> Job:
    """A moment of the same on a few validation images; none of the training images is touched."""
    places = [place % len(job.validation.files) for place in range(WARM_IMAGES)]
    few = Photos(*([column[place] for place in places] for column in dataclasses.astuple(job.validation)))
    phases = [{**phase, "epochs": 1} for phase in job.phases]
    return dataclasses.replace(job, train=few, validation=few, phases=phases, image_size=WARM_SIZE)


def predict(net: nn.Module, job: Job, photos: Photos) -> tuple[float, np.ndarray]:
    """The mean cross-entropy and the hits (N,), by the same decoding for every engine."""
    if not photos.files:
        return math.nan, np.zeros(0)
    images = [to_pixels(decode(Path(job.root, name), name), job.image_size) for name in photos.files]
    targets = torch.tensor(photos.targets)
    net.eval()
    logits = outputs_of(net, torch.from_numpy(np.stack(images)), job.mean, job.std).float()
    return float(nn.functional.cross_entropy(logits, targets)), (logits.argmax(1) == targets).numpy()


if __name__ == "__main__":
    sys.exit(main())
