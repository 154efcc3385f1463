"""From a release to what people see and back: served, watched, let in by steps, aborted, promoted, reported, tested.

    python -m benchmarks.live [--quick]

In a temporary checkout with its own registry, ledger and log, on the bundled digits, through the real flows and the
real service on loopback. Version 1 is released and served; the sound scans of the production windows are its traffic,
and the night is judged from the log alone. Version 2 is trained without scans in white on dark; the plan of this
story does not ask for them. It goes into shadow beside sound scans, comes to 5 % of the clients, and is taken off
when the scanner is set to negative, with the sentence that says why. Version 3 is trained with them, goes through all
steps, and takes over while requests keep coming: none may be lost. One user whose scan version 2 misread reports it;
the report becomes a must-pass case, and a twin of version 2 fails at the gate because of it.

Takes six to ten minutes on two cores, with `--quick` as without. Exits 0 only when every step came out as it must.
"""

import argparse
import datetime as dt
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import yaml
from PIL import Image, ImageOps

from benchmarks.checkouts import HERE, QUICK, change_params, quiet_flows, working_in, write_checkout, write_yaml
from benchmarks.harmed import KEPT, NAME, narrow_rules
from benchmarks.prefect_site import free_port
from flows.nightly import nightly
from flows.release import release
from flows.rollout import rollout
from tasks.folders import PRODUCTION, read_window
from tasks.ledger import Entry
from tasks.log_labels import add_labels
from tasks.log_reading import read_log
from tasks.night import HEALTHY
from tasks.places import log_place
from tasks.registry import Registry
from tasks.rollout import ABORT, ADVANCE, BEGIN, PROMOTE
from tasks.routing import CHALLENGER
from tasks.settings import prepare_environment
from tasks.verdict import FAIL

WATCH, SERVING = Path("governance/watch.yaml"), Path("governance/serving.yaml")
PLAIN = {"turn": 12, "shift": 0.08, "scale": 0.15}
BOTH_WAYS = {**PLAIN, "polarity": 0.5}
KEPT_HERE = {**KEPT, "standard": (*KEPT["standard"], "must-pass-cases")}
STEPS = [
    {"name": "shadow", "kind": "shadow", "share": 0, "nights": 0, "labels": 200},
    {"name": "five", "kind": "canary", "share": 0.05, "nights": 0, "labels": 40},
    {"name": "quarter", "kind": "canary", "share": 0.25, "nights": 0, "labels": 80},
]
CLIENTS, SENDERS = 400, 4
ROUNDS = 8  # of traffic in one step, before it is given up
SOUND_NIGHTS = range(1, 16)
FLUSHED = 4.0  # seconds after which every answer is on disk
SEED = 20260601


@dataclass(frozen=True)
class Scan:
    """One image of the traffic."""

    content: bytes
    label: str
    about: dict[str, str]


@dataclass
class Traffic:
    """Sends scans, and remembers what became of every request."""

    url: str
    drawing: random.Random = field(default_factory=lambda: random.Random(SEED))
    codes: Counter[str] = field(default_factory=Counter)
    answers: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def one(self, http: httpx.Client, scan: Scan, client: int) -> None:
        """One request; whatever is not an answer is counted by its code or error."""
        form = {"key": f"client {client}", "consent": "true", "about": json.dumps(scan.about)}
        try:
            said = http.post(f"{self.url}/predict", files={"image": ("scan.png", scan.content)}, data=form)
            code, told = str(said.status_code), said.json().get("answers", []) if said.status_code == 200 else []
        except httpx.HTTPError as error:
            code, told = type(error).__name__, []
        with self.lock:
            self.codes[code] += 1
            self.answers += [{**answer, "truth": scan.label} for answer in told]

    def send(self, scans: Sequence[Scan], count: int) -> list[dict[str, Any]]:
        """So many scans, no two the same, from random clients; their answers, with the labels put down."""
        begin = len(self.answers)
        drawn = [
            (self.drawing.choice(scans), self.drawing.randrange(CLIENTS), self.drawing.random()) for _ in range(count)
        ]
        with httpx.Client(timeout=30) as http, ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(lambda one: self.one(http, varied(one[0], one[2]), one[1]), drawn))
        time.sleep(FLUSHED)
        fresh = self.answers[begin:]
        at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        rows = [
            {"request_id": a["request_id"], "label": a["truth"], "labelled_at": at, "source": "desk"} for a in fresh
        ]
        add_labels(log_place(), NAME, pd.DataFrame(rows))
        return fresh

    def lost(self) -> int:
        """Requests without an answer."""
        return sum(count for code, count in self.codes.items() if code != "200")


def varied(scan: Scan, seed: float) -> Scan:
    """The scan with a grey level more or less here and there, as a scanner never sends the same file twice."""
    grey = np.asarray(Image.open(BytesIO(scan.content)).convert("L"), dtype=np.int16)
    noise = np.random.default_rng(int(seed * 2**32)).integers(-2, 3, grey.shape)
    buffer = BytesIO()
    Image.fromarray(np.clip(grey + noise, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return Scan(buffer.getvalue(), scan.label, scan.about)


def sound_scans() -> list[Scan]:
    """The scans of the sound production windows."""
    found = []
    for day in SOUND_NIGHTS:
        window = HERE / "data" / PRODUCTION / f"2026-06-{day:02d}"
        for row in read_window(window).to_dict("records"):
            about = {name: row[name] for name in ("source", "condition", "stroke") if row.get(name)}
            found.append(Scan((window / row["path"]).read_bytes(), row["label"], about))
    return [scan for scan in found if scan.label]


def white_on_dark(scan: Scan) -> Scan:
    """The same scan from a scanner that is set to negative."""
    buffer = BytesIO()
    ImageOps.invert(Image.open(BytesIO(scan.content)).convert("L")).save(buffer, "PNG")
    return Scan(buffer.getvalue(), scan.label, {**scan.about, "condition": "white on dark"})


def write_story(root: Path) -> None:
    """The checkout: this story's plan, steps of a rollout, and a service that keeps every image."""
    write_checkout(root, ("data", "backbones"), (PRODUCTION,))
    narrow_rules(root, KEPT_HERE)
    watch = yaml.safe_load((root / WATCH).read_text(encoding="utf-8"))
    guards = watch["rollout"]["guards"]
    guards = {name: {**rules, "requests": 30} for name, rules in guards.items()}
    guards["latency"]["ratio"] = 5  # the machine of this story does everything at once
    write_yaml(root / WATCH, {**watch, "rollout": {**watch["rollout"], "steps": STEPS, "guards": guards}})
    serving = yaml.safe_load((root / SERVING).read_text(encoding="utf-8"))
    serving["keep"]["share"], serving["follow"]["poll_seconds"] = 1.0, 1
    serving["rate"] |= {"a_second": 5000, "burst": 10_000}
    write_yaml(root / SERVING, serving)
    change_params(root, QUICK | {"shortlist": {"finalists": 1}})


def train_with(root: Path, augmentation: dict[str, float], seed: int) -> None:
    """The recipe of the release to come."""
    phases = [{"open": "head", "epochs": 4, "rate": 1.0}, {"open": "all", "epochs": 14, "rate": 0.5}]
    recipe = {"augmentation": augmentation, "phases": phases, "rates": [0.012], "scratch_rates": [0.02], "seed": seed}
    change_params(root, {"finetune": recipe})


@contextmanager
def served(root: Path) -> Iterator[str]:
    """`keel serve` in a process of its own; its address."""
    port = free_port()
    words = [sys.executable, "-m", "flows.cli", "serve", "--project", NAME, "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    with (root / "serve.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(words, cwd=root, env=environment, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: httpx.get(f"{url}/ready", timeout=5).status_code == 200, 120, "the service to be ready")
            yield url
        finally:
            process.terminate()
            process.wait(60)


def wait_for(holds: Any, seconds: float, what: str) -> None:
    """Until it holds; RuntimeError where it does not in time."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            if holds():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"waited {seconds:.0f} s for {what}")


class Story:
    """Plays the steps, prints a line for each, and keeps what went wrong."""

    def __init__(self, root: Path) -> None:
        self.root, self.faults = root, list[str]()
        self.sound = sound_scans()
        self.negative = [white_on_dark(scan) for scan in self.sound]

    def check(self, what: str, said: str, right: bool) -> None:
        """One line of the table."""
        print(f"| {what} | {said.replace('|', '/')} | {'yes' if right else '**no**'} |", flush=True)
        self.faults += [] if right else [f"{what}: {said}"]

    def released(self, version: str, augmentation: dict[str, float], seed: int, champion: str) -> None:
        """A release that passes; who is champion after it."""
        train_with(self.root, augmentation, seed)
        done = release(NAME)
        aliases = Registry(NAME, prepare_environment()).aliases()
        right = aliases["champion"] == champion and version in aliases.values()
        against = [f"; {line}" for line in done.criteria if not right and line.startswith(FAIL)]
        said = f"{done.verdict}, champion {aliases['champion']}{''.join(against)}"
        self.check(f"release of version {version}", said, right)

    def moved(self, traffic: Traffic, scans: Sequence[Scan], count: int, wanted: str, at: str) -> Entry | None:
        """Traffic until the rollout makes its move, and whether it is the wanted one at that step."""
        entry: Entry | None = None
        for _ in range(ROUNDS):
            traffic.send(scans, count)
            entry = rollout(NAME)
            if entry is None or entry.body["move"] != "HOLD":
                break
        said = entry.body["sentence"] if entry else "nobody was judged"
        right = entry is not None and (entry.body["move"], entry.body["from"]) == (wanted, at)
        self.check(f"{at}, {len(traffic.answers)} answers so far", said, right)
        return entry

    def begun(self, url: str, version: str) -> None:
        """The rollout of a challenger begins, and the service knows."""
        entry = rollout(NAME)
        wait_for(lambda: has_arm(url, version), 60, f"version {version} beside the champion")
        self.check("rollout", entry.body["sentence"] if entry else "", bool(entry and entry.body["move"] == BEGIN))

    def play(self) -> None:
        """The whole way."""
        self.released("1", BOTH_WAYS, 11, "1")
        with served(self.root) as url:
            traffic = Traffic(url)
            traffic.send(self.sound, 200)
            night = nightly(NAME, date="today", windows="log")[0]
            self.check("night from the log", night.sentence, night.verdict == HEALTHY and night.body["images"] == 200)
            reported = self.worse(url, traffic)
            self.better(url, traffic)
            self.check("requests", f"{sum(traffic.codes.values())} sent, {traffic.lost()} lost", not traffic.lost())
            self.reported(url, reported)
        self.twin()

    def worse(self, url: str, traffic: Traffic) -> dict[str, Any] | None:
        """Version 2: shadow, 5 %, off; an image of a client that it misread, answered or withheld."""
        self.released("2", PLAIN, 11, "1")
        self.begun(url, "2")
        self.moved(traffic, self.sound, 300, ADVANCE, "shadow")
        wait_for(lambda: share_of(url) == 0.05, 60, "5 % of the clients")
        begin = len(traffic.answers)
        self.moved(traffic, self.negative, 400, ABORT, "five")
        wait_for(lambda: not has_arm(url, "2"), 60, "version 2 to be gone")
        by_challenger = [a for a in traffic.answers[begin:] if a["arm"] == CHALLENGER]
        misread = [a for a in by_challenger if a["predicted"] != a["truth"]]
        return next((a for a in misread if a["label"]), misread[0] if misread else None)

    def better(self, url: str, traffic: Traffic) -> None:
        """Version 3 goes all the way while requests keep coming."""
        self.released("3", BOTH_WAYS, 23, "1")
        self.begun(url, "3")
        both = [*self.sound, *self.negative]
        self.moved(traffic, both, 300, ADVANCE, "shadow")
        wait_for(lambda: share_of(url) == 0.05, 60, "5 % of the clients")
        self.moved(traffic, both, 500, ADVANCE, "five")
        wait_for(lambda: share_of(url) == 0.25, 60, "25 % of the clients")
        with trickle(traffic, both):
            self.moved(traffic, both, 400, PROMOTE, "quarter")
            wait_for(lambda: httpx.get(f"{url}/version", timeout=5).json()["version"] == "3", 60, "version 3")
            time.sleep(3)
        self.check("promotion", "the service answers with version 3", True)

    def reported(self, url: str, answer: dict[str, Any] | None) -> None:
        """A user's report becomes a must-pass case."""
        if answer is None:
            return self.check("report", "version 2 misread no image of a client", False)
        said = {"request_id": answer["request_id"], "consent": True, "retention": "days-365", "rating": 1}
        filed = httpx.post(f"{url}/feedback", json={**said, "correct_label": answer["truth"]}, timeout=10).json()["id"]
        words = [
            "feedback",
            "review",
            filed,
            "--as",
            "case",
            "--why",
            "a scan in white on dark that a client complained of",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )
        self.check("report", " ".join(done.stdout.split()) or done.stderr[-300:], done.returncode == 0)

    def twin(self) -> None:
        """The twin of version 2 fails, and by the case."""
        train_with(self.root, PLAIN, 11)
        done = release(NAME)
        because = [line for line in done.criteria if re.search("FAIL.*must-pass|must-pass.*FAIL|case_passed", line)]
        said = f"{done.verdict}: {because[0] if because else done.sentence}"
        self.check("release of version 2's twin", said, done.verdict == FAIL and bool(because))


@contextmanager
def trickle(traffic: Traffic, scans: Sequence[Scan]) -> Iterator[None]:
    """A request every 20 ms in the background, so that a move which loses one is seen."""
    stop = threading.Event()

    def run() -> None:
        with httpx.Client(timeout=30) as http:
            for place in range(10**9):
                if stop.wait(0.02):
                    return
                traffic.one(http, varied(scans[place % len(scans)], (place % 9973) / 9973), place % CLIENTS)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def has_arm(url: str, version: str) -> bool:
    """Whether the service has the version beside the champion."""
    arms = httpx.get(f"{url}/version", timeout=5).json()["arms"]
    return any(arm["version"] == version and arm["arm"] == CHALLENGER for arm in arms)


def share_of(url: str) -> float:
    """The challenger's share of the clients."""
    found = httpx.get(f"{url}/version", timeout=5).json()["rollout"]
    return float(found["share"]) if found else 0.0


def main() -> int:
    """Play the story; print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same: it takes minutes")
    parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="keel-live-") as folder, quiet_flows():
        root = Path(folder)
        write_story(root)
        story = Story(root)
        print("| step | what came of it | right |\n|---|---|---|", flush=True)
        with working_in(root):
            try:
                story.play()
            except RuntimeError as error:
                story.faults.append(str(error))
                print((root / "serve.log").read_text(encoding="utf-8")[-3000:])
            logged = len(read_log(log_place(), NAME, dt.datetime.now(dt.UTC).date(), "UTC"))
    for fault in story.faults:
        print(f"FAIL {fault}")
    print(f"\n{logged} rows in the log; {time.perf_counter() - started:.0f} s")
    return 1 if story.faults else 0


if __name__ == "__main__":
    sys.exit(main())
