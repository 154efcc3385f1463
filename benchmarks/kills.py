"""Kill a release with SIGKILL at many moments: what `keel status` then shows, and whether the next release completes.

    python -m benchmarks.kills [--times 10] [--quick] [--seed 0]

Works on the small checkout of the tests in a temporary folder, with the real command line in a process group of its
own, its Prefect server included. A first release is timed, part by part; each kill then falls at a random moment of one
part. Some fall into the very first release, while the databases are being made; the others find a champion in place, so
that a mixture of old and new would show. After each kill it asks:

* does `keel status` end well, and show what the ledger says: the aliases that its finished changes lead to, no change
  left open, the chain of hashes whole, no version and no run that no finished change made;
* does the next `keel release` complete, with the new model as champion and the old one as previous.

Prints a table and exits 0 only when every kill held. A kill costs about 40 s, most of it for starting Prefect's server;
set PREFECT_API_URL to a running one to spare that.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tasks.digests import identity
from tasks.ledger import Entry, Ledger
from tasks.registry import ALIASES, Aliases, Registry
from tasks.settings import Settings
from tests.small_checkout import HERE, write_checkout, write_images

KEEL = [sys.executable, "-c", "from flows.cli import main; main()"]
# The parts of a release, and the line of progress that each begins with; the first begins with the process.
PARTS = {
    "databases": "",
    "stages": r"and the ledger answer",
    "record": r"write_card: ",
    "register": r"decision \d+: ",
    "promote": r"registered version",
    "end": r"is champion",
}
AIMED = ("record", "register", "promote", "end", "stages")  # in turn, where a champion is in place
AIMED_FIRST = ("stages", "databases")  # in turn, in a first release
Timetable = dict[str, float]


@dataclass(frozen=True)
class Kill:
    """One kill: what the ledger held before the repair, what came after, and every way in which it did not hold."""

    before: str
    part: str
    delay: float
    left_open: str
    after: str
    problems: list[str]


def main() -> int:
    """Time a release, kill others, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="kills in all")
    parser.add_argument("--quick", action="store_true", help="three kills, one of them in a first release")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    times = 3 if asked.quick else asked.times
    moments = random.Random(asked.seed)
    with tempfile.TemporaryDirectory(prefix="keel-kills-") as folder:
        fresh, used = Path(folder, "fresh"), Path(folder, "used")
        write_checkout(fresh)
        shutil.copytree(fresh, used)
        first = timed_release(used)
        write_images(used / "pets", noise=1000)
        later = timed_release(used)
        print(f"{'champion':10}{'part':10}{'after':>8}  {'left open':12}{'keel status then':42}held", flush=True)
        kills = []
        for number in range(times):
            if number < max(1, times // 5):
                shutil.copytree(fresh, root := Path(folder, f"first{number}"))
                part, table = AIMED_FIRST[-1 - number % len(AIMED_FIRST)], first
            else:
                root, part, table = used, AIMED[number % len(AIMED)], later
                write_images(root / "pets", noise=number)
            kills.append(kill(root, part, moments.uniform(0, table[part])))
            show(kills[-1])
    held = sum(not k.problems for k in kills)
    print(f"\n{held} of {len(kills)} kills held")
    return 0 if held == len(kills) else 1


def timed_release(root: Path) -> Timetable:
    """Release undisturbed; the seconds that each part took."""
    process = start(root)
    marks = {"databases": time.perf_counter()}
    assert process.stderr is not None
    for line in process.stderr:
        marks |= {part: time.perf_counter() for part, sign in PARTS.items() if sign and re.search(sign, line)}
    if process.wait() != 0:
        raise SystemExit(f"the undisturbed release ended with {process.returncode}; nothing can be timed")
    ends = [*list(marks.values())[1:], time.perf_counter()]
    return {part: end - begin for (part, begin), end in zip(marks.items(), ends, strict=True)}


def start(root: Path) -> subprocess.Popen[str]:
    """Begin `keel release` in a process group of its own."""
    command = [*KEEL, "release", "--project", "pets"]
    return subprocess.Popen(
        command,
        cwd=root,
        env=environment(),
        text=True,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def environment() -> dict[str, str]:
    """This checkout's code, and no server but the temporary folder's own."""
    ours = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "KEEL_STATE", "KEEL_LEDGER_URL")}
    return {**ours, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}


def kill(root: Path, part: str, delay: float) -> Kill:
    """Kill a release `delay` seconds into a part, look, and release again."""
    before = champion_of(root)
    process = start(root)
    assert process.stderr is not None
    if PARTS[part]:
        next((line for line in process.stderr if re.search(PARTS[part], line)), None)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = ", ".join(entry.body["action"] for entry in open_intents(root)) or "-"
    status = keel(root, "status")
    shown = [line.split() for line in status.stdout.splitlines() if line.startswith(ALIASES) and "version" in line]
    after = ", ".join(f"{words[0]} {words[2].rstrip(',')}" for words in shown) or "no model"
    problems = after_status(root, status) + after_next_release(root, before)
    return Kill(before or "none", part, delay, left, after, problems)


def open_intents(root: Path) -> list[Entry]:
    """The changes that the killed process left open, before anything repairs them."""
    file = root / "state/ledger.db"
    return Ledger(f"sqlite:///{file}").open_intents("pets") if file.is_file() else []


def champion_of(root: Path) -> str | None:
    """The version that the ledger's last finished promotion made champion."""
    if not (root / "state/ledger.db").is_file():
        return None
    ledger = Ledger(f"sqlite:///{root}/state/ledger.db")
    done = {e.body["intent"] for e in ledger.read("pets", "done")}
    moves = [e for e in ledger.read("pets", "intent") if e.body["action"] == "promote" and e.number in done]
    return str(moves[-1].body["version"]) if moves else None


def after_status(root: Path, status: subprocess.CompletedProcess[str]) -> list[str]:
    """What is wrong once `keel status` has looked."""
    if status.returncode or "Traceback" in status.stderr:
        return [f"status ended with {status.returncode}: {status.stderr.strip()[-300:]}"]
    return against_ledger(Registry("pets", local(root)))


def after_next_release(root: Path, old: str | None) -> list[str]:
    """What is wrong after a release that nobody disturbs."""
    again = keel(root, "release")
    if again.returncode:
        return [f"the next release ended with {again.returncode}: {again.stderr.strip()[-300:]}"]
    registry = Registry("pets", local(root))
    new = registry.version_of(identity(root / "runs/pets/model"))
    wanted: Aliases = {"champion": new, "challenger": None, "previous": old}
    problems = against_ledger(registry)
    if registry.aliases() != wanted:
        problems.append(f"after the next release the aliases are {registry.aliases()}, not {wanted}")
    pages, decisions = (
        list((root / "governance/decisions/pets").glob("*.json")),
        registry.ledger.read("pets", "decision"),
    )
    if len(pages) != len(decisions):
        problems.append(f"{len(decisions)} decisions have {len(pages)} pages")
    return problems


def against_ledger(registry: Registry) -> list[str]:
    """Where the registry is not what the ledger's finished changes lead to."""
    aliases, versions = replay(registry)
    problems = list(registry.ledger.faults())
    problems += [f"{e.body['action']} is left open" for e in registry.ledger.open_intents("pets")]
    if registry.aliases() != aliases:
        problems.append(f"the aliases are {registry.aliases()}, the ledger leads to {aliases}")
    found = {str(v.version) for v in registry.client.search_model_versions("name='pets'")}
    if found != versions:
        problems.append(f"the versions are {sorted(found)}, the ledger leads to {sorted(versions)}")
    runs = {run.info.run_id for run in registry.client.search_runs([registry.experiment_id()])}
    recorded = {e.body["run"] for e in registry.ledger.read("pets", "decision")}
    if runs != recorded:
        problems.append(f"{len(runs)} runs, of which {len(runs & recorded)} belong to the {len(recorded)} decisions")
    return problems


def replay(registry: Registry) -> tuple[Aliases, set[str]]:
    """The aliases and versions after every change that the ledger calls done."""
    aliases: Aliases = dict.fromkeys(ALIASES)
    versions = set()
    intents = {e.number: e.body for e in registry.ledger.read("pets", "intent")}
    for entry in registry.ledger.read("pets", "done"):
        intent = intents[entry.body["intent"]]
        if intent["action"] == "register":
            aliases["challenger"] = entry.body["version"]
            versions.add(entry.body["version"])
        elif intent["action"] == "promote":
            aliases = {"champion": intent["version"], "previous": aliases["champion"], "challenger": None}
    return aliases, versions


def keel(root: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    words = [*KEEL, command, "--project", "pets"]
    return subprocess.run(words, cwd=root, env=environment(), capture_output=True, text=True, check=False)


def local(root: Path) -> Settings:
    """The servers of a checkout, as its own command line sees them."""
    state = root / "state"
    return Settings(
        state, f"sqlite:///{state}/mlflow.db", f"sqlite:///{state}/ledger.db", (state / "mlartifacts").as_uri()
    )


def show(one: Kill) -> None:
    """One row of the table, with a line for each problem."""
    held = "no" if one.problems else "yes"
    print(
        f"{one.before:10}{one.part:10}{one.delay:6.2f} s  {one.left_open:12}{one.after:42}{held}",
        flush=True,
    )
    for problem in one.problems:
        print(f"    {problem}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
