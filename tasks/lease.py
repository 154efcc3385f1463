"""One mover at a time on all machines that share a ledger: a lease in the ledger's database.

A holder renews its lease while it lives; when it stops, the lease lapses and the next one takes over (Gray & Cheriton
1989, section 2). All times are the database's own, since the clocks of machines differ. Within one state folder a file
lock, which falls with its process, tells at once that a holder has died, so that nobody there waits for the lapse.

A holder that slept through its lapse, such as a laptop, finds out when it renews, which the registry does before each
alias that it moves; nothing here can stop the move of an alias that is under way at that very moment. The ledger's own
entries are safe even then: the lease is asked in the transaction that writes one.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Column, Double, MetaData, String, Table, func, select
from sqlalchemy.engine import Connection

from tasks.errors import Busy, RegistryTrouble
from tasks.ledger import Ledger

LAPSE = 30.0  # seconds after the last renewal: long enough for a slow database, short enough to wait for
POLL = 0.5  # seconds between two looks at a lease that somebody holds
metadata = MetaData()
leases = Table(
    "leases",
    metadata,
    Column("name", String(120), primary_key=True),
    Column("owner", String(32), nullable=False),  # one holding; a new one each time
    Column("place", String(400), nullable=False),  # the state folder that it is held from
    Column("who", String(400), nullable=False),  # for a person
    Column("lapses", Double, nullable=False),  # by the database's clock, seconds since 1970
)


class Lease:
    """What one holder holds; made and ended by `hold`."""

    def __init__(self, ledger: Ledger, name: str, state: Path) -> None:
        self.ledger, self.name = ledger, name
        self.owner, self.place = uuid.uuid4().hex, place_of(state)
        self.who = f"process {os.getpid()} on {socket.gethostname()}"

    def take(self) -> bool:
        """Take it when it is free, has lapsed, or was held from this state folder, whose file lock we now hold."""
        with self.ledger.writing(leases) as connection:
            mine: dict[str, Any] = {
                "owner": self.owner,
                "place": self.place,
                "who": self.who,
                "lapses": now(connection) + LAPSE,
            }
            row = connection.execute(select(leases).where(leases.c.name == self.name)).first()
            if row is None:
                connection.execute(leases.insert().values(name=self.name, **mine))
                return True
            if row.place != self.place and now(connection) <= row.lapses:
                return False
            return self._update(connection, row.owner, **mine)

    def renew(self) -> None:
        """Say that the holder lives; Busy when another has taken over."""
        with self.ledger.writing(leases) as connection:
            kept = self._update(connection, self.owner, lapses=now(connection) + LAPSE)
        if not kept:
            raise self._lost(holder(self.ledger, self.name))

    def check(self, connection: Connection) -> None:
        """Busy when another has taken over, as that connection's transaction sees it; nobody can until it ends."""
        query = select(leases).where(leases.c.name == self.name).with_for_update()
        row = connection.execute(query).first()
        if row is None or row.owner != self.owner:
            raise self._lost(row.who if row else "another process")

    def end(self) -> None:
        """Let it go; when the ledger is away, it lapses by itself."""
        with suppress(RegistryTrouble), self.ledger.writing(leases) as connection:
            self._update(connection, self.owner, lapses=0.0)

    def _lost(self, who: str) -> Busy:
        return Busy(
            f"this process lost its hold on {self.name}: it gave no sign of life for {LAPSE:.0f} s, and {who} "
            "took over; `keel status` shows where things stand, then run it again"
        )

    def _update(self, connection: Connection, held_by: str, **values: Any) -> bool:
        row = (leases.c.name == self.name) & (leases.c.owner == held_by)
        return connection.execute(leases.update().where(row).values(**values)).rowcount == 1


@contextmanager
def hold(ledger: Ledger, name: str, state: Path, wait: float) -> Iterator[Lease]:
    """Hold the lease `name` and keep it renewed; Busy, with the holder, when it is not free within `wait` seconds."""
    until = time.monotonic() + wait
    ledger.make(metadata)
    local = FileLock(state / f"{name}.lock")
    try:
        local.acquire(timeout=wait)
    except Timeout as error:
        raise busy(ledger, name) from error
    ended = threading.Event()
    try:
        lease = Lease(ledger, name, state)
        while not lease.take():
            if time.monotonic() >= until:
                raise busy(ledger, name)
            time.sleep(POLL)
        threading.Thread(target=renew_until, args=(lease, ended), daemon=True).start()
        try:
            yield lease
        finally:
            ended.set()
            lease.end()
    finally:
        local.release()


def renew_until(lease: Lease, ended: threading.Event) -> None:
    """Renew a few times a lapse; a failure shows when the holder itself renews before its next move."""
    while not ended.wait(LAPSE / 6):
        with suppress(RegistryTrouble):
            lease.renew()


def busy(ledger: Ledger, name: str) -> Busy:
    """The error for a lease that somebody holds."""
    return Busy(
        f"{name} is held by {holder(ledger, name)}; wait for it to end, or, if that machine has died, "
        f"{LAPSE:.0f} s after its last sign of life"
    )


def holder(ledger: Ledger, name: str) -> str:
    """Who held the lease last, in words."""
    with ledger.writing(leases) as connection:
        row = connection.execute(select(leases).where(leases.c.name == name)).first()
    return row.who if row else "a process that is just beginning"


def place_of(state: Path) -> str:
    """The state folder, told from every other one on every machine, copies included."""
    facts = state.stat()
    return f"{socket.gethostname()} {facts.st_dev}:{facts.st_ino}"


def now(connection: Connection) -> float:
    """The database's clock, in seconds since 1970."""
    moment = connection.scalar(select(func.now()))
    assert moment is not None
    return float((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
