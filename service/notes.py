"""One line of JSON for each request and each message: what was asked, how it ended, how long it took; no content."""

import atexit
import json
import logging
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.counted import Counted

ROUTES = ("/predict", "/feedback", "/health", "/ready", "/version", "/metrics", "/openapi.json", "/")
QUIET = ("/health", "/ready", "/metrics")  # which are asked every few seconds, and noted only when they fail
TOGETHER = 0.2  # seconds that a line may wait for others
MOST_LINES = 100_000  # that wait for whoever reads them; then the oldest are lost
logger = logging.getLogger("service.requests")


class JsonLines(logging.Formatter):
    """A record as one line of JSON; what a caller gave as `extra={"facts": {...}}` beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Lines(logging.Handler):
    """Keeps records until a thread writes them, some at once: no request waits for a terminal or a pipe, and no thread
    is woken for every one of a thousand requests a second."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream, self.stopped = stream, threading.Event()
        self.waiting: deque[logging.LogRecord] = deque(maxlen=MOST_LINES)
        self.setFormatter(JsonLines())
        self.thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self.thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take it."""
        self.waiting.append(record)

    def close(self) -> None:
        """Write what waits."""
        self.stopped.set()
        self.thread.join(5)  # whoever reads may have stopped
        super().close()

    def _run(self) -> None:
        while not self.stopped.wait(TOGETHER):
            self._write()
        self._write()

    def _write(self) -> None:
        lines = [self._line(self.waiting.popleft()) for _ in range(len(self.waiting))]
        if lines:
            with suppress(OSError, ValueError):  # a full disk, a closed stream: the next lines may get through
                self.stream.write("\n".join(lines) + "\n")
                self.stream.flush()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception as error:  # of one record, and not of those that come after it
            return json.dumps({"level": "error", "logger": record.name, "message": f"not written: {error!r}"[:300]})


def write_json_lines() -> None:
    """Send what the service, the tasks and the server of HTTP say to standard error, a line of JSON each."""
    handler = Lines(sys.stderr)
    atexit.register(handler.close)
    for name, level in {"service": "INFO", "tasks": "INFO", "uvicorn": "WARNING", "litserve": "WARNING"}.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


class Noted:
    """Counts and notes every request."""

    def __init__(self, app: ASGIApp, counted: Counted) -> None:
        self.app, self.counted = app, counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, and watch the status go by."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, code = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        facts = scope.setdefault("state", {}).setdefault("facts", {})
        try:
            await self.app(scope, receive, watch)
        finally:
            seconds = time.perf_counter() - began
            route = scope["path"] if scope["path"] in ROUTES else "other"
            self.counted.requests.labels(route, str(code), facts.get("arm", "")).inc()
            self.counted.seconds.labels(route).observe(seconds)
            if route not in QUIET or code >= 400:
                said = {
                    "method": scope["method"],
                    "route": route,
                    "code": code,
                    "ms": round(1000 * seconds, 2),
                    **facts,
                }
                logger.info("request", extra={"facts": said})
