"""How rarely drift may alarm without cause, and what that may cost: the section `drift` of governance/watch.yaml."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tasks.drift_audit import Effort


class DriftRules(BaseModel):
    """Every number has a default, with its reason beside it; what the owner meant by the choice stands in `reason`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    false_alarm_every: int = Field(200, ge=10)  # nights without drift
    permutations: int = Field(1999, ge=199)
    largest_sample: int = Field(1000, ge=50)  # blocks of either side; see tasks/samples.py
    least_images: int = Field(10, ge=2)  # of a night; fewer say nothing
    least_slice: int = Field(10, ge=2)  # images of a slice, of night and reference together
    neighbours: int = Field(5, ge=1)  # reference images by which an image's distance is measured
    shown: int = Field(9, ge=0)  # images that lie furthest out
    audit_splits: int = Field(200, ge=50)
    audit_permutations: int = Field(199, ge=19)
    audit_tries: int = Field(20, ge=10)  # of every share of changed images
    audit_largest: int = Field(300, ge=20)  # units of both parts of a split together
    audit_confidence: float = Field(0.999, gt=0.5, lt=1)  # a sound test is doubted in 1 of 2,000 nights
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

    @model_validator(mode="after")
    def _can_alarm(self) -> Self:
        for name, number in (("permutations", self.permutations), ("audit_permutations", self.audit_permutations)):
            if number + 1 < self.false_alarm_every:
                raise ValueError(
                    f"{name}: with {number} no p value is as small as 1 in {self.false_alarm_every}, so that no drift "
                    f"could ever alarm; at least {self.false_alarm_every - 1} are needed"
                )
        return self

    @property
    def level(self) -> float:
        """The adjusted p value at which an alarm is raised."""
        return 1 / self.false_alarm_every

    @property
    def effort(self) -> Effort:
        """What the audit may cost."""
        return Effort(
            self.audit_splits, self.audit_tries, self.audit_permutations, self.audit_largest, self.audit_confidence
        )
