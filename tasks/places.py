"""Where the live half keeps what it is told: the prediction log and the store of feedback, read from the environment
when asked."""

import os

from tasks.settings import settings


def log_place() -> str:
    """The folder, or any fsspec URL, of the prediction log: KEEL_LOG, by default `log` below the state folder."""
    return os.environ.get("KEEL_LOG") or str(settings().state / "log")


def feedback_url() -> str:
    """The database of the feedback: KEEL_FEEDBACK_URL, by default SQLite below the state folder."""
    return os.environ.get("KEEL_FEEDBACK_URL") or f"sqlite:///{settings().state}/feedback.db"
