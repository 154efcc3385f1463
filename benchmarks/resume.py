"""Whether a training run that is killed again and again ends with the bits of one that was not.

    python -m benchmarks.resume [--times 20] [--quick]

Trains a short run (three phases, an opening each; checkpoints after every step) once undisturbed. Then the same run is
killed with SIGKILL at moments drawn at random over its length, each time started again, and at the end its weights are
compared bit by bit. Moments fall into steps, openings, validations and checkpoint writes alike; the table says where
the run stood. Exits 0 only when all weights are equal. `--quick` kills five times.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent.parent
ARCHITECTURES = ("test_resnet", "test_convnext", "test_vit")


def main() -> int:
    """Kill, look, print, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="kills in all")
    parser.add_argument("--quick", action="store_true", help="five kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    times = 5 if asked.quick else asked.times
    moments = random.Random(asked.seed)
    equal = 0
    with tempfile.TemporaryDirectory(prefix="keel-resume-") as folder:
        wholes = {}
        for name in ARCHITECTURES[: 1 if asked.quick else None]:
            started = time.perf_counter()
            start(name, Path(folder, f"whole-{name}")).wait()
            wholes[name] = weights(Path(folder, f"whole-{name}"))
            print(f"{name}: undisturbed in {time.perf_counter() - started:.1f} s", flush=True)
        print(f"{'network':16}{'after':>8}  {'stood at (phase, epoch, batch)':34}{'equal'}")
        for number in range(times):
            name = list(wholes)[number % len(wholes)]
            same = disturbed(name, Path(folder, f"run-{number}"), moments, wholes[name])
            equal += same
    print(f"\n{equal} of {times} runs that were killed ended bit-equal")
    return 0 if equal == times else 1


def disturbed(name: str, keep: Path, moments: random.Random, whole: dict[str, torch.Tensor]) -> bool:
    """Kill one run at a moment after its first checkpoint, let it go on, and compare."""
    process = start(name, keep)
    while process.poll() is None and not place(keep):
        time.sleep(0.002)
    delay = moments.uniform(0, 1.5)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stood = place(keep)
    if start(name, keep).wait():
        print(f"{name:16}{delay:6.2f} s  {stood:34}the run did not go on", flush=True)
        return False
    found = weights(keep)
    same = all(torch.equal(whole[key], found[key]) for key in whole)
    print(f"{name:16}{delay:6.2f} s  {stood:34}{'yes' if same else 'NO'}", flush=True)
    return same


def start(name: str, keep: Path) -> "subprocess.Popen[bytes]":
    """Begin the run of tests/small_training.py, or go on with it."""
    ours = {"ARCHITECTURE": name, "KEEP": str(keep), "KEEL_STATE": str(keep.parent / "state"), "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **ours, "PYTHONPATH": str(HERE)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.small_training"], env=environment, cwd=HERE, stderr=subprocess.DEVNULL
    )


def place(keep: Path) -> str:
    """Where the newest checkpoint stands; "" before the first."""
    for file in sorted(keep.glob("*.json"), reverse=True):
        try:
            return str(json.loads(file.read_text())["facts"]["place"])
        except (OSError, ValueError, KeyError):
            continue
    return ""


def weights(keep: Path) -> dict[str, torch.Tensor]:
    """What the run ended with."""
    return load_file(keep / "end.safetensors")


if __name__ == "__main__":
    sys.exit(main())
