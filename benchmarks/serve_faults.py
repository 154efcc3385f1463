"""What goes wrong around a service under load: what was answered is in the log, nothing is torn, and it says so.

    python -m benchmarks.serve_faults [--seconds 12] [--quick]

In a temporary checkout, with its own registry, ledger, log and store of reports, `keel serve` answers with a small
champion on two workers, and four clients ask as fast as they are answered. Then, one after the other: a worker is
killed, a worker hangs (SIGSTOP), all workers are killed, MLflow's database is unreadable, the store of reports is, the
disk of the log is full, the log is read-only, the web process is killed, and the service starts while MLflow is away.

A row holds when every request that was answered with 200 is in the log, but for those of the last `flush_seconds`
before a kill of the web process; when every file of the log reads; when `/health` and `/ready` say what is so, in the
fault and after it; when requests that must not fail do not; and when the service is well again by itself (a killed web
process is started anew, and leaves no process behind). The log lies on a small file system of its own where this user
may mount one; elsewhere a limit on the size of files and a file in the log's place stand in, and the table says so.

Exits 0 only when every row holds. With --quick for 6 seconds of load around each fault.
"""

import argparse
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil
import pyarrow.parquet as pq

from tests.accepted_versions import prepare_project
from tests.served import Server, serving, write_rules

FLUSH = 1.0  # seconds of answers that a kill may lose
ALLOWED = 5.0  # seconds in which a request has its answer, and after which a worker hangs
WELL = 60.0  # seconds in which the service must be well again
CLIENTS, WORKERS, TOKEN = 4, 2, "desk"
ROOM = "128m"  # of the log's file system
RULES = {
    "request": {"seconds": ALLOWED},
    "rate": {"a_second": 10_000, "burst": 10_000},
    "keep": {"share": 0.1},
    "log": {"flush_seconds": FLUSH},
    "follow": {"poll_seconds": 0.5},
}
AWAY = {"registry": "mlflow.db", "reports": "feedback.db"}


@dataclass
class Load:
    """Asks without a pause, and remembers when which request was answered, and what else came."""

    url: str
    images: list[bytes]
    answered: dict[str, float] = field(default_factory=dict)  # by request: the moment of its 200
    others: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, number: int) -> None:
        """One client."""
        headers, place = {"Authorization": f"Bearer {TOKEN}"}, number
        with httpx.Client(base_url=self.url, headers=headers, timeout=20) as http:
            while not self.stop.wait(0.01):
                place += 1
                form = {"key": f"client {place % 50}", "consent": "true"}
                try:
                    said = http.post("/predict", files={"image": self.images[place % len(self.images)]}, data=form)
                    code, name = str(said.status_code), said.json().get("request_id", "")
                except (httpx.HTTPError, ValueError) as error:
                    code, name = type(error).__name__, ""
                with self.lock:
                    if code == "200":
                        self.answered[name] = time.time()
                    else:
                        self.others[code] += 1


@contextmanager
def load(url: str, images: list[bytes]) -> Iterator[Load]:
    """Clients in the background."""
    found = Load(url, images)
    threads = [threading.Thread(target=found.run, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        found.stop.set()
        for thread in threads:
            thread.join()


@dataclass
class Seen:
    """What `/health` and `/ready` say, asked again and again."""

    url: str
    health: str = ""
    trouble: list[str] = field(default_factory=list)
    ready: int = 0

    def look(self) -> "Seen":
        """Now; a service that is away says "away" and 0."""
        try:
            told = httpx.get(f"{self.url}/health", timeout=5).json()
            self.health, self.trouble = told["status"], told["trouble"]
            self.ready = httpx.get(f"{self.url}/ready", timeout=10).status_code
        except httpx.HTTPError:
            self.health, self.trouble, self.ready = "away", [], 0
        return self

    def until(self, holds: Callable[["Seen"], bool], seconds: float) -> bool:
        """Whether it says so in time."""
        ends = time.monotonic() + seconds
        while not (there := holds(self.look())) and time.monotonic() < ends:
            time.sleep(0.1)
        return there


def is_well(seen: Seen) -> bool:
    """Nothing is wrong."""
    return (seen.health, seen.ready) == ("ok", 200)


class Walk:
    """Walks through the faults; `rows` that do not hold are in `faults`."""

    def __init__(self, root: Path, seconds: float) -> None:
        self.root, self.seconds, self.faults = root, seconds, list[str]()
        self.log, self.images = root / "log", [file.read_bytes() for file in sorted((root / "ground/data").iterdir())]
        self.mounted = mount(self.log)

    def row(self, fault: str, told: Load, wrong: list[str], during: str, killed: float | None = None) -> None:
        """Hold what was answered against the log, and print the row."""
        logged, torn = logged_ids(self.log)
        until = killed - FLUSH if killed else float("inf")
        lost = [name for name, at in told.answered.items() if at < until and name not in logged]
        young = sum(at >= until and name not in logged for name, at in told.answered.items())
        wrong = wrong + [f"{len(lost)} answers are not in the log"] * bool(lost)
        wrong += [f"{len(torn)} files do not read"] * bool(torn) + ["nothing was answered"] * (not told.answered)
        others = ", ".join(f"{count} {code}" for code, count in sorted(told.others.items())) or "none"
        cells = (fault, len(told.answered), others, len(lost), young, during, "; ".join(wrong) or "yes")
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        self.faults += [f"{fault}: {sentence}" for sentence in wrong]

    def fault(
        self,
        name: str,
        server: Server,
        begin: Callable[[], Callable[[], object]],
        says: str,
        ready: int,
        may_fail: bool,
        also: Callable[[], list[str]] = list,
    ) -> None:
        """Load, the fault, what is said of it, its end, and what is said then."""
        wrong, seen = list[str](), Seen(server.url)
        with load(server.url, self.images) as told:
            time.sleep(self.seconds / 3)
            end = begin()
            try:
                if not seen.until(lambda s: any(says in one for one in s.trouble) and s.ready == ready, 30):
                    wrong.append(f"said {seen.health}, {seen.trouble}, ready {seen.ready}, expected '{says}', {ready}")
                during = f"{seen.health}, {seen.ready}"
                wrong += also()
                time.sleep(self.seconds / 3)
            finally:
                end()
            if not seen.until(is_well, WELL):
                wrong.append(f"not well after {WELL:.0f} s: {seen.trouble}, ready {seen.ready}")
            before = len(told.answered)
            time.sleep(self.seconds / 3)
            wrong += ["no answers afterwards"] * (len(told.answered) == before)
        time.sleep(FLUSH + 1)
        wrong += ["requests failed that must not"] * (bool(told.others) and not may_fail)
        self.row(name, told, wrong, during)

    def all(self) -> None:
        """Every fault, on one service, until it is killed; then on its successor."""
        with self.serving() as server:
            inside = [w.pid for w in workers_of(server)]
            self.fault("a worker is killed", server, lambda: kill(inside[:1]), "1 of 2 workers", 200, may_fail=True)
            inside = [w.pid for w in workers_of(server)]
            self.fault("a worker hangs", server, lambda: hang(inside[0]), "1 of 2 workers", 200, may_fail=True)
            inside = [w.pid for w in workers_of(server)]
            self.fault("all workers are killed", server, lambda: kill(inside), "2 of 2 workers", 503, may_fail=True)
            registry, reports = self.root / AWAY["registry"], self.root / AWAY["reports"]
            away = "the registry is not followed"
            self.fault("registry unreadable", server, lambda: unreadable(registry), away, 200, may_fail=False)
            self.fault(
                "store of reports unreadable",
                server,
                lambda: self.no_reports(server, reports),
                "the last report was not filed",
                200,
                may_fail=False,
            )
            no_rows = "the log takes no rows"
            full, locked = self.full(server), self.locked()
            self.fault(f"disk of the log full ({full[0]})", server, full[1], no_rows, 503, may_fail=False)
            self.fault(f"log read-only ({locked[0]})", server, locked[1], no_rows, 503, may_fail=False)
            self.killed(server)
        self.started_again()

    @contextmanager
    def serving(self) -> Iterator[Server]:
        """The service."""
        with serving(self.root, TOKEN, WORKERS) as server:
            yield server

    def report(self, server: Server, code: int) -> list[str]:
        """A user's report, and whether it is answered with that code."""
        said = {"request_id": "r1", "consent": True, "retention": "days-30", "rating": 2}
        with server.client(TOKEN) as http:
            told = http.post("/feedback", json=said)
        return [] if told.status_code == code else [f"a report was answered {told.status_code}: {told.text[:200]}"]

    def no_reports(self, server: Server, file: Path) -> Callable[[], object]:
        """The store is no database when the first user reports; at the end somebody reports again."""
        file.write_bytes(b"x" * 8192)
        self.faults += self.report(server, 503)

        def end() -> None:
            file.unlink()
            self.faults.extend(self.report(server, 201))

        return end

    def full(self, server: Server) -> tuple[str, Callable[[], Callable[[], object]]]:
        """How the disk gets full."""
        if not self.mounted:
            return "limit on the size of files", lambda: limit_files(server.process.pid)

        def begin() -> Callable[[], object]:
            ballast = self.log / "ballast"
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.log).free - 2**20)
                file.seek(0, os.SEEK_END)
                while file.write(bytes(4096)):
                    pass
            return ballast.unlink

        return "tmpfs", begin

    def locked(self) -> tuple[str, Callable[[], Callable[[], object]]]:
        """How the log cannot be written."""
        if self.mounted:

            def begin() -> Callable[[], object]:
                remount(self.log, "ro")
                return lambda: remount(self.log, "rw")

            return "remounted", begin

        def put_file() -> Callable[[], object]:
            aside = self.log.with_name("log.aside")
            self.log.rename(aside)
            self.log.write_bytes(b"")

            def back() -> None:
                self.log.unlink()
                aside.rename(self.log)

            return back

        return "a file in its place", put_file

    def killed(self, server: Server) -> None:
        """kill -9 of the web process under load."""
        family, wrong = psutil.Process(server.process.pid).children(recursive=True), list[str]()
        with load(server.url, self.images) as told:
            time.sleep(self.seconds)
            at = time.time()
            server.process.kill()
            server.process.wait()
            seen = Seen(server.url).look()
            time.sleep(1)
        _, left = psutil.wait_procs(family, timeout=15)
        wrong += [f"{len(left)} processes were left behind"] * bool(left)
        wrong += [f"it said {seen.health} when it was dead"] * (seen.health != "away")
        self.row("the web process is killed", told, wrong, "away, 0", killed=at)

    def started_again(self) -> None:
        """A start after the kill, while MLflow is away; then MLflow is back."""
        back, wrong = unreadable(self.root / AWAY["registry"]), list[str]()
        with ExitStack() as cleanup:
            cleanup.callback(back)
            server = cleanup.enter_context(self.serving())
            with load(server.url, self.images) as told:
                seen = Seen(server.url).look()
                if seen.ready != 200 or not any("registry is not followed" in one for one in seen.trouble):
                    wrong.append(f"it said {seen.trouble}, ready {seen.ready}")
                during = f"{seen.health}, {seen.ready}"
                time.sleep(self.seconds / 2)
                back()
                wrong += [] if seen.until(is_well, WELL) else [f"not well again: {seen.trouble}, ready {seen.ready}"]
            time.sleep(FLUSH + 1)
            wrong += ["requests failed that must not"] * bool(told.others)
            self.row("started while MLflow is away", told, wrong, during)


def workers_of(server: Server) -> list[psutil.Process]:
    """The processes that hold the model: children of the web process that have PyTorch in memory."""
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if any("libtorch" in region.path for region in child.memory_maps())]


def kill(pids: list[int]) -> Callable[[], object]:
    """kill -9; nothing to put back."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return lambda: None


def hang(pid: int) -> Callable[[], object]:
    """The process stands still, for good."""
    os.kill(pid, signal.SIGSTOP)
    return lambda: None


def unreadable(file: Path) -> Callable[[], object]:
    """Make the database no database, in place, so that open connections see it too; and how it is put back."""
    size = 4096
    with file.open("r+b") as handle:
        kept = handle.read(size)
        handle.seek(0)
        handle.write(b"x" * size)

    def back() -> None:
        with file.open("r+b") as handle:
            handle.write(kept)

    return back


def limit_files(pid: int) -> Callable[[], object]:
    """The process may not write a byte to any file; and how it may again."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    return lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def mount(folder: Path) -> bool:
    """Put a small file system there; whether this user may."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "keel-faults", str(folder)]
    with suppress(OSError):
        return subprocess.run(words, check=False, capture_output=True).returncode == 0
    return False


def remount(folder: Path, how: str) -> None:
    """Read-only or not; the log may be writing just now, so try until nobody is."""
    for _ in range(100):
        if (
            subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=False, capture_output=True).returncode
            == 0
        ):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{folder} could not be remounted {how}")


def logged_ids(log: Path) -> tuple[set[str], list[Path]]:
    """The requests in the log that were answered, and the files that do not read."""
    found, torn = set[str](), list[Path]()
    for file in log.rglob("*.parquet"):
        try:
            found |= set(pq.read_table(file)["request_id"].to_pylist())
        except (OSError, ValueError):  # ArrowInvalid is a ValueError
            torn.append(file)
    return found, torn


def main() -> int:
    """Walk, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12, help="of load around each fault")
    parser.add_argument("--quick", action="store_true", help="6 seconds")
    asked, began = parser.parse_args(), time.perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the log is unmounted
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    warnings.simplefilter("ignore", UserWarning)
    logging.disable(logging.WARNING)
    with TemporaryDirectory(prefix="keel-serve-faults-") as folder:
        root = prepare_project(Path(folder) / "pets")
        write_rules(root, **RULES)
        os.environ |= {"KEEL_LOG": str(root / "log"), "KEEL_FEEDBACK_URL": f"sqlite:///{root}/feedback.db"}
        walk = Walk(root, 6 if asked.quick else asked.seconds)
        print("| fault | answered | otherwise | lost | lost, of the last second | health, ready | right |")
        print("|---|---|---|---|---|---|---|", flush=True)
        try:
            walk.all()
        finally:
            if walk.mounted:
                subprocess.run(["umount", "--lazy", str(root / "log")], check=False)
    for fault in walk.faults:
        print(f"FAIL {fault}")
    print(f"\nflush_seconds {FLUSH:g}, {CLIENTS} clients, {WORKERS} workers; {time.perf_counter() - began:.0f} s")
    return 1 if walk.faults else 0


if __name__ == "__main__":
    sys.exit(main())
