"""How fast the service answers, beside `mlflow models serve` of the same version and the bare model.

    python -m benchmarks.serve [--project digits] [--seconds 20] [--mlflow-workers 1] [--quick]

Serves the project's champion on loopback, so run `keel release` once before. One load generator, a process of its own
with one connection a client, sends images of the labelled data, the next as soon as the last is answered; first to
`keel serve`, then to MLflow, in turns, so that both meet the same machine.

* alone       decode and forward pass in one process, no server: what cannot be undercut
* keel        `keel serve` with one worker: form data, with guard, log, limits and tokens in force
* <rude>      `keel serve` in a shadow rollout whose challenger sleeps, raises, hangs or grows, and `without` beside it
* mlflow      `mlflow models serve --env-manager local`: JSON with base64, which is what it takes

Prints requests a second, p50 and p99, and exits 0 only when at 32 clients Keel answers at least 5 times as many as
MLflow, at 1 client its p99 is below 3 times that of the bare model, and a rude challenger changes no answer, and the
p99 of 4 clients by no more than half. The last column is processor time of all processes of a server, an answer. With
--quick for a few seconds each, with a fifth more room in the bars.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np

from benchmarks.load import Load, form_request, json_request, load, together
from benchmarks.prefect_site import free_port

HERE = Path(__file__).parent.parent
CLIENTS = (1, 32)
TIMES_MLFLOW, TIMES_ALONE = 5.0, 3.0
RUDE_CLIENTS, TIMES_POLITE = 4, 1.5
KINDS = ("sleeper", "raiser", "hanger", "grower")  # of tests/rude_models.py
IMAGES = 64
ROUNDS = 2


def main() -> int:
    """Serve, load, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", default="digits")
    parser.add_argument("--seconds", type=float, default=20, help="of load, a row and round")
    parser.add_argument("--mlflow-workers", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="4 seconds a row")
    asked = parser.parse_args()
    seconds, room = (4.0, 1.2) if asked.quick else (asked.seconds, 1.0)
    os.chdir(HERE)
    images = [file.read_bytes() for file in sorted(Path("data/images").iterdir())[:IMAGES]]
    with keel(asked.project) as ours:
        rude = {kind: beside_rude(asked.project, kind, ours, images, seconds) for kind in KINDS}
    with keel(asked.project) as ours, mlflow(asked.project, asked.mlflow_workers) as theirs:
        bare, seen = alone(asked.project, images, seconds), dict[tuple[str, int], list[Load]]()
        for _ in range(ROUNDS):
            for clients in CLIENTS:
                for name, (port, group), make in (("keel", ours, form_request), ("mlflow", theirs, json_request)):
                    requests = [make(image, f"token{k % CLIENTS[-1]}") for k, image in enumerate(images)]
                    seen.setdefault((name, clients), []).append(load(port, requests, clients, seconds / ROUNDS, group))
    print(f"{'':10}{'clients':>8}{'answers/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'failed':>8}{'processor ms':>14}")
    print(row("alone", 1, bare))
    whole = {key: together(loads) for key, loads in seen.items()}
    for (name, clients), found in sorted(whole.items()):
        print(row(name, clients, found))
    for kind, (without, found) in rude.items():
        print(row("without", RUDE_CLIENTS, without))
        print(row(kind, RUDE_CLIENTS, found))
    faster = whole["keel", 32].rate / whole["mlflow", 32].rate
    slower = whole["keel", 1].quantile(0.99) / bare.quantile(0.99)
    held = {
        f"at 32 clients {faster:.1f} times MLflow's answers (at least {TIMES_MLFLOW / room:.1f})": (
            faster >= TIMES_MLFLOW / room
        ),
        f"at 1 client p99 {slower:.2f} times that of the bare model (below {TIMES_ALONE * room:.1f})": (
            slower < TIMES_ALONE * room
        ),
        "no request failed": not any(found.bad for found in [*whole.values(), *(both[1] for both in rude.values())]),
    }
    for kind, (without, found) in rude.items():
        times = found.quantile(0.99) / without.quantile(0.99)
        held[f"{kind} in shadow: p99 {times:.2f} times that without (at most {TIMES_POLITE * room:.1f})"] = (
            times <= TIMES_POLITE * room
        )
        held[f"{kind} in shadow: the same answers"] = same_answers(without, found)
    print()
    for says, holds in held.items():
        print(f"{'yes' if holds else 'NO':5}{says}")
    return 0 if all(held.values()) else 1


def row(name: str, clients: int, found: Load) -> str:
    """A line of the table."""
    times = f"{found.quantile(0.5):>9.2f}{found.quantile(0.99):>9.2f}"
    return f"{name:10}{clients:>8}{found.rate:>11.0f}{times}{found.bad:>8}{found.cost:>14.2f}"


def beside_rude(
    project: str, kind: str, ours: tuple[int, int], images: list[bytes], seconds: float
) -> tuple[Load, Load]:
    """The same load without a challenger and with a rude one, in turns."""
    requests = [form_request(image, f"token{k % CLIENTS[-1]}") for k, image in enumerate(images)]
    with keel(project, ["-m", "benchmarks.rude_shadow", kind, project]) as rude:
        pairs = [
            [load(port, requests, RUDE_CLIENTS, seconds / ROUNDS, group) for port, group in (ours, rude)]
            for _ in range(ROUNDS)
        ]
    return together([pair[0] for pair in pairs]), together([pair[1] for pair in pairs])


def same_answers(one: Load, other: Load) -> bool:
    """Whether two servers say the same of each image: label, version, probabilities (batches differ in rounding)."""
    both = one.bodies.keys() & other.bodies.keys()
    for place in both:
        a, b = (json.loads(load.bodies[place])["answers"][0] for load in (one, other))
        if any(a[name] != b[name] for name in ("label", "version", "arm")):
            return False
        if not np.allclose(list(a["probabilities"].values()), list(b["probabilities"].values()), atol=1e-6):
            return False
    return bool(both)


def alone(project: str, images: list[bytes], seconds: float) -> Load:
    """Decode and forward pass of one image at a time, on one thread, in a process that does nothing else."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(bare_model, project, images, seconds).result()


def bare_model(project: str, images: list[bytes], seconds: float) -> Load:
    """In the other process."""
    import torch

    from service.kept_versions import keep_version
    from tasks.images import decode
    from tasks.penultimate import FeatureScorer
    from tasks.registry import Registry
    from tasks.scorer import to_pixels
    from tasks.settings import prepare_environment

    chosen = prepare_environment()
    registry = Registry(project, chosen)
    kept = keep_version(registry, str(registry.aliases()["champion"]), chosen.state / "serving")
    torch.set_num_threads(1)
    scorer, times = FeatureScorer(kept.model), list[float]()
    until, place, work = time.perf_counter() + seconds, -20, 0.0
    while time.perf_counter() < until:
        began, worked = time.perf_counter(), time.process_time()
        pixels = to_pixels(decode(images[place % len(images)], "image"), kept.image_size)
        scorer.answer(torch.from_numpy(pixels[None].copy()))
        place += 1
        if place > 0:
            times.append(time.perf_counter() - began)
            work += time.process_time() - worked
    return Load(np.array(times), 0, sum(times), work=work, asked=len(times))


@contextmanager
def keel(project: str, program: list[str] | None = None) -> Iterator[tuple[int, int]]:
    """`keel serve` with a token for each client; the port, and its processes."""
    port, tokens = free_port(), ",".join(f"token{k}" for k in range(CLIENTS[-1]))
    words = program or ["-m", "flows.cli", "serve", "--project", project, "--port"]
    with TemporaryDirectory() as log:
        environment = {**os.environ, "KEEL_TOKENS": tokens, "KEEL_LOG": log}
        with running([sys.executable, *words, str(port)], environment, f"http://127.0.0.1:{port}/ready") as group:
            yield port, group


@contextmanager
def mlflow(project: str, workers: int) -> Iterator[tuple[int, int]]:
    """MLflow's own server of the same version; the port, and its processes."""
    from tasks.registry import Registry
    from tasks.settings import prepare_environment

    chosen, port = prepare_environment(), free_port()
    version = Registry(project, chosen).aliases()["champion"]
    where = ["-m", f"models:/{project}/{version}", "--port", str(port), "--workers", str(workers)]
    words = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", *where]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": chosen.tracking_uri, "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with running(words, environment, f"http://127.0.0.1:{port}/ping") as group:
        yield port, group


@contextmanager
def running(words: list[str], environment: dict[str, str], page: str) -> Iterator[int]:
    """A server in a process group of its own, once its page answers 200."""
    with TemporaryDirectory() as folder, Path(folder, "said.txt").open("w+") as out:
        process = subprocess.Popen(words, env=environment, stdout=out, stderr=out, start_new_session=True)
        try:
            until = time.monotonic() + 180
            while not answers(page):
                if process.poll() is not None or time.monotonic() > until:
                    out.seek(0)
                    sys.exit(f"{' '.join(words)} does not answer:\n{out.read()[-2000:]}")
                time.sleep(0.2)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def answers(page: str) -> bool:
    """Whether the page is there."""
    try:
        return httpx.get(page, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    sys.exit(main())
