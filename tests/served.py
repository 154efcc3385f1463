"""A real server on loopback, of a project of accepted versions, in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.accepted_versions import PROJECT
from tests.small_checkout import HERE

QUICK: dict[str, dict[str, Any]] = {
    "request": {"most_images": 32, "most_body": 2_000_000},
    "rate": {"a_second": 200, "burst": 100},
    "keep": {"share": 1.0},
    "guards": {"abstain_on": []},
    "follow": {"poll_seconds": 0.2},
    "log": {"flush_seconds": 0.3},
}


def write_rules(root: Path, **changes: dict[str, Any]) -> None:
    """The bundled rules, quicker, with `changes` by section; and the parameters of the contract at the door."""
    document = yaml.safe_load((HERE / "governance/serving.yaml").read_text(encoding="utf-8"))
    for section, values in [*QUICK.items(), *changes.items()]:
        document[section] |= values
    (root / "governance/serving.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (root / "params.yaml").write_text((HERE / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")


@dataclass
class Server:
    """Where it listens, and its process."""

    url: str
    process: subprocess.Popen[bytes]

    def client(self, token: str) -> httpx.Client:
        """Somebody with a token."""
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=20)

    def end(self) -> int:
        """Ask it to end, and wait; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


@contextmanager
def serving(root: Path, tokens: str) -> Iterator[Server]:
    """Start it in the checkout `root`, wait until it is ready, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "flows.cli", "serve", "--project", PROJECT, "--port", str(port)]
    here = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}  # which MLflow sets
    environment = {**here, "KEEL_STATE": str(root), "KEEL_TOKENS": tokens, "PYTHONPATH": str(HERE)}
    with (root / "served.txt").open("wb") as out:
        process = subprocess.Popen(words, cwd=root, env=environment, stdout=out, stderr=out)
        try:
            wait_until(lambda: process.poll() is not None or is_ready(port), 120)
            assert process.poll() is None, (root / "served.txt").read_text()
            yield Server(f"http://127.0.0.1:{port}", process)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(40)


def is_ready(port: int) -> bool:
    """Whether the server says so."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def wait_until(holds: Any, seconds: float) -> None:
    """Until it holds; an assertion fails when it does not in time."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"not within {seconds:g} s"
        time.sleep(0.05)
