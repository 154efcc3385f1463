"""governance/serving.yaml: what the scoring service takes, how long it may take, what it keeps, and what it watches."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tasks.governance_file import read_governance_file

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RequestRules(BaseModel):
    """How much one request may bring, and how long it may take."""

    model_config = STRICT
    most_images: int = Field(ge=1)
    most_bytes: int = Field(ge=1)  # of one image file
    most_pixels: int = Field(ge=1)  # of one image
    most_body: int = Field(ge=1)  # bytes of the whole request, whatever it says of itself
    seconds_to_send: float = Field(gt=0)  # from the first byte to the last
    seconds: float = Field(gt=0)  # from the last byte to the answer
    waiting: int = Field(ge=1)  # images that may wait for the model; more are turned away at once
    reason: Text


class RateRules(BaseModel):
    """A bucket of tokens for each caller (its bearer token, else its address): `burst` at once, then `a_second`."""

    model_config = STRICT
    a_second: float = Field(gt=0)  # images
    burst: int = Field(ge=1)
    callers: int = Field(ge=1)  # that are remembered
    reason: Text


class BatchRules(BaseModel):
    """How images that wait together are answered."""

    model_config = STRICT
    most_images: int = Field(ge=1)  # in one forward pass
    decoders: int = Field(ge=1)  # threads that decode
    reason: Text


class KeepRules(BaseModel):
    """Which images are kept: of those with consent a share, told by a hash of the request id."""

    model_config = STRICT
    share: float = Field(ge=0, le=1)
    reason: Text


class GuardRules(BaseModel):
    """The scores on which the service abstains, of tasks/guard.py and of bursts; the others are flagged and counted."""

    model_config = STRICT
    abstain_on: list[Literal["ood", "squeezing", "high_frequency", "burst"]]
    reason: Text


class BurstRules(BaseModel):
    """What of one caller counts as a burst of near-duplicates: tasks/bursts.py, BurstLimits."""

    model_config = STRICT
    near_bits: int = Field(ge=0, le=32)  # of 64 that may differ
    seconds: float = Field(gt=0, allow_inf_nan=False)  # for which a picture is remembered
    pictures: int = Field(ge=1)  # the newest of each caller
    clients: int = Field(ge=1)  # callers that are remembered
    burst: int = Field(ge=1)  # near-duplicates that make one
    reason: Text


class LogRules(BaseModel):
    """What a killed service may lose: the answers of the last seconds."""

    model_config = STRICT
    flush_seconds: float = Field(gt=0)
    reason: Text


class FollowRules(BaseModel):
    """How soon a move in the registry is followed."""

    model_config = STRICT
    poll_seconds: float = Field(gt=0)
    reason: Text


class OffPathRules(BaseModel):
    """The process that asks the other model of a rollout, off the request's path."""

    model_config = STRICT
    waiting: int = Field(ge=1)  # images; more are dropped and counted
    seconds: float = Field(gt=0)  # for one batch; a process that takes longer hangs, and is killed
    memory_mb: int = Field(ge=64)  # that it may allocate
    reason: Text


class ServingRules(BaseModel):
    """The rules of the service. Every key is needed; none is unknown."""

    model_config = STRICT
    version: int = Field(ge=1, le=1)
    owner: Text
    review_by: dt.date
    request: RequestRules
    rate: RateRules
    batch: BatchRules
    keep: KeepRules
    guards: GuardRules
    bursts: BurstRules
    log: LogRules
    follow: FollowRules
    off_path: OffPathRules

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        most, burst, waiting = self.request.most_images, self.rate.burst, self.request.waiting
        if min(burst, waiting) < most:
            raise ValueError(
                f"a request may bring {most} images, and rate.burst {burst} or request.waiting {waiting} would always "
                "turn it away; both must be as many"
            )
        return self


def load_serving(path: Path) -> ServingRules:
    """Read and check it; BadInput names the file and the key."""
    keys = f"are {', '.join(ServingRules.model_fields)}"
    return read_governance_file(ServingRules, path, "rules of the service", keys, "them")
