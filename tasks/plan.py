"""The evaluation plan: what a model must show before it may be released, fixed before anything is measured.

Read from governance/plan.yaml. Every bound has a reason; a key that is unknown, missing or written twice is an error,
so that a slip of the pen cannot switch a criterion off.
"""

import datetime as dt
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tasks.digests import canonical_json, sha256_text
from tasks.errors import PlanInvalid
from tasks.findings import SLICE
from tasks.metrics import REGISTRY
from tasks.slices import CASES, EXTERNAL, JUDGED
from tasks.strict_yaml import StrictLoader

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Bound = Annotated[float, Field(allow_inf_nan=False)]
Role = Literal["steward", "data science", "compliance"]  # who they are stands in governance/roles.yaml


class Criterion(BaseModel):
    """One demand: the interval of `metric` on `slice` must lie on the right side of the bound.

    A slice that ends in `=*` stands for every value of that column in the report, each judged on its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: Text
    metric: str
    slice: str = Field(pattern=SLICE)
    at_least: Bound | None = None
    at_most: Bound | None = None
    minimum_n: int = Field(ge=1)
    severity: Literal["block", "warn"]
    reason: Text

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        if metric not in REGISTRY:
            raise ValueError(f"unknown metric '{metric}'; the metrics are {', '.join(REGISTRY)}")
        return metric

    @field_validator("slice")
    @classmethod
    def _where_it_can_be_judged(cls, place: str, info: ValidationInfo) -> str:
        metric = str(info.data.get("metric"))
        if metric in REGISTRY and REGISTRY[metric].of_cases:
            if not place.startswith(f"{CASES}/"):
                raise ValueError(f"{metric} is judged on {CASES}/case=<name> or {CASES}/case=* alone, not on {place}")
            return place
        if not place.startswith((*JUDGED, f"{EXTERNAL}/")) and metric in REGISTRY and not REGISTRY[metric].of_data:
            raise ValueError(f"{metric} is judged on {' or '.join(JUDGED)} alone, not on {place}")
        return place

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"criterion '{self.name}' needs exactly one of at_least and at_most")
        return self

    @model_validator(mode="after")
    def _can_be_met_and_missed(self) -> Self:
        metric = REGISTRY[self.metric]
        if self.direction != metric.better:
            raise ValueError(
                f"criterion '{self.name}': a bound on {self.metric} is an {metric.better}, not an {self.direction}, "
                "which the worse models would meet"
            )
        span = f"{self.metric} goes from {metric.lowest:g} to {metric.highest:g}"
        if not metric.lowest <= self.bound <= metric.highest:
            raise ValueError(f"criterion '{self.name}': {self.direction} {self.bound:g} makes no sense, {span}")
        if self.bound == (metric.lowest if metric.better == "at_least" else metric.highest):
            raise ValueError(f"criterion '{self.name}': {self.direction} {self.bound:g} is met by any model, {span}")
        return self

    @property
    def bound(self) -> float:
        """The number on which the decision turns."""
        return self.at_most if self.at_least is None else self.at_least  # type: ignore[return-value]

    @property
    def direction(self) -> str:
        """`at_least` or `at_most`."""
        return "at_most" if self.at_least is None else "at_least"

    @property
    def everywhere(self) -> str | None:
        """For a slice that ends in `=*`, what the names of its slices begin with."""
        return self.slice.removesuffix("*") if self.slice.endswith("=*") else None


class Reuse(BaseModel):
    """How often one test set may be opened: each opening spends (1 - level) / 2 of `alpha` (Bonferroni).

    `alpha` bounds the chance that a model that misses a bound passes by luck in any opening, for candidates that were
    not made from what earlier openings showed; the more they were, the weaker the bound, hence the limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    method: Literal["alpha-spending"]
    alpha: float = Field(gt=0, lt=1)
    reason: Text


class Costs(BaseModel):
    """What an image costs, in `unit`: a wrong answer, and asking a person instead; a right answer costs nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    unit: Text
    wrong: Bound = Field(gt=0)
    ask: Bound = Field(gt=0)
    reason: Text

    @model_validator(mode="after")
    def _asking_can_pay(self) -> Self:
        if self.ask >= self.wrong:
            raise ValueError(
                f"asking a person costs {self.ask:g} and a wrong answer {self.wrong:g}: asking could never pay; "
                "correct the two, or remove the section costs"
            )
        return self


class Approval(BaseModel):
    """Whose approval a PASS needs before it is promoted: one of each role, by another person than the author.

    An approval counts for `valid_days` from when it was signed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    roles: list[Role] = Field(min_length=1)
    valid_days: int = Field(ge=1)
    reason: Text

    @field_validator("roles")
    @classmethod
    def _each_once(cls, roles: list[Role]) -> list[Role]:
        if len(set(roles)) < len(roles):
            raise ValueError(f"a role is named twice in {', '.join(roles)}; one approval of each role is asked for")
        return roles


class ExternalSet(BaseModel):
    """Labelled images from elsewhere, on which a model is judged and never trained: the slice `external/<name>`.

    `data` is an image folder, `sha256` its digest (tasks.digests.digest_of); rows that share the column `group` are
    dependent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: str = Field(pattern=r"^[a-z0-9-]+$")
    data: Text
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    group: Text | None = None
    reason: Text


class Nothing(BaseModel):
    """What a section says that asks for nothing: why not."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    none: Text


class Stop(BaseModel):
    """When a line of work ends: after so many candidates on one test set, or when they stop getting better.

    They stop when none of the last `over` candidates was `least_gain` more accurate on test than the best before them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    candidates: int = Field(ge=1)
    over: int = Field(ge=1)
    least_gain: Bound = Field(ge=0, lt=1)
    reason: Text


def _asks(value: Any) -> str:
    """Which form a section has: a list of demands, one demand, or the reason why there is none."""
    return "nothing" if isinstance(value, Nothing) or (isinstance(value, dict) and "none" in value) else "something"


TAGS = ("something", "nothing")
OR_NOTHING = Field(discriminator=Discriminator(_asks))
No = Annotated[Nothing, Tag("nothing")]
Criteria = Annotated[Annotated[list[Criterion], Field(min_length=1), Tag("something")] | No, OR_NOTHING]
# The sections that hold criteria; none may be left out, so that what a plan does not ask for is a decision on record.
SECTIONS = (
    *("standard", "champion", "calibration", "fairness", "robustness", "privacy", "latency", "interpretability"),
    *("leakage", "external"),
)
# What the report alone can answer: not who is champion, nor which machine was timed.
OF_ONE_MODEL = tuple(name for name in SECTIONS if name not in ("champion", "latency"))


class Plan(BaseModel):
    """All criteria, who answers for them, and until when. `level` is the confidence of the intervals it judges.

    `scaffold` marks the plan that a new project starts with: nobody has set its bounds yet, and every verdict says so.
    A section that asks for nothing says why: `{none: <the reason>}`. Without `costs` no threshold is chosen below which
    a person is asked; without `reuse` openings of a test set are counted and not limited; without `approval` a PASS is
    promoted at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    version: int = Field(ge=1)
    use_case: Text
    owner: Text
    review_by: dt.date
    level: float = Field(gt=0.5, lt=1)
    scaffold: bool = False
    reuse: Annotated[Annotated[Reuse, Tag("something")] | No, OR_NOTHING]
    stop: Annotated[Annotated[Stop, Tag("something")] | No, OR_NOTHING]
    costs: Annotated[Annotated[Costs, Tag("something")] | No, OR_NOTHING]
    approval: Approval | None = None
    external_sets: list[ExternalSet] = []
    standard: Criteria  # how often the answers are right
    champion: Criteria  # how the candidate compares with the model in use
    calibration: Criteria  # whether the probabilities mean what they say, and what asking a person by them saves
    fairness: Criteria
    robustness: Criteria
    privacy: Criteria
    latency: Criteria
    interpretability: Criteria
    leakage: Criteria
    external: Criteria

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if not self.criteria:
            raise ValueError(f"no section asks for anything; the sections are {', '.join(SECTIONS)}")
        twice = sorted(name for name, count in Counter(c.name for c in self.criteria).items() if count > 1)
        if twice:
            raise ValueError(f"criterion names used more than once: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _on_known_sets(self) -> Self:
        names = [one.name for one in self.external_sets]
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise ValueError(f"external sets named more than once: {', '.join(twice)}")
        for c in self.criteria:
            first, _, rest = c.slice.partition("/")
            if first == EXTERNAL and rest.partition("/")[0] not in names:
                known = ", ".join(names) or "none"
                raise ValueError(f"criterion '{c.name}' is on {c.slice}, but the external sets are {known}")
        return self

    @model_validator(mode="after")
    def _can_be_opened(self) -> Self:
        if self.openings < 1 and isinstance(self.reuse, Reuse):
            raise ValueError(
                f"reuse: alpha {self.reuse.alpha:g} allows no opening at level {self.level:g}, "
                f"which spends {self.error:g} each time"
            )
        return self

    @property
    def criteria(self) -> list[Criterion]:
        """Those of all sections, in order."""
        return self.asked(*SECTIONS)

    def asked(self, *sections: str) -> list[Criterion]:
        """The criteria of some sections, in order."""
        found: list[Criterion] = []
        for name in sections:
            asked = getattr(self, name)
            found += [] if isinstance(asked, Nothing) else asked
        return found

    @property
    def prices(self) -> Costs | None:
        """The costs, where the plan names them."""
        return None if isinstance(self.costs, Nothing) else self.costs

    @property
    def error(self) -> float:
        """One-sided: how often one end of an interval at `level` errs."""
        return round((1 - self.level) / 2, 12)

    @property
    def openings(self) -> int:
        """How often `reuse` lets one test set be opened."""
        return math.floor(self.reuse.alpha / self.error + 1e-9) if isinstance(self.reuse, Reuse) else sys.maxsize

    @property
    def digest(self) -> str:
        """The sha256 of all that decides; reasons, owner, review date, `stop` can be mended without a new plan.

        So can `approval`: who must agree afterwards makes no bound easier to meet.
        """
        prose = {"version", "use_case", "owner", "review_by", "scaffold", "stop", "approval"}
        return sha256_text(canonical_json(_without_reasons(self.model_dump(mode="json", exclude=prose))))

    def is_overdue(self, today: dt.date) -> bool:
        """Whether the day of its review has passed."""
        return today > self.review_by


def _without_reasons(value: Any) -> Any:
    """The same without what is only said for people, at any depth."""
    if isinstance(value, dict):
        return {k: _without_reasons(v) for k, v in value.items() if k not in ("reason", "none")}
    return [_without_reasons(v) for v in value] if isinstance(value, list) else value


def load_plan(path: Path) -> Plan:
    """Read and check a plan; PlanInvalid names the file, the key and what is allowed."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)
    except OSError as error:
        raise PlanInvalid(f"cannot read the plan {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PlanInvalid(f"{path} is not valid YAML: {error}") from error
    try:
        return Plan.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(f"{_place(p['loc']) or 'the plan'}: {p['msg']}" for p in error.errors())
        raise PlanInvalid(
            f"{path}: {problems}. The keys are {', '.join(Plan.model_fields)}; a section that asks for nothing says "
            f"why, as none: <reason>; the keys of a criterion are {', '.join(Criterion.model_fields)}; of reuse, "
            f"{', '.join(Reuse.model_fields)}; of stop, {', '.join(Stop.model_fields)}; of costs, "
            f"{', '.join(Costs.model_fields)}; of approval, {', '.join(Approval.model_fields)}; of an external set, "
            f"{', '.join(ExternalSet.model_fields)}"
        ) from error


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc if part not in TAGS)
