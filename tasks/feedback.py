"""What a user says of an answer: the report as it comes in, held to its form, and as it lies in the store.

Nothing of a report is kept without consent. Its free text is for the eyes of a reviewer: it stays in the store
(tasks/feedback_store.py) and is in no error, log, ledger entry, summary or artifact.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from tasks.errors import BadInput
from tasks.project import NAME

NEW, LABEL, CASE, NOISE, DELETED = "new", "label", "case", "noise", "deleted"
VERDICTS = (LABEL, CASE, NOISE)  # what a review can come to
POOR = 2  # a rating up to this is a complaint
UNTIL_WITHDRAWN = "until-withdrawn"
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


class Report(BaseModel):
    """One report. `retention` is days-<n>, counted from `at`, or until-withdrawn; `client` the hash of who sent it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    request_id: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,120}$")
    project: str = Field(pattern=NAME)
    consent: bool = Field(strict=True)
    retention: str = Field(pattern=rf"^(days-[1-9][0-9]{{0,3}}|{UNTIL_WITHDRAWN})$")
    rating: int | None = Field(default=None, ge=1, le=5, strict=True)
    correct_label: Word | None = None
    text: Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)] | None = None
    groups: dict[Word, Word] = Field(default={}, max_length=8)
    consent_groups: bool = Field(default=False, strict=True)
    at: dt.datetime
    client: str = Field(default="", max_length=64)

    @model_validator(mode="after")
    def _whole(self) -> "Report":
        if self.rating is None and self.correct_label is None and not self.text:
            raise ValueError("it says nothing; give a rating, a correct_label or a text")
        if self.groups and not self.consent_groups:
            raise ValueError("groups need consent_groups: true; leave them out otherwise")
        if self.at.tzinfo is None:
            raise ValueError("at has no time zone; write 2026-06-01T09:00:00+00:00")
        return self

    @property
    def expires(self) -> dt.date | None:
        """The first day on which it may not be kept any more, UTC; None: until somebody withdraws it."""
        if self.retention == UNTIL_WITHDRAWN:
            return None
        return self.at.astimezone(dt.UTC).date() + dt.timedelta(days=int(self.retention.removeprefix("days-")))


def report_of(fields: Mapping[str, Any]) -> Report:
    """Check what came in; BadInput names the field and the rule, and never what was written there."""
    try:
        return Report.model_validate(dict(fields))
    except ValidationError as error:
        known = set(Report.model_fields)
        problems = "; ".join(f"{_place(p['loc'], known)}: {p['msg']}" for p in error.errors(include_input=False))
    raise BadInput(f"the report is not accepted: {problems}; the fields are {', '.join(Report.model_fields)}")


@dataclass(frozen=True)
class Told:
    """What the log has of the answer that a report is about."""

    answer: str  # the most probable class
    sure: float  # its probability
    version: str
    sha256: str  # of the image as it came


@dataclass(frozen=True)
class Filed:
    """A report in the store, with what became of it. A deleted one has its id, project, state and review alone."""

    id: str
    project: str
    state: str
    request_id: str = ""
    rating: int | None = None
    correct_label: str | None = None
    text: str | None = field(default=None, repr=False)
    groups: dict[str, str] = field(default_factory=dict)
    retention: str = ""
    expires: dt.date | None = None
    at: dt.datetime | None = None
    client: str = ""
    told: Told | None = None  # None: not looked up yet, or the log has no such request
    reviewed_by: str = ""
    reviewed_at: str = ""
    why: str = ""

    @property
    def disagrees(self) -> bool | None:
        """Whether the user names another class than the model did; None where one of the two is not known."""
        if self.correct_label is None or self.told is None:
            return None
        return self.correct_label != self.told.answer

    @property
    def complains(self) -> bool | None:
        """Whether it says that the answer was wrong or of little use; None where it gives neither class nor rating."""
        said = [] if self.disagrees is None else [self.disagrees]
        said += [] if self.rating is None else [self.rating <= POOR]
        return any(said) if said else None


def _place(where: tuple[int | str, ...], known: set[str]) -> str:
    """The field's name; an unknown one's is the user's own words, and is not repeated."""
    first = str(where[0]) if where else "the whole"
    return first if first in known or not where else "an unknown field"
