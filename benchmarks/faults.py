"""Walk every step of a rollback and break it there: does the registry always come back to the old state or the new one?

    python -m benchmarks.faults [--quick] [--steps]

A rollback of a project with three random models, really registered, is first watched: each call that it makes of MLflow
and of the ledger is a step. Then it is run again for each step and fault, in a process of its own, and broken just
before that step:

* killed      SIGKILL
* cut off     MLflow does not answer from that step on
* disk full   no file can grow from that step on (RLIMIT_FSIZE 0: SQLite and downloads fail as on a full disk)
* locked      another process holds the ledger's database, or MLflow's, from that step on
* beside      a mover on this machine and one on another try to come in between; the rollback goes on
* overtaken   the lease lapses, as in a laptop's sleep, and another machine completes a rollback to a third version;
              not tried between the last look at the lease and the alias call itself, which nothing can stop

After each the next start repairs what is open, and then must hold: the aliases are wholly the old ones or wholly the
new ones (overtaken: the other machine's), the ledger says the same, its chain holds, and the audit finds no fault.
Prints a table of faults, with --steps one of steps, and exits 0 only when all held. `--quick` takes every fifth step.
"""

import argparse
import contextlib
import json
import logging
import os
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import requests
import torch
from sqlalchemy import Engine, event

from tasks.audit_trail import audit
from tasks.errors import Busy, KeelError
from tasks.history import aliases_after
from tasks.lease import leases
from tasks.registry import Aliases, Registry, trouble
from tasks.restore import restore
from tests.accepted_versions import PROJECT, copy_project, local, prepare_project

OLD = {"champion": "3", "challenger": None, "previous": "2"}
NEW = {"champion": "1", "challenger": None, "previous": "3"}
THEIRS = (
    {"champion": "2", "challenger": None, "previous": "3"},
    {"champion": "2", "challenger": None, "previous": "1"},
)
PATIENCE = 200  # milliseconds that a database waits for a lock, here, so that the walk is short
FAULTS = ("killed", "cut off", "disk full", "ledger locked", "MLflow locked", "beside", "overtaken")
DATABASES = {"ledger locked": "ledger.db", "MLflow locked": "mlflow.db"}
DONE, EXPECTED, UNEXPECTED = 0, 3, 4  # how a process ended: without an error, with a sentence, with a traceback
UNDER_LEASE = "ledger: sound"  # the first step that only the holder of the lease makes
Hook = Callable[[str], None]


@dataclass(frozen=True)
class After:
    """What a broken rollback left: its aliases before and after the repair, and every way in which it did not hold."""

    fault: str
    step: int
    name: str
    left: Aliases
    now: Aliases
    problems: list[str]


def main() -> int:
    """Prepare, watch, walk, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every fifth step")
    parser.add_argument("--steps", action="store_true", help="print each step")
    asked = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory(prefix="keel-faults-") as folder:
        fresh = prepare_project(Path(folder, "fresh"))
        steps = watch(fresh, Path(folder, "watched"))
        print(f"{len(steps)} steps; old: {show(OLD)}; new: {show(NEW)}\n")
        print(f"{'fault':15}{'steps':>6}{'old':>6}{'new':>6}{'theirs':>8}{'repaired':>10}  held", flush=True)
        found = [line for fault in FAULTS for line in walk(fresh, steps, fault, 5 if asked.quick else 1, asked.steps)]
    held = sum(not line.problems for line in found)
    print(f"\n{held} of {len(found)} broken rollbacks held")
    return 0 if held == len(found) else 1


def walk(fresh: Path, steps: list[str], fault: str, stride: int, every: bool) -> list[After]:
    """Break a rollback at each step by one fault, and print the line of the fault."""
    begin = steps.index(UNDER_LEASE) if fault == "overtaken" else 0
    chosen = [k for k in range(begin, len(steps), stride) if fault != "overtaken" or "model_alias" not in steps[k]]
    found = [broken(fresh, fresh.parent / f"{fault}-{k}".replace(" ", "-"), fault, k, steps[k]) for k in chosen]
    ends = Counter("old" if a.now == OLD else "new" if a.now == NEW else "theirs" for a in found)
    repaired, held = sum(a.left != a.now for a in found), sum(not a.problems for a in found)
    counts = f"{ends['old']:>6}{ends['new']:>6}{ends['theirs']:>8}{repaired:>10}"
    print(f"{fault:15}{len(found):>6}{counts}  {held} of {len(found)}", flush=True)
    for after in found:
        if every or after.problems:
            state = f"{show(after.left)} -> {show(after.now)}"
            print(f"  {after.step:>3} {after.name:36}{state:44}{'; '.join(after.problems) or 'held'}")
    return found


def watch(fresh: Path, copy: Path) -> list[str]:
    """The names of the steps of an undisturbed rollback, in order."""
    copy_project(fresh, copy)
    names: list[str] = []

    def run() -> None:
        roll_back(copy, names.append)
        (copy / "steps.json").write_text(json.dumps(names))

    in_a_child(run)
    return list(json.loads((copy / "steps.json").read_text()))


def broken(fresh: Path, copy: Path, fault: str, step: int, name: str) -> After:
    """Run a rollback that the fault breaks at the step, repair as the next start does, and look."""
    copy_project(fresh, copy)
    ended = in_a_child(lambda: roll_back(copy, breaking(copy, fault, step)), may_fail=True)
    in_a_child(lambda: look(copy))
    seen = json.loads((copy / "seen.json").read_text())
    allowed = (*THEIRS, OLD, NEW) if fault == "overtaken" else (NEW,) if fault == "beside" else (OLD, NEW)
    problems = [*seen["problems"], *([] if seen["now"] in allowed else [f"ended as {show(seen['now'])}"])]
    if ended not in ((-signal.SIGKILL,) if fault == "killed" else (DONE, EXPECTED)):
        problems.append(f"the rollback ended with {ended}")
    if fault == "overtaken" and seen["now"]["champion"] != "2":
        problems.append("what the other machine finished is gone")
    shutil.rmtree(copy)
    return After(fault, step, name, seen["left"], seen["now"], problems)


def look(copy: Path) -> None:
    """Write what is there, before and after the next start's repair, into seen.json."""
    os.chdir(copy)
    registry = Registry(PROJECT, local(copy))
    left = registry.aliases()
    problems = [] if registry.repair_if_free() else ["the next start found the registry busy"]
    now, said = registry.aliases(), aliases_after(registry.ledger.read(PROJECT))
    problems += [] if now == said else [f"the ledger says {show(said)}"]
    problems += [f"{name}: {sentence}" for name, at_fault, sentence in audit(registry) if at_fault]
    (copy / "seen.json").write_text(json.dumps({"left": left, "now": now, "problems": problems}))


def roll_back(copy: Path, hook: Hook) -> None:
    """A rollback from version 3 to version 1 whose every step goes through the hook."""
    os.chdir(copy)
    restore.fn(Watched(copy, hook), "1", "for the walk", {}, copy / "ground/cases")


class Watched(Registry):
    """The real registry; a hook is told of each call of MLflow and of the ledger before it is made."""

    def __init__(self, folder: Path, hook: Hook) -> None:
        super().__init__(PROJECT, local(folder))
        event.listen(self.ledger.engine, "connect", lambda c, _: c.execute(f"PRAGMA busy_timeout = {PATIENCE}"))
        self.ledger.engine.dispose()
        event.listen(Engine, "before_cursor_execute", impatient, retval=True)
        self.told = hook
        self.client = Told(self.client, "MLflow", hook)
        self.ledger = Told(self.ledger, "ledger", hook)
        load = mlflow.pyfunc.load_model
        mlflow.pyfunc.load_model = lambda place: [tell(hook, "MLflow: load_model"), load(place)][1]

    def logged(self, version: str) -> Any:
        """Downloads are a step."""
        with trouble(self.chosen):
            tell(self.told, "MLflow: download")
        return super().logged(version)


def impatient(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
    """MLflow asks for 20 s in each session."""
    return statement.replace("busy_timeout = 20000", f"busy_timeout = {PATIENCE}"), parameters


class Told:
    """Any object, its methods told to a hook before they are called."""

    def __init__(self, target: Any, name: str, hook: Hook) -> None:
        self.target, self.name, self.hook = target, name, hook

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.target, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            tell(self.hook, f"{self.name}: {name}")
            return found(*args, **kwargs)

        return call


def tell(hook: Hook, name: str) -> None:
    """Steps are those of the rollback itself, not of the thread that renews its lease."""
    if threading.current_thread() is threading.main_thread():
        hook(name)


def breaking(copy: Path, fault: str, step: int) -> Hook:
    """A hook that lets `step` steps pass and then breaks."""
    passed, held = [0], []

    def hook(name: str) -> None:
        passed[0] += 1
        if fault == "cut off" and passed[0] > step and name.startswith("MLflow"):
            raise requests.ConnectionError("the server does not answer")
        if passed[0] != step + 1:
            return
        match fault:
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "disk full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            case _ if fault in DATABASES:
                held.append(sqlite3.connect(copy / DATABASES[fault], isolation_level=None))
                held[0].execute("BEGIN EXCLUSIVE")
            case "beside":
                come_between(copy)
            case "overtaken":
                overtake(copy)

    return hook


def come_between(copy: Path) -> None:
    """Two other movers, one of this state folder and one of another machine's."""
    (copy / "elsewhere").mkdir()
    for state in (copy, copy / "elsewhere"):
        with contextlib.suppress(Busy), Registry(PROJECT, replace(local(copy), state=state)).alone(wait=0):
            pass


def overtake(copy: Path) -> None:
    """The lease lapses and another machine, which has not slept, repairs and completes a rollback to version 2."""
    (copy / "elsewhere").mkdir()
    other = Registry(PROJECT, replace(local(copy), state=copy / "elsewhere"))
    with other.ledger.writing(leases) as connection:
        connection.execute(leases.update().values(lapses=0.0))
    restore.fn(other, "2", "the other machine", {}, copy / "ground/cases")


def in_a_child(work: Callable[[], None], may_fail: bool = False) -> int:
    """Do it in a process of its own, forked so that libraries are loaded; its exit code, or minus its signal."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = DONE
        try:
            torch.set_num_threads(1)
            work()
        except KeelError as error:
            code = EXPECTED
            if not may_fail:
                traceback.print_exception(error)
        except BaseException as error:
            code = UNEXPECTED
            traceback.print_exception(error)
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code and not may_fail:
        raise SystemExit(f"a step of the preparation or of the look afterwards ended with {code}")
    return code


def show(aliases: Aliases) -> str:
    """`champion 3, previous 2`."""
    return ", ".join(f"{name} {version}" for name, version in aliases.items() if version) or "no alias"


def quiet() -> None:
    """The libraries' own lines would hide the table."""
    os.environ |= {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    logging.disable(logging.CRITICAL)
    warnings.filterwarnings("ignore")


if __name__ == "__main__":
    sys.exit(main())
