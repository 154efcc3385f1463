"""A hub on the loopback address that speaks as much of the protocol as a download needs; for the tests of the hub."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPOSITORY = "keel-tests/tiny"
REVISION = "0123456789abcdef0123456789abcdef01234567"


class LoopbackHub(ThreadingHTTPServer):
    """Serves `files` at REVISION; `status` (or `download_status`, for GET alone) answers everything with an error."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.status = 200
        self.download_status = 200
        self.delay = 0.0
        self.seen: list[tuple[str, str]] = []  # method and path, user agent

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """HEAD and GET of /{repository}/resolve/{revision}/{file}, and GET of /api/models/{repository}/revision/{any}."""

    server: LoopbackHub

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        hub = self.server
        hub.seen.append((f"{self.command} {self.path}", self.headers.get("user-agent", "")))
        time.sleep(hub.delay)
        body = self.body()
        status = hub.download_status if with_body and hub.download_status != 200 else hub.status
        status = status if status != 200 else (200 if body is not None else 404)
        content = body if status == 200 and body is not None else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def body(self) -> bytes | None:
        if self.path.startswith(f"/api/models/{REPOSITORY}/revision/"):
            return json.dumps({"id": REPOSITORY, "sha": REVISION}).encode()
        return self.server.files.get(self.path.removeprefix(f"/{REPOSITORY}/resolve/{REVISION}/"))

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def running_hub() -> Iterator[LoopbackHub]:
    """The hub in a thread, closed at the end."""
    hub = LoopbackHub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
