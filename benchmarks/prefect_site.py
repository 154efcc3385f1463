"""A checkout with a Prefect server, a work pool and a worker of its own, for benchmarks/server.py to break.

Everything lies in one folder: a clone of the repository with copies of data, runs and state, Prefect's home, a
PostgreSQL cluster where one is asked for. What the processes print goes into one log.
"""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from tasks.ledger import Entry, Ledger
from tasks.settings import QUIET

HERE = Path(__file__).resolve().parent.parent
KEEL = [sys.executable, "-c", "from flows.cli import main; main()"]
PREFECT = [sys.executable, "-m", "prefect"]
LEASES = "prefect.server.concurrency.lease_storage.filesystem"
COPIED = ("data", "backbones", "runs")
PLACES = {  # where MLflow keeps the place of its files
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}
OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Site:
    """The folder, the processes, and the ways to ask them."""

    def __init__(self, root: Path, log: Path, more: dict[str, str]) -> None:
        self.root, self.log, self.checkout = root, log, root / "checkout"
        self.port = free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("KEEL_", "PREFECT_", "MLFLOW_"))}
        self.environment = {
            **kept,
            **QUIET,
            "PREFECT_HOME": str(root / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
            "PYTHONPATH": str(self.checkout),
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            **more,
        }
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None

    def furnish(self) -> None:
        """Clone the repository from a bare one, which is then pulled from, and copy what git does not hold."""
        origin = self.root / "origin.git"
        self.run("git", "clone", "--quiet", "--bare", str(HERE), str(origin), cwd=self.root)
        branch = self.run("git", "rev-parse", "--abbrev-ref", "HEAD", cwd=HERE).strip()
        self.run("git", "clone", "--quiet", "--branch", branch, str(origin), str(self.checkout), cwd=self.root)
        for name in COPIED:
            shutil.copytree(HERE / name, self.checkout / name, symlinks=True)
        shutil.copytree(HERE / "state", self.checkout / "state", ignore=shutil.ignore_patterns("prefect", "*.lock"))
        relocate(self.checkout / "state/mlflow.db", (HERE / "state").as_uri(), (self.checkout / "state").as_uri())

    def start_server(self) -> float:
        """Start it and wait until it answers; the seconds that it took."""
        began = time.monotonic()
        words = [*PREFECT, "server", "start", "--port", str(self.port), "--analytics-off"]
        self.server = self.spawn(words)
        self.wait(lambda: answers(self.api), 120, "the Prefect server")
        return time.monotonic() - began

    def start_worker(self) -> None:
        """Start a worker of the pool; it takes runs from then on."""
        self.worker = self.spawn([*PREFECT, "worker", "start", "--pool", "keel"])

    def spawn(self, words: list[str]) -> subprocess.Popen[bytes]:
        """A process of its own session, whose lines go into the log."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                words, cwd=self.checkout, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def run(self, *words: str, cwd: Path | None = None, fails: bool = False) -> str:
        """Run a command to its end; what it printed, which also goes into the log. It must not fail unless it may."""
        done = subprocess.run(
            words,
            cwd=cwd or self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(words)}\n{done.stdout}\n")
        if done.returncode and not fails:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}: {done.stdout.strip()[-500:]}")
        return done.stdout

    def prefect(self, *words: str, fails: bool = False) -> str:
        """One command of Prefect."""
        return self.run(*PREFECT, *words, fails=fails)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer of the server's API."""
        for _ in range(5):
            answer = httpx.request(method, f"{self.api}/{path}", json=body, timeout=30)
            if answer.status_code != 503:  # a busy SQLite, after which Prefect's own client asks again too
                break
            time.sleep(1)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment; its flow has its name, save for the flow of the drill, which has too."""
        found: dict[str, Any] = self.ask("GET", f"deployments/name/{name}/{name}")
        return found

    def begin(self, name: str, **parameters: Any) -> str:
        """Ask for a run of a deployment; its id."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.ask("POST", f"deployments/{self.deployment(name)['id']}/create_flow_run", body)["id"])

    def state(self, run: str) -> dict[str, Any]:
        """The state of a run: type, name, message."""
        found: dict[str, Any] = self.ask("GET", f"flow_runs/{run}")["state"]
        return found

    def runs(self, **narrower: Any) -> list[dict[str, Any]]:
        """The runs that the filter lets through, the newest first."""
        body = {"flow_runs": narrower, "sort": "EXPECTED_START_TIME_DESC", "limit": 200}
        found: list[dict[str, Any]] = self.ask("POST", "flow_runs/filter", body)
        return found

    def end_of(self, run: str, seconds: float = 240) -> str:
        """Wait until the run is over; the name of its last state."""
        self.wait(lambda: self.state(run)["type"] in OVER, seconds, f"the end of run {run}")
        return str(self.state(run)["name"])

    def wait(self, done: Callable[[], Any], seconds: float, what: str) -> float:
        """Look again and again until it is so; the seconds that it took. SystemExit when it takes longer than that."""
        began = time.monotonic()
        while True:
            with suppress(httpx.TransportError):
                if done():
                    return time.monotonic() - began
            if time.monotonic() - began > seconds:
                raise SystemExit(f"{what} did not come within {seconds:.0f} s; the log is {self.log}")
            time.sleep(0.5)

    def entries(self, kind: str) -> list[Entry]:
        """The ledger's entries of a kind."""
        return Ledger(f"sqlite:///{self.checkout}/state/ledger.db").read("digits", kind)

    def nights(self, night: str) -> list[Entry]:
        """The verdicts on record of a night."""
        return [entry for entry in self.entries("night") if entry.body["night"] == night]

    def close(self) -> None:
        """Stop the worker, then the server: a worker whose server has gone may never stop."""
        for process in (self.worker, self.server):
            if process is not None:
                stop(process)


def stop(process: subprocess.Popen[bytes], patience: float = 15) -> None:
    """Ask it to end, and make it end."""
    family = descendants(process)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    slay(family)
    process.wait()


def kill(process: subprocess.Popen[bytes]) -> int:
    """SIGKILL to it and to all that it started, at once; how many that were."""
    family = descendants(process)
    slay(family)
    process.wait()
    return len(family)


def descendants(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """It and all that it started."""
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(process.pid)
        return [first, *first.children(recursive=True)]
    return []


def slay(family: list[psutil.Process]) -> None:
    """SIGKILL to each that lives."""
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)


def relocate(database: Path, old: str, new: str) -> None:
    """Tell a copy of MLflow's database where its files are now."""
    with sqlite3.connect(database) as connection:
        for table, column in PLACES.items():
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (f"{old}/", f"{new}/"))
    connection.close()


def answers(api: str) -> bool:
    """Whether the server is there."""
    return httpx.get(f"{api}/health", timeout=2).status_code == 200


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
