"""The bodies of requests and answers, as the OpenAPI schema tells them."""

import datetime as dt
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.body import LONGEST

Score = float | None  # null: not a number


class Answer(BaseModel):
    """What is told of one image. `label` is null for an abstention and for an image that was turned away: see
    `reasons`. `prediction_set` is null where the model has none."""

    request_id: str
    label: str | None
    predicted: str | None
    probabilities: dict[str, Score]
    prediction_set: list[str] | None
    reasons: list[str]
    model: str | None
    version: str | None
    arm: str | None
    guards: dict[str, Score]
    flags: list[str]


class Predicted(BaseModel):
    """The answers, in the order of the images."""

    request_id: str
    answers: list[Answer]


class Refused(BaseModel):
    """Why a request got no answer."""

    detail: str
    answers: list[Answer] = []


class FeedbackBody(BaseModel):
    """What a user says of an answer. Without consent it is counted, and nothing of it is kept."""

    model_config = ConfigDict(extra="forbid")
    request_id: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,120}$")
    consent: bool = Field(strict=True)
    retention: str = Field(pattern=r"^(days-[1-9][0-9]{0,3}|until-withdrawn)$")
    rating: int | None = Field(default=None, ge=1, le=5, strict=True)
    correct_label: str | None = Field(default=None, min_length=1, max_length=80)
    text: str | None = Field(default=None, max_length=4000)
    groups: dict[str, str] = {}
    consent_groups: bool = Field(default=False, strict=True)


class Filed(BaseModel):
    """The report's id; null when it was only counted."""

    id: str | None


class Arm(BaseModel):
    """A version and the share of clients that it answers."""

    arm: Literal["champion", "challenger"]
    version: str
    model: str
    decision: int
    data_version: str
    share: float


class Version(BaseModel):
    """What answers, and by which decision."""

    project: str
    model: str
    version: str
    data_version: str
    decision: int
    since: dt.datetime
    rollout: dict[str, Any] | None
    arms: list[Arm]


class Health(BaseModel):
    """Facts; `trouble` lists what is wrong, and is empty when nothing is."""

    status: Literal["ok", "degraded"]
    version: str
    registry_asked_at: dt.datetime
    workers: int
    waiting: int
    log: dict[str, Any]
    off_path: dict[str, int]
    trouble: list[str]


class Ready(BaseModel):
    """Whether images can be answered and put on record."""

    ready: bool
    trouble: list[str]


BESIDE: dict[str, Any] = {
    "key": {"type": "string", "maxLength": LONGEST, "description": "What routes a client; its address without it."},
    "consent": {"type": "boolean", "default": False, "description": "Whether the image may be kept."},
}
COLUMNS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": LONGEST},
    "description": "Columns of the project: unit, slices, captured_at, source.",
}


def predict_body(most_images: int, columns: list[str]) -> dict[str, Any]:
    """The two forms that the body of POST /predict may have."""
    about = {**COLUMNS, "additionalProperties": False}
    about["properties"] = dict.fromkeys(columns, COLUMNS["additionalProperties"])
    files = {"type": "array", "minItems": 1, "maxItems": most_images, "items": {"type": "string", "format": "binary"}}
    texts = {**files, "items": {"type": "string", "format": "byte"}}
    told = {"type": "string", "description": "A JSON object; see the other form."}
    form = {"type": "object", "required": ["image"], "properties": {"image": files, **BESIDE, "about": told}}
    document = {"type": "object", "required": ["images"], "properties": {"images": texts, **BESIDE, "about": about}}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": {**form, "additionalProperties": False}},
                "application/json": {"schema": {**document, "additionalProperties": False}},
            },
        }
    }
