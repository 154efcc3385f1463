"""The short search behind benchmarks/peers/settings.yaml: `python -m benchmarks.peers.search DATA [--only ENGINE,...]`.

For each peer: threads and loader processes first, each pair for one epoch of the head and two of all; then, with the
fastest pair, what its library offers in one word: the channels_last layout, bf16 autocast, both. Needs a machine that
does nothing else; about half an hour on two cores. Prints seconds and validation loss; a person writes down the choice.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import yaml

from benchmarks.finetune import SETTINGS, Task, chosen_engines, in_a_process, make_job, read_photos
from benchmarks.peers.job import Job
from benchmarks.peers.verdict import OURS

PHASES = [{"open": "head", "epochs": 1}, {"open": "all", "epochs": 2}]
LOADERS = [(threads, workers) for threads in (1, 2) for workers in (0, 1, 2)]
SWITCHES = [("fp32", True), ("bf16", False), ("bf16", True)]
WITHOUT_BF16 = ("fastai",)  # its mixed precision is for CUDA


def main() -> int:
    """Search for each peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    settings = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    photos = read_photos(asked.data)
    for engine in chosen_engines(asked.only, quick=False):
        if engine != OURS:
            search(replace(make_job(Task("same", engine, 0), asked.data, False, settings, photos), phases=PHASES))
    return 0


def search(job: Job) -> None:
    """The loaders, then the switches with the fastest loader."""
    plain = replace(job, precision="fp32", channels_last=False)
    best = min((replace(plain, threads=threads, workers=workers) for threads, workers in LOADERS), key=seconds)
    for precision, channels_last in SWITCHES:
        if precision == "fp32" or job.engine not in WITHOUT_BF16:
            seconds(replace(best, precision=precision, channels_last=channels_last))


def seconds(job: Job) -> float:
    """Run it, print a line, return its time."""
    run = in_a_process(job, "same")
    layout = "channels_last" if job.channels_last else "contiguous"
    print(f"{job.engine:12} {job.threads} threads, {job.workers} workers, {job.precision}, {layout:14}", end="")
    print(f"{run['seconds']:8.1f} s, validation loss {run['validation_loss']:.3f}", flush=True)
    return float(run["seconds"])


if __name__ == "__main__":
    sys.exit(main())
