"""How long a night takes beside the bare work, and how much memory it needs, from a tiny window to a large one.

    python -m benchmarks.nightly [--quick]

Runs `keel nightly` as a process of its own in a copy of this checkout's state, on windows of 40 to 100,000 images (the
bundled nights with noise of two grey levels, so that no two files are alike; every twentieth has its label). The bare
work is what nobody can do without: reading and decoding every file on all cores, and the champion's forward pass over
the pixels, timed in another process right after. The tiny night's wall time is what a night costs beside its images:
imports, servers, contract, drift tests with their audit, Evidently's reports, pages.

Bars: the tiny night takes less than 25 s; from 10,000 images on, what a window takes beyond the tiny night is at most
1.3 times the bare work; the peak memory of the largest window is at most 1.25 times that of 10,000 images. `--quick`
stops at 20,000 images and allows 1.6 times and 30 s, for a machine that others use. Needs a champion: `make release`
first. Exits 0 only when all bars hold.
"""

import argparse
import csv
import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent.parent
NAME = "digits"
REFERENCE = [f"2026-06-0{day}" for day in range(1, 6)]
FIRST = dt.date(2026, 7, 1)
SIZES, QUICK_SIZES = (40, 1_000, 10_000, 100_000), (40, 10_000, 20_000)
FROM, MEMORY = 10_000, 1.25
LABELLED_EVERY = 20
BARE = """
import json, sys, time, os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, torch
from tasks.images import decode
from tasks.scorer import Scorer, to_pixels
folder, model = Path(sys.argv[1]), Path(sys.argv[2])
files, scorer = sorted((folder / "images").iterdir()), Scorer(model)
scorer.probabilities(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
decoding = forward = 0.0
with ThreadPoolExecutor(os.cpu_count()) as pool:
    for start in range(0, len(files), 2048):
        began = time.perf_counter()
        read = pool.map(lambda f: to_pixels(decode(f.read_bytes(), f.name), 64), files[start : start + 2048])
        pixels = torch.from_numpy(np.stack(list(read)))
        decoding += time.perf_counter() - began
        began = time.perf_counter()
        scorer.probabilities(pixels)
        forward += time.perf_counter() - began
print(json.dumps([decoding, forward]))
"""


def write_window(images: int, folder: Path) -> None:
    """A window of so many images, no two alike."""
    (folder / "images").mkdir(parents=True)
    nights = [HERE / "data/production" / night for night in REFERENCE]
    rows = [(night, row) for night in nights for row in csv.DictReader((night / "metadata.csv").open(encoding="utf-8"))]
    scans = [np.asarray(Image.open(night / row["file_name"]).convert("L"), dtype=np.int16) for night, row in rows]

    def write(place: int) -> dict[str, str]:
        random, (_, row) = np.random.default_rng(place), rows[place % len(rows)]
        scan = scans[place % len(rows)] + random.integers(-2, 3, scans[0].shape)
        name = f"images/{place:06d}.png"
        Image.fromarray(np.clip(scan, 0, 255).astype(np.uint8)).save(folder / name, compress_level=1)
        label = row["label"] if place % LABELLED_EVERY == 0 else ""
        return {**row, "file_name": name, "scan": f"scan {place}", "label": label}

    with ThreadPoolExecutor(os.cpu_count()) as pool, (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0][1].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(pool.map(write, range(images)))


def copy_checkout(root: Path) -> None:
    """What a night reads, with a state of its own."""
    for name in ("tasks", "flows", "governance", "great_expectations"):
        shutil.copytree(HERE / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "uncommitted"))
    shutil.copytree(HERE / "data", root / "data")
    shutil.copytree(HERE / "state", root / "state", ignore=shutil.ignore_patterns("pixels", "hub"))
    shutil.copy(HERE / "params.yaml", root)


def run(root: Path, *words: str) -> tuple[float, float, str]:
    """Seconds, peak memory in MB, and the last line that it printed; the exit code only says the verdict."""
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(root), "KEEL_STATE": str(root / "state")}
    done = subprocess.Popen(
        [sys.executable, *words], cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out, err = done.communicate()
    seconds = time.perf_counter() - began
    if done.returncode not in (0, 2, 3):
        sys.exit(f"{' '.join(words[:4])} failed:\n{err[-2000:]}")
    return seconds, peak_of(err), out.strip().splitlines()[0] if out.strip() else ""


def peak_of(said: str) -> float:
    """What the process said of its own peak memory, in MB."""
    found = [line for line in said.splitlines() if line.startswith("peak ")]
    return float(found[-1].split()[1]) if found else float("nan")


NIGHT = """
import resource, sys
sys.argv = ["keel", *sys.argv[1:]]
from flows.cli import app
try:
    app()
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, file=sys.stderr)
"""


def main() -> int:
    """Time every size, print the table, check the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="up to 20,000 images, wider bars")
    quick = parser.parse_args().quick
    most, tiny_bar = (1.6, 30.0) if quick else (1.3, 25.0)
    if not (HERE / "state/mlflow.db").is_file():
        sys.exit("there is no champion to ask; `make release` makes one")
    failures, peaks, tiny = [], {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        copy_checkout(root)
        run(root, "-c", NIGHT, "nightly", "--date", REFERENCE[0], "--until", REFERENCE[-1])
        model = next((root / "runs" / NAME / "served").glob("v*/model"))
        print("| images | night, s | beyond the tiny one | decoding, s | forward, s | times the bare work | peak, MB |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for place, images in enumerate(QUICK_SIZES if quick else SIZES):
            night = (FIRST + dt.timedelta(days=place)).isoformat()
            write_window(images, root / "windows" / night)
            words = ("nightly", "--date", night, "--windows", "windows")
            seconds, peaks[images], said = run(root, "-c", NIGHT, *words)
            decoding, forward = json.loads(run(root, "-c", BARE, f"windows/{night}", str(model))[2])
            tiny = seconds if place == 0 else tiny
            times = (seconds - tiny) / (decoding + forward)
            print(
                f"| {images:,} | {seconds:.1f} | {seconds - tiny:.1f} | {decoding:.1f} | {forward:.1f} | {times:.2f} | "
                f"{peaks[images]:.0f} |",
                flush=True,
            )
            if place == 0 and seconds >= tiny_bar:
                failures.append(f"a night of {images} images took {seconds:.1f} s, the bar is {tiny_bar:.0f}")
            if images >= FROM and times > most:
                failures.append(f"{images:,} images took {times:.2f} times the bare work, the bar is {most}")
            if not said.startswith(("HEALTHY", "WATCH")):
                failures.append(f"{images:,} images: {said}")
            shutil.rmtree(root / "windows" / night)
    if max(peaks.values()) > MEMORY * peaks[FROM]:
        failures.append(f"the peak grew from {peaks[FROM]:.0f} to {max(peaks.values()):.0f} MB")
    for failure in failures:
        print(f"FAIL {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
