"""A load generator for servers on loopback, so cheap that it is no bottleneck: sockets, keep-alive, prebuilt bytes.

Each client has one connection, and sends its next request as soon as the last is answered. All of them live in one
process of their own, on one thread.
"""

import base64
import json
import os
import selectors
import socket
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

WARM = 1.0  # seconds at the start that do not count


@dataclass(frozen=True)
class Load:
    """What was seen: seconds of each answer, answers that were none, and how long it went on."""

    times: np.ndarray
    bad: int
    seconds: float
    bodies: dict[int, bytes] = field(default_factory=dict)  # the last answer to each request, by its place
    work: float = 0.0  # seconds of processor time that the server took, the warming up included
    asked: int = 0  # requests, the warming up included

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.times) / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds that this share of the answers took at most."""
        return 1000 * float(np.quantile(self.times, share))

    @property
    def cost(self) -> float:
        """Milliseconds of processor time an answer."""
        return 1000 * self.work / self.asked if self.asked else 0.0


def together(loads: list[Load]) -> Load:
    """Rounds as one."""
    times = np.concatenate([one.times for one in loads])
    bad, seconds, work, asked = (
        sum(getattr(one, name) for one in loads) for name in ("bad", "seconds", "work", "asked")
    )
    return Load(times, bad, seconds, loads[-1].bodies, work, asked)


def form_request(image: bytes, token: str) -> bytes:
    """A whole HTTP request to Keel."""
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\nContent-Type: image/png\r\n\r\n'
    body = head + image + b"\r\n--x--\r\n"
    return request_of("/predict", "multipart/form-data; boundary=x", body, token)


def json_request(image: bytes, token: str) -> bytes:
    """A whole HTTP request to MLflow."""
    data = {"dataframe_split": {"columns": ["image"], "data": [[base64.b64encode(image).decode()]]}}
    return request_of("/invocations", "application/json", json.dumps(data).encode(), token)


def request_of(path: str, kind: str, body: bytes, token: str) -> bytes:
    """The bytes on the wire."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def load(port: int, requests: list[bytes], clients: int, seconds: float, server: int) -> Load:
    """Load from a process of its own; `server` is the process group that answers."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        before = work_of(server)
        seen = pool.submit(run_clients, port, requests, clients, seconds).result()
        return replace(seen, work=work_of(server) - before)


def work_of(session: int) -> float:
    """Seconds of processor time of all processes of a session, from /proc (proc(5): fields 6, 14 and 15)."""
    ticks = 0
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it ended in the meantime
            continue
        if int(fields[3]) == session:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass
class Client:
    """One connection: which request is under way, since when, and what has come of its answer."""

    wire: socket.socket
    place: int
    began: float = 0.0
    got: bytes = b""
    wanted: int = 0  # bytes of the answer with its head; 0 while the head is not whole

    def ask(self, request: bytes) -> None:
        """Send it; the answer is nowhere yet. A loopback socket takes these few kilobytes at once."""
        self.got, self.wanted, self.began = b"", 0, time.perf_counter()
        self.wire.sendall(request)

    def hear(self) -> bool:
        """Take what has come; whether the answer is whole."""
        part = self.wire.recv(65536)
        if not part:
            raise ConnectionError("the server hung up")
        self.got += part
        if not self.wanted:
            head, end, _ = self.got.partition(b"\r\n\r\n")
            if end:
                self.wanted = len(head) + 4 + int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return 0 < self.wanted <= len(self.got)


def run_clients(port: int, requests: list[bytes], clients: int, seconds: float) -> Load:
    """In the other process."""
    times, bad, asked, bodies = list[float](), 0, 0, dict[int, bytes]()
    started = time.perf_counter()
    with selectors.DefaultSelector() as waiting:
        for number in range(clients):
            client = Client(socket.create_connection(("127.0.0.1", port)), number % len(requests))
            client.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            waiting.register(client.wire, selectors.EVENT_READ, client)
            client.ask(requests[client.place])
        while waiting.get_map():
            for key, _ in waiting.select():
                client = key.data
                if not client.hear():
                    continue
                now, right = time.perf_counter(), client.got.startswith(b"HTTP/1.1 200 ")
                if client.began > started + WARM:
                    times.append(now - client.began)
                    bad += not right
                asked += 1
                bodies[client.place] = client.got.partition(b"\r\n\r\n")[2]
                if now < started + WARM + seconds:
                    client.place = (client.place + 1) % len(requests)
                    client.ask(requests[client.place])
                else:
                    waiting.unregister(client.wire)
                    client.wire.close()
    return Load(np.array(times), bad, seconds, bodies, asked=asked)
