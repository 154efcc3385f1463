"""A wire between the web process and each worker: two connected sockets, and no process in between.

LitServe would carry every message through a manager process, six times for one batch: with one client that takes as
long as the model. Its loops can be exchanged, and this one (`OverWire`) reads a worker's end of the wire. A frame is a
pickle behind its length; both ends are processes of one program, and nobody else can reach the sockets.
"""

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable
from typing import IO, Any

from litserve import LitAPI
from litserve.loops.base import LitLoop

LENGTH = struct.Struct("!Q")


class OverWire(LitLoop):
    """The loop of a worker: a message comes, `predict` answers it, until the web process is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.theirs: dict[int, socket.socket] = {}  # by place: what a worker that starts takes along

    def __call__(self, lit_api: LitAPI, device: str, worker_id: int, *_: Any) -> None:
        """Answer one message after another."""
        wire = self.theirs.pop(worker_id)
        for other in self.theirs.values():  # a worker that dies must be the last to hold its end
            other.close()
        with wire, wire.makefile("rb") as came:
            while (message := next_of(came)) is not None:
                number, asked = message
                wire.sendall(framed((number, lit_api.predict(asked))))


class Wire:
    """The web process's end: `send` never waits, and `heard` is called with each number and its answer."""

    def __init__(self, ours: socket.socket, heard: Callable[[int, Any], None], lost: Callable[[], None]) -> None:
        self.ours, self.heard, self.lost = ours, heard, lost
        self.writer: asyncio.StreamWriter | None = None
        self.reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen, on the running loop."""
        reader, self.writer = await asyncio.open_connection(sock=self.ours)
        self.reading = asyncio.create_task(self._read(reader))

    def send(self, number: int, message: Any) -> None:
        """Hand a message over; what the worker does not take yet waits here."""
        if self.writer is not None:
            self.writer.write(framed((number, message)))

    def close(self) -> None:
        """Hear no more; the worker at the other end, if there is one, ends."""
        if self.reading is not None:
            self.reading.cancel()
        if self.writer is None:
            self.ours.close()
        else:
            self.writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                self.heard(*pickle.loads(await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, OSError):
            self.lost()


def framed(message: Any) -> bytes:
    """The bytes on the wire."""
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(content)) + content


def next_of(came: IO[bytes]) -> Any:
    """The next message; None at the end."""
    head = came.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    content = came.read(length)
    return pickle.loads(content) if len(content) == length else None
