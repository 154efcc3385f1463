"""One line of JSON for each request and each message: what was asked, how it ended, how long it took; no content."""

import atexit
import json
import logging
import sys
import time
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.counted import Counted

ROUTES = ("/predict", "/feedback", "/health", "/ready", "/version", "/metrics", "/openapi.json", "/")
QUIET = ("/health", "/ready", "/metrics")  # which are asked every few seconds, and noted only when they fail
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


class AsItIs(QueueHandler):
    """Hands a record to the other thread unformatted: both are of one process."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Nothing is left to do here."""
        return record


def write_json_lines() -> None:
    """Send what the service, the tasks and the server of HTTP say to standard error, a line of JSON each.

    A thread writes them, so that no request waits for a terminal or a pipe.
    """
    stream, lines = logging.StreamHandler(sys.stderr), SimpleQueue[logging.LogRecord]()
    stream.setFormatter(JsonLines())
    handler, listener = AsItIs(lines), QueueListener(lines, stream)
    listener.start()
    atexit.register(listener.stop)
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
