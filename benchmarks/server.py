"""A night on a real Prefect server: what fires, waits, dies and comes back, tried one after another.

    python -m benchmarks.server [--postgres] [--keep]

Works in a clone of the repository in a temporary folder, with copies of data, runs and state, so that a champion is
needed: run `keel release` once before. There it starts `prefect server start` with leases in files, a process pool and
a worker, deploys prefect.yaml and puts the automations up, and tries, on simulated nights of these days:

    started by hand     `prefect deployment run nightly/nightly -p ... --watch` ends Completed, its night is on record
    two at once         of two runs of a night one waits for the other, and the night is judged once
    killed              worker and run get SIGKILL in the middle; a run that waits behind the dead one starts once the
                        automation has ended that, the night is judged once, and nothing stays RUNNING
    server restarted    in the middle of a run, which ends well all the same
    night missed        the watchdog's run fails, enters the night, and a webhook gets the message
    by its schedule     a copy of prefect.yaml with a run every minute: one fires by itself, and the webhook hears that
                        all is well again
    harm                a night of noise asks for a successor: a release is begun by its trigger, and cancelled here

Prints a table and exits 0 only when all hold; all that the processes print is in the log that it names. With --postgres
Prefect keeps its records in a PostgreSQL of its own, made with `initdb`; where that is not installed, it says so and
ends. About eight minutes.
"""

import argparse
import datetime as dt
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.prefect_site import HERE, KEEL, Site, free_port, kill, stop

SILENCE = 90  # seconds; five minutes are the default, which nobody wants to wait for here
BLOCK = "custom-webhook/keel-alerts"
FORTNIGHT = dt.timedelta(days=14)  # within which harm asks for retraining once
NIGHTS = 5  # simulated ones, yesterday the last
MAKE_BLOCK = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock as Hook
Hook(name="keel-alerts", url=sys.argv[1], json_data={"text": "{{subject}}"}).save("keel-alerts", overwrite=True)
"""


class Scenario:
    """The steps, in the order in which they are tried, and what the webhook heard."""

    def __init__(self, site: Site, heard: list[str]) -> None:
        self.site, self.heard, self.held = site, heard, True
        self.yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)

    def night(self, before: int) -> str:
        """The night that lies so many days before yesterday."""
        return (self.yesterday - dt.timedelta(days=before)).isoformat()

    def try_all(self) -> bool:
        """Every step; whether all held."""
        print(f"{'step':20}{'seconds':>8}  {'held':6}what was seen", flush=True)
        steps: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
            ("deployed", self.deployed),
            ("started by hand", self.by_hand),
            ("two at once", self.two_at_once),
            ("killed", self.killed),
            ("server restarted", self.restarted),
            ("night missed", self.missed),
            ("by its schedule", self.by_schedule),
            ("harm", self.harm),
        ]
        for name, step in steps:
            began = time.monotonic()
            try:
                held, seen = step()
            except (SystemExit, httpx.HTTPError) as error:
                held, seen = False, str(error)
            self.held &= held
            print(f"{name:20}{time.monotonic() - began:8.1f}  {'yes' if held else 'NO':6}{seen}", flush=True)
        return self.held

    def deployed(self) -> tuple[bool, str]:
        """Pool, deployments with their parameters' schemas, automations, worker."""
        site = self.site
        site.prefect("work-pool", "create", "keel", "--type", "process")
        site.prefect("--no-prompt", "deploy", "--all")
        for _ in range(2):  # the second time must change nothing
            site.run(sys.executable, "-m", "flows.automations", "--silence", str(SILENCE))
        site.run(sys.executable, "-c", MAKE_BLOCK, site.environment["WEBHOOK"])
        site.start_worker()
        names = [d["name"] for d in yaml.safe_load((HERE / "prefect.yaml").read_text())["deployments"]]
        bare = [name for name in names if not site.deployment(name)["parameter_openapi_schema"]["properties"]]
        automations = site.ask("POST", "automations/count", {})
        night = {
            "deployment_id": {"any_": [site.deployment("nightly")["id"]]},
            "state": {"type": {"any_": ["SCHEDULED"]}},
        }
        site.wait(lambda: site.runs(**night), 90, "a scheduled run of the nightly deployment")
        planned = len(site.runs(**night))
        seen = f"{len(names)} deployments, all with schemas; {planned} nights scheduled; {automations} automations"
        return not bare and planned >= 1 and automations == 3, seen

    def by_hand(self) -> tuple[bool, str]:
        """A run from the command line, followed to its end."""
        night = self.night(4)
        words = ["deployment", "run", "nightly/nightly", "-p", f"date={night}", "-p", "pull=false", "--watch"]
        said = self.site.prefect(*words, fails=True)
        found = self.site.nights(night)
        verdict = found[0].body["verdict"] if found else "not on record"
        return "Completed" in said and len(found) == 1, f"run Completed, night {verdict}, {len(found)} entry"

    def two_at_once(self) -> tuple[bool, str]:
        """Two runs of the same night, a moment apart."""
        site, night = self.site, self.night(3)
        first = site.begin("nightly", date=night, pull=False)
        site.wait(lambda: site.state(first)["type"] == "RUNNING", 60, "the start of the first run")
        second = site.begin("nightly", date=night, pull=False)
        waited = site.wait(lambda: site.state(second)["name"] == "AwaitingConcurrencySlot", 60, "the second run's wait")
        ends = [site.end_of(first), site.end_of(second)]
        found = site.nights(night)
        seen = f"the second waited (seen after {waited:.0f} s), then both {' and '.join(ends)}; {len(found)} entry"
        return ends == ["Completed", "Completed"] and len(found) == 1, seen

    def killed(self) -> tuple[bool, str]:
        """SIGKILL to the worker and its run, in the middle of a night."""
        site, night = self.site, self.night(2)
        dead = site.begin("nightly", date=night, pull=False)
        self.wait_for_work(night)
        time.sleep(1)
        assert site.worker is not None
        processes, at = kill(site.worker), site.state(dead)["name"]
        left = len(site.nights(night))
        site.start_worker()
        again = site.begin("nightly", date=night, pull=False)
        seconds = site.wait(lambda: site.state(dead)["type"] == "CRASHED", 240, "the end of the dead run")
        end, found = site.end_of(again), site.nights(night)
        alive = site.runs(state={"type": {"any_": ["RUNNING", "PENDING"]}})
        seen = (
            f"{processes} processes killed, run left {at}, {left} entries; Crashed after {seconds:.0f} s by itself; "
            f"the run that waited {end}; {len(found)} entry, {len(alive)} zombies"
        )
        return at == "Running" and end == "Completed" and len(found) == 1 and not alive, seen

    def restarted(self) -> tuple[bool, str]:
        """The server goes away and comes back while a night is judged."""
        site, night = self.site, self.night(1)
        run = site.begin("nightly", date=night, pull=False)
        self.wait_for_work(night)
        assert site.server is not None
        stop(site.server)
        back = site.start_server()
        end, found = site.end_of(run), site.nights(night)
        seen = f"server away and back in {back:.0f} s, run {end}, {len(found)} entry"
        return end == "Completed" and len(found) == 1, seen

    def missed(self) -> tuple[bool, str]:
        """Yesterday has a window and no verdict: the watchdog says so."""
        site, night = self.site, self.night(0)
        run = site.begin("watchdog")
        end = site.end_of(run)
        entries = [e.body["night"] for e in site.entries("missed")]
        seen = f"the watchdog's run {end}, entries {entries}, webhook: {self.last()}"
        return end == "Failed" and entries == [night] and f"MISSED {night}" in self.last(), seen

    def by_schedule(self) -> tuple[bool, str]:
        """The deployment as it is, but every minute and without anybody asking."""
        site, night = self.site, self.night(0)
        document = yaml.safe_load((site.checkout / "prefect.yaml").read_text())
        often = [d for d in document["deployments"] if d["name"] == "nightly"]
        often[0]["schedules"] = [{"cron": "* * * * *", "timezone": "UTC", "active": True}]
        (site.root / "every-minute.yaml").write_text(yaml.safe_dump({**document, "deployments": often}))
        words = ["--no-prompt", "deploy", "--all", "--prefect-file"]
        site.prefect(*words, str(site.root / "every-minute.yaml"))
        done = {
            "deployment_id": {"any_": [site.deployment("nightly")["id"]]},
            "state": {"type": {"any_": ["COMPLETED"]}},
            "tags": {"all_": ["auto-scheduled"]},
        }
        site.wait(lambda: site.runs(**done), 240, "a run that started by itself")
        site.prefect("--no-prompt", "deploy", "--all")
        ended, found = site.runs(**done)[-1], site.nights(night)
        verdict = found[0].body["verdict"] if found else "not on record"
        seen = f"run Completed with {json.dumps(ended['parameters'])}, night {verdict}; webhook: {self.last()}"
        return len(found) == 1 and verdict == "HEALTHY" and "RECOVERED" in self.last(), seen

    def harm(self) -> tuple[bool, str]:
        """Tonight's images are noise, with labels: HARM, and what follows from it."""
        site, night, place = self.site, self.night(-1), self.site.root / "noisy"
        words = ["--from", night, "--condition", "noise", "--severity", "5", "--images", "200", "--out", str(place)]
        site.run(*KEEL, "simulate", *words)
        deployed = site.deployment("release")
        another = {**deployed["parameters"], "project": "another"}  # so that the event alone can say which it is
        site.ask("PATCH", f"deployments/{deployed['id']}", {"parameters": another})
        end = site.end_of(site.begin("nightly", date=night, pull=False, windows=str(place)))
        found = site.nights(night)[-1].body["verdict"]
        releases = {"deployment_id": {"any_": [deployed["id"]]}}
        site.wait(lambda: site.runs(**releases), 60, "a release that was asked for")
        release = site.runs(**releases)[0]
        site.ask("POST", f"flow_runs/{release['id']}/set_state", {"state": {"type": "CANCELLING"}})
        over, asked = site.end_of(release["id"]), len(site.entries("retraining"))
        seen = (
            f"run {end}, night {found}, {asked} request, release begun with {json.dumps(release['parameters'])} and "
            f"{over}; webhook: {self.last()}"
        )
        ours = release["parameters"]["project"] == "digits"
        return ours and (found, asked, over) == ("HARM", 1, "Cancelled") and f"HARM {night}" in self.last(), seen

    def wait_for_work(self, night: str) -> None:
        """Until the images of the night are being looked at."""
        place = self.site.checkout / "runs/digits/nights" / night
        self.site.wait(place.is_dir, 120, f"work on the night {night}")

    def last(self) -> str:
        """The last message that the webhook got."""
        return self.heard[-1] if self.heard else "nothing"


def main() -> int:
    """Furnish the folder, try the steps, clean up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", action="store_true", help="Prefect's records in a PostgreSQL of its own")
    parser.add_argument("--keep", action="store_true", help="leave the folder for a look")
    asked = parser.parse_args()
    if asked.postgres and not (shutil.which("initdb") and shutil.which("postgres")):
        print("skipped: initdb and postgres are not on the PATH; nothing was tried")
        return 0
    if not (HERE / "state/ledger.db").is_file():
        raise SystemExit(f"{HERE} has no champion to watch; `keel release` makes one")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # which cleans up, and the default does not
    handle, log = tempfile.mkstemp(prefix="keel-server-", suffix=".log")
    os.close(handle)
    root = Path(tempfile.mkdtemp(prefix="keel-server-"))
    print(f"log: {log}", flush=True)
    with webhook() as (url, heard), database(root, asked.postgres) as more:
        site = Site(root, Path(log), {**more, "WEBHOOK": url, "KEEL_NOTIFY_BLOCK": BLOCK})
        try:
            furnish(site)
            print(f"the server answers after {site.start_server():.0f} s", flush=True)
            held = Scenario(site, heard).try_all()
        finally:
            site.close()
            if not asked.keep:
                shutil.rmtree(root, ignore_errors=True)
    print("all held" if held else f"not all held; the log is {log}")
    return 0 if held else 1


def furnish(site: Site) -> None:
    """The checkout, with windows for the nights to come, recorded in DVC and git as a team would record them."""
    site.furnish()
    first = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=NIGHTS)
    known = [e.body["night"] for e in site.entries("night") if e.body["night"] >= (first - FORTNIGHT).isoformat()]
    if known or site.entries("missed"):
        raise SystemExit(f"{HERE} has nights of these weeks on record, with alarms of their own; take a fresh clone")
    words = ["--from", first.isoformat(), "--nights", str(NIGHTS), "--out", "data/production"]
    site.run(*KEEL, "simulate", *words)
    site.run(sys.executable, "-m", "dvc", "add", "--quiet", "data")
    site.run("git", "-c", "user.name=keel", "-c", "user.email=keel@localhost", "commit", "-qam", "New windows")


@contextmanager
def webhook() -> Iterator[tuple[str, list[str]]]:
    """A receiver on this machine, and the texts that it has got."""
    heard: list[str] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Keep the text."""
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", heard
    finally:
        server.shutdown()


@contextmanager
def database(root: Path, wanted: bool) -> Iterator[dict[str, str]]:
    """What tells Prefect to use a new PostgreSQL, while it runs; nothing where none is wanted."""
    if not wanted:
        yield {}
        return
    account = "postgres" if os.geteuid() == 0 else None  # PostgreSQL does not run as root
    place, port = root / "postgres", free_port()
    place.mkdir()
    root.chmod(0o711)
    if account:
        shutil.chown(place, account)
    where = {"user": account, "cwd": place, "stdout": subprocess.DEVNULL}
    subprocess.run(["initdb", "-D", str(place), "-U", "keel", "-A", "trust"], check=True, **where)
    words = ["postgres", "-D", str(place), "-p", str(port), "-k", str(place), "-h", "127.0.0.1"]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, **where)
    try:
        for _ in range(60):
            ready = subprocess.run(["pg_isready", "-h", "127.0.0.1", "-p", str(port)], check=False, **where)
            if ready.returncode == 0:
                break
            time.sleep(0.5)
        url = f"postgresql+asyncpg://keel@127.0.0.1:{port}/postgres"
        yield {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url}
    finally:
        stop(process)


if __name__ == "__main__":
    sys.exit(main())
