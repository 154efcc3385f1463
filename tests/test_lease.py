"""Two machines share a ledger: one holds, the other waits, and takes over from the dead but never from the living.

Each machine is a state folder of its own, which is what tells machines apart.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.errors import Busy
from tasks.lease import hold, leases
from tasks.ledger import Ledger

# Holds the lease from the folder `here` of the test, and says so.
HOLDER = """
import sys, time
from pathlib import Path
import tasks.lease
from tasks.ledger import Ledger
tasks.lease.LAPSE = 2.0
root = Path(sys.argv[1])
with tasks.lease.hold(Ledger(f"sqlite:///{root}/ledger.db"), "pets.release", root / "here", wait=0):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    return tmp_path


def ledger(shared: Path) -> Ledger:
    return Ledger(f"sqlite:///{shared}/ledger.db")


def start_holder(shared: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", HOLDER, str(shared)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_living_holder_keeps_others_out_beyond_its_lapse_and_is_named(shared: Path) -> None:
    process = start_holder(shared)
    time.sleep(4)  # two lapses
    with (
        pytest.raises(Busy, match=rf"pets\.release is held by process {process.pid} on .*; wait for it"),
        hold(ledger(shared), "pets.release", shared / "there", wait=0),
    ):
        pass
    process.kill()
    process.wait()


def test_killed_holder_is_taken_over_after_its_lapse_and_not_before(shared: Path) -> None:
    process = start_holder(shared)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(Busy), hold(ledger(shared), "pets.release", shared / "there", wait=0):
        pass
    with hold(ledger(shared), "pets.release", shared / "there", wait=10) as lease:
        lease.renew()


def test_killed_holder_is_taken_over_at_once_from_its_own_folder(shared: Path) -> None:
    process = start_holder(shared)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with hold(ledger(shared), "pets.release", shared / "here", wait=0) as lease:
        lease.renew()


def test_holder_that_slept_through_its_lapse_learns_who_took_over(shared: Path) -> None:
    with hold(ledger(shared), "pets.release", shared / "here", wait=0) as asleep:
        with ledger(shared).writing(leases) as connection:
            connection.execute(leases.update().values(lapses=0.0))  # as after a night with the lid shut
        with hold(ledger(shared), "pets.release", shared / "there", wait=0) as awake:
            with pytest.raises(Busy, match=rf"lost its hold on pets\.release.*{awake.who} took over"):
                asleep.renew()
            awake.renew()


def test_lease_that_was_ended_is_free_for_everybody(shared: Path) -> None:
    for place in ("here", "there", "here"):
        with hold(ledger(shared), "pets.release", shared / place, wait=0):
            pass


def test_leases_of_other_projects_do_not_meet(shared: Path) -> None:
    with (
        hold(ledger(shared), "pets.release", shared / "here", wait=0),
        hold(ledger(shared), "cars.release", shared / "there", wait=0) as lease,
    ):
        lease.renew()


def test_entry_is_not_written_by_one_who_lost_the_lease(shared: Path) -> None:
    mine, theirs = ledger(shared), ledger(shared)
    with hold(mine, "pets.registry", shared / "here", wait=0) as lease:
        mine.append("intent", "pets", {}, guard=lease.check)
        with theirs.writing(leases) as connection:
            connection.execute(leases.update().values(lapses=0.0))  # as after a night with the lid shut
        with hold(theirs, "pets.registry", shared / "there", wait=0) as other:
            with pytest.raises(Busy, match=r"lost its hold on pets\.registry.*took over"):
                mine.append("intent", "pets", {}, guard=lease.check)
            theirs.append("intent", "pets", {}, guard=other.check)
    assert [entry.number for entry in mine.read()] == [1, 2]
    assert list(mine.faults()) == []
