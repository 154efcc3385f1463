"""governance/feedback.yaml: what may be told of what users report, and how it is weighed against the nights."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tasks.governance_file import read_governance_file

K_ANONYMITY, DIFFERENTIAL_PRIVACY = "k-anonymity", "differential-privacy"
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
STRICT = ConfigDict(extra="forbid", frozen=True)


class PrivateRules(BaseModel):
    """Noise for summaries: each costs `epsilon` of the `budget`; a person counts with `reports_a_person` at most."""

    model_config = STRICT
    method: Literal["differential-privacy"]
    epsilon: float = Field(gt=0, le=10)
    delta: float = Field(gt=0, le=0.01)
    reports_a_person: int = Field(ge=1)
    budget: float = Field(gt=0)
    reason: Text

    @model_validator(mode="after")
    def _affordable(self) -> "PrivateRules":
        if self.budget < self.epsilon:
            raise ValueError(f"a budget of {self.budget:g} pays for no summary of epsilon {self.epsilon:g}")
        return self


class CellRules(BaseModel):
    """Figures about fewer than `least_people` people are not shown."""

    model_config = STRICT
    method: Literal["k-anonymity"]
    least_people: int = Field(ge=2)
    reason: Text


class TrendRules(BaseModel):
    """How many days count as now, and the confidence of the interval."""

    model_config = STRICT
    nights: int = Field(ge=1)
    level: float = Field(gt=0.5, lt=1)
    reason: Text


class FeedbackRules(BaseModel):
    """The rules of feedback. Every key is needed; none is unknown."""

    model_config = STRICT
    version: int = Field(ge=1, le=1)
    owner: Text
    review_by: dt.date
    summary: CellRules | PrivateRules = Field(discriminator="method")
    trend: TrendRules


def load_feedback_rules(path: Path) -> FeedbackRules:
    """Read and check it; BadInput names the file and the key."""
    keys = (
        f"are {', '.join(FeedbackRules.model_fields)}; of summary, with method {K_ANONYMITY}, "
        f"{', '.join(CellRules.model_fields)}, with {DIFFERENTIAL_PRIVACY} {', '.join(PrivateRules.model_fields)}"
    )
    return read_governance_file(FeedbackRules, path, "rules of feedback", keys, "them")
