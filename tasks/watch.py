"""governance/watch.yaml: how the nights are judged, and what may be done about them."""

import datetime as dt
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from tasks.alerts import AlertRules
from tasks.best_version import RollbackRules
from tasks.drift import DriftRules
from tasks.governance_file import read_governance_file
from tasks.harm import HarmRules
from tasks.rollout_rules import RolloutRules

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
STRICT = ConfigDict(extra="forbid", frozen=True)


class ReferenceRules(BaseModel):
    """What drift is measured against: the first `nights` sound windows from `first` on, or from the first judged."""

    model_config = STRICT
    nights: int = Field(ge=1)
    first: dt.date | None
    reason: Text


class RetrainingRules(BaseModel):
    """When a night may ask for a new release: at most once in so many days."""

    model_config = STRICT
    days_between: int = Field(ge=1)
    reason: Text


class Watch(BaseModel):
    """The rules of the nights. Every key is needed; none is unknown."""

    model_config = STRICT
    version: int = Field(ge=1, le=1)
    owner: Text
    review_by: dt.date
    time_zone: str  # a night is a day in it
    level: float = Field(gt=0.5, lt=1)  # confidence of every interval that is shown
    least_images: int = Field(ge=1)  # with fewer a night has no data
    late_labels_days: int = Field(ge=0)  # a label that comes later than this is not looked for
    catch_up: int = Field(ge=1)  # nights that one run makes up for at most
    labels_to_ask: int = Field(ge=0)  # images that a person is asked to label, the most telling first
    reference: ReferenceRules
    drift: DriftRules
    harm: HarmRules
    rollback: RollbackRules
    rollout: RolloutRules
    retraining: RetrainingRules
    alerts: AlertRules

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"'{name}' is no time zone; write one such as Europe/London or UTC")
        return name

    def today(self, now: dt.datetime) -> dt.date:
        """The day in the rules' time zone."""
        return now.astimezone(ZoneInfo(self.time_zone)).date()


def load_watch(path: Path) -> Watch:
    """Read and check it; BadInput names the file and the key."""
    keys = f"are {', '.join(Watch.model_fields)}"
    return read_governance_file(Watch, path, "rules of the nights", keys, "them")
