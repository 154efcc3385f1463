"""How a challenger is let in: the section `rollout` of governance/watch.yaml, steps from shadow to ever more traffic.

Promotion follows the last step and is no step itself. Without steps a release that passes is promoted at once.
"""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tasks.digests import canonical_json, sha256_text
from tasks.errors import BadInput

SHADOW, CANARY = "shadow", "canary"
PROMOTION = "promotion"  # what comes after the last step
STRICT = ConfigDict(extra="forbid", frozen=True)
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Step(BaseModel):
    """One step: in shadow the challenger answers beside the champion, as a canary it answers that share of clients.

    It lasts at least so many nights (days of the calendar), and until so many labels were compared in it.
    """

    model_config = STRICT
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    kind: Literal["shadow", "canary"]
    share: float = Field(ge=0, lt=1)
    nights: int = Field(ge=0)
    labels: int = Field(ge=0)


class Increase(BaseModel):
    """A share of answers that may grow by less than `increase`, judged on no fewer than so many requests of a step."""

    model_config = STRICT
    increase: float = Field(gt=0, lt=1)
    requests: int = Field(ge=1)
    reason: Text


class Latency(BaseModel):
    """The 99th percentile of the time to answer may be no more than `ratio` times the champion's."""

    model_config = STRICT
    ratio: float = Field(ge=1)
    requests: int = Field(ge=1)
    reason: Text


class Guards(BaseModel):
    """What is watched beside the labels: answers that failed, answers withheld, and the time to answer."""

    model_config = STRICT
    errors: Increase
    abstentions: Increase
    latency: Latency


class RolloutRules(BaseModel):
    """The steps; the margin of errors beyond which a challenger does harm; how often either may be said wrongly.

    A challenger that errs by `margin` more, or by more than that, is promoted with a chance of at most `error`; one
    within the margin, and within the guards' bounds, is aborted at a step with a chance of at most `error` for each of
    the four.
    """

    model_config = STRICT
    steps: list[Step]
    margin: float = Field(gt=0, lt=1)
    error: float = Field(gt=0, lt=0.5)
    guards: Guards
    reason: Text

    @model_validator(mode="after")
    def _grows(self) -> Self:
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names) or PROMOTION in names:
            raise ValueError(f"steps are called {', '.join(names)}; each needs its own name, and none {PROMOTION}")
        for step in self.steps:
            if (step.kind == SHADOW) != (step.share == 0):
                raise ValueError(f"step {step.name}: in shadow the share is 0, as a canary it is more")
        for step, after in pairwise(self.steps):
            if after.share <= step.share:
                raise ValueError(f"step {after.name}: its share {after.share:g} must be more than that of {step.name}")
        if self.steps and self.steps[0].kind != SHADOW:
            raise ValueError(f"step {names[0]}: the first step is in shadow, before anybody gets its answers")
        return self

    def digest(self) -> str:
        """The sha256 of all that decides, which is all but the reasons."""
        deciding = self.model_dump(mode="json", exclude={"reason"})
        for guard in deciding["guards"].values():
            del guard["reason"]
        return sha256_text(canonical_json(deciding))

    def step(self, name: str) -> Step:
        """The step of that name; BadInput lists those there are."""
        found = [step for step in self.steps if step.name == name]
        if not found:
            known = ", ".join(step.name for step in self.steps) or "none"
            raise BadInput(f"the rules of the rollout have no step '{name}'; the steps are {known}")
        return found[0]

    def after(self, name: str) -> Step | None:
        """The step that follows, or None where promotion does."""
        place = self.steps.index(self.step(name)) + 1
        return self.steps[place] if place < len(self.steps) else None
