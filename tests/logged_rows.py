"""Rows of a prediction log, drawn without a model."""

import datetime as dt
from typing import Any

import numpy as np

from tasks.logged_answer import LoggedAnswer

DAY = dt.date(2026, 6, 1)
NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)


def draw_row(number: int, **changes: Any) -> LoggedAnswer:
    """The champion's answer to the request `r<number>`, `number` seconds after noon of the first of June."""
    drawn: dict[str, Any] = {
        "request_id": f"r{number:05d}",
        "at": NOON + dt.timedelta(seconds=number),
        "project": "pets",
        "key": "k" * 16,
        "sha256": f"{number:064d}",
        "consent": True,
        "measures": {"width": 32, "mode": "RGB", "brightness": 120.5, "problem": ""},
        "arm": "champion",
        "model": "m" * 64,
        "version": "3",
        "decision": 7,
        "classes": ("cat", "dog"),
        "probabilities": (0.25, 0.75),
        "predicted": "dog",
        "label": "dog",
        "prediction_set": ("dog",),
        "embedding": np.arange(4, dtype="<f2").tobytes(),
        "guards": {"ood": 0.5},
        "latency_ms": 3.5,
        "image": b"\x89PNG" + number.to_bytes(4, "big"),
        "about": {"device": "new"},
    }
    return LoggedAnswer(**{**drawn, **changes})
