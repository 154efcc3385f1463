"""One row of the prediction log: what was asked, what each model answered, and what the door thought of it.

What a client got is one row (`answered`); what another model said of the same image off the request's path is another
one of the same request, not answered.
"""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LoggedAnswer:
    """What one model said of one image, or why nobody was asked."""

    request_id: str  # one image's: those of a request with many are <id>-0, <id>-1, ...
    at: dt.datetime  # when the request came, UTC
    project: str
    key: str  # the hash of what routes the client, never the key itself
    sha256: str  # of the bytes that came
    consent: bool  # whether the image may be kept
    measures: dict[str, Any]  # the facts of tasks/images.py, read_image
    arm: str = ""  # tasks/routing.py; "" where the door turned the image away
    answered: bool = True  # whether the client got this answer
    model: str = ""  # the model folder's digest, as the registry tags it
    version: str = ""
    decision: int = 0  # the number of the ledger's entry that accepted it
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()  # calibrated, one for each class
    predicted: str = ""  # the most probable class
    label: str = ""  # what was told: the class, or "" for an abstention
    prediction_set: tuple[str, ...] = ()  # conformal, where the model has one
    reasons: tuple[str, ...] = ()  # of an abstention or a refusal
    embedding: bytes = b""  # float16, little-endian
    guards: dict[str, float] = field(default_factory=dict)  # scores at the door: tasks/guard.py
    latency_ms: float = 0.0
    error: str = ""  # what the model raised
    image: bytes = b""  # PNG of the upright RGB pixels, without metadata; b"" where it is not kept
    about: dict[str, str] = field(default_factory=dict)  # columns of the project: unit, slices, captured_at, source
