"""What memory Keel takes for very many images: `python -m benchmarks.peers.keel_memory JOB.json RESULT.json`.

The job's training images are repeated up to `options.images`, each in a file of its own with a serial number behind its
last byte, so that no two have one digest and nothing can be kept once for all. Trained as the job's phases say, once
with a few images and once with all of them. Counted is memory that the system cannot take back (anonymous and shared,
of this process and its children, read twenty times a second); pages of a memory-mapped file it can. The growth from few
to all must stay within the budget: what the libraries and the network take is in both.
"""

import hashlib
import json
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from benchmarks.peers.job import Job, Photos, read_job
from benchmarks.peers.keel import train

FEW = 500
EVERY_S = 0.05


def main() -> int:
    """Few images, then all."""
    job = read_job(Path(sys.argv[1]))
    torch.set_num_threads(job.threads)
    options = dict(job.options)
    images, budget = options.pop("images"), options.pop("budget_mb")
    with tempfile.TemporaryDirectory(prefix="keel-memory-") as folder:
        photos = repeat(job, images, Path(folder))
        job = replace(job, root=folder, options=options, validation=first(photos, FEW))
        few = peak_of(replace(job, train=first(photos, FEW)))
        began = time.perf_counter()
        all_of_them = peak_of(replace(job, train=photos))
        seconds = time.perf_counter() - began
    result = {
        "images": images,
        "budget_mb": budget,
        "growth_mb": round(all_of_them - few),
        "few_mb": round(few),
        "all_mb": round(all_of_them),
        "seconds": round(seconds, 1),
    }
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")
    return 0


def repeat(job: Job, images: int, folder: Path) -> Photos:
    """Write `images` files, all different, below the folder."""
    contents = [Path(job.root, name).read_bytes() for name in job.train.files]
    files, targets, digests = [], [], []
    for serial in range(images):
        place = serial % len(contents)
        content = contents[place] + serial.to_bytes(8, "big")
        name = f"{serial // 1000:04}/{serial:07}{Path(job.train.files[place]).suffix}"
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        files.append(name)
        targets.append(job.train.targets[place])
        digests.append(hashlib.sha256(content).hexdigest())
    return Photos(files, targets, digests)


def first(photos: Photos, count: int) -> Photos:
    """The first so many of them."""
    return Photos(photos.files[:count], photos.targets[:count], photos.sha256[:count])


def peak_of(job: Job) -> float:
    """MB held at the highest while the job trains."""
    done, peak = threading.Event(), 0.0

    def watch() -> None:
        nonlocal peak
        while not done.wait(EVERY_S):
            peak = max(peak, held())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        train(job)
    finally:
        done.set()
        watcher.join()
    return peak


def held() -> float:
    """MB of anonymous and shared memory of this process and its children."""
    kilobytes = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
        except OSError:  # it has just ended
            continue
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem")))
    return kilobytes / 1024


if __name__ == "__main__":
    sys.exit(main())
